//! The workflow task while a worker has it: soft state of the leader, unless it takes long.
//!
//! Nothing is written when a worker takes the task. What will be written, and what the
//! worker and a reader of the history are shown until then, is made up here. A worker that
//! holds the task for long, because local activities run in it, has more to lose by a change
//! of leader than the time to compute commands again: then the start is kept in a note.

use std::sync::Arc;

use base::Timestamp;
use prost::{DecodeError, Message};
use temporalio_protos::temporal::api::common::v1::{WorkerVersionCapabilities, WorkerVersionStamp, WorkflowType};
use temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentOptions;
use temporalio_protos::temporal::api::enums::v1::{SuggestContinueAsNewReason, TaskQueueKind, WorkerVersioningMode};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowTaskStartedEventAttributes};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::super::command::{AdoptWorkflowTask, StartWorkflowTask, WorkflowTaskToken};
use super::super::decision::WorkflowTaskStarted;
use super::super::draft::draft;
use super::super::state::{Started, normal_queue, time};
use super::super::step::Step;
use super::super::{Note, Reply, Soft, State, stored, update};
use super::{is_transient, scheduled};
use crate::Rejection;
use crate::policy::duration;

/// The request id of a task that is handed out with the answer to the previous one.
const INLINE_REQUEST_ID: &str = "request-from-RespondWorkflowTaskCompleted";

/// Who is written as the one that started a task.
#[derive(Default)]
pub(crate) struct Author {
    pub(crate) identity: String,
    pub(crate) version: Option<WorkerVersionStamp>,
}

/// Whether a task carries the updates again that an earlier task carried in vain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resend {
    Yes,
    /// The worker goes on with the task that it has.
    No,
}

/// A poller takes the task.
pub(crate) fn start(step: &mut Step<'_>, command: &StartWorkflowTask) -> Reply {
    let state = &step.state;
    let Some(task) = state.task().filter(|_| state.is_running()) else { return Reply::TaskGone };
    if task.scheduled_event_id != command.scheduled_event_id || state.task_stamp() != command.stamp {
        return Reply::TaskGone;
    }
    if let Some(started) = &state.started {
        let again = started.request_id == command.request_id;
        let started = || Box::new(response(state, Resend::Yes));
        return if again { Reply::WorkflowTaskStarted(started()) } else { Reply::TaskGone };
    }
    if state.speculative.is_some() && state.admitted.is_empty() {
        // The updates that it was for are gone.
        step.soft(Soft::SpeculativeDropped);
        return Reply::TaskGone;
    }
    if state.is_paused() {
        return Reply::TaskGone;
    }
    let queue = command.poll.task_queue.clone().unwrap_or_default();
    let polled_sticky = queue.kind() == TaskQueueKind::Sticky;
    if state.is_sticky() && state.core.sticky_queue != queue.name {
        step.note(Note::StickyCleared);
    } else if !state.is_sticky() && polled_sticky {
        return Reply::TaskGone;
    }
    begin(step, queue, command.request_id.clone(), command.poll.identity.clone(), poller_version(&command.poll));
    let started = response(&step.state, Resend::Yes);
    update::note_sent(step);
    Reply::WorkflowTaskStarted(Box::new(started))
}

/// Starts the pending task for the worker that completed the last one.
pub(crate) fn start_inline(step: &mut Step<'_>, author: Author, resend: Resend) -> WorkflowTaskStarted {
    let queue = step.state.current_queue();
    begin(step, queue, INLINE_REQUEST_ID.to_owned(), author.identity, author.version);
    let mut started = response(&step.state, resend);
    update::note_sent(step);
    // The worker that asked for it has the history in its cache.
    started.history_first_event_id = step.state.core.last_completed_task_started_event_id + 1;
    started
}

