//! The law of the overlay, checked where it is asked for (tests, simulation): once every
//! batch is applied, the rows of a run say what the cached state says.

use std::collections::BTreeMap;

use bytes::Bytes;
use execution::workflow::{RowKey, State};

use super::leader::{Fault, Leader};
use crate::run::RunKey;
use crate::table::{pending, state};

impl Leader {
    /// Panics when the rows of a run that was written differ from its cached state.
    pub(super) fn verify(&mut self) -> Result<(), Fault> {
        if !self.context.config.verify_rows || self.applied_seq + 1 != self.next_seq || !self.building.is_empty() {
            return Ok(());
        }
        for run in std::mem::take(&mut self.written) {
            let prefix = state::prefix(&run).len();
            let rows: BTreeMap<RowKey, Bytes> = self
                .state_rows(&run)?
                .into_iter()
                .map(|(key, value)| (state::row(&key[prefix..]).expect("row keys decode"), value))
                .collect();
            let is_pending = self.context.kv.get(&pending::key(&run))?.is_some();
            let Some(entry) = self.cache.get(&run) else { continue };
            assert_eq!(is_pending, entry.is_pending, "the PENDING row of {run:?}");
            match &entry.state {
                None => assert!(rows.is_empty(), "a deleted run has rows: {run:?}"),
                Some(state) => check(&run, state, rows),
            }
        }
        Ok(())
    }
}

fn check(run: &RunKey, state: &State, rows: BTreeMap<RowKey, Bytes>) {
    for (row, value) in &rows {
        // Maps have no order in their encoding, so bytes may differ where values do not.
        let length = state.encode_row(row).map(|value| value.len());
        assert_eq!(length, Some(value.len()), "row {row:?} of {run:?}");
    }
    let rows: Vec<_> = rows.into_iter().collect();
    let decoded = State::decode(&rows).expect("rows decode");
    assert_eq!(decoded, state.durable(), "{run:?}");
    assert_eq!(decoded.next_event_id(), state.next_event_id(), "{run:?}");
    assert_eq!(decoded.deadline(), state.deadline(), "{run:?}");
}
