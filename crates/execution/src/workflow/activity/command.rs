//! The commands that schedule an activity and that ask for its cancellation.

use prost::Message;
use temporalio_protos::temporal::api::command::v1::{
    RequestCancelActivityTaskCommandAttributes, ScheduleActivityTaskCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads, Priority};
use temporalio_protos::temporal::api::enums::v1::WorkflowTaskFailedCause as Cause;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    ActivityTaskCancelRequestedEventAttributes, ActivityTaskCanceledEventAttributes,
    ActivityTaskScheduledEventAttributes,
};

use super::super::commands::{Fail, Turn};
use super::super::draft::draft;
use super::super::{Note, buffer};
use crate::policy::{duration, timeouts};

/// SDKs without a priority API smuggle a fairness key in the activity id.
const FAIRNESS_KEY_PREFIX: &str = "x-temporal-internal-fairness-key[";
const NOT_STARTED: &str = "ACTIVITY_ID_NOT_STARTED";

pub(crate) fn schedule(
    turn: &mut Turn<'_, '_>,
    mut command: ScheduleActivityTaskCommandAttributes,
) -> Result<(), Fail> {
    let cause = Cause::BadScheduleActivityAttributes;
    read_fairness_key(&mut command);
    let limits = turn.step.limits;
    let run_timeout = duration::timeout(turn.step.state.start().workflow_run_timeout.as_ref());
    let queue = turn.step.state.normal_queue().to_owned();
    timeouts::normalize_activity(&mut command, run_timeout, &queue, limits)
        .map_err(|rejection| Fail::task(cause, rejection.to_string()))?;
    let input_bytes = command.input.as_ref().map_or(0, Message::encoded_len);
    if input_bytes > limits.blob_bytes_max {
        return Err(Fail::run(cause, "ScheduleActivityTaskCommandAttributes.Input exceeds size limit."));
    }
    let pending = turn.step.state.activities.size();
    if pending >= limits.pending_activities_max {
        return Err(Fail::too_many_pending(
            Cause::PendingActivitiesLimitExceeded,
            "pending activities",
            pending,
            limits.pending_activities_max,
        ));
    }
    let activity_id = &command.activity_id;
    if turn.step.state.activity_ids.contains_key(activity_id.as_str()) {
        let what = format!("ActivityID: {activity_id}");
        return Err(Fail::action(Cause::ScheduleActivityDuplicateId, "add-activitytask-scheduled-event", &what));
    }
    let eager = command.request_eager_execution;
    let id = turn.event(Attributes::ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes {
        activity_id: command.activity_id,
        activity_type: command.activity_type,
        task_queue: command.task_queue,
        header: command.header,
        input: command.input,
        schedule_to_close_timeout: command.schedule_to_close_timeout,
        schedule_to_start_timeout: command.schedule_to_start_timeout,
        start_to_close_timeout: command.start_to_close_timeout,
        heartbeat_timeout: command.heartbeat_timeout,
        workflow_task_completed_event_id: turn.completed_event_id,
        retry_policy: command.retry_policy,
        priority: command.priority,
        use_workflow_build_id: command.use_workflow_build_id,
    }));
    if eager {
        turn.eager_activities.push(id);
    }
    Ok(())
}

pub(crate) fn request_cancel(
    turn: &mut Turn<'_, '_>,
    command: &RequestCancelActivityTaskCommandAttributes,
) -> Result<(), Fail> {
    let cause = Cause::BadRequestCancelActivityAttributes;
    let id = command.scheduled_event_id;
    if id <= 0 {
        return Err(Fail::task(cause, "ScheduledEventId is not set on RequestCancelActivityTaskCommand."));
    }
    let activity = turn.step.state.activities.get(&id).cloned();
    let known = match &activity {
        Some(activity) => activity.row.cancel_requested_event_id == 0,
        None => buffer::has_activity_end(&turn.step.state, id),
    };
    if !known {
        let what = format!("ScheduledEventID: {id}");
        return Err(Fail::action(cause, "add-activitytask-cancel-requested-event", &what));
    }
    let requested = turn.event(Attributes::ActivityTaskCancelRequestedEventAttributes(
        ActivityTaskCancelRequestedEventAttributes {
            scheduled_event_id: id,
            workflow_task_completed_event_id: turn.completed_event_id,
        },
    ));
    if activity.is_some_and(|activity| activity.row.started_time == 0) {
        // Nobody works on it: it is cancelled at once, and the workflow hears of it in a new
        // workflow task; the event comes after those of the remaining commands.
        let cancelled = ActivityTaskCanceledEventAttributes {
            details: Some(Payloads { payloads: vec![json_string(NOT_STARTED)] }),
            latest_cancel_requested_event_id: requested,
            scheduled_event_id: id,
            identity: turn.identity.clone(),
            ..ActivityTaskCanceledEventAttributes::default()
        };
        let event = draft(turn.step.now, Attributes::ActivityTaskCanceledEventAttributes(cancelled));
        turn.step.note(Note::Buffered { sequence: turn.step.state.core.next_buffered, event: Box::new(event) });
        turn.cancelled_unstarted = true;
    }
    Ok(())
}

fn json_string(text: &str) -> Payload {
    let mut payload = Payload { data: format!("\"{text}\"").into_bytes(), ..Payload::default() };
    payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
    payload
}

fn read_fairness_key(command: &mut ScheduleActivityTaskCommandAttributes) {
    let Some(rest) = command.activity_id.strip_prefix(FAIRNESS_KEY_PREFIX) else { return };
    let Some((key, weight)) = rest.split_once(']').and_then(|(inner, _)| inner.split_once(':')) else { return };
    let Ok(weight) = weight.parse::<f32>() else { return };
    let key = key.to_owned();
    let priority = command.priority.get_or_insert_with(Priority::default);
    priority.fairness_key = key;
    priority.fairness_weight = weight;
}
