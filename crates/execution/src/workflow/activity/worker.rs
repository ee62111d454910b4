//! What workers say about an activity: taken, alive, done, failed, cancelled.

use std::sync::Arc;

use base::Timestamp;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::{Priority, WorkerVersionStamp, WorkflowType};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    ActivityTaskCanceledEventAttributes, ActivityTaskCompletedEventAttributes, ActivityTaskFailedEventAttributes,
};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::super::command::{
    ActivityTarget, CancelActivity, CompleteActivity, FailActivity, Heartbeat, ReturnActivityTask, StartActivityTask,
};
use super::super::decision::{ActivityStarted, ActivityTaskStarted};
use super::super::state::time;
use super::super::step::Step;
use super::super::{Note, Reply, State, close, workflow_task};
use super::{Activity, retry_or_stop, write_end};
use crate::Rejection;
use crate::policy::{duration, failure};

/// A poller takes the task.
pub(crate) fn start(step: &mut Step<'_>, command: &StartActivityTask) -> Reply {
    let id = command.scheduled_event_id;
    let activity = step.state.activities.get(&id).filter(|_| step.state.is_running());
    let Some(activity) = activity.filter(|activity| activity.row.stamp == command.stamp) else {
        return Reply::TaskGone;
    };
    if activity.row.started_time != 0 {
        let again = !command.request_id.is_empty() && activity.row.request_id == command.request_id;
        return if again { reply(&step.state, id) } else { Reply::TaskGone };
    }
    if !activity.row.ready || activity.row.pause.is_some() || step.state.is_paused() {
        return Reply::TaskGone;
    }
    note_started(step, id, &command.request_id, &command.poll.identity);
    reply(&step.state, id)
}

/// The poller left before it got the task; another may have it.
pub(crate) fn give_back(step: &mut Step<'_>, command: &ReturnActivityTask) -> Reply {
    let id = command.scheduled_event_id;
    let activity = step.state.activities.get(&id).filter(|_| step.state.is_running());
    if activity.is_some_and(|activity| activity.row.started_time != 0 && activity.row.request_id == command.request_id)
    {
        step.note(Note::ActivityReturned { scheduled_event_id: id });
    }
    Reply::Empty
}

/// The worker that completes the workflow task takes the activity with it.
pub(crate) fn start_eagerly(
    step: &mut Step<'_>,
    scheduled_event_id: i64,
    request_id: &str,
    identity: &str,
) -> ActivityTaskStarted {
    note_started(step, scheduled_event_id, request_id, identity);
    let mut started = started_task(&step.state, scheduled_event_id);
    // What did not go through a queue has only the priority of its own.
    started.response.priority = step.state.activities[&scheduled_event_id].priority().cloned();
    started
}

/// `RespondActivityTaskCompleted` and `...ById`.
pub(crate) fn complete(step: &mut Step<'_>, command: CompleteActivity) -> Result<Reply, Rejection> {
    let (id, activity) = find(step, &command.target, Unstarted::IsFoundById)?;
    let request = command.request;
    let result_bytes = request.result.as_ref().map_or(0, Message::encoded_len);
    if result_bytes > step.limits.blob_bytes_max {
        return fail_with(step, id, too_large(RESULT_TOO_LARGE, request.identity));
    }
    if activity.row.started_time == 0 {
        note_started(step, id, "", &request.identity);
    }
    let worker_version = request.worker_version;
    write_end(step, id, worker_version, |started_event_id| {
        Attributes::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
            result: request.result,
            scheduled_event_id: id,
            started_event_id,
            identity: request.identity,
            ..ActivityTaskCompletedEventAttributes::default()
        })
    });
    workflow_task::schedule(step);
    Ok(Reply::Empty)
}

/// `RespondActivityTaskFailed` and `...ById`.
pub(crate) fn fail(step: &mut Step<'_>, command: FailActivity) -> Result<Reply, Rejection> {
    let (id, _) = find(step, &command.target, Unstarted::IsNotFound)?;
    let request = command.request;
    if request.last_heartbeat_details.is_some() {
        step.note(Note::ActivityHeartbeat {
            scheduled_event_id: id,
            time: step.now.as_nanos(),
            identity: String::new(),
            details: request.last_heartbeat_details,
        });
    }
    let blob_bytes_max = step.limits.blob_bytes_max;
    let failure = request.failure.map(|failure| failure::limited(failure, blob_bytes_max));
    let worker_version = request.worker_version;
    fail_with(step, id, Failed { failure, identity: request.identity, worker_version })
}

