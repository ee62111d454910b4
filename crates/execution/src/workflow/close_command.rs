//! The commands that end a run.
//!
//! ```text
//!  CompleteWorkflow ─▶ completed          (+ the next run when there is a cron schedule)
//!  FailWorkflow ─────▶ failed             (+ the next run by retry policy, else by cron)
//!  CancelWorkflow ───▶ canceled
//!  ContinueAsNew ────▶ continued as new + the next run
//! ```
//! None of them while events wait that the worker has not seen.

use base::Timestamp;
use prost::Message;
use temporalio_protos::temporal::api::command::v1::command::Attributes as A;
use temporalio_protos::temporal::api::command::v1::{
    CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::Payloads;
use temporalio_protos::temporal::api::enums::v1::{
    CommandType, ContinueAsNewInitiator as Initiator, WorkflowTaskFailedCause as Cause,
};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    WorkflowExecutionCanceledEventAttributes, WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionFailedEventAttributes,
};

use super::State;
use super::commands::{Fail, Turn, not_set};
use super::successor::{self, Next, Successor};
use crate::policy::{duration, retry, timeouts};

/// `kind` is one of the close commands.
pub(crate) fn execute(turn: &mut Turn<'_, '_>, kind: CommandType, attributes: Option<A>) -> Result<(), Fail> {
    if turn.has_buffered {
        return Err(Fail::unhandled());
    }
    match (kind, attributes) {
        (CommandType::CompleteWorkflowExecution, Some(A::CompleteWorkflowExecutionCommandAttributes(a))) => {
            complete(turn, a)
        }
        (CommandType::FailWorkflowExecution, Some(A::FailWorkflowExecutionCommandAttributes(a))) => fail(turn, a),
        (CommandType::CancelWorkflowExecution, Some(A::CancelWorkflowExecutionCommandAttributes(a))) => {
            turn.event(Attributes::WorkflowExecutionCanceledEventAttributes(
                WorkflowExecutionCanceledEventAttributes {
                    workflow_task_completed_event_id: turn.completed_event_id,
                    details: a.details,
                },
            ));
            Ok(())
        }
        (CommandType::ContinueAsNewWorkflowExecution, Some(A::ContinueAsNewWorkflowExecutionCommandAttributes(a))) => {
            continue_as_new(turn, a)
        }
        (kind, _) => Err(not_set(kind)),
    }
}

fn complete(turn: &mut Turn<'_, '_>, command: CompleteWorkflowExecutionCommandAttributes) -> Result<(), Fail> {
    if size(command.result.as_ref()) > turn.step.limits.blob_bytes_max {
        let message = "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.";
        return Err(Fail::run(Cause::BadScheduleActivityAttributes, message));
    }
    let backoff = successor::cron_backoff(turn.step);
    let before = turn.step.state.clone();
    let result = command.result;
    turn.event(Attributes::WorkflowExecutionCompletedEventAttributes(WorkflowExecutionCompletedEventAttributes {
        result: result.clone(),
        workflow_task_completed_event_id: turn.completed_event_id,
        new_execution_run_id: if backoff.is_some() { new_run_id(turn) } else { String::new() },
    }));
    if let Some(backoff) = backoff {
        let next = Next { initiator: Initiator::CronSchedule, backoff, failure: None, last_completion_result: result };
        successor::retry_or_cron(turn.step, &before, next, &turn.fresh);
    }
    Ok(())
}

fn fail(turn: &mut Turn<'_, '_>, command: FailWorkflowExecutionCommandAttributes) -> Result<(), Fail> {
    let cause = Cause::BadFailWorkflowExecutionAttributes;
    let Some(failure) = command.failure else {
        return Err(Fail::task(cause, "Failure is not set on FailWorkflowExecutionCommand."));
    };
    if failure.encoded_len() > turn.step.limits.blob_bytes_max {
        return Err(Fail::run(cause, "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit."));
    }
    let (retry_state, successor) = successor::after_failure(turn.step, &failure);
    let before = turn.step.state.clone();
    turn.event(Attributes::WorkflowExecutionFailedEventAttributes(WorkflowExecutionFailedEventAttributes {
        failure: Some(failure.clone()),
        retry_state: retry_state.into(),
        workflow_task_completed_event_id: turn.completed_event_id,
        new_execution_run_id: if successor.is_some() { new_run_id(turn) } else { String::new() },
    }));
    if let Some(successor) = successor {
        follow_failed(turn, &before, successor, failure);
    }
    Ok(())
}

fn follow_failed(turn: &mut Turn<'_, '_>, before: &State, successor: Successor, failure: Failure) {
    let Successor { initiator, backoff } = successor;
    // A cron keeps the result of its last success; a retry starts as the failed run did.
    let last_completion_result = match initiator {
        Initiator::CronSchedule => before.start().last_completion_result.clone(),
        _ => None,
    };
    let next = Next { initiator, backoff, failure: Some(failure), last_completion_result };
    successor::retry_or_cron(turn.step, before, next, &turn.fresh);
}

