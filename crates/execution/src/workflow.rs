//! One run of a workflow. See `docs/architecture.md` for the map of the files below.

mod command;
mod decision;
mod state;

pub use command::{
    ActivityTarget, CancelActivity, Command, CompleteActivity, CompleteWorkflowTask, FailActivity, FailWorkflowTask,
    FreshIds, Heartbeat, Start, StartActivityTask, StartWorkflowTask, WorkflowTaskToken,
};
pub use decision::{
    ActivityTaskRef, ActivityTaskStarted, Change, Decision, NewRun, Note, Reply, Soft, Task, WorkflowTaskRef,
    WorkflowTaskStarted,
};
pub use state::{RowKey, State};

use base::Timestamp;

use crate::{Limits, Rejection};

/// What `command` does to the run: nothing but the returned decision.
pub fn decide(_state: &State, _command: Command, _now: Timestamp, _limits: &Limits) -> Result<Decision, Rejection> {
    unimplemented!("core owner")
}

/// Total: every change that `decide` ever returned can be applied.
pub fn apply(_state: &mut State, _change: &Change) {
    unimplemented!("core owner")
}