/// Takes the task as started that an earlier leader started, if nothing has come in between: then
/// it is the same task with the same history, and nobody else has it. When it started is known from the token
/// alone, which whoever holds it may have changed: a start that is yet to come would postpone the task's timeout.
pub(crate) fn adopt(step: &mut Step<'_>, command: AdoptWorkflowTask) -> Reply {
    let AdoptWorkflowTask { token, request_id, identity, worker_version } = command;
    let state = &step.state;
    let is_free = state.is_running() && !state.is_paused() && state.started.is_none() && state.speculative.is_none();
    let Some(task) = state.core.workflow_task.filter(|_| is_free) else { return Reply::TaskGone };
    let next = state.core.next_event_id;
    let is_as_it_was = !task.transient || task.scheduled_event_id == next;
    let started_event_id = if is_unwritten(state) { next + 1 } else { next };
    let is_same = task.scheduled_event_id == token.scheduled_event_id
        && state.core.workflow_task_attempt == token.attempt
        && started_event_id == token.started_event_id
        && token.started_time <= step.now;
    if !(is_as_it_was && is_same) {
        return Reply::TaskGone;
    }
    hold(step, Starter { request_id, identity, version: worker_version, time: token.started_time }, started_event_id);
    Reply::Empty
}

/// Writes `Started` of the task that ends now; of a transient or speculative one `Scheduled`
/// too. The `author` takes the place of who polled.
pub(crate) fn write_start(step: &mut Step<'_>, author: Option<Author>) {
    let is_speculative = step.state.speculative.is_some();
    for mut event in held_events(&step.state) {
        if let (Some(author), Some(Attributes::WorkflowTaskStartedEventAttributes(started))) =
            (&author, &mut event.attributes)
        {
            started.identity.clone_from(&author.identity);
            started.worker_version.clone_from(&author.version);
        }
        let is_scheduled = matches!(event.attributes, Some(Attributes::WorkflowTaskScheduledEventAttributes(_)));
        step.write(event);
        if is_speculative && is_scheduled {
            step.note(Note::SpeculativeWritten { deadline: 0, started: true });
        }
    }
}

/// Whether the answer is for the task that is held now.
pub(crate) fn check_token(state: &State, token: &WorkflowTaskToken) -> Result<(), Rejection> {
    let held = state.is_running() && state.started.is_some() && names(token, &self::token(state));
    if held { Ok(()) } else { Err(Rejection::NotFound("Workflow task not found.".into())) }
}

/// Whether the token names the task. One that was put together by hand need not say when and with which event
/// the task was started; ours do.
fn names(token: &WorkflowTaskToken, held: &WorkflowTaskToken) -> bool {
    token.scheduled_event_id == held.scheduled_event_id
        && token.attempt == held.attempt
        && (token.started_event_id == 0 || token.started_event_id == held.started_event_id)
        && (token.started_time == Timestamp::ZERO || token.started_time == held.started_time)
}

/// The ids of `Scheduled` and `Started` of the task that is held.
pub(crate) fn ids(state: &State) -> (i64, i64) {
    let token = token(state);
    (token.scheduled_event_id, token.started_event_id)
}

impl State {
    /// The events of a started workflow task that are not written yet.
    #[must_use]
    pub fn unwritten_tail(&self) -> Vec<HistoryEvent> {
        if !self.is_running() {
            Vec::new()
        } else if let Some(started) = &self.started {
            let mut shown = self.clone();
            if is_unwritten(self) {
                // Nobody knows yet who will be written as the one that started it.
                let started = Started { identity: String::new(), ..(**started).clone() };
                shown.started = Some(Arc::new(started));
            }
            held_events(&shown)
        } else {
            transient_scheduled(self).into_iter().collect()
        }
    }
}

/// Writes down who holds the task.
pub(crate) fn keep(step: &mut Step<'_>) {
    if let Some(started) = step.state.started.clone() {
        step.note(Note::StartKept(started));
    }
}

/// What [`Note::StartKept`] does.
pub(crate) fn keep_start(state: &mut State, started: &Arc<Started>) {
    state.core.kept_start = stored::KeptStart {
        started_event_id: started.started_event_id,
        request_id: started.request_id.clone(),
        identity: started.identity.clone(),
        time: started.time.as_nanos(),
        suggest_continue_as_new: started.suggest_continue_as_new.clone(),
        history_size_bytes: started.history_size_bytes,
        worker_version: started.worker_version.clone(),
    }
    .encode_to_vec();
    state.started = Some(Arc::clone(started));
}

