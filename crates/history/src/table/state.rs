//! Table STATE: `cell | 2 | ns | workflow id | run id | row key -> row`. The core gives both
//! the row key and the row.

use bytes::Bytes;
use execution::workflow::RowKey;

use super::key::{Table, run_prefix};
use crate::run::RunKey;

/// Of all rows of a run.
pub(crate) fn prefix(run: &RunKey) -> Vec<u8> {
    run_prefix(Table::State, run)
}

pub(crate) fn key(run: &RunKey, row: &RowKey) -> Bytes {
    let mut key = prefix(run);
    key.extend(row.to_bytes());
    key.into()
}

/// `rest` is what follows the run's prefix.
pub(crate) fn row(rest: &[u8]) -> Option<RowKey> {
    RowKey::from_bytes(rest)
}
