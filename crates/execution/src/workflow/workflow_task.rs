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
//! The start is soft: `Started` is written together with what ends the task, with the id that
//! was next when the task started; so nothing else may be written in between and whatever
//! happens meanwhile is buffered. After a first failure the task is *transient*: history
//! shows neither the later attempts nor their failures, and `Scheduled` and `Started` of the
//! attempt that succeeds are written when it completes. New events make it a normal first
//! attempt again.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use temporalio_protos::temporal::api::common::v1::{WorkerVersionCapabilities, WorkerVersionStamp, WorkflowType};
use temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentOptions;
use temporalio_protos::temporal::api::enums::v1::{
    SuggestContinueAsNewReason, TaskQueueKind, TimeoutType, WorkerVersioningMode, WorkflowTaskFailedCause as Cause,
};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    HistoryEvent, WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes, WorkflowTaskTimedOutEventAttributes,
};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::command::{FailWorkflowTask, StartWorkflowTask, WorkflowTaskToken};
use super::decision::WorkflowTaskStarted;
use super::draft::draft;
use super::state::{Started, normal_queue, time};
use super::step::Step;
use super::{Note, Reply, Soft, State, buffer, close, stored};
use crate::Rejection;
use crate::policy::{duration, failure};

/// Who the events that the server writes on its own name as the author.
pub(crate) const SERVER_IDENTITY: &str = "history-service";
/// The request id of a task that is handed out with the answer to the previous one.
pub(crate) const INLINE_REQUEST_ID: &str = "request-from-RespondWorkflowTaskCompleted";
/// Attempts beyond this wait longer: a task's timeout is its backoff.
const ATTEMPTS_WITHOUT_BACKOFF: i32 = 3;
const BACKOFF_INITIAL: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);

/// Schedules a workflow task unless there is one already.
pub(crate) fn schedule(step: &mut Step<'_>) {
    if step.state.core.workflow_task.is_some() || !step.state.is_running() {
        return;
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

/// A poller takes the task.
pub(crate) fn start(step: &mut Step<'_>, command: &StartWorkflowTask) -> Reply {
    let state = &step.state;
    let Some(task) = state.core.workflow_task.as_ref().filter(|_| state.is_running()) else { return Reply::TaskGone };
    if task.scheduled_event_id != command.scheduled_event_id || state.core.workflow_task_stamp != command.stamp {
        return Reply::TaskGone;
    }
    if let Some(started) = &state.started {
        let again = started.request_id == command.request_id;
        return if again { Reply::WorkflowTaskStarted(Box::new(response(state))) } else { Reply::TaskGone };
    }
    let queue = command.poll.task_queue.clone().unwrap_or_default();
    let polled_sticky = queue.kind() == TaskQueueKind::Sticky;
    if state.is_sticky() && state.core.sticky_queue != queue.name {
        step.note(Note::StickyCleared);
    } else if !state.is_sticky() && polled_sticky {
        return Reply::TaskGone;
    }
    begin(step, queue, command.request_id.clone(), command.poll.identity.clone(), poller_version(&command.poll));
    Reply::WorkflowTaskStarted(Box::new(response(&step.state)))
}

/// Starts the pending task for the worker that completed the last one.
pub(crate) fn start_inline(
    step: &mut Step<'_>,
    identity: &str,
    version: Option<WorkerVersionStamp>,
) -> WorkflowTaskStarted {
    let queue = step.state.current_queue();
    begin(step, queue, INLINE_REQUEST_ID.to_owned(), identity.to_owned(), version);
    let mut started = response(&step.state);
    // The worker that asked for it has the history in its cache.
    started.history_first_event_id = step.state.core.last_completed_task_started_event_id + 1;
    started
}

/// Writes `Started` of the task that ends now; of a transient one `Scheduled` too.
pub(crate) fn write_start(step: &mut Step<'_>, identity: Option<&str>) {
    for mut event in held_events(&step.state) {
        if let (Some(identity), Some(Attributes::WorkflowTaskStartedEventAttributes(started))) =
            (identity, &mut event.attributes)
        {
            identity.clone_into(&mut started.identity);
        }
        step.write(event);
    }
}

/// The worker, or the server on its behalf, gave the task up.
pub(crate) fn fail(step: &mut Step<'_>, attributes: WorkflowTaskFailedEventAttributes) {
    if is_transient(&step.state) {
        step.note(Note::TransientTaskFailed { closing: attributes.cause() == Cause::UnhandledCommand });
        return;
    }
    let (scheduled_event_id, started_event_id) = ids(&step.state);
    write_start(step, None);
    step.event(Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
        scheduled_event_id,
        started_event_id,
        ..attributes
    }));
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
        return;
    }
    let (scheduled_event_id, started_event_id) = ids(&step.state);
    write_start(step, None);
    step.event(timed_out(scheduled_event_id, started_event_id, TimeoutType::StartToClose));
}

