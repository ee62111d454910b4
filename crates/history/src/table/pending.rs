//! Table PENDING: `cell | 5 | ns | workflow id | run id -> empty`.
//!
//! The run has tasks that were not started. A new leader finds its whole backlog here.

use base::Cell;
use bytes::Bytes;

use super::key::{Table, header, run_prefix, split, take_run};
use crate::run::RunKey;

pub(crate) fn key(run: &RunKey) -> Bytes {
    run_prefix(Table::Pending, run).into()
}

/// Of all rows of a cell.
pub(crate) fn prefix(cell: Cell) -> Vec<u8> {
    header(cell, Table::Pending)
}

/// The workflow id of a row of this table: it has something left to do.
#[must_use]
pub fn workflow(key: &[u8]) -> Option<String> {
    decode(key).map(|run| run.workflow.workflow_id.as_str().to_owned())
}

pub(crate) fn decode(key: &[u8]) -> Option<RunKey> {
    let (cell, mut rest) = split(key, Table::Pending)?;
    let run = take_run(cell, &mut rest)?;
    rest.is_empty().then_some(run)
}
