//! The only place that changes a [`State`]. Total: it never refuses, never asks for the time.

use std::sync::Arc;

use prost::Message;
use temporalio_protos::temporal::api::enums::v1::{
    TaskQueueKind, TimeoutType, WorkflowExecutionStatus as Status, WorkflowTaskFailedCause,
};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowTaskScheduledEventAttributes};

use super::stored;
use super::{
    Change, Note, Soft, State, activity, attach, callback, options, outgoing, pause, reset, reset_point, timer, update,
    upsert, workflow_task,
};
use crate::policy::duration;

/// Total: every change that `decide` ever returned can be applied.
pub fn apply(state: &mut State, change: &Change) {
    match change {
        Change::Event(event) => apply_event(state, event),
        Change::Note(note) => apply_note(state, note),
        Change::Soft(soft) => apply_soft(state, soft),
    }
}

fn apply_event(state: &mut State, event: &HistoryEvent) {
    assert_eq!(event.event_id, state.core.next_event_id, "events are applied in order, each once");
    state.core.next_event_id += 1;
    let bytes = event.encoded_len();
    // The tag and the length that the event has inside of a `History` message.
    state.core.history_size_bytes += (bytes + 1 + prost::length_delimiter_len(bytes)) as u64;
    let Some(attributes) = &event.attributes else { return };
    if is_transition(attributes) && !is_part_of_transition(state, attributes) {
        state.core.state_transition_count += 1;
    }
    apply_workflow_event(state, event, attributes);
    apply_task_event(state, event, attributes);
    apply_item_event(state, event, attributes);
    outgoing::apply_event(state, event, attributes);
    apply_at_once(state, event, attributes);
}

/// What an event does the moment it happens, even when it is buffered. Idempotent, because a
/// buffered event is applied again when it is written.
fn apply_at_once(state: &mut State, event: &HistoryEvent, attributes: &Attributes) {
    use Attributes as A;
    match attributes {
        A::ActivityTaskCompletedEventAttributes(a) => activity::remove(state, a.scheduled_event_id),
        A::ActivityTaskFailedEventAttributes(a) => activity::remove(state, a.scheduled_event_id),
        A::ActivityTaskTimedOutEventAttributes(a) => activity::remove(state, a.scheduled_event_id),
        A::ActivityTaskCanceledEventAttributes(a) => activity::remove(state, a.scheduled_event_id),
        A::TimerFiredEventAttributes(a) => timer::remove(state, a.started_event_id),
        A::WorkflowExecutionCancelRequestedEventAttributes(_) => state.core.cancel_requested = true,
        A::WorkflowExecutionOptionsUpdatedEventAttributes(a) => {
            attach::remember(state, &a.attached_request_id, None);
            options::apply(state, a);
            let at = event.event_time.as_ref().map_or(0, |time| base::Timestamp::from_proto(time).as_nanos());
            callback::attach(state, &a.attached_request_id, &a.attached_completion_callbacks, at);
        }
        attributes => outgoing::apply_at_once(state, attributes),
    }
}

/// The run as a whole.
fn apply_workflow_event(state: &mut State, event: &HistoryEvent, attributes: &Attributes) {
    use Attributes as A;
    match attributes {
        A::WorkflowExecutionStartedEventAttributes(a) => {
            Arc::make_mut(&mut state.run).start_event = Some(event.clone());
            state.core.set_status(Status::Running);
            state.core.most_recent_worker_version_stamp.clone_from(&a.source_version_stamp);
            if !duration::value(a.first_workflow_task_backoff.as_ref()).is_zero() {
                state.core.first_task_time = state.execution_time().as_nanos();
            }
            reset_point::inherit(state, event);
        }
        A::WorkflowExecutionCompletedEventAttributes(a) => {
            close(state, event, Status::Completed, &a.new_execution_run_id);
        }
        A::WorkflowExecutionFailedEventAttributes(a) => close(state, event, Status::Failed, &a.new_execution_run_id),
        A::WorkflowExecutionTimedOutEventAttributes(a) => {
            close(state, event, Status::TimedOut, &a.new_execution_run_id);
        }
        A::WorkflowExecutionCanceledEventAttributes(_) => close(state, event, Status::Canceled, ""),
        A::WorkflowExecutionTerminatedEventAttributes(_) => close(state, event, Status::Terminated, ""),
        A::WorkflowExecutionContinuedAsNewEventAttributes(a) => {
            close(state, event, Status::ContinuedAsNew, &a.new_execution_run_id);
        }
        A::WorkflowExecutionSignaledEventAttributes(_) => state.core.signal_count += 1,
        A::WorkflowExecutionOptionsUpdatedEventAttributes(a) => {
            attach::remember(state, &a.attached_request_id, Some(event.event_id));
        }
        A::UpsertWorkflowSearchAttributesEventAttributes(a) => upsert::search_attributes(state, a),
        A::WorkflowPropertiesModifiedEventAttributes(a) => upsert::memo(state, a),
        _ => {}
    }
}

