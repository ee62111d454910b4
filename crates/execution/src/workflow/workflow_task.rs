//! The workflow task: the run's turn at a worker.
//!
//! ```text
//!  none ──schedule──▶ scheduled ──start (soft)──▶ started ──complete──▶ none
//!                        │  ▲                        │
//!                        │  └──lost with the leader──┤
//!                        │                           ├──fail, time out──▶ scheduled again
//!                        └──sticky queue gives up────┘
//! ```
//!
//! The start is soft, or at most a note: `Started` is written together with what ends the task, with the id that
//! was next when the task started; so nothing else may be written in between and whatever
//! happens meanwhile is buffered. After a first failure the task is *transient*: history
//! shows neither the later attempts nor their failures, and `Scheduled` and `Started` of the
//! attempt that succeeds are written when it completes. New events make it a normal first
//! attempt again. A *speculative* task is scheduled for the sake of updates and is not written
//! either, see `speculative`.

mod held;
pub(crate) mod speculative;

pub(crate) use held::{
    Author, Resend, adopt, check_token, ids, keep, keep_start, kept_start, start, start_inline,
    suggest_continue_as_new, write_start,
};
pub(crate) use speculative::time_out as speculative_time_out;

use std::time::Duration;

use temporalio_protos::temporal::api::enums::v1::{TimeoutType, WorkflowTaskFailedCause as Cause};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes, WorkflowTaskTimedOutEventAttributes,
};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;

use super::command::FailWorkflowTask;
use super::step::Step;
use super::{Note, Reply, State, buffer, close, predefined, stored};
use crate::Rejection;
use crate::policy::{duration, failure};

/// Who the events that the server writes on its own name as the author.
pub(crate) const SERVER_IDENTITY: &str = "history-service";
/// Attempts beyond this wait longer: a task's timeout is its backoff.
const ATTEMPTS_WITHOUT_BACKOFF: i32 = 3;
const BACKOFF_INITIAL: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);

/// Schedules a workflow task unless there is one already.
pub(crate) fn schedule(step: &mut Step<'_>) {
    if step.state.task().is_some() || !step.state.is_running() {
        return;
    }
    if step.state.is_paused() {
        return buffer::flush(step);
    }
    let mut attempt = step.state.core.workflow_task_attempt;
    if !step.state.buffered.is_empty() {
        // Something new happened: whatever made the last attempts fail may not any more.
        attempt = 1;
        buffer::flush(step);
    }
    let timeout = timeout_of_attempt(&step.state, attempt);
    if attempt > 1 {
        let scheduled_time = step.now.as_nanos();
        step.note(Note::TransientTaskScheduled(stored::WorkflowTask {
            scheduled_event_id: step.state.core.next_event_id,
            scheduled_time,
            original_scheduled_time: scheduled_time,
            start_to_close_timeout: Some(duration::proto(timeout)),
            transient: true,
            schedule_to_start_deadline: 0,
            started_unwritten: false,
        }));
    } else {
        let queue = step.state.current_queue();
        step.event(scheduled(queue, timeout, attempt));
    }
}

/// Schedules the task that continues a heartbeat.
pub(crate) fn schedule_heartbeat(step: &mut Step<'_>, original_scheduled_time: u64) {
    schedule(step);
    step.note(Note::TaskHeartbeat { original_scheduled_time });
}

/// The worker, or the server on its behalf, gave the task up.
pub(crate) fn fail(step: &mut Step<'_>, attributes: WorkflowTaskFailedEventAttributes) {
    if is_transient(&step.state) {
        step.note(Note::TransientTaskFailed { closing: attributes.cause() == Cause::UnhandledCommand });
        return predefined::task_failed(step);
    }
    let (scheduled_event_id, started_event_id) = ids(&step.state);
    let author = Author { identity: attributes.identity.clone(), version: None };
    write_start(step, Some(author).filter(|_| step.state.speculative.is_some()));
    step.event(Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
        scheduled_event_id,
        started_event_id,
        ..attributes
    }));
    predefined::task_failed(step);
}

/// The server takes the task away from the worker.
pub(crate) fn fail_by_server(step: &mut Step<'_>, cause: Cause) {
    if step.state.started.is_none() {
        return;
    }
    fail(
        step,
        WorkflowTaskFailedEventAttributes {
            cause: cause.into(),
            identity: SERVER_IDENTITY.to_owned(),
            ..WorkflowTaskFailedEventAttributes::default()
        },
    );
    buffer::flush(step);
}

