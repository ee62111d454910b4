//! Activities.
//!
//! ```text
//!  none ──ScheduleActivityTask──▶ ready ──start──▶ started ──complete──▶ completed
//!                                 ▲  │               │ ├──cancel──▶ canceled (if requested)
//!                    backoff ─────┘  │               │ └──fail, time out──▶ failed, timed out
//!                      ▲             │               │            │
//!                      └─────────────┼───────────────┴──retry─────┘
//!                                    └──cancel requested──▶ canceled, at once
//! ```
//! An operator may pause it meanwhile, see `operator`.
//!
//! Attempts, heartbeats and starts are notes: history shows `Started` of the last attempt
//! only, written together with what ends the activity.

mod command;
mod note;
mod operator;
mod options;
mod timeout;
mod worker;

pub(crate) use command::{request_cancel, schedule};
pub(crate) use note::apply_note;
pub(crate) use operator::{pause, reset, unpause, update_options};
pub(crate) use timeout::due;
pub(crate) use worker::{cancel, complete, fail, give_back, heartbeat, merged_priority, start, start_eagerly};

use std::sync::Arc;

use base::Timestamp;
use prost::Message as _;
use temporalio_protos::temporal::api::common::v1::WorkerVersionStamp;
use temporalio_protos::temporal::api::enums::v1::RetryState;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    ActivityTaskScheduledEventAttributes, ActivityTaskStartedEventAttributes, HistoryEvent,
};

use super::deadlines::Due;
use super::draft::draft;
use super::state::Activity;
use super::step::Step;
use super::{Note, State, stored};
use crate::policy::retry::{self, Attempt, RetryDecision};
use crate::policy::{duration, failure};

/// `ActivityTaskScheduled`.
pub(crate) fn insert(state: &mut State, event: &HistoryEvent, input: &ActivityTaskScheduledEventAttributes) {
    let now = event.event_time.as_ref().map_or(0, |time| Timestamp::from_proto(time).as_nanos());
    let row = stored::Activity {
        scheduled_time: now,
        first_scheduled_time: now,
        attempt: 1,
        ready: true,
        ..stored::Activity::default()
    };
    put(state, event.event_id, Activity { input: Arc::new(input.clone()), row: Arc::new(row) });
}

pub(crate) fn put(state: &mut State, scheduled_event_id: i64, activity: Activity) {
    for (time, due) in activity.deadlines() {
        state.deadlines.insert_mut((time, Due::Activity(scheduled_event_id, due)));
    }
    state.activity_ids.insert_mut(activity.input.activity_id.as_str().into(), scheduled_event_id);
    if activity.is_offered() {
        state.activities_offered.insert_mut(scheduled_event_id);
    } else {
        state.activities_offered.remove_mut(&scheduled_event_id);
    }
    state.item_added(activity.row.encoded_len());
    state.activities.insert_mut(scheduled_event_id, activity);
}

/// References to attempts that did not start become stale.
pub(crate) fn offer_again(state: &mut State) {
    let waits = |activity: &Activity| activity.row.started_time == 0;
    let waiting = state.activities.iter().filter(|(_, activity)| waits(activity)).map(|(id, _)| *id);
    for scheduled_event_id in waiting.collect::<Vec<_>>() {
        update(state, scheduled_event_id, |row| row.stamp += 1);
    }
}

/// Nothing happens when it is gone.
pub(crate) fn update(state: &mut State, scheduled_event_id: i64, change: impl FnOnce(&mut stored::Activity)) {
    let Some(mut activity) = state.activities.get(&scheduled_event_id).cloned() else { return };
    forget_deadlines(state, scheduled_event_id, &activity);
    state.item_removed(activity.row.encoded_len());
    change(Arc::make_mut(&mut activity.row));
    put(state, scheduled_event_id, activity);
}

pub(crate) fn remove(state: &mut State, scheduled_event_id: i64) {
    let Some(activity) = state.activities.get(&scheduled_event_id).cloned() else { return };
    forget_deadlines(state, scheduled_event_id, &activity);
    state.item_removed(activity.row.encoded_len());
    // In a history that is folded again, the next one with this id may come before the end.
    if state.activity_ids.get(activity.input.activity_id.as_str()) == Some(&scheduled_event_id) {
        state.activity_ids.remove_mut(activity.input.activity_id.as_str());
    }
    state.activities.remove_mut(&scheduled_event_id);
    state.activities_offered.remove_mut(&scheduled_event_id);
}

fn forget_deadlines(state: &mut State, scheduled_event_id: i64, activity: &Activity) {
    for (time, due) in activity.deadlines() {
        state.deadlines.remove_mut(&(time, Due::Activity(scheduled_event_id, due)));
    }
}

/// Writes `Started` of the running attempt, if any, and then what ends the activity; `end`
/// gets the id of the start. Buffered together when a worker holds the workflow task.
fn write_end(
    step: &mut Step<'_>,
    scheduled_event_id: i64,
    worker_version: Option<WorkerVersionStamp>,
    end: impl FnOnce(i64) -> Attributes,
) {
    let activity = step.state.activities.get(&scheduled_event_id).expect("the caller found it");
    let row = Arc::clone(&activity.row);
    let mut started_event_id = 0;
    if row.started_time != 0 {
        let started = ActivityTaskStartedEventAttributes {
            scheduled_event_id,
            identity: row.started_identity.clone(),
            request_id: row.request_id.clone(),
            attempt: row.attempt,
            last_failure: row.last_failure.clone(),
            worker_version,
            ..ActivityTaskStartedEventAttributes::default()
        };
        let started = Attributes::ActivityTaskStartedEventAttributes(started);
        // In the buffer it has no id yet; the flush fills it in.
        started_event_id = step.happened(draft(Timestamp::from_nanos(row.started_time), started)).unwrap_or(0);
    }
    step.happened(draft(step.now, end(started_event_id)));
}

/// Schedules the next attempt after this failure, unless the policy says that it was the
/// last; then returns why.
fn retry_or_stop(step: &mut Step<'_>, scheduled_event_id: i64, failure: &Failure) -> Option<RetryState> {
    let activity = step.state.activities.get(&scheduled_event_id).expect("the caller found it");
    if activity.row.cancel_requested_event_id != 0 && activity.input.retry_policy.is_some() {
        return Some(RetryState::CancelRequested);
    }
    let expiration = duration::timeout(activity.input.schedule_to_close_timeout.as_ref())
        .map(|timeout| Timestamp::from_nanos(activity.row.first_scheduled_time) + timeout);
    let policy = activity.retry_policy();
    let attempt = Attempt { policy: policy.as_ref(), number: activity.row.attempt, now: step.now, expiration };
    if let Some(policy) = &policy
        && activity.row.pause.is_some()
        && retry::is_retryable(failure, &policy.non_retryable_error_types)
    {
        operator::end_paused_attempt(step, scheduled_event_id, failure);
        return None;
    }
    match retry::after_activity_attempt(&attempt, failure) {
        RetryDecision::Stop(state) => Some(state),
        RetryDecision::Retry { delay } => {
            let kept = failure::kept_between_attempts(failure.clone(), step.limits.activity_failure_bytes_max);
            step.note(Note::ActivityRetried {
                scheduled_event_id,
                failed_time: step.now.as_nanos(),
                scheduled_time: (step.now + delay).as_nanos(),
                failure: Some(Box::new(kept)),
            });
            step.note(Note::Transition);
            if delay.is_zero() {
                step.note(Note::ActivityReady { scheduled_event_id });
            }
            None
        }
    }
}