/// The workflow task.
fn apply_task_event(state: &mut State, event: &HistoryEvent, attributes: &Attributes) {
    use Attributes as A;
    match attributes {
        A::WorkflowTaskScheduledEventAttributes(a) => task_scheduled(state, event, a),
        A::WorkflowTaskCompletedEventAttributes(a) => {
            end_task(state);
            state.core.workflow_task_attempt = 1;
            state.core.workflow_task_attempts_since_success = 0;
            state.core.set_last_task_failed_cause(WorkflowTaskFailedCause::Unspecified);
            state.core.set_last_task_timeout_type(TimeoutType::Unspecified);
            state.core.last_completed_task_started_event_id = a.started_event_id;
            state.core.most_recent_worker_version_stamp.clone_from(&a.worker_version);
            state.core.worker_deployment_name.clone_from(&a.worker_deployment_name);
            reset_point::add(state, event, a);
        }
        A::WorkflowTaskFailedEventAttributes(a) => {
            fail_task(state, true);
            state.core.set_last_task_failed_cause(a.cause());
            state.core.set_last_task_timeout_type(TimeoutType::Unspecified);
            match a.cause() {
                WorkflowTaskFailedCause::ResetWorkflow
                | WorkflowTaskFailedCause::FailoverCloseCommand
                | WorkflowTaskFailedCause::WorkflowPauseRequestedBeforeTaskStarted => {
                    state.core.workflow_task_attempt = 1;
                }
                WorkflowTaskFailedCause::UnhandledCommand => state.core.close_attempted = true,
                _ => {}
            }
        }
        A::WorkflowTaskTimedOutEventAttributes(a) => {
            let held = a.timeout_type() != TimeoutType::ScheduleToStart;
            fail_task(state, held);
            if held {
                state.core.set_last_task_failed_cause(WorkflowTaskFailedCause::Unspecified);
                state.core.set_last_task_timeout_type(a.timeout_type());
            }
        }
        _ => {}
    }
}

/// Activities and timers that a command creates or changes.
fn apply_item_event(state: &mut State, event: &HistoryEvent, attributes: &Attributes) {
    use Attributes as A;
    match attributes {
        A::ActivityTaskScheduledEventAttributes(a) => activity::insert(state, event, a),
        A::ActivityTaskCancelRequestedEventAttributes(a) => {
            activity::update(state, a.scheduled_event_id, |row| row.cancel_requested_event_id = event.event_id);
        }
        A::TimerStartedEventAttributes(a) => timer::insert(state, event, a),
        A::TimerCanceledEventAttributes(a) => timer::remove(state, a.started_event_id),
        _ => update::apply(state, event.event_id, attributes),
    }
}

