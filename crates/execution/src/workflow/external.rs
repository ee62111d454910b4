//! Signals and cancel requests to other workflows.
//!
//! ```text
//!  SignalExternal ─▶ initiated ──delivered──▶ ExternalWorkflowExecutionSignaled
//!                        └──refused──▶ SignalExternalWorkflowExecutionFailed
//!  RequestCancelExternal ─▶ initiated ──delivered──▶ ExternalWorkflowExecutionCancelRequested
//!                        └──refused──▶ RequestCancelExternalWorkflowExecutionFailed
//! ```

use prost::Message;
use temporalio_protos::temporal::api::command::v1::{
    RequestCancelExternalWorkflowExecutionCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause as CancelCause,
    SignalExternalWorkflowExecutionFailedCause as SignalCause, WorkflowTaskFailedCause as Cause,
};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::history::v1::{
    ExternalWorkflowExecutionCancelRequestedEventAttributes, ExternalWorkflowExecutionSignaledEventAttributes,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes,
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionFailedEventAttributes, SignalExternalWorkflowExecutionInitiatedEventAttributes,
};

use super::commands::{Fail, Turn};
use super::draft::draft;
use super::step::Step;
use super::workflow_task;

/// The form of a run id: a UUID, as text of this many bytes.
const RUN_ID_BYTES: usize = 36;

pub(crate) fn signal(
    turn: &mut Turn<'_, '_>,
    command: SignalExternalWorkflowExecutionCommandAttributes,
) -> Result<(), Fail> {
    let cause = Cause::BadSignalWorkflowExecutionAttributes;
    check_signal(turn, &command).map_err(|message| Fail::task(cause, message))?;
    let limits = turn.step.limits;
    let pending = turn.step.state.outgoing.signals.size();
    if pending >= limits.pending_signals_max {
        return Err(Fail::too_many_pending(
            Cause::PendingSignalsLimitExceeded,
            "pending signals to external workflows",
            pending,
            limits.pending_signals_max,
        ));
    }
    if command.input.as_ref().map_or(0, Message::encoded_len) > limits.blob_bytes_max {
        return Err(Fail::run(cause, "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit."));
    }
    turn.event(A::SignalExternalWorkflowExecutionInitiatedEventAttributes(
        SignalExternalWorkflowExecutionInitiatedEventAttributes {
            workflow_task_completed_event_id: turn.completed_event_id,
            namespace: command.namespace,
            namespace_id: turn.step.state.run.namespace_id.clone(),
            workflow_execution: command.execution,
            signal_name: command.signal_name,
            input: command.input,
            control: command.control,
            child_workflow_only: command.child_workflow_only,
            header: command.header,
        },
    ));
    Ok(())
}

pub(crate) fn request_cancel(
    turn: &mut Turn<'_, '_>,
    command: RequestCancelExternalWorkflowExecutionCommandAttributes,
) -> Result<(), Fail> {
    let cause = Cause::BadRequestCancelExternalWorkflowExecutionAttributes;
    check_cancel(turn, &command).map_err(|message| Fail::task(cause, message))?;
    let limits = turn.step.limits;
    let pending = turn.step.state.outgoing.cancels.size();
    if pending >= limits.pending_cancels_max {
        return Err(Fail::too_many_pending(
            Cause::PendingRequestCancelLimitExceeded,
            "pending requests to cancel external workflows",
            pending,
            limits.pending_cancels_max,
        ));
    }
    turn.event(A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
        RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
            workflow_task_completed_event_id: turn.completed_event_id,
            namespace: command.namespace,
            namespace_id: turn.step.state.run.namespace_id.clone(),
            workflow_execution: Some(WorkflowExecution { workflow_id: command.workflow_id, run_id: command.run_id }),
            control: command.control,
            child_workflow_only: command.child_workflow_only,
            reason: command.reason,
        },
    ));
    Ok(())
}

pub(crate) fn signaled(step: &mut Step<'_>, initiated_event_id: i64) {
    let Some(signal) = step.state.outgoing.signals.get(&initiated_event_id).cloned() else { return };
    let attributes = ExternalWorkflowExecutionSignaledEventAttributes {
        initiated_event_id,
        namespace: step.state.run.namespace_name.clone(),
        namespace_id: signal.namespace_id.clone(),
        workflow_execution: signal.workflow_execution.clone(),
        control: signal.control.clone(),
    };
    happened(step, A::ExternalWorkflowExecutionSignaledEventAttributes(attributes));
}

pub(crate) fn signal_refused(step: &mut Step<'_>, initiated_event_id: i64, cause: SignalCause) {
    let Some(signal) = step.state.outgoing.signals.get(&initiated_event_id).cloned() else { return };
    let attributes = SignalExternalWorkflowExecutionFailedEventAttributes {
        cause: cause.into(),
        workflow_task_completed_event_id: 0,
        namespace: step.state.run.namespace_name.clone(),
        namespace_id: signal.namespace_id.clone(),
        workflow_execution: signal.workflow_execution.clone(),
        initiated_event_id,
        control: signal.control.clone(),
    };
    happened(step, A::SignalExternalWorkflowExecutionFailedEventAttributes(attributes));
}