/// Nobody took the task from the sticky queue in time.
pub(crate) fn sticky_time_out(step: &mut Step<'_>) {
    let Some(task) = step.state.core.workflow_task else { return };
    if let Some(started) = &step.state.started {
        let timeout = duration::value(step.state.core.sticky_schedule_to_start_timeout.as_ref());
        let deadline = (started.time.max(step.now) + timeout.max(Duration::from_secs(1))).as_nanos();
        step.note(Note::StickyDeferred { deadline });
        return;
    }
    step.event(timed_out(task.scheduled_event_id, 0, TimeoutType::ScheduleToStart));
    schedule(step);
}

/// Whether the answer is for the task that is held now.
pub(crate) fn check_token(state: &State, token: &WorkflowTaskToken) -> Result<(), Rejection> {
    let held = state.is_running() && state.started.is_some() && *token == self::token(state);
    if held { Ok(()) } else { Err(Rejection::NotFound("Workflow task not found.".into())) }
}

/// The ids of `Scheduled` and `Started` of the task that is held.
pub(crate) fn ids(state: &State) -> (i64, i64) {
    let token = token(state);
    (token.scheduled_event_id, token.started_event_id)
}

pub(crate) fn is_transient(state: &State) -> bool {
    state.core.workflow_task.as_ref().is_some_and(|task| task.transient)
}

/// The incumbent's spelling of a cause, as it is in messages: `UnhandledCommand`.
pub(crate) fn cause_name(cause: Cause) -> String {
    let name = cause.as_str_name().trim_start_matches("WORKFLOW_TASK_FAILED_CAUSE_");
    name.split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect()
}

impl State {
    /// The events of a started workflow task that are not written yet.
    #[must_use]
    pub fn unwritten_tail(&self) -> Vec<HistoryEvent> {
        if !self.is_running() {
            Vec::new()
        } else if self.started.is_some() {
            held_events(self)
        } else {
            transient_scheduled(self).into_iter().collect()
        }
    }
}

fn begin(
    step: &mut Step<'_>,
    queue: TaskQueue,
    request_id: String,
    identity: String,
    version: Option<WorkerVersionStamp>,
) {
    let task = step.state.core.workflow_task.expect("a task that starts is pending");
    if task.transient && task.scheduled_event_id != step.state.core.next_event_id {
        // Events came in since it was scheduled: a normal first attempt again.
        let queue = match queue.kind() {
            TaskQueueKind::Sticky => queue,
            _ => normal_queue(&queue.name),
        };
        let timeout = duration::value(task.start_to_close_timeout.as_ref());
        step.event(scheduled(queue, timeout, 1));
    }
    let next = step.state.core.next_event_id;
    let started_event_id = if is_transient(&step.state) { next + 1 } else { next };
    let started = Started {
        started_event_id,
        request_id,
        identity,
        time: step.now,
        suggest_continue_as_new: suggest_continue_as_new(step),
        history_size_bytes: i64::try_from(step.state.core.history_size_bytes).unwrap_or(i64::MAX),
        worker_version: version,
    };
    step.soft(Soft::TaskStarted(Arc::new(started)));
}

fn response(state: &State) -> WorkflowTaskStarted {
    let task = state.core.workflow_task.as_ref().expect("a started task is pending");
    let started = state.started.as_ref().expect("the caller started it");
    let previous = state.core.last_completed_task_started_event_id;
    let response = wf::PollWorkflowTaskQueueResponse {
        workflow_execution: Some(state.execution()),
        workflow_type: Some(WorkflowType { name: state.workflow_type().to_owned() }),
        previous_started_event_id: previous,
        started_event_id: started.started_event_id,
        attempt: state.core.workflow_task_attempt,
        workflow_execution_task_queue: Some(normal_queue(state.normal_queue())),
        scheduled_time: time(task.scheduled_time).map(Timestamp::to_proto),
        started_time: Some(started.time.to_proto()),
        ..wf::PollWorkflowTaskQueueResponse::default()
    };
    WorkflowTaskStarted {
        response,
        history_first_event_id: if state.is_sticky() { previous + 1 } else { 1 },
        history_next_event_id: state.core.next_event_id,
        tail: held_events(state),
        token: token(state),
    }
}

