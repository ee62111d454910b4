//! Events that wait for the workflow task in progress.
//!
//! ```text
//!   no task held     event ─▶ history
//!   task held        event ─▶ buffer (durable)
//!   task ends        buffer ─▶ history: arrival order, but what closes an activity comes
//!                              after everything else, so that its start comes before it
//!   too many         the task fails (ForceCloseCommand), the buffer is written, a new task
//!   leader lost      the task is no longer held: the buffer is written before anything else
//!   run closed       the buffer is void
//! ```

use std::collections::BTreeMap;

use prost::Message;
use temporalio_protos::temporal::api::enums::v1::WorkflowTaskFailedCause;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::step::Step;
use super::{Note, State, workflow_task};

/// Writes all buffered events.
pub(crate) fn flush(step: &mut Step<'_>) {
    let Some(first) = step.state.buffered.first().map(|(sequence, _)| *sequence) else { return };
    let events = step.state.buffered.values().map(|event| HistoryEvent::clone(event));
    let (closing, others): (Vec<_>, Vec<_>) = events.partition(closes_an_item);
    step.note(Note::Flushed { first, next: step.state.core.next_buffered });
    if !step.state.is_running() {
        return;
    }
    // The end of an activity or a child whose start is buffered too learns the id of the start.
    let mut started = BTreeMap::new();
    for mut event in others.into_iter().chain(closing) {
        if let Some((scheduled, started_event_id)) = event.attributes.as_mut().and_then(end_of_item)
            && let Some(id) = started.get(&scheduled)
        {
            *started_event_id = *id;
        }
        let item = match &event.attributes {
            Some(Attributes::ActivityTaskStartedEventAttributes(start)) => Some(start.scheduled_event_id),
            Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(start)) => Some(start.initiated_event_id),
            _ => None,
        };
        let id = step.write(event);
        if let Some(scheduled) = item {
            started.insert(scheduled, id);
        }
    }
}

/// The leader that held the task is gone: write what its task held back.
pub(crate) fn recover(step: &mut Step<'_>) {
    if step.state.started.is_none() {
        flush(step);
    }
}

/// A worker that sits on its task must not make the buffer grow without bound.
pub(crate) fn enforce_limits(step: &mut Step<'_>) {
    if step.state.started.is_none() || !step.state.is_running() || is_acceptable(&step.state, step) {
        return;
    }
    workflow_task::fail_by_server(step, WorkflowTaskFailedCause::ForceCloseCommand);
    workflow_task::schedule(step);
}

fn is_acceptable(state: &State, step: &Step<'_>) -> bool {
    if state.buffered.is_empty() {
        return true;
    }
    let bytes: usize = state.buffered.values().map(|event| event.encoded_len()).sum();
    state.buffered.size() <= step.limits.buffered_events_max && bytes <= step.limits.buffered_events_bytes_max
}

/// The buffered firing of this timer: `(sequence, started event id)`.
pub(crate) fn find_timer_fired(state: &State, timer_id: &str) -> Option<(u64, i64)> {
    state.buffered.iter().find_map(|(sequence, event)| match &event.attributes {
        Some(Attributes::TimerFiredEventAttributes(fired)) if fired.timer_id == timer_id => {
            Some((*sequence, fired.started_event_id))
        }
        _ => None,
    })
}

/// Whether this activity ended while the task was in progress.
pub(crate) fn has_activity_end(state: &State, scheduled_event_id: i64) -> bool {
    state.buffered.values().any(|event| ends_activity(event, scheduled_event_id))
}

pub(crate) fn ends_activity(event: &HistoryEvent, scheduled_event_id: i64) -> bool {
    use Attributes as A;
    let scheduled = match &event.attributes {
        Some(A::ActivityTaskCompletedEventAttributes(a)) => a.scheduled_event_id,
        Some(A::ActivityTaskFailedEventAttributes(a)) => a.scheduled_event_id,
        Some(A::ActivityTaskTimedOutEventAttributes(a)) => a.scheduled_event_id,
        Some(A::ActivityTaskCanceledEventAttributes(a)) => a.scheduled_event_id,
        _ => return false,
    };
    scheduled == scheduled_event_id
}

pub(crate) fn signals(state: &State) -> i64 {
    let is_signal = |event: &HistoryEvent| {
        matches!(event.attributes, Some(Attributes::WorkflowExecutionSignaledEventAttributes(_)))
    };
    let count = state.buffered.values().filter(|event| is_signal(event)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn closes_an_item(event: &HistoryEvent) -> bool {
    use Attributes as A;
    matches!(
        event.attributes,
        Some(
            A::ActivityTaskCompletedEventAttributes(_)
                | A::ActivityTaskFailedEventAttributes(_)
                | A::ActivityTaskTimedOutEventAttributes(_)
                | A::ActivityTaskCanceledEventAttributes(_)
                | A::ChildWorkflowExecutionCompletedEventAttributes(_)
                | A::ChildWorkflowExecutionFailedEventAttributes(_)
                | A::ChildWorkflowExecutionTimedOutEventAttributes(_)
                | A::ChildWorkflowExecutionCanceledEventAttributes(_)
                | A::ChildWorkflowExecutionTerminatedEventAttributes(_)
                | A::NexusOperationCompletedEventAttributes(_)
                | A::NexusOperationFailedEventAttributes(_)
                | A::NexusOperationCanceledEventAttributes(_)
                | A::NexusOperationTimedOutEventAttributes(_)
        )
    )
}

/// The event that began the activity or child that ends, and where the id of its start goes.
pub(crate) fn end_of_item(attributes: &mut Attributes) -> Option<(i64, &mut i64)> {
    use Attributes as A;
    match attributes {
        A::ActivityTaskCompletedEventAttributes(a) => Some((a.scheduled_event_id, &mut a.started_event_id)),
        A::ActivityTaskFailedEventAttributes(a) => Some((a.scheduled_event_id, &mut a.started_event_id)),
        A::ActivityTaskTimedOutEventAttributes(a) => Some((a.scheduled_event_id, &mut a.started_event_id)),
        A::ActivityTaskCanceledEventAttributes(a) => Some((a.scheduled_event_id, &mut a.started_event_id)),
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => Some((a.initiated_event_id, &mut a.started_event_id)),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => Some((a.initiated_event_id, &mut a.started_event_id)),
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => Some((a.initiated_event_id, &mut a.started_event_id)),
        A::ChildWorkflowExecutionTimedOutEventAttributes(a) => Some((a.initiated_event_id, &mut a.started_event_id)),
        A::ChildWorkflowExecutionTerminatedEventAttributes(a) => Some((a.initiated_event_id, &mut a.started_event_id)),
        _ => None,
    }
}