fn apply_note(state: &mut State, note: &Note) {
    match note {
        Note::Created(run) => state.run = Arc::new((**run).clone()),
        Note::Buffered { sequence, event } => {
            state.item_added(event.encoded_len());
            state.buffered.insert_mut(*sequence, Arc::new((**event).clone()));
            state.core.next_buffered = sequence + 1;
            if let Some(attributes) = &event.attributes {
                apply_at_once(state, event, attributes);
            }
        }
        Note::Unbuffered { sequence } => {
            remove_buffered(state, *sequence);
        }
        Note::Flushed { first, next } => (*first..*next).for_each(|sequence| remove_buffered(state, sequence)),
        Note::SignalRequested { request_id } => {
            if !state.signal_requests.contains(request_id.as_str()) {
                state.item_added(request_id.len());
                state.signal_requests.insert_mut(request_id.as_str().into());
            }
        }
        Note::SearchAttribute { name, value } => upsert::search_attribute(state, name, value.as_deref()),
        Note::TransientTaskScheduled(task) => schedule_task(state, *task),
        Note::TaskHeartbeat { original_scheduled_time } => {
            if let Some(task) = &mut state.core.workflow_task {
                task.original_scheduled_time = *original_scheduled_time;
            }
        }
        Note::TransientTaskFailed { closing } => {
            fail_task(state, true);
            state.core.close_attempted = *closing;
        }
        Note::StickySet { queue, schedule_to_start_timeout } => {
            state.core.sticky_queue.clone_from(queue);
            state.core.sticky_schedule_to_start_timeout = *schedule_to_start_timeout;
        }
        Note::StickyCleared => clear_sticky(state),
        Note::Retained { retention } => state.core.retention = Some(*retention),
        Note::StickyDeferred { deadline } => {
            if let Some(task) = &mut state.core.workflow_task {
                task.schedule_to_start_deadline = *deadline;
            }
        }
        Note::ActivityStarted(_)
        | Note::ActivityRetried { .. }
        | Note::ActivityReturned { .. }
        | Note::ActivityReady { .. }
        | Note::ActivitySet { .. }
        | Note::ActivityHeartbeat { .. } => activity::apply_note(state, note),
        Note::Transition => state.core.state_transition_count += 1,
        Note::ActivityRescheduled { .. } | Note::ResetTo { .. } | Note::ResetFinished => reset::note(state, note),
        Note::PauseSet(pause) => pause::set(state, pause.as_deref()),
        Note::DeleteRequested { time } => state.core.delete_time = *time,
        Note::ChildCopied { initiated_event_id } => outgoing::apply_copied(state, *initiated_event_id),
        Note::ErrandDone { errand } => outgoing::apply_done(state, *errand),
        Note::SpeculativeWritten { deadline, started } => speculative_written(state, *deadline, *started),
        Note::StartKept(started) => workflow_task::keep_start(state, started),
        Note::UpdateForgotten { id } => {
            state.updates.remove_mut(id.as_str());
            update::forget(state, id);
        }
    }
}

fn speculative_written(state: &mut State, deadline: u64, started: bool) {
    if let Some(task) = &mut state.core.workflow_task {
        task.started_unwritten = started;
        if deadline != 0 {
            task.schedule_to_start_deadline = deadline;
        }
    }
}

fn apply_soft(state: &mut State, soft: &Soft) {
    match soft {
        Soft::TaskStarted(started) => state.started = Some(Arc::clone(started)),
        Soft::SpeculativeScheduled(task) => {
            state.speculative = Some(*task);
            state.speculations += 1;
        }
        Soft::SpeculativeDropped => {
            state.speculative = None;
            state.started = None;
        }
        Soft::UpdateAdmitted(admitted) => Arc::make_mut(&mut state.admitted).push(Arc::clone(admitted)),
        Soft::UpdatesSent => update::sent(state),
        Soft::UpdateEnded { id, .. } => update::forget(state, id),
    }
}

fn remove_buffered(state: &mut State, sequence: u64) {
    let bytes = state.buffered.get(&sequence).map_or(0, |event| event.encoded_len());
    state.item_removed(bytes);
    state.buffered.remove_mut(&sequence);
}

fn task_scheduled(state: &mut State, event: &HistoryEvent, attributes: &WorkflowTaskScheduledEventAttributes) {
    let scheduled = event.event_time.as_ref().map_or(base::Timestamp::ZERO, base::Timestamp::from_proto);
    let sticky = attributes.task_queue.as_ref().is_some_and(|queue| queue.kind() == TaskQueueKind::Sticky);
    let sticky = sticky.then(|| duration::value(state.core.sticky_schedule_to_start_timeout.as_ref()));
    state.core.workflow_task_attempt = attributes.attempt;
    // Only its own `Scheduled` is written while a speculative task is pending.
    state.speculative = None;
    schedule_task(
        state,
        stored::WorkflowTask {
            scheduled_event_id: event.event_id,
            scheduled_time: scheduled.as_nanos(),
            original_scheduled_time: scheduled.as_nanos(),
            start_to_close_timeout: attributes.start_to_close_timeout,
            transient: false,
            schedule_to_start_deadline: sticky.map_or(0, |timeout| (scheduled + timeout).as_nanos()),
            started_unwritten: false,
        },
    );
}

fn schedule_task(state: &mut State, task: stored::WorkflowTask) {
    state.core.workflow_task = Some(task);
    state.core.workflow_task_stamp += 1;
    state.core.had_workflow_task = true;
    state.core.first_task_time = 0;
}