fn token(state: &State) -> WorkflowTaskToken {
    let started = state.started.as_ref().expect("only a held task has a token");
    let task = state.core.workflow_task.as_ref().expect("a started task is pending");
    WorkflowTaskToken {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: started.started_event_id,
        attempt: state.core.workflow_task_attempt,
        started_time: started.time,
    }
}

/// What will be written when the held task ends.
fn held_events(state: &State) -> Vec<HistoryEvent> {
    let Some(started) = &state.started else { return Vec::new() };
    let (scheduled_event_id, started_event_id) = ids(state);
    let mut event = draft(
        started.time,
        Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
            scheduled_event_id,
            identity: started.identity.clone(),
            request_id: started.request_id.clone(),
            suggest_continue_as_new: !started.suggest_continue_as_new.is_empty(),
            suggest_continue_as_new_reasons: started.suggest_continue_as_new.clone(),
            history_size_bytes: started.history_size_bytes,
            worker_version: started.worker_version.clone(),
            ..WorkflowTaskStartedEventAttributes::default()
        }),
    );
    event.event_id = started_event_id;
    event.task_id = started_event_id;
    transient_scheduled(state).into_iter().chain([event]).collect()
}

fn transient_scheduled(state: &State) -> Option<HistoryEvent> {
    let task = state.core.workflow_task.as_ref().filter(|task| task.transient)?;
    let timeout = duration::value(task.start_to_close_timeout.as_ref());
    let attempt = state.core.workflow_task_attempt;
    let attributes = scheduled(state.current_queue(), timeout, attempt);
    let mut event = draft(Timestamp::from_nanos(task.scheduled_time), attributes);
    event.event_id = task.scheduled_event_id;
    event.task_id = task.scheduled_event_id;
    Some(event)
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

fn suggest_continue_as_new(step: &Step<'_>) -> Vec<i32> {
    let core = &step.state.core;
    let limits = step.limits;
    let too_large = core.history_size_bytes >= limits.history_size_bytes_suggest_continue_as_new as u64;
    let too_long = core.next_event_id >= limits.history_events_suggest_continue_as_new;
    let reasons = [
        (too_large, SuggestContinueAsNewReason::HistorySizeTooLarge),
        (too_long, SuggestContinueAsNewReason::TooManyHistoryEvents),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason.into()).collect()
}

/// The version that a poller of the older kinds of versioning names.
fn poller_version(poll: &wf::PollWorkflowTaskQueueRequest) -> Option<WorkerVersionStamp> {
    let capabilities = poll.worker_version_capabilities.as_ref();
    version_stamp(capabilities, poll.deployment_options.as_ref())
}

pub(crate) fn version_stamp(
    capabilities: Option<&WorkerVersionCapabilities>,
    options: Option<&WorkerDeploymentOptions>,
) -> Option<WorkerVersionStamp> {
    let versioned = options.is_some_and(|options| {
        options.worker_versioning_mode() == WorkerVersioningMode::Versioned && !options.deployment_name.is_empty()
    });
    let capabilities = capabilities.filter(|c| !versioned && !c.build_id.is_empty())?;
    if capabilities.use_versioning && !capabilities.deployment_series_name.is_empty() {
        return None;
    }
    Some(WorkerVersionStamp { build_id: capabilities.build_id.clone(), use_versioning: capabilities.use_versioning })
}

/// The failure that a task gets when its commands were refused.
pub(crate) fn refusal(message: &str) -> Failure {
    failure::server(message, failure::Retryable::Yes)
}

/// The sticky queue has no worker behind it.
pub(crate) fn clear_sticky(step: &mut Step<'_>) -> Reply {
    if step.state.is_running() && step.state.is_sticky() {
        step.note(Note::StickyCleared);
    }
    Reply::Empty
}
