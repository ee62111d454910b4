//! Removes the runs of namespaces that were deleted: found by their VISIBLE rows, a bounded
//! number at a time, so that other work goes on.

use std::collections::BTreeSet;

use base::Cell;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;

use super::leader::{Fault, Leader, Stop};
use super::scan::CellScan;
use crate::run::RunKey;
use crate::table::visible;

#[derive(Default)]
pub(super) struct Reclaim {
    /// Of namespaces that this shard holds nothing of any more.
    done: BTreeSet<String>,
    current: Option<(String, CellScan)>,
    is_idle: bool,
}

impl Reclaim {
    /// Namespaces changed: look again.
    pub(super) fn wake(&mut self) {
        self.is_idle = false;
    }
}

impl Leader {
    /// One slice of the work. Says whether there may be more.
    pub(super) fn reclaim(&mut self) -> Result<bool, Stop> {
        if self.reclaim.is_idle || self.building.deletions >= self.context.config.deletions_per_batch_max {
            return Ok(!self.reclaim.is_idle);
        }
        if self.reclaim.current.is_none() {
            let all = self.context.namespaces.list();
            let deleted = all.iter().filter(|namespace| namespace.state == NamespaceState::Deleted);
            let mut left = deleted.map(|namespace| namespace.id.as_str()).filter(|id| !self.reclaim.done.contains(*id));
            let Some(id) = left.next() else {
                self.reclaim.is_idle = true;
                return Ok(false);
            };
            self.reclaim.current = Some((id.to_owned(), CellScan::new(self.context.cells)));
        }
        let Some((id, mut scan)) = self.reclaim.current.take() else { return Ok(false) };
        let rows = scan.slice(&*self.context.kv, |cell: Cell| visible::range(cell, &id))?;
        self.begin();
        for (key, _) in rows {
            let Some(run) = visible::decode(&key) else { return Err(Stop::Corrupt("a key of the VISIBLE table")) };
            match self.remove_run(&run) {
                Ok(()) => {}
                Err(Fault::Stop(stop)) => return Err(stop),
                // A quarantined run waits for the next leader.
                Err(Fault::Caller(error)) => tracing::warn!(?run, %error, "a run of a deleted namespace stays"),
            }
        }
        if scan.is_done() {
            self.reclaim.done.insert(id);
        } else {
            self.reclaim.current = Some((id, scan));
        }
        Ok(true)
    }

    /// Its wake-up finds nothing and goes, too.
    fn remove_run(&mut self, run: &RunKey) -> Result<(), Fault> {
        if !self.load(run)? {
            return Ok(());
        }
        self.delete_run(run)
    }
}
