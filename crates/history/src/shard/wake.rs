//! Wake-ups whose time has come.

use base::Timestamp;
use execution::workflow::Command;

use super::leader::{Fault, Leader, Stop};
use super::timers::{Due, Kind};
use crate::run::RunKey;
use crate::table::{event, timer};

impl Leader {
    /// Handles a bounded number of due wake-ups. Says whether there may be more.
    pub(super) fn fire_due(&mut self) -> Result<bool, Stop> {
        for _ in 0..self.context.config.timers_per_turn_max {
            let is_full = self.building.bytes >= self.context.config.batch_bytes_max
                || self.building.deletions >= self.context.config.deletions_per_batch_max;
            if is_full {
                return Ok(true);
            }
            let now = self.read_clock();
            let Some(due) = self.timers.pop_due(now) else { return Ok(false) };
            self.begin();
            match self.fire(&due, now) {
                Ok(()) => {}
                Err(Fault::Stop(stop)) => return Err(stop),
                Err(Fault::Caller(error)) => {
                    // A quarantined run keeps its rows, so a new leader tries again.
                    tracing::warn!(run = ?due.run, %error, "wake-up had no effect");
                }
            }
        }
        Ok(true)
    }

    /// Does what is due for the run, and arms its next wake-up.
    fn fire(&mut self, due: &Due, now: Timestamp) -> Result<(), Fault> {
        let run = &due.run;
        if self.load(run)? {
            self.cache.update(run, |entry| {
                let armed = if due.kind == Kind::Durable { &mut entry.armed } else { &mut entry.soft_armed };
                if *armed == Some(due.at) {
                    *armed = None;
                }
            });
            let state = self.state(run);
            let deadlines = [state.deadline(), state.soft_deadline()];
            if state.removable_after().is_some_and(|at| at <= now) {
                self.delete_run(run)?;
            } else if deadlines.into_iter().flatten().any(|at| at <= now) {
                self.fire_timers(run, now)?;
            }
            self.rearm(run);
        } else {
            // Of a reset that was never finished, see the module `reset`.
            self.building.delete_prefix(event::prefix(run));
        }
        if due.kind == Kind::Durable {
            self.building.delete(timer::key(due.at, run));
        }
        Ok(())
    }

    fn fire_timers(&mut self, run: &RunKey, now: Timestamp) -> Result<(), Fault> {
        let mut draft = self.draft(run)?;
        let fresh = self.fresh_ids();
        self.step(&mut draft, Command::FireTimers(fresh))?;
        let left = [draft.state.deadline(), draft.state.soft_deadline()].into_iter().flatten().min();
        if draft.changes.is_empty() && left.is_some_and(|at| at <= now) {
            // It would be woken again at once, for ever.
            return Err(api::Error::Internal("a wake-up that is due does nothing".into()).into());
        }
        self.record(draft);
        Ok(())
    }
}