pub(crate) fn cancel_requested(step: &mut Step<'_>, initiated_event_id: i64) {
    let Some(cancel) = step.state.outgoing.cancels.get(&initiated_event_id).cloned() else { return };
    let attributes = ExternalWorkflowExecutionCancelRequestedEventAttributes {
        initiated_event_id,
        namespace: step.state.run.namespace_name.clone(),
        namespace_id: cancel.namespace_id.clone(),
        workflow_execution: cancel.workflow_execution.clone(),
    };
    happened(step, A::ExternalWorkflowExecutionCancelRequestedEventAttributes(attributes));
}

pub(crate) fn cancel_refused(step: &mut Step<'_>, initiated_event_id: i64, cause: CancelCause) {
    let Some(cancel) = step.state.outgoing.cancels.get(&initiated_event_id).cloned() else { return };
    let attributes = RequestCancelExternalWorkflowExecutionFailedEventAttributes {
        cause: cause.into(),
        workflow_task_completed_event_id: 0,
        namespace: step.state.run.namespace_name.clone(),
        namespace_id: cancel.namespace_id.clone(),
        workflow_execution: cancel.workflow_execution.clone(),
        initiated_event_id,
        control: String::new(),
    };
    happened(step, A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(attributes));
}

/// Commands stay within the namespace of their workflow.
pub(crate) fn check_namespace(turn: &Turn<'_, '_>, namespace: &str) -> Result<(), String> {
    if namespace.is_empty() || namespace == turn.step.state.run.namespace_name {
        return Ok(());
    }
    Err("cross namespace commands are not allowed".to_owned())
}

fn check_signal(turn: &Turn<'_, '_>, command: &SignalExternalWorkflowExecutionCommandAttributes) -> Result<(), String> {
    let name = "SignalExternalWorkflowExecutionCommand";
    let Some(execution) = &command.execution else { return Err(format!("Execution is not set on {name}.")) };
    check_namespace(turn, &command.namespace)?;
    let (namespace, signal) = (&command.namespace, &command.signal_name);
    let (id, run_id) = (&execution.workflow_id, &execution.run_id);
    if id.is_empty() {
        return Err(format!(
            "WorkflowId is not set on {name}. Namespace={namespace} RunId={run_id} SignalName={signal}"
        ));
    }
    let limit = turn.step.limits.id_bytes_max;
    if id.len() > limit {
        let length = id.len();
        return Err(format!(
            "WorkflowId on {name} exceeds length limit. WorkflowId={id} Length={length} Limit={limit} Namespace={namespace} RunId={run_id} SignalName={signal}"
        ));
    }
    if !run_id.is_empty() && !is_uuid(run_id) {
        return Err(format!(
            "Invalid RunId set on {name}. WorkflowId={id} Namespace={namespace} RunId={run_id} SignalName={signal}"
        ));
    }
    if signal.is_empty() {
        return Err(format!("SignalName is not set on {name}. WorkflowId={id} Namespace={namespace} RunId={run_id}"));
    }
    Ok(())
}

fn check_cancel(
    turn: &Turn<'_, '_>,
    command: &RequestCancelExternalWorkflowExecutionCommandAttributes,
) -> Result<(), String> {
    let name = "RequestCancelExternalWorkflowExecutionCommand";
    check_namespace(turn, &command.namespace)?;
    let (id, run_id, namespace) = (&command.workflow_id, &command.run_id, &command.namespace);
    if id.is_empty() {
        return Err(format!("WorkflowId is not set on {name}. Namespace={namespace} RunId={run_id}"));
    }
    let limit = turn.step.limits.id_bytes_max;
    if id.len() > limit {
        let length = id.len();
        return Err(format!(
            "WorkflowId on {name} exceeds length limit. WorkflowId={id} Length={length} Limit={limit} RunId={run_id} Namespace={namespace}"
        ));
    }
    if !run_id.is_empty() && !is_uuid(run_id) {
        return Err(format!("Invalid RunId set on {name}. WorkflowId={id} RunId={run_id} Namespace={namespace}"));
    }
    if turn.initiated_children.contains(id) {
        return Err(format!(
            "Start and RequestCancel for child workflow is not allowed in same workflow task. WorkflowId={id} RunId={run_id} Namespace={namespace}"
        ));
    }
    Ok(())
}

fn is_uuid(text: &str) -> bool {
    text.len() == RUN_ID_BYTES
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn happened(step: &mut Step<'_>, attributes: A) {
    step.happened(draft(step.now, attributes));
    workflow_task::schedule(step);
}