/// `RespondActivityTaskCanceled` and `...ById`.
pub(crate) fn cancel(step: &mut Step<'_>, command: CancelActivity) -> Result<Reply, Rejection> {
    let (id, activity) = find(step, &command.target, Unstarted::IsNotFound)?;
    if activity.row.cancel_requested_event_id == 0 {
        let message = "unable to mark activity as canceled without activity being request canceled first";
        return Err(Rejection::InvalidArgument(message.into()));
    }
    let request = command.request;
    if request.details.as_ref().map_or(0, Message::encoded_len) > step.limits.blob_bytes_max {
        return fail_with(step, id, too_large(CANCEL_DETAILS_TOO_LARGE, request.identity));
    }
    write_end(step, id, None, |started_event_id| {
        Attributes::ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes {
            details: request.details,
            latest_cancel_requested_event_id: activity.row.cancel_requested_event_id,
            scheduled_event_id: id,
            started_event_id,
            identity: request.identity,
            ..ActivityTaskCanceledEventAttributes::default()
        })
    });
    workflow_task::schedule(step);
    Ok(Reply::Empty)
}

/// `RecordActivityTaskHeartbeat` and `...ById`.
pub(crate) fn heartbeat(step: &mut Step<'_>, command: Heartbeat) -> Result<Reply, Rejection> {
    let (id, activity) = find(step, &command.target, Unstarted::IsNotFound)?;
    let request = command.request;
    let details_bytes = request.details.as_ref().map_or(0, Message::encoded_len);
    if details_bytes > step.limits.blob_bytes_max {
        fail_with(step, id, too_large(HEARTBEAT_TOO_LARGE, request.identity))?;
        return Ok(Reply::Heartbeat { cancel_requested: true, activity_paused: false, activity_reset: false });
    }
    step.note(Note::ActivityHeartbeat {
        scheduled_event_id: id,
        time: step.now.as_nanos(),
        identity: request.identity,
        details: request.details,
    });
    step.note(Note::Transition);
    Ok(Reply::Heartbeat {
        cancel_requested: activity.row.cancel_requested_event_id != 0,
        activity_paused: activity.row.pause.is_some(),
        activity_reset: activity.row.was_reset,
    })
}

const RESULT_TOO_LARGE: &str = "Complete result exceeds size limit.";
const CANCEL_DETAILS_TOO_LARGE: &str = "Cancel details exceed size limit.";
const HEARTBEAT_TOO_LARGE: &str = "Heartbeat details exceed size limit.";

/// What an answer for an activity that nobody took means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unstarted {
    IsNotFound,
    /// Whoever knows the activity's id may complete it without having taken it.
    IsFoundById,
}

fn find(step: &Step<'_>, target: &ActivityTarget, unstarted: Unstarted) -> Result<(i64, Activity), Rejection> {
    let state = &step.state;
    if !state.is_running() {
        return Err(close::completed());
    }
    let id = match target {
        ActivityTarget::Token { scheduled_event_id, .. } => *scheduled_event_id,
        ActivityTarget::Id(id) if id.is_empty() => {
            return Err(Rejection::InvalidArgument("activityID cannot be empty".into()));
        }
        ActivityTarget::Id(id) => *state.activity_ids.get(id.as_str()).ok_or_else(|| {
            Rejection::NotFound(format!(
                "cannot find pending activity with ActivityID {id}, check workflow execution history for more details"
            ))
        })?,
    };
    let activity = state.activities.get(&id).filter(|activity| match target {
        ActivityTarget::Token { attempt, .. } => activity.row.started_time != 0 && activity.row.attempt == *attempt,
        ActivityTarget::Id(_) => activity.row.started_time != 0 || unstarted == Unstarted::IsFoundById,
    });
    let gone = "invalid activityID or activity already timed out or invoking workflow is completed";
    let activity = activity.ok_or_else(|| Rejection::NotFound(gone.into()))?;
    Ok((id, activity.clone()))
}