fn continue_as_new(
    turn: &mut Turn<'_, '_>,
    mut command: ContinueAsNewWorkflowExecutionCommandAttributes,
) -> Result<(), Fail> {
    let cause = Cause::BadContinueAsNewAttributes;
    normalize(turn, &mut command).map_err(|message| Fail::task(cause, message))?;
    if let Some(attributes) = &mut command.search_attributes {
        let kind = command.workflow_type.as_ref().map_or("", |kind| &kind.name);
        let of = shown(kind, command.task_queue.as_ref().map_or("", |queue| &queue.name));
        super::upsert::check(attributes, turn.step).map_err(|problem| {
            Fail::task(Cause::BadSearchAttributes, problem.on("ContinueAsNewWorkflowExecutionCommand", &of))
        })?;
    }
    let limits = turn.step.limits;
    if size(command.input.as_ref()) > limits.blob_bytes_max {
        let message = "ContinueAsNewWorkflowExecutionCommandAttributes. Input exceeds size limit.";
        return Err(Fail::run(cause, message));
    }
    if command.memo.as_ref().map_or(0, Message::encoded_len) > limits.memo_bytes_max {
        return Err(Fail::run(cause, "ContinueAsNewWorkflowExecutionCommandAttributes. Memo exceeds size limit."));
    }
    let before = turn.step.state.clone();
    let mut next = command.clone();
    if next.initiator() == Initiator::Unspecified {
        next.set_initiator(Initiator::Workflow);
    }
    turn.event(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(
        WorkflowExecutionContinuedAsNewEventAttributes {
            new_execution_run_id: new_run_id(turn),
            workflow_type: command.workflow_type,
            task_queue: command.task_queue,
            input: command.input,
            workflow_run_timeout: command.workflow_run_timeout,
            workflow_task_timeout: command.workflow_task_timeout,
            workflow_task_completed_event_id: turn.completed_event_id,
            backoff_start_interval: command.backoff_start_interval,
            initiator: command.initiator,
            failure: command.failure,
            last_completion_result: command.last_completion_result,
            header: command.header,
            memo: super::upsert::without_nil_memo(command.memo),
            search_attributes: super::upsert::without_nil_search_attributes(command.search_attributes),
            inherit_build_id: command.inherit_build_id,
            ..WorkflowExecutionContinuedAsNewEventAttributes::default()
        },
    ));
    successor::continue_as_new(turn.step, &before, next, &turn.fresh);
    Ok(())
}

/// Checks the command and writes in what it leaves open: the same workflow type, queue and
/// timeouts as this run.
fn normalize(turn: &Turn<'_, '_>, command: &mut ContinueAsNewWorkflowExecutionCommandAttributes) -> Result<(), String> {
    let name = "ContinueAsNewWorkflowExecutionCommand";
    let limits = turn.step.limits;
    let state = &turn.step.state;
    let start = state.start();
    let kind = command.workflow_type.get_or_insert_default();
    if kind.name.is_empty() {
        state.workflow_type().clone_into(&mut kind.name);
    }
    let kind = kind.name.clone();
    if kind.len() > limits.id_bytes_max {
        let (length, limit) = (kind.len(), limits.id_bytes_max);
        return Err(format!(
            "WorkflowType on {name} exceeds length limit. WorkflowType={kind} Length={length} Limit={limit}"
        ));
    }
    let queue = command.task_queue.get_or_insert_default();
    if queue.name.is_empty() {
        state.normal_queue().clone_into(&mut queue.name);
    }
    let of = shown(&kind, &queue.name);
    timeouts::normalize_queue(Some(queue), state.normal_queue(), limits)
        .map_err(|error| format!("error validating {name} TaskQueue: {error}. {of}"))?;
    for (field, value) in [
        ("WorkflowRunTimeout", &mut command.workflow_run_timeout),
        ("WorkflowTaskTimeout", &mut command.workflow_task_timeout),
        ("BackoffStartInterval", &mut command.backoff_start_interval),
    ] {
        duration::normalize(value).map_err(|error| format!("Invalid {field} on {name}: {error}. {of}"))?;
    }
    let or = |value: Option<_>, default: Option<_>| {
        let value = duration::value(value.as_ref());
        if value.is_zero() { duration::value(default.as_ref()) } else { value }
    };
    let execution = duration::value(start.workflow_execution_timeout.as_ref());
    let run = or(command.workflow_run_timeout, start.workflow_run_timeout);
    let run = timeouts::run_timeout(run, execution);
    let task = or(command.workflow_task_timeout, start.workflow_task_timeout);
    command.workflow_run_timeout = Some(duration::proto(run));
    command.workflow_task_timeout = Some(duration::proto(timeouts::task_timeout(task, run, limits)));
    if let Some(policy) = &mut command.retry_policy {
        retry::fill_defaults(policy);
        retry::validate(policy).map_err(|error| format!("invalid WorkflowRetryPolicy on {name}: {error}. {of}"))?;
    }
    Ok(())
}

/// What continues, as errors name it: the queue is a message in text format.
fn shown(kind: &str, queue: &str) -> String {
    format!("WorkflowType={kind} TaskQueue=name:{queue:?} kind:TASK_QUEUE_KIND_NORMAL")
}

fn new_run_id(turn: &Turn<'_, '_>) -> String {
    turn.fresh.run_id.as_str().to_owned()
}

fn size(payloads: Option<&Payloads>) -> usize {
    payloads.map_or(0, Message::encoded_len)
}

/// How long this run has been going, for the least interval between runs.
pub(crate) fn lifetime(state: &State, now: Timestamp) -> std::time::Duration {
    if now >= state.execution_time() { now.since(state.execution_time()) } else { now.since(state.start_time()) }
}
