//! What operators do to pending activities.
//!
//! ```text
//!               pause                         unpause, reset
//!  scheduled ─────────▶ paused ──────────────────────────────▶ scheduled, now
//!  started   ─────────▶ pause requested: the worker is told at its heartbeat and may finish
//!                             └──fail──▶ paused, one attempt later
//!  reset: the attempts count from 1 again; a running attempt goes on, its worker is told
//!  update options: the next attempt and all timeouts follow the new ones
//! ```
//! While it is paused an activity does not time out.

use base::Timestamp;
use temporalio_protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_protos::temporal::api::command::v1::ScheduleActivityTaskCommandAttributes;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PauseActivityRequest, ResetActivityRequest, UnpauseActivityRequest, UpdateActivityOptionsRequest,
    pause_activity_request, reset_activity_request, unpause_activity_request, update_activity_options_request,
};

use super::super::state::Activity;
use super::super::step::Step;
use super::super::{Note, Reply, State, close, predefined, stored};
use crate::Rejection;
use crate::policy::{activity_options, duration, failure, retry, timeouts};

/// Which pending activities a request means.
enum Filter<'a> {
    Id(&'a str),
    Type(&'a str),
    All,
}

/// `PauseActivity`. Repeating it with the same request id changes nothing.
pub(crate) fn pause(step: &mut Step<'_>, request: PauseActivityRequest) -> Result<Reply, Rejection> {
    use pause_activity_request::Activity as A;
    let filter = request.activity.as_ref().map(|which| match which {
        A::Id(id) => Filter::Id(id),
        A::Type(name) => Filter::Type(name),
    });
    let ids = find(step, filter)?;
    let pause = stored::Pause {
        time: step.now.as_nanos(),
        identity: request.identity,
        reason: request.reason,
        request_id: request.request_id,
    };
    for id in ids {
        let mut row = row(step, id);
        match &row.pause {
            Some(earlier) if earlier.request_id == pause.request_id => continue,
            Some(_) => return Err(Rejection::FailedPrecondition("activity is already paused".into())),
            None => {}
        }
        if is_scheduled(&row) {
            row.stamp += 1;
        }
        row.pause = Some(pause.clone());
        set(step, id, row);
    }
    predefined::pauses_changed(step);
    step.note(Note::Transition);
    Ok(Reply::Empty)
}

/// `UnpauseActivity`. Activities that are not paused are left alone.
pub(crate) fn unpause(
    step: &mut Step<'_>,
    request: UnpauseActivityRequest,
    randomness: u64,
) -> Result<Reply, Rejection> {
    use unpause_activity_request::Activity as A;
    let filter = request.activity.as_ref().map(|which| match which {
        A::Id(id) => Filter::Id(id),
        A::Type(name) => Filter::Type(name),
        A::UnpauseAll(_) => Filter::All,
    });
    let ids = find(step, filter)?;
    for id in ids {
        let mut row = row(step, id);
        if row.pause.take().is_none() {
            continue;
        }
        row.stamp += 1;
        if request.reset_attempts {
            row.attempt = 1;
        }
        if request.reset_heartbeat {
            forget_heartbeat(&mut row);
        }
        if is_scheduled(&row) {
            let at = jittered(step.now, request.jitter.as_ref(), randomness, id)?;
            offer_again(&mut row, at, step.now);
        }
        set(step, id, row);
    }
    predefined::pauses_changed(step);
    step.note(Note::Transition);
    Ok(Reply::Empty)
}

/// `ResetActivity`.
pub(crate) fn reset(step: &mut Step<'_>, request: ResetActivityRequest, randomness: u64) -> Result<Reply, Rejection> {
    use reset_activity_request::Activity as A;
    let filter = request.activity.as_ref().map(|which| match which {
        A::Id(id) => Filter::Id(id),
        A::Type(name) => Filter::Type(name),
        A::MatchAll(_) => Filter::All,
    });
    for id in find(step, filter)? {
        let mut row = row(step, id);
        row.attempt = 1;
        row.was_reset = true;
        row.heartbeat_reset_pending |= request.reset_heartbeat;
        if request.restore_original_options {
            restore_all_but_priority(&mut row, activity(step, id));
            row.stamp += 1;
        }
        let was_paused = row.pause.is_some();
        if was_paused && !request.keep_paused {
            row.pause = None;
            row.stamp += 1;
        }
        let runs = row.started_time != 0 && row.cancel_requested_event_id == 0;
        if !runs && row.pause.is_none() {
            if !was_paused {
                row.stamp += 1;
            }
            if is_scheduled(&row) {
                let at = jittered(step.now, request.jitter.as_ref(), randomness, id)?;
                offer_again(&mut row, at, step.now);
            }
        }
        set(step, id, row);
    }
    predefined::pauses_changed(step);
    step.note(Note::Transition);
    Ok(Reply::Empty)
}

/// `UpdateActivityOptions`.
pub(crate) fn update_options(step: &mut Step<'_>, request: UpdateActivityOptionsRequest) -> Result<Reply, Rejection> {
    use update_activity_options_request::Activity as A;
    let names_fields = request.update_mask.as_ref().is_some_and(|mask| !mask.paths.is_empty());
    if names_fields && request.restore_original {
        return Err(invalid("Both UpdateMask and RestoreOriginal are provided"));
    }
    running(step)?;
    if request.activity_options.is_none() && !request.restore_original {
        return Err(invalid("ActivityOptions are not provided"));
    }
    let filter = request.activity.as_ref().map(|which| match which {
        A::Id(id) => Filter::Id(id),
        A::Type(name) => Filter::Type(name),
        A::MatchAll(_) => Filter::All,
    });
    let mut answer = ActivityOptions::default();
    for id in find(step, filter)? {
        let before = activity(step, id).clone();
        answer = if request.restore_original { before.original_options() } else { changed(step, &before, &request)? };
        let mut row = (*before.row).clone();
        row.options = (!request.restore_original).then(|| stored_options(answer.clone()));
        row.stamp += 1;
        if is_scheduled(&row) {
            let activity = Activity { row: row.clone().into(), ..before };
            offer_again(&mut row, next_attempt_time(&activity), step.now);
        }
        set(step, id, row);
    }
    step.note(Note::Transition);
    Ok(Reply::ActivityOptions(Box::new(answer)))
}

/// The attempt of a paused activity failed: the next one waits until it is unpaused.
pub(super) fn end_paused_attempt(step: &mut Step<'_>, scheduled_event_id: i64, failure: &Failure) {
    let mut row = row(step, scheduled_event_id);
    end_start(&mut row);
    row.last_attempt_complete_time = step.now.as_nanos();
    let limit = step.limits.activity_failure_bytes_max;
    row.last_failure = Some(failure::kept_between_attempts(failure.clone(), limit));
    row.attempt += 1;
    row.stamp += 1;
    set(step, scheduled_event_id, row);
    step.note(Note::Transition);
}

/// A new attempt begins: what a reset left to do for it is done.
pub(crate) fn forget_reset(row: &mut stored::Activity) {
    if row.heartbeat_reset_pending {
        forget_heartbeat(row);
    }
    row.heartbeat_reset_pending = false;
    row.was_reset = false;
}

fn forget_heartbeat(row: &mut stored::Activity) {
    row.last_heartbeat_details = None;
    row.last_heartbeat_time = 0;
}

fn end_start(row: &mut stored::Activity) {
    row.started_time = 0;
    row.request_id.clear();
    if !row.started_identity.is_empty() {
        row.last_worker_identity = std::mem::take(&mut row.started_identity);
    }
}

/// The same attempt is scheduled anew.
fn offer_again(row: &mut stored::Activity, at: Timestamp, now: Timestamp) {
    end_start(row);
    row.scheduled_time = at.as_nanos();
    row.ready = at <= now;
    row.last_failure = None;
    forget_reset(row);
}

fn is_scheduled(row: &stored::Activity) -> bool {
    row.started_time == 0 && row.cancel_requested_event_id == 0
}

/// `now` plus a part of the jitter that differs from activity to activity.
fn jittered(
    now: Timestamp,
    jitter: Option<&prost_types::Duration>,
    randomness: u64,
    scheduled_event_id: i64,
) -> Result<Timestamp, Rejection> {
    let mut jitter = jitter.copied();
    duration::normalize(&mut jitter).map_err(|error| invalid(format!("invalid jitter: {error}")))?;
    let nanos = duration::value(jitter.as_ref()).as_nanos();
    if nanos == 0 {
        return Ok(now);
    }
    // Any mixing will do: neighbours must not get the same delay.
    let mixed = (randomness ^ scheduled_event_id.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
    let offset = u64::try_from(u128::from(mixed) % nanos).unwrap_or(0);
    Ok(now + std::time::Duration::from_nanos(offset))
}

/// The options after the request's are laid over them, checked like those of a command.
fn changed(
    step: &Step<'_>,
    before: &Activity,
    request: &UpdateActivityOptionsRequest,
) -> Result<ActivityOptions, Rejection> {
    let mask = request.update_mask.as_ref().ok_or_else(|| invalid("UpdateMask is not provided"))?;
    let mut options = before.options();
    let from = request.activity_options.clone().unwrap_or_default();
    activity_options::merge(&mut options, &from, mask)?;
    if activity_options::names_part_of_retry_policy(mask) {
        retry::validate(options.retry_policy.get_or_insert_default())?;
    }
    let mut command = ScheduleActivityTaskCommandAttributes {
        activity_id: before.input.activity_id.clone(),
        activity_type: before.input.activity_type.clone(),
        task_queue: options.task_queue.take(),
        schedule_to_close_timeout: options.schedule_to_close_timeout,
        schedule_to_start_timeout: options.schedule_to_start_timeout,
        start_to_close_timeout: options.start_to_close_timeout,
        heartbeat_timeout: options.heartbeat_timeout,
        ..ScheduleActivityTaskCommandAttributes::default()
    };
    timeouts::normalize_activity(&mut command, None, step.state.normal_queue(), step.limits)?;
    Ok(ActivityOptions {
        task_queue: command.task_queue,
        schedule_to_close_timeout: command.schedule_to_close_timeout,
        schedule_to_start_timeout: command.schedule_to_start_timeout,
        start_to_close_timeout: command.start_to_close_timeout,
        heartbeat_timeout: command.heartbeat_timeout,
        ..options
    })
}

/// What is kept of them.
fn stored_options(mut options: ActivityOptions) -> ActivityOptions {
    options.start_delay = None;
    options.retry_policy.get_or_insert_default().non_retryable_error_types.clear();
    options
}

fn restore_all_but_priority(row: &mut stored::Activity, activity: &Activity) {
    let priority = activity.priority().cloned();
    let original = activity.original_options();
    row.options = (priority != original.priority).then(|| stored_options(ActivityOptions { priority, ..original }));
}

/// The first attempt was due when it was scheduled, a later one waits after the last.
fn next_attempt_time(activity: &Activity) -> Timestamp {
    let scheduled = Timestamp::from_nanos(activity.row.scheduled_time);
    if activity.row.attempt <= 1 || activity.row.last_attempt_complete_time == 0 {
        return scheduled;
    }
    let policy = activity.retry_policy().unwrap_or_default();
    let interval = retry::interval(&policy, activity.row.attempt);
    if interval.is_zero() {
        return scheduled;
    }
    Timestamp::from_nanos(activity.row.last_attempt_complete_time) + interval
}

fn running(step: &Step<'_>) -> Result<(), Rejection> {
    if step.state.is_running() { Ok(()) } else { Err(close::completed()) }
}

/// The scheduled event ids of the activities that are meant, at least one.
fn find(step: &Step<'_>, filter: Option<Filter<'_>>) -> Result<Vec<i64>, Rejection> {
    running(step)?;
    let ids = select(&step.state, filter);
    if ids.is_empty() {
        return Err(Rejection::NotFound(
            "Can't find pending activity with such ID. Invalid activityID or activity already completed".into(),
        ));
    }
    Ok(ids)
}

fn select(state: &State, filter: Option<Filter<'_>>) -> Vec<i64> {
    let of_type = |name: &str| {
        let all = state.activities.iter();
        let same = all.filter(|(_, activity)| activity.input.activity_type.as_ref().is_some_and(|t| t.name == name));
        same.map(|(id, _)| *id).collect()
    };
    match filter {
        None => Vec::new(),
        Some(Filter::Id(id)) => state.activity_ids.get(id).copied().into_iter().collect(),
        Some(Filter::Type(name)) => of_type(name),
        Some(Filter::All) => state.activities.keys().copied().collect(),
    }
}

fn activity<'a>(step: &'a Step<'_>, id: i64) -> &'a Activity {
    step.state.activities.get(&id).expect("it was found")
}

fn row(step: &Step<'_>, id: i64) -> stored::Activity {
    (*activity(step, id).row).clone()
}

fn set(step: &mut Step<'_>, scheduled_event_id: i64, row: stored::Activity) {
    step.note(Note::ActivitySet { scheduled_event_id, row: Box::new(row) });
}

fn invalid(message: impl Into<String>) -> Rejection {
    Rejection::InvalidArgument(message.into())
}
