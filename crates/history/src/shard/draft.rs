//! A run while a request works on it: several commands may be decided one on top of the
//! other, and either all of them are recorded or none.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base::Timestamp;
use execution::workflow::{Change, Command, NewRun, Reply, RowKey, State, Task, apply, decide};
use execution::{Limits, Rejection};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;

use crate::run::RunKey;

/// Why a command had no effect.
pub(super) enum StepError {
    Rejected(Rejection),
    /// A defect of ours. The draft must not be recorded.
    Panicked,
}

pub(super) struct Draft {
    pub(super) run: RunKey,
    pub(super) state: State,
    pub(super) changes: Vec<Change>,
    /// Rows that the changes touched.
    pub(super) rows: BTreeSet<RowKey>,
    pub(super) tasks: Vec<Task>,
    pub(super) new_run: Option<Box<NewRun>>,
}

impl Draft {
    /// `state` is cheap to clone, see [`State`].
    pub(super) fn new(run: RunKey, state: State) -> Self {
        Self { run, state, changes: Vec::new(), rows: BTreeSet::new(), tasks: Vec::new(), new_run: None }
    }

    /// Decides and applies one command. The core never panics for a caller's fault, so a
    /// panic costs this run its service, not the shard.
    pub(super) fn step(&mut self, command: Command, now: Timestamp, limits: &Limits) -> Result<Reply, StepError> {
        let decision = guarded(|| {
            let decision = decide(&self.state, command, now, limits)?;
            self.apply(&decision.changes);
            Ok(decision)
        })?;
        self.changes.extend(decision.changes);
        self.tasks.extend(decision.tasks);
        if decision.new_run.is_some() {
            self.new_run = decision.new_run;
        }
        Ok(decision.reply)
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            apply(&mut self.state, change);
            self.rows.extend(self.state.touched(change));
        }
    }

    /// The first draft of a run that another one starts.
    pub(super) fn of_new_run(run: RunKey, new_run: NewRun) -> Self {
        let mut draft = Self::new(run, *new_run.initial);
        draft.apply(&new_run.changes);
        draft.changes = new_run.changes;
        draft.tasks = new_run.tasks;
        draft
    }

    /// The events among the changes.
    pub(super) fn events(&self) -> impl Iterator<Item = &HistoryEvent> + Clone {
        self.changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(event),
            _ => None,
        })
    }

    /// Whether anything has to be replicated.
    pub(super) fn is_durable(&self) -> bool {
        self.changes.iter().any(|change| !matches!(change, Change::Soft(_)))
    }
}

/// A panic is an error of this one step. What it leaves behind is thrown away.
fn guarded<T>(step: impl FnOnce() -> Result<T, Rejection>) -> Result<T, StepError> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|_| StepError::Panicked)?.map_err(StepError::Rejected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::WorkflowKey;

    #[test]
    fn a_panic_of_the_core_is_an_error_of_the_step() {
        let mut draft = Draft::new(WorkflowKey::new("ns", "w").run("r"), State::new());
        // Nobody writes a change like this one: an event out of order.
        let event = HistoryEvent { event_id: 7, ..Default::default() };
        let broken = [Change::Event(event)];
        let outcome = guarded(|| {
            draft.apply(&broken);
            Ok(())
        });
        assert!(matches!(outcome, Err(StepError::Panicked)));
    }
}
