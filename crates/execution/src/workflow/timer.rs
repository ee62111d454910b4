//! User timers.
//!
//! ```text
//!  none ──StartTimer──▶ pending ──its time──▶ fired
//!                          └──CancelTimer──▶ cancelled
//!  fired, but only buffered ──CancelTimer──▶ cancelled (the firing is taken back)
//! ```

use std::sync::Arc;

use base::Timestamp;
use temporalio_protos::temporal::api::command::v1::{CancelTimerCommandAttributes, StartTimerCommandAttributes};
use temporalio_protos::temporal::api::enums::v1::WorkflowTaskFailedCause as Cause;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    HistoryEvent, TimerCanceledEventAttributes, TimerFiredEventAttributes, TimerStartedEventAttributes,
};

use super::commands::{Fail, Turn};
use super::deadlines::Due;
use super::draft::draft;
use super::step::Step;
use super::{Note, State, buffer, stored};
use crate::policy::duration;

/// `TimerStarted`.
pub(crate) fn insert(state: &mut State, event: &HistoryEvent, started: &TimerStartedEventAttributes) {
    let now = event.event_time.as_ref().map_or(Timestamp::ZERO, Timestamp::from_proto);
    let fire = now + duration::value(started.start_to_fire_timeout.as_ref());
    put(state, event.event_id, stored::Timer { timer_id: started.timer_id.clone(), fire_time: fire.as_nanos() });
}

pub(crate) fn put(state: &mut State, started_event_id: i64, timer: stored::Timer) {
    state.deadlines.insert_mut((Timestamp::from_nanos(timer.fire_time), Due::Timer(started_event_id)));
    state.timer_ids.insert_mut(timer.timer_id.as_str().into(), started_event_id);
    state.timers.insert_mut(started_event_id, Arc::new(timer));
}

pub(crate) fn remove(state: &mut State, started_event_id: i64) {
    let Some(timer) = state.timers.get(&started_event_id).cloned() else { return };
    state.timers.remove_mut(&started_event_id);
    if state.timer_ids.get(timer.timer_id.as_str()) == Some(&started_event_id) {
        state.timer_ids.remove_mut(timer.timer_id.as_str());
    }
    state.deadlines.remove_mut(&(Timestamp::from_nanos(timer.fire_time), Due::Timer(started_event_id)));
}

/// Its time has come.
pub(crate) fn fire(step: &mut Step<'_>, started_event_id: i64) {
    let timer_id = step.state.timers.get(&started_event_id).expect("a due timer is pending").timer_id.clone();
    let fired = TimerFiredEventAttributes { timer_id, started_event_id };
    step.happened(draft(step.now, Attributes::TimerFiredEventAttributes(fired)));
}

pub(crate) fn start(turn: &mut Turn<'_, '_>, mut command: StartTimerCommandAttributes) -> Result<(), Fail> {
    let cause = Cause::BadStartTimerAttributes;
    let id = check_id(turn, &command.timer_id, "StartTimerCommand", cause)?;
    duration::normalize(&mut command.start_to_fire_timeout).map_err(|error| {
        let message = format!("An invalid StartToFireTimeout is set on StartTimerCommand: {error}. TimerId={id}");
        Fail::task(cause, message)
    })?;
    if turn.step.state.timer_ids.contains_key(id.as_str()) {
        return Err(Fail::action(Cause::StartTimerDuplicateId, "add-timer-started-event", &format!("TimerID: {id}")));
    }
    turn.event(Attributes::TimerStartedEventAttributes(TimerStartedEventAttributes {
        timer_id: id,
        start_to_fire_timeout: command.start_to_fire_timeout,
        workflow_task_completed_event_id: turn.completed_event_id,
    }));
    Ok(())
}

pub(crate) fn cancel(turn: &mut Turn<'_, '_>, command: &CancelTimerCommandAttributes) -> Result<(), Fail> {
    let cause = Cause::BadCancelTimerAttributes;
    let id = check_id(turn, &command.timer_id, "CancelTimerCommand", cause)?;
    let started_event_id = match turn.step.state.timer_ids.get(id.as_str()) {
        Some(started_event_id) => *started_event_id,
        None => {
            // It fired while the worker decided to cancel it: the worker never learns.
            let Some((sequence, started_event_id)) = buffer::find_timer_fired(&turn.step.state, &id) else {
                return Err(Fail::action(cause, "add-timer-canceled-event", &format!("TimerID: {id}")));
            };
            turn.step.note(Note::Unbuffered { sequence });
            started_event_id
        }
    };
    turn.event(Attributes::TimerCanceledEventAttributes(TimerCanceledEventAttributes {
        timer_id: id,
        started_event_id,
        workflow_task_completed_event_id: turn.completed_event_id,
        identity: turn.identity.clone(),
    }));
    turn.has_buffered = turn.has_buffered && !turn.step.state.buffered.is_empty();
    Ok(())
}

fn check_id(turn: &Turn<'_, '_>, id: &str, command: &str, cause: Cause) -> Result<String, Fail> {
    if id.is_empty() {
        return Err(Fail::task(cause, format!("TimerId is not set on {command}.")));
    }
    let limit = turn.step.limits.id_bytes_max;
    if id.len() > limit {
        let length = id.len();
        let message = format!("TimerId on {command} exceeds length limit. TimerId={id} Length={length} Limit={limit}");
        return Err(Fail::task(cause, message));
    }
    Ok(id.to_owned())
}
