//! Pausing a whole run: nothing of it is given to a worker until it goes on.
//!
//! ```text
//!  open ──Pause──▶ paused: signals, timers and results are written, no workflow task follows
//!    ▲               │
//!    └───Unpause─────┘   + a workflow task
//! ```
//! A workflow task that nobody took waits until the run goes on, on the normal queue: it cannot
//! fail as the incumbent's does, since workers refuse a history where a task fails that never
//! started. One that a worker holds may still end, and so may running activities. Whoever paused
//! twice with the same request id paused once.

use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    WorkflowExecutionPausedEventAttributes, WorkflowExecutionUnpausedEventAttributes,
};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::draft::draft;
use super::step::Step;
use super::workflow_task;
use super::{Note, Reply, State, activity, close, predefined, stored};
use crate::Rejection;

/// `PauseWorkflowExecution`.
pub(crate) fn pause(step: &mut Step<'_>, request: wf::PauseWorkflowExecutionRequest) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Err(close::completed());
    }
    if let Some(pause) = &step.state.core.pause {
        if !request.request_id.is_empty() && pause.request_id == request.request_id {
            return Ok(Reply::Empty);
        }
        return Err(Rejection::FailedPrecondition("workflow is already paused.".into()));
    }
    let wf::PauseWorkflowExecutionRequest { identity, reason, request_id, .. } = request;
    let pause = stored::Pause {
        time: step.now.as_nanos(),
        identity: identity.clone(),
        reason: reason.clone(),
        request_id: request_id.clone(),
    };
    let attributes = WorkflowExecutionPausedEventAttributes { identity, reason, request_id };
    let mut event = draft(step.now, Attributes::WorkflowExecutionPausedEventAttributes(attributes));
    event.worker_may_ignore = true;
    step.happened(event);
    keep_untaken_task(step);
    step.note(Note::PauseSet(Some(Box::new(pause))));
    predefined::pauses_changed(step);
    Ok(Reply::Empty)
}

/// `UnpauseWorkflowExecution`.
pub(crate) fn unpause(step: &mut Step<'_>, request: wf::UnpauseWorkflowExecutionRequest) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Err(close::completed());
    }
    if step.state.core.pause.is_none() {
        return Err(Rejection::FailedPrecondition("workflow is not paused.".into()));
    }
    let wf::UnpauseWorkflowExecutionRequest { identity, reason, request_id, .. } = request;
    let attributes = WorkflowExecutionUnpausedEventAttributes { identity, reason, request_id };
    let mut event = draft(step.now, Attributes::WorkflowExecutionUnpausedEventAttributes(attributes));
    event.worker_may_ignore = true;
    step.happened(event);
    step.note(Note::PauseSet(None));
    predefined::pauses_changed(step);
    if !step.state.in_first_task_backoff() {
        workflow_task::schedule(step);
    }
    Ok(Reply::Empty)
}

/// Folds in a pause or its end. References to tasks that were offered become stale.
pub(crate) fn set(state: &mut State, pause: Option<&stored::Pause>) {
    state.core.pause = pause.cloned();
    activity::offer_again(state);
    if pause.is_some() {
        return;
    }
    if state.core.workflow_task.is_some() {
        // One that a worker held when its leader was lost is offered again.
        state.core.workflow_task_stamp += 1;
    } else {
        // Whatever made the last attempts fail, the next one is for news.
        state.core.workflow_task_attempt = 1;
    }
}

impl State {
    /// Nothing is given to workers.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.core.pause.is_some() && self.is_running()
    }
}

/// Nobody is going to take the task from the queue of a worker that may be gone by then.
fn keep_untaken_task(step: &mut Step<'_>) {
    let task = step.state.core.workflow_task.filter(|_| step.state.started.is_none());
    if task.is_some_and(|task| step.state.is_sticky() || task.schedule_to_start_deadline != 0) {
        step.note(Note::StickyCleared);
    }
}
