//! The parts that keys are made of.
//!
//! An id is written as `0x01 | 16 bytes` when it is a UUID in its canonical text form (run
//! ids and namespace ids are), else as `0x02 | length (u16) | bytes`. Both forms say where
//! they end, so a key prefix that ends behind an id matches that id only.

use base::Cell;

use crate::run::{RunKey, WorkflowKey};

/// The second part of every key. Ids are never reused, not even of a table that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Table {
    Current = 1,
    State = 2,
    History = 3,
    Timer = 4,
    Pending = 5,
    Visible = 6,
}

const UUID: u8 = 1;
const TEXT: u8 = 2;
/// `cell | table id`.
pub(crate) const HEADER_BYTES: usize = 3;
const CAPACITY: usize = 96;

/// The longest id that fits; the frontend refuses far shorter ones.
const ID_BYTES_MAX: usize = u16::MAX as usize;

pub(crate) fn header(cell: Cell, table: Table) -> Vec<u8> {
    let mut key = Vec::with_capacity(CAPACITY);
    key.extend(cell.to_be_bytes());
    key.push(table as u8);
    key
}

pub(crate) fn put_id(key: &mut Vec<u8>, id: &str) {
    if let Some(uuid) = canonical_uuid(id) {
        key.push(UUID);
        key.extend(uuid.as_bytes());
        return;
    }
    let bytes = &id.as_bytes()[..id.len().min(ID_BYTES_MAX)];
    key.push(TEXT);
    key.extend(u16::try_from(bytes.len()).expect("cut to fit").to_be_bytes());
    key.extend(bytes);
}

/// Takes an id from the front of what is left of a key.
pub(crate) fn take_id(rest: &mut &[u8]) -> Option<String> {
    match take(rest, 1)?[0] {
        UUID => {
            let bytes: [u8; 16] = take(rest, 16)?.try_into().ok()?;
            Some(uuid::Uuid::from_bytes(bytes).hyphenated().to_string())
        }
        TEXT => {
            let length = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
            String::from_utf8(take(rest, usize::from(length))?.to_vec()).ok()
        }
        _ => None,
    }
}

pub(crate) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(take(rest, 8)?.try_into().ok()?))
}

pub(crate) fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(take(rest, 8)?.try_into().ok()?))
}

pub(crate) fn put_workflow(key: &mut Vec<u8>, workflow: &WorkflowKey) {
    put_id(key, workflow.namespace_id.as_str());
    put_id(key, workflow.workflow_id.as_str());
}

pub(crate) fn put_run(key: &mut Vec<u8>, run: &RunKey) {
    put_workflow(key, &run.workflow);
    put_id(key, run.run_id.as_str());
}

pub(crate) fn take_run(cell: Cell, rest: &mut &[u8]) -> Option<RunKey> {
    let namespace_id = take_id(rest)?.into();
    let workflow_id = take_id(rest)?.into();
    let run_id = take_id(rest)?.into();
    Some(RunKey { workflow: WorkflowKey { cell, namespace_id, workflow_id }, run_id })
}

/// All rows of one run in one table.
pub(crate) fn run_prefix(table: Table, run: &RunKey) -> Vec<u8> {
    let mut key = header(run.workflow.cell, table);
    put_run(&mut key, run);
    key
}

/// The key behind every key that begins with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    unreachable!("a prefix begins with a cell, which is below 0xffff")
}

/// The cell of a key of `table` and what follows its header.
pub(crate) fn split(key: &[u8], table: Table) -> Option<(Cell, &[u8])> {
    let (head, rest) = key.split_at_checked(HEADER_BYTES)?;
    let cell = Cell::new(u16::from_be_bytes([head[0], head[1]]))?;
    (head[2] == table as u8).then_some((cell, rest))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (front, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(front)
}

/// Only the text that printing the UUID gives back may be stored as its 16 bytes.
fn canonical_uuid(id: &str) -> Option<uuid::Uuid> {
    const LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;
    if id.len() != LENGTH || id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    uuid::Uuid::try_parse(id).ok()
}
