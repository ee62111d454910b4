//! Table VISIBLE: `cell | 6 | ns | workflow id | run id -> WorkflowExecutionInfo`.
//!
//! What lists show of a run. Written by the decision that changes it, several times in a run's
//! life, so what its key says already is left out and put back when it is read.

use std::sync::Arc;

use api::Error;
use base::{CELLS, Cell};
use bytes::Bytes;
use prost::Message;
use storage::{Kv, Scan};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionInfo;

use super::key::{Table, after_prefix, header, put_id, run_prefix, split, take_run};
use crate::run::RunKey;

/// Rows read at a time.
const PAGE_ROWS: usize = 256;
/// Cells looked into at a time: most have nothing of a namespace.
const PAGE_CELLS: usize = 512;

pub(crate) fn key(run: &RunKey) -> Bytes {
    run_prefix(Table::Visible, run).into()
}

pub(crate) fn encode(run: &RunKey, mut info: WorkflowExecutionInfo) -> Bytes {
    let known = known_from_key(run);
    info.execution = None;
    if info.root_execution == known.root_execution {
        info.root_execution = None;
    }
    info.encode_to_vec().into()
}

/// The whole message. Of joined messages the later one wins, and a row names a whole other
/// root, or none.
fn restore(run: &RunKey, row: &[u8]) -> Bytes {
    let mut bytes = known_from_key(run).encode_to_vec();
    bytes.extend_from_slice(row);
    bytes.into()
}

/// Most runs have no parent.
fn known_from_key(run: &RunKey) -> WorkflowExecutionInfo {
    let (workflow_id, run_id) = (run.workflow.workflow_id.as_str().to_owned(), run.run_id.as_str().to_owned());
    let execution = Some(WorkflowExecution { workflow_id, run_id });
    WorkflowExecutionInfo { root_execution: execution.clone(), execution, ..Default::default() }
}

/// The run that a row is of.
pub(crate) fn decode(key: &[u8]) -> Option<RunKey> {
    let (cell, mut rest) = split(key, Table::Visible)?;
    let run = take_run(cell, &mut rest)?;
    rest.is_empty().then_some(run)
}

/// The rows of a namespace in one cell: from, and up to but without.
pub(crate) fn range(cell: Cell, namespace_id: &str) -> (Vec<u8>, Vec<u8>) {
    let prefix = prefix(cell, namespace_id);
    let end = after_prefix(&prefix);
    (prefix, end)
}

/// Of a namespace in one cell.
fn prefix(cell: Cell, namespace_id: &str) -> Vec<u8> {
    let mut key = header(cell, Table::Visible);
    put_id(&mut key, namespace_id);
    key
}

/// Reads the rows of this node's replicas, whoever leads. Cheap to clone.
#[derive(Clone)]
pub struct VisibleRows {
    kv: Arc<dyn Kv>,
}

impl VisibleRows {
    #[must_use]
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv }
    }

    /// The next rows of a namespace, a bounded number, and where to go on. A row that is
    /// written meanwhile may be among them or not.
    pub fn page(&self, namespace_id: &str, cursor: Option<Bytes>) -> Result<(Vec<Bytes>, Option<Bytes>), Error> {
        let first = cursor.as_deref().map_or(0, |key| u16::from_be_bytes([key[0], key[1]]));
        let mut rows = Vec::new();
        let mut start = cursor;
        for (looked, cell) in (first..CELLS).filter_map(Cell::new).enumerate() {
            let (prefix, end) = range(cell, namespace_id);
            let from = start.take().unwrap_or_else(|| prefix.into());
            if looked >= PAGE_CELLS {
                return Ok((rows, Some(from)));
            }
            let limit = PAGE_ROWS - rows.len();
            let pairs =
                self.kv.scan(&Scan::range(from, end, limit)).map_err(|error| Error::Unavailable(error.to_string()))?;
            let is_full = pairs.len() == limit;
            let last = pairs.last().map(|(key, _)| key.clone());
            for (key, row) in pairs {
                let run = decode(&key).ok_or_else(|| Error::Internal("a key of the VISIBLE table".to_owned()))?;
                rows.push(restore(&run, &row));
            }
            if is_full && let Some(last) = last {
                // The first key behind it.
                return Ok((rows, Some([&last[..], &[0]].concat().into())));
            }
        }
        Ok((rows, None))
    }
}

#[cfg(test)]
mod tests {
    use storage::{Batch, MemoryKv};

    use super::*;
    use crate::run::WorkflowKey;

    #[test]
    fn pages_show_every_row_of_the_namespace_once() {
        let kv = Arc::new(MemoryKv::new());
        let mut batch = Batch::default();
        for index in 0..1000 {
            let run = WorkflowKey::new("mine", &format!("w{index}")).run("r");
            let info = WorkflowExecutionInfo { history_length: index, ..Default::default() };
            batch.put(key(&run), encode(&run, info));
            let other = WorkflowKey::new("other", &format!("w{index}")).run("r");
            batch.put(key(&other), encode(&other, WorkflowExecutionInfo::default()));
        }
        kv.write(batch).expect("memory takes it");
        let rows = VisibleRows::new(kv);
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) = rows.page("mine", cursor).expect("memory gives it");
            assert!(page.len() <= PAGE_ROWS);
            seen.extend(page.into_iter().map(|row| {
                let info = WorkflowExecutionInfo::decode(row).expect("a row");
                let id = info.execution.expect("put back").workflow_id;
                assert_eq!(id, format!("w{}", info.history_length));
                info.history_length
            }));
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_key_says_is_left_out_and_put_back() {
        let run = WorkflowKey::new("ns", "w").run("0199a0b1-0000-7000-8000-000000000001");
        let alone = WorkflowExecutionInfo { history_length: 7, ..known_from_key(&run) };
        let other = WorkflowExecution { workflow_id: "root".to_owned(), run_id: "r0".to_owned() };
        let child = WorkflowExecutionInfo { root_execution: Some(other), ..alone.clone() };
        assert_eq!(encode(&run, alone.clone()).len(), 2, "nothing but the length");
        for info in [alone, child] {
            let row = encode(&run, info.clone());
            assert_eq!(WorkflowExecutionInfo::decode(restore(&run, &row)), Ok(info));
        }
    }

    #[test]
    fn a_key_begins_with_cell_and_table() {
        let run = WorkflowKey::new("ns", "w").run("r");
        assert_eq!(key(&run)[2], 6);
        assert_eq!(decode(&key(&run)), Some(run));
    }
}
