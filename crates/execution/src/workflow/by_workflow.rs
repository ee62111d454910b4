//! What other workflows do to this run: signal it, ask it to cancel, terminate it, start its
//! first workflow task.
//!
//! ```text
//!  signal, cancel request, termination: as from a client, and the event names the workflow
//!  only for children, and another parent: refused
//!  seen before, or nothing left to do: nothing
//! ```

use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::history::v1::WorkflowExecutionCancelRequestedEventAttributes;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::command::ByWorkflow;
use super::draft::draft;
use super::step::Step;
use super::{Note, Reply, close, signal, workflow_task};
use crate::Rejection;

pub(crate) fn signal(
    step: &mut Step<'_>,
    command: ByWorkflow<wf::SignalWorkflowExecutionRequest>,
) -> Result<Reply, Rejection> {
    let ByWorkflow { source, child_only, request, .. } = command;
    if step.state.signal_requests.contains(request.request_id.as_str()) {
        return Ok(Reply::Empty);
    }
    if !step.state.is_running() {
        return Err(close::completed());
    }
    signal::validate(step, &request)?;
    check_parent(step, &source, child_only)?;
    let waits = step.state.in_first_task_backoff();
    signal::record(step, request, Some(source));
    if !waits {
        workflow_task::schedule(step);
    }
    Ok(Reply::Empty)
}

pub(crate) fn request_cancel(
    step: &mut Step<'_>,
    command: ByWorkflow<wf::RequestCancelWorkflowExecutionRequest>,
) -> Result<Reply, Rejection> {
    let ByWorkflow { source, source_event_id, child_only, request } = command;
    if !step.state.is_running() || step.state.signal_requests.contains(request.request_id.as_str()) {
        return Ok(Reply::Empty);
    }
    close::check_chain(step, &request.first_execution_run_id)?;
    check_parent(step, &source, child_only)?;
    if step.state.core.cancel_requested {
        return Ok(Reply::Empty);
    }
    if !request.request_id.is_empty() {
        // A repetition must not cancel the run that may follow on this one.
        step.note(Note::SignalRequested { request_id: request.request_id });
    }
    let attributes = WorkflowExecutionCancelRequestedEventAttributes {
        cause: request.reason,
        identity: request.identity,
        external_initiated_event_id: source_event_id,
        external_workflow_execution: Some(source),
    };
    step.happened(draft(step.now, Attributes::WorkflowExecutionCancelRequestedEventAttributes(attributes)));
    workflow_task::schedule(step);
    Ok(Reply::Empty)
}

pub(crate) fn terminate(
    step: &mut Step<'_>,
    command: ByWorkflow<wf::TerminateWorkflowExecutionRequest>,
) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Err(close::completed());
    }
    close::check_chain(step, &command.request.first_execution_run_id)?;
    check_parent(step, &command.source, command.child_only)?;
    close::terminate(step, command.request)
}

/// The parent knows now that this run exists.
pub(crate) fn schedule_first_task(step: &mut Step<'_>) -> Reply {
    // A signal may have come first; a delay or a cron has its own time.
    if !step.state.core.had_workflow_task && !step.state.in_first_task_backoff() {
        workflow_task::schedule(step);
    }
    Reply::Empty
}

fn check_parent(step: &Step<'_>, source: &WorkflowExecution, child_only: bool) -> Result<(), Rejection> {
    let parent = step.state.start().parent_workflow_execution.as_ref();
    if !child_only || parent == Some(source) {
        return Ok(());
    }
    Err(Rejection::NotFound("workflow parent does not match".into()))
}
