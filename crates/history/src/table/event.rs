//! Table HISTORY: `cell | 3 | ns | workflow id | run id | first event id -> History`.
//!
//! A value is an encoded `temporal.api.history.v1.History` with the events of one decision
//! and nothing else: values of neighbouring keys joined are the history of both.

use bytes::Bytes;

use super::key::{Table, run_prefix, take_i64};
use crate::run::RunKey;

/// Of all batches of a run.
pub(crate) fn prefix(run: &RunKey) -> Vec<u8> {
    run_prefix(Table::History, run)
}

pub(crate) fn key(run: &RunKey, first_event_id: i64) -> Bytes {
    let mut key = prefix(run);
    key.extend(first_event_id.to_be_bytes());
    key.into()
}

/// The first event id of a batch, from what follows the run's prefix.
pub(crate) fn first_event_id(mut rest: &[u8]) -> Option<i64> {
    let id = take_i64(&mut rest)?;
    rest.is_empty().then_some(id)
}
