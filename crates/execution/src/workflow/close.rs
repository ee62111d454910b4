//! How a run ends other than by its worker's command.
//!
//! ```text
//!  running ──Terminate──▶ terminated      (NotFound when closed)
//!          ──too large──▶ terminated      by the server
//!          ──Delete─────▶ terminated      by the server, and removed soon; so are closed runs
//!          ──its time───▶ timed out       (+ a new run by retry policy or cron)
//! ```
//! A workflow task that a worker holds fails first (ForceCloseCommand), and what was buffered
//! behind it is written before the closing event.

use std::time::Duration;

use temporalio_protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_protos::temporal::api::enums::v1::{RetryState, WorkflowTaskFailedCause};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    WorkflowExecutionTerminatedEventAttributes, WorkflowExecutionTimedOutEventAttributes,
};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::command::FreshIds;
use super::draft::draft;
use super::step::Step;
use super::successor::{self, Successor};
use super::{Decision, Note, Reply, State, size, workflow_task};
use crate::Rejection;
use crate::policy::failure;

pub(crate) const HISTORY_SIZE_EXCEEDS_LIMIT: &str = "Workflow history size exceeds limit.";
const STATE_SIZE_EXCEEDS_LIMIT: &str = "Workflow mutable state size exceeds limit.";
const TRANSACTION_SIZE_EXCEEDS_LIMIT: &str = "Transaction size exceeds limit.";
pub(crate) const HISTORY_COUNT_EXCEEDS_LIMIT: &str = "Workflow history count exceeds limit.";

const DELETED: &str = "Delete workflow execution";
/// Who waits for the end of a run that is deleted has this long to read it.
const DELETE_DELAY: Duration = Duration::from_millis(100);

pub(crate) fn completed() -> Rejection {
    Rejection::NotFound("workflow execution already completed".into())
}

/// A request may name the chain of runs that it is meant for.
pub(crate) fn check_chain(step: &Step<'_>, first_execution_run_id: &str) -> Result<(), Rejection> {
    if first_execution_run_id.is_empty() || first_execution_run_id == step.state.first_execution_run_id() {
        return Ok(());
    }
    Err(Rejection::NotFound("workflow execution not found".into()))
}

/// `TerminateWorkflowExecution`.
pub(crate) fn terminate(
    step: &mut Step<'_>,
    request: wf::TerminateWorkflowExecutionRequest,
) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Err(completed());
    }
    check_chain(step, &request.first_execution_run_id)?;
    workflow_task::fail_by_server(step, WorkflowTaskFailedCause::ForceCloseCommand);
    let attributes =
        Attributes::WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes {
            reason: request.reason,
            details: request.details,
            identity: request.identity,
        });
    let mut event = draft(step.now, attributes);
    event.links = request.links;
    step.write(event);
    Ok(Reply::Empty)
}

/// `DeleteWorkflowExecution`: ends the run if it is open and has it removed.
pub(crate) fn delete(step: &mut Step<'_>) -> Reply {
    if step.state.is_running() {
        terminate_by_server(step, DELETED.to_owned());
    }
    if step.state.core.delete_time == 0 {
        step.note(Note::DeleteRequested { time: (step.now + DELETE_DELAY).as_nanos() });
    }
    Reply::Empty
}

/// The server gives up on the run.
pub(crate) fn terminate_by_server(step: &mut Step<'_>, reason: String) {
    workflow_task::fail_by_server(step, WorkflowTaskFailedCause::ForceCloseCommand);
    write_terminated(step, reason);
}

pub(crate) fn write_terminated(step: &mut Step<'_>, reason: String) {
    write_terminated_with(step, reason, None);
}

fn write_terminated_with(step: &mut Step<'_>, reason: String, details: Option<Payloads>) {
    step.event(Attributes::WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes {
        reason,
        details,
        identity: workflow_task::SERVER_IDENTITY.to_owned(),
    }));
}

/// The run or the chain of runs is out of time.
pub(crate) fn time_out(step: &mut Step<'_>, fresh: &FreshIds) {
    let failure = failure::workflow_timeout();
    let expired = step.state.execution_expiration().is_some_and(|time| time <= step.now);
    let (retry_state, successor) =
        if expired { (RetryState::Timeout, None) } else { successor::after_failure(step, &failure) };
    workflow_task::fail_by_server(step, WorkflowTaskFailedCause::ForceCloseCommand);
    let before = step.state.clone();
    let new_execution_run_id = if successor.is_some() { fresh.run_id.as_str().to_owned() } else { String::new() };
    step.event(Attributes::WorkflowExecutionTimedOutEventAttributes(WorkflowExecutionTimedOutEventAttributes {
        retry_state: retry_state.into(),
        new_execution_run_id,
    }));
    if let Some(Successor { initiator, backoff }) = successor {
        // A run that timed out has no result of its own: the chain keeps the last one.
        let last_completion_result = before.start().last_completion_result.clone();
        successor::retry_or_cron(
            step,
            &before,
            successor::Next { initiator, backoff, failure: Some(failure), last_completion_result },
            fresh,
        );
    }
}

/// The decision, unless it would make the run larger than allowed: then the run is
/// terminated instead and the caller learns why.
pub(crate) fn within_limits(before: &State, step: Step<'_>, completes_task: bool, reply: Reply) -> Decision {
    let core = &step.state.core;
    let written = core.history_size_bytes - before.core.history_size_bytes;
    let reason = if !step.state.is_running() {
        None
    } else if core.history_size_bytes > step.limits.history_size_bytes_max as u64 {
        Some(HISTORY_SIZE_EXCEEDS_LIMIT)
    } else if core.next_event_id - 1 > step.limits.history_events_max {
        Some(HISTORY_COUNT_EXCEEDS_LIMIT)
    } else if size::state_bytes(&step.state) > step.limits.state_bytes_max {
        Some(STATE_SIZE_EXCEEDS_LIMIT)
    } else {
        None
    };
    if let Some(reason) = reason {
        return terminated(before, &step, reason, reason.to_owned(), None);
    }
    // Only a worker sends so much at once: other requests are bounded by the size of a blob.
    let limit = step.limits.transaction_bytes_max;
    if completes_task && written > limit as u64 {
        let message = format!("transaction size of {written} bytes exceeds limit of {limit} bytes");
        let details = Payloads { payloads: vec![json_string(&message)] };
        return terminated(before, &step, TRANSACTION_SIZE_EXCEEDS_LIMIT, message, Some(details));
    }
    step.finish(reply)
}

/// Instead of what the step did, the run ends.
fn terminated(before: &State, step: &Step<'_>, reason: &str, message: String, details: Option<Payloads>) -> Decision {
    let mut step = Step::new(before, step.now, step.limits);
    super::buffer::recover(&mut step);
    workflow_task::fail_by_server(&mut step, WorkflowTaskFailedCause::ForceCloseCommand);
    write_terminated_with(&mut step, reason.to_owned(), details);
    step.finish(Reply::Refused(Rejection::InvalidArgument(message)))
}

fn json_string(text: &str) -> Payload {
    let mut payload = Payload { data: format!("\"{text}\"").into_bytes(), ..Payload::default() };
    payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
    payload
}