/// How an attempt ended that did not succeed.
struct Failed {
    /// A worker may keep the reason to itself.
    failure: Option<Failure>,
    identity: String,
    worker_version: Option<WorkerVersionStamp>,
}

/// What a worker sent does not fit: a failure that no retry mends.
fn too_large(message: &str, identity: String) -> Failed {
    Failed { failure: Some(failure::server(message, failure::Retryable::No)), identity, worker_version: None }
}

fn fail_with(step: &mut Step<'_>, id: i64, failed: Failed) -> Result<Reply, Rejection> {
    let Failed { failure, identity, worker_version } = failed;
    let Some(state) = retry_or_stop(step, id, failure.as_ref().unwrap_or(&Failure::default())) else {
        return Ok(Reply::Empty);
    };
    write_end(step, id, worker_version, |started_event_id| {
        Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
            failure,
            scheduled_event_id: id,
            started_event_id,
            identity,
            retry_state: state.into(),
            ..ActivityTaskFailedEventAttributes::default()
        })
    });
    workflow_task::schedule(step);
    Ok(Reply::Empty)
}

fn note_started(step: &mut Step<'_>, scheduled_event_id: i64, request_id: &str, identity: &str) {
    step.note(Note::ActivityStarted(Box::new(ActivityStarted {
        scheduled_event_id,
        time: step.now.as_nanos(),
        request_id: request_id.to_owned(),
        identity: identity.to_owned(),
    })));
}

fn reply(state: &State, scheduled_event_id: i64) -> Reply {
    Reply::ActivityTaskStarted(Box::new(started_task(state, scheduled_event_id)))
}

fn started_task(state: &State, scheduled_event_id: i64) -> ActivityTaskStarted {
    let activity = state.activities.get(&scheduled_event_id).expect("a started activity is pending");
    let Activity { input, row } = activity;
    // The timeouts are those it was scheduled with, also when an operator changed them since.
    let input = Arc::clone(input);
    let at = |nanos| time(nanos).map(Timestamp::to_proto);
    let response = wf::PollActivityTaskQueueResponse {
        workflow_namespace: state.run.namespace_name.clone(),
        workflow_type: Some(WorkflowType { name: state.workflow_type().to_owned() }),
        workflow_execution: Some(state.execution()),
        activity_type: input.activity_type.clone(),
        activity_id: input.activity_id.clone(),
        header: input.header.clone(),
        input: input.input.clone(),
        heartbeat_details: row.last_heartbeat_details.clone(),
        scheduled_time: at(row.first_scheduled_time),
        current_attempt_scheduled_time: at(row.scheduled_time),
        started_time: at(row.started_time),
        attempt: row.attempt,
        schedule_to_close_timeout: input.schedule_to_close_timeout,
        start_to_close_timeout: input.start_to_close_timeout,
        heartbeat_timeout: input.heartbeat_timeout,
        retry_policy: activity.retry_policy(),
        priority: merged_priority(state.priority(), activity.priority()),
        ..wf::PollActivityTaskQueueResponse::default()
    };
    ActivityTaskStarted {
        response,
        scheduled_event_id,
        // History gets the start only with the end; tokens are told apart by their attempt.
        started_event_id: 0,
        attempt: row.attempt,
        start_to_close: duration::value(activity.start_to_close_timeout()),
    }
}

/// Each field of the activity's priority overrides the workflow's.
pub(crate) fn merged_priority(workflow: Option<&Priority>, activity: Option<&Priority>) -> Option<Priority> {
    let (Some(workflow), Some(activity)) = (workflow, activity) else { return workflow.or(activity).cloned() };
    let mut merged = workflow.clone();
    if activity.priority_key != 0 {
        merged.priority_key = activity.priority_key;
    }
    if !activity.fairness_key.is_empty() {
        merged.fairness_key.clone_from(&activity.fairness_key);
    }
    if activity.fairness_weight != 0.0 {
        merged.fairness_weight = activity.fairness_weight;
    }
    Some(merged)
}