/// The inverse: who holds the task, if that is written.
pub(crate) fn kept_start(core: &stored::Core) -> Result<Option<Arc<Started>>, DecodeError> {
    if core.kept_start.is_empty() {
        return Ok(None);
    }
    let kept = stored::KeptStart::decode(core.kept_start.as_slice())?;
    Ok(Some(Arc::new(Started {
        started_event_id: kept.started_event_id,
        request_id: kept.request_id,
        identity: kept.identity,
        time: Timestamp::from_nanos(kept.time),
        suggest_continue_as_new: kept.suggest_continue_as_new,
        history_size_bytes: kept.history_size_bytes,
        worker_version: kept.worker_version,
    })))
}

fn begin(
    step: &mut Step<'_>,
    queue: TaskQueue,
    request_id: String,
    identity: String,
    version: Option<WorkerVersionStamp>,
) {
    let task = *step.state.task().expect("a task that starts is pending");
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
    let started_event_id = if is_unwritten(&step.state) { next + 1 } else { next };
    hold(step, Starter { request_id, identity, version, time: step.now }, started_event_id);
}

/// Who takes a task, and when.
struct Starter {
    request_id: String,
    identity: String,
    version: Option<WorkerVersionStamp>,
    time: Timestamp,
}

fn hold(step: &mut Step<'_>, starter: Starter, started_event_id: i64) {
    let started = Started {
        started_event_id,
        request_id: starter.request_id,
        identity: starter.identity,
        time: starter.time,
        suggest_continue_as_new: suggest_continue_as_new(step),
        history_size_bytes: i64::try_from(step.state.core.history_size_bytes).unwrap_or(i64::MAX),
        worker_version: starter.version,
    };
    step.soft(Soft::TaskStarted(Arc::new(started)));
}

fn response(state: &State, resend: Resend) -> WorkflowTaskStarted {
    let task = state.task().expect("a started task is pending");
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
        messages: update::messages(state, started.started_event_id, resend),
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
    let task = state.task().expect("a started task is pending");
    WorkflowTaskToken {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: started.started_event_id,
        attempt: state.core.workflow_task_attempt,
        started_time: started.time,
    }
}

/// Its `Scheduled` is written with what ends it.
fn is_unwritten(state: &State) -> bool {
    is_transient(state) || state.speculative.is_some()
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
    let task = state.task().filter(|_| is_unwritten(state))?;
    let timeout = duration::value(task.start_to_close_timeout.as_ref());
    let attempt = state.core.workflow_task_attempt;
    let attributes = scheduled(state.current_queue(), timeout, attempt);
    let mut event = draft(Timestamp::from_nanos(task.scheduled_time), attributes);
    event.event_id = task.scheduled_event_id;
    event.task_id = task.scheduled_event_id;
    Some(event)
}

pub(crate) fn suggest_continue_as_new(step: &Step<'_>) -> Vec<i32> {
    let core = &step.state.core;
    let limits = step.limits;
    let too_large = core.history_size_bytes >= limits.history_size_bytes_suggest_continue_as_new as u64;
    let too_long = core.next_event_id >= limits.history_events_suggest_continue_as_new;
    let updates = step.state.updates.size() + step.state.admitted.len();
    let too_many = updates >= limits.updates_suggest_continue_as_new;
    let reasons = [
        (too_large, SuggestContinueAsNewReason::HistorySizeTooLarge),
        (too_long, SuggestContinueAsNewReason::TooManyHistoryEvents),
        (too_many, SuggestContinueAsNewReason::TooManyUpdates),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason.into()).collect()
}

/// The version that a poller of the older kinds of versioning names.
fn poller_version(poll: &wf::PollWorkflowTaskQueueRequest) -> Option<WorkerVersionStamp> {
    let capabilities = poll.worker_version_capabilities.as_ref();
    version_stamp(capabilities, poll.deployment_options.as_ref())
}

fn version_stamp(
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