/// `RespondWorkflowTaskFailed`.
pub(crate) fn fail_by_worker(step: &mut Step<'_>, command: FailWorkflowTask) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Err(close::completed());
    }
    check_token(&step.state, &command.token)?;
    let request = command.request;
    let cause = request.cause();
    if cause == Cause::GrpcMessageTooLarge {
        close::terminate_by_server(step, cause_name(cause));
        return Ok(Reply::Empty);
    }
    let failure = request.failure.map(|failure| failure::limited(failure, step.limits.blob_bytes_max));
    let binary_checksum = request.binary_checksum;
    fail(
        step,
        WorkflowTaskFailedEventAttributes {
            cause: cause.into(),
            failure,
            identity: request.identity,
            binary_checksum,
            ..WorkflowTaskFailedEventAttributes::default()
        },
    );
    schedule(step);
    Ok(Reply::Empty)
}

/// The worker was silent for too long.
pub(crate) fn time_out(step: &mut Step<'_>) {
    write_timed_out(step);
    schedule(step);
}

/// Ends the started task as timed out.
pub(crate) fn write_timed_out(step: &mut Step<'_>) {
    if is_transient(&step.state) {
        step.note(Note::TransientTaskFailed { closing: false });
        return predefined::task_failed(step);
    }
    let (scheduled_event_id, started_event_id) = ids(&step.state);
    let author = Author::default();
    write_start(step, Some(author).filter(|_| step.state.speculative.is_some()));
    step.event(timed_out(scheduled_event_id, started_event_id, TimeoutType::StartToClose));
    predefined::task_failed(step);
}

/// Nobody took the task from the sticky queue in time.
pub(crate) fn sticky_time_out(step: &mut Step<'_>) {
    let Some(task) = step.state.core.workflow_task else { return };
    if let Some(started) = &step.state.started {
        let timeout = duration::value(step.state.core.sticky_schedule_to_start_timeout.as_ref());
        let deadline = (started.time.max(step.now) + timeout.max(Duration::from_secs(1))).as_nanos();
        // Only a task that was speculative has a deadline on the normal queue, and only one.
        step.note(Note::StickyDeferred { deadline: if step.state.is_sticky() { deadline } else { 0 } });
        return;
    }
    step.event(timed_out(task.scheduled_event_id, 0, TimeoutType::ScheduleToStart));
    schedule(step);
}

/// The sticky queue has no worker behind it.
pub(crate) fn clear_sticky(step: &mut Step<'_>) -> Reply {
    if step.state.is_running() && step.state.is_sticky() {
        step.note(Note::StickyCleared);
    }
    Reply::Empty
}

pub(crate) fn is_transient(state: &State) -> bool {
    state.core.workflow_task.as_ref().is_some_and(|task| task.transient)
}

/// The incumbent's spelling of a cause, as it is in messages: `UnhandledCommand`.
pub(crate) fn cause_name(cause: Cause) -> String {
    let name = cause.as_str_name().trim_start_matches("WORKFLOW_TASK_FAILED_CAUSE_");
    name.split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect()
}

/// The failure that a task gets when its commands were refused.
pub(crate) fn refusal(message: &str) -> Failure {
    failure::server(message, failure::Retryable::Yes)
}

fn scheduled(queue: TaskQueue, timeout: Duration, attempt: i32) -> Attributes {
    Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes {
        task_queue: Some(queue),
        start_to_close_timeout: Some(duration::proto(timeout)),
        attempt,
    })
}

fn timed_out(scheduled_event_id: i64, started_event_id: i64, kind: TimeoutType) -> Attributes {
    Attributes::WorkflowTaskTimedOutEventAttributes(WorkflowTaskTimedOutEventAttributes {
        scheduled_event_id,
        started_event_id,
        timeout_type: kind.into(),
    })
}

fn timeout_of_attempt(state: &State, attempt: i32) -> Duration {
    let timeout = duration::value(state.start().workflow_task_timeout.as_ref());
    let Ok(doublings @ 0..) = u32::try_from(attempt - ATTEMPTS_WITHOUT_BACKOFF - 1) else { return timeout };
    timeout + BACKOFF_INITIAL.saturating_mul(2_u32.saturating_pow(doublings)).min(BACKOFF_MAX)
}