/// No workflow task is pending any more.
fn end_task(state: &mut State) {
    state.core.workflow_task = None;
    state.core.close_attempted = false;
    state.core.kept_start.clear();
    state.started = None;
}

/// A task on a sticky queue that fails is tried again on the normal queue as the first
/// attempt: the worker's cache is to blame before the code is.
fn fail_task(state: &mut State, counts: bool) {
    end_task(state);
    let counts = counts && !state.is_sticky();
    clear_sticky(state);
    if counts {
        state.core.workflow_task_attempt += 1;
        state.core.workflow_task_attempts_since_success += 1;
    } else {
        state.core.workflow_task_attempt = 1;
    }
}

fn clear_sticky(state: &mut State) {
    state.core.sticky_queue.clear();
    state.core.sticky_schedule_to_start_timeout = None;
    if let Some(task) = &mut state.core.workflow_task {
        task.schedule_to_start_deadline = 0;
        // Offered on another queue: references to the old one are stale.
        state.core.workflow_task_stamp += 1;
    }
    if state.speculative.is_some() {
        state.speculations += 1;
    }
}

fn close(state: &mut State, event: &HistoryEvent, status: Status, new_execution_run_id: &str) {
    state.core.set_status(status);
    state.core.close_time = event.event_time.as_ref().map_or(0, |t| base::Timestamp::from_proto(t).as_nanos());
    new_execution_run_id.clone_into(&mut state.core.new_execution_run_id);
    outgoing::apply_close(state, event);
    // A task that nobody took stays visible in the description of the closed run.
    state.core.kept_start.clear();
    state.started = None;
    state.speculative = None;
    clear_sticky(state);
}

/// A speculative task is written with its start in one transaction; the run that ends takes
/// its task along.
fn is_part_of_transition(state: &State, attributes: &Attributes) -> bool {
    match attributes {
        Attributes::WorkflowTaskStartedEventAttributes(_) => {
            state.core.workflow_task.is_some_and(|task| task.started_unwritten)
        }
        Attributes::WorkflowTaskFailedEventAttributes(a) => a.cause() == WorkflowTaskFailedCause::ForceCloseCommand,
        _ => false,
    }
}

/// The events that stand for one transaction of the incumbent, for the count that users see.
fn is_transition(attributes: &Attributes) -> bool {
    use Attributes as A;
    matches!(
        attributes,
        A::WorkflowExecutionStartedEventAttributes(_)
            | A::WorkflowExecutionTimedOutEventAttributes(_)
            | A::WorkflowExecutionTerminatedEventAttributes(_)
            | A::WorkflowExecutionSignaledEventAttributes(_)
            | A::WorkflowExecutionCancelRequestedEventAttributes(_)
            | A::WorkflowExecutionOptionsUpdatedEventAttributes(_)
            | A::WorkflowExecutionPausedEventAttributes(_)
            | A::WorkflowExecutionUnpausedEventAttributes(_)
            | A::WorkflowTaskStartedEventAttributes(_)
            | A::WorkflowTaskCompletedEventAttributes(_)
            | A::WorkflowTaskFailedEventAttributes(_)
            | A::WorkflowTaskTimedOutEventAttributes(_)
            | A::ActivityTaskCompletedEventAttributes(_)
            | A::ActivityTaskFailedEventAttributes(_)
            | A::ActivityTaskTimedOutEventAttributes(_)
            | A::ActivityTaskCanceledEventAttributes(_)
            | A::TimerFiredEventAttributes(_)
            | A::StartChildWorkflowExecutionFailedEventAttributes(_)
            | A::ChildWorkflowExecutionStartedEventAttributes(_)
            | A::ChildWorkflowExecutionCompletedEventAttributes(_)
            | A::ChildWorkflowExecutionFailedEventAttributes(_)
            | A::ChildWorkflowExecutionCanceledEventAttributes(_)
            | A::ChildWorkflowExecutionTimedOutEventAttributes(_)
            | A::ChildWorkflowExecutionTerminatedEventAttributes(_)
            | A::ExternalWorkflowExecutionSignaledEventAttributes(_)
            | A::SignalExternalWorkflowExecutionFailedEventAttributes(_)
            | A::ExternalWorkflowExecutionCancelRequestedEventAttributes(_)
            | A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(_)
    )
}
