//! Signals and cancel requests: what clients tell a running workflow.
//!
//! ```text
//!  running ──Signal──▶ Signaled (+ a workflow task), once per request id
//!  running ──RequestCancel──▶ CancelRequested (+ a workflow task), once
//!  closed: a signal is refused, a cancel request is ignored
//! ```

use prost::Message;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    WorkflowExecutionCancelRequestedEventAttributes, WorkflowExecutionSignaledEventAttributes,
};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::draft::draft;
use super::step::Step;
use super::{Note, Reply, State, buffer, close, workflow_task};
use crate::Rejection;

/// Whether the signal waits with a workflow whose first task is delayed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    Respected,
    /// `SignalWithStart` starts the workflow now.
    Skipped,
}

/// `SignalWorkflowExecution`, and `SignalWithStart` when the workflow runs already.
pub(crate) fn signal(
    step: &mut Step<'_>,
    request: wf::SignalWorkflowExecutionRequest,
    delay: Delay,
) -> Result<Reply, Rejection> {
    if !request.request_id.is_empty() && step.state.signal_requests.contains(request.request_id.as_str()) {
        return Ok(Reply::Empty);
    }
    if !step.state.is_running() {
        return Err(close::completed());
    }
    validate(step, &request)?;
    let waits = step.state.in_first_task_backoff() && delay == Delay::Respected;
    record(step, request, None);
    if !waits {
        workflow_task::schedule(step);
    }
    Ok(Reply::Empty)
}

/// Writes the event of a signal that was let in; `source` is the workflow that sent it.
pub(crate) fn record(
    step: &mut Step<'_>,
    request: wf::SignalWorkflowExecutionRequest,
    source: Option<WorkflowExecution>,
) {
    if !request.request_id.is_empty() {
        step.note(Note::SignalRequested { request_id: request.request_id.clone() });
    }
    let attributes = Attributes::WorkflowExecutionSignaledEventAttributes(WorkflowExecutionSignaledEventAttributes {
        signal_name: request.signal_name,
        input: request.input,
        identity: request.identity,
        header: request.header,
        request_id: request.request_id,
        external_workflow_execution: source,
        ..WorkflowExecutionSignaledEventAttributes::default()
    });
    let mut event = draft(step.now, attributes);
    event.links = request.links;
    step.happened(event);
}

/// `RequestCancelWorkflowExecution`.
pub(crate) fn request_cancel(
    step: &mut Step<'_>,
    request: wf::RequestCancelWorkflowExecutionRequest,
) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Ok(Reply::Empty);
    }
    close::check_chain(step, &request.first_execution_run_id)?;
    if step.state.core.cancel_requested {
        return Ok(Reply::Empty);
    }
    let attributes =
        Attributes::WorkflowExecutionCancelRequestedEventAttributes(WorkflowExecutionCancelRequestedEventAttributes {
            cause: request.reason,
            identity: request.identity,
            ..WorkflowExecutionCancelRequestedEventAttributes::default()
        });
    let mut event = draft(step.now, attributes);
    event.links = request.links;
    step.happened(event);
    workflow_task::schedule(step);
    Ok(Reply::Empty)
}

pub(crate) fn validate(step: &Step<'_>, request: &wf::SignalWorkflowExecutionRequest) -> Result<(), Rejection> {
    let bytes = request.input.as_ref().map_or(0, Message::encoded_len);
    if bytes > step.limits.blob_bytes_max {
        return Err(Rejection::InvalidArgument("Blob data size exceeds limit.".into()));
    }
    let state = &step.state;
    if state.core.signal_count + buffer::signals(state) >= step.limits.signals_max {
        return Err(Rejection::InvalidArgument("exceeded workflow execution limit for signal events".into()));
    }
    check_closing(state)
}

/// The worker tried to close the run: let it, instead of feeding it new work for ever.
pub(crate) fn check_closing(state: &State) -> Result<(), Rejection> {
    if !state.core.close_attempted || state.started.is_none() {
        return Ok(());
    }
    Err(closing())
}

pub(crate) fn closing() -> Rejection {
    Rejection::ResourceExhausted {
        message: "workflow operation can not be applied because workflow is closing".into(),
        cause: ResourceExhaustedCause::BusyWorkflow.into(),
        scope: ResourceExhaustedScope::Namespace.into(),
    }
}
