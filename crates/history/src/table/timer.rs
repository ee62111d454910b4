//! Table TIMER: `cell | 4 | fire time (nanoseconds) | ns | workflow id | run id -> empty`.
//!
//! A row is a wake-up: at its time the run is asked what is due. A row that fires too early
//! for the run is replaced by a later one, so moving a deadline back costs no write.

use base::{Cell, Timestamp};
use bytes::Bytes;

use super::key::{Table, header, put_run, split, take_run, take_u64};
use crate::run::RunKey;

pub(crate) fn key(fire_at: Timestamp, run: &RunKey) -> Bytes {
    let mut key = bound(run.workflow.cell, fire_at);
    put_run(&mut key, run);
    key.into()
}

/// Before every row of the cell that fires at or after `fire_at`.
pub(crate) fn bound(cell: Cell, fire_at: Timestamp) -> Vec<u8> {
    let mut key = header(cell, Table::Timer);
    key.extend(fire_at.as_nanos().to_be_bytes());
    key
}

pub(crate) fn decode(key: &[u8]) -> Option<(Timestamp, RunKey)> {
    let (cell, mut rest) = split(key, Table::Timer)?;
    let fire_at = Timestamp::from_nanos(take_u64(&mut rest)?);
    let run = take_run(cell, &mut rest)?;
    rest.is_empty().then_some((fire_at, run))
}
