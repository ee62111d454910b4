//! A workflow task for the sake of updates: nothing is written unless there is a reason, so
//! that an update which is rejected leaves no trace.
//!
//! ```text
//!  none ──update──▶ speculative ──start──▶ started ──only rejections──▶ none
//!                      │  │                  │  └──anything else, fails, times out──▶ written
//!                      │  └──5 s, nobody took it──▶ [Scheduled][TimedOut], a normal task
//!                      └──something is written──▶ [Scheduled] first: a normal task
//! ```
//! All of it is state of the leader only. A leader that is lost takes it along; who waits
//! for the update asks the next one.

use std::time::Duration;

use prost::Name;
use temporalio_protos::temporal::api::enums::v1::TimeoutType;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::update::v1::Rejection;
use temporalio_protos::temporal::api::workflowservice::v1::RespondWorkflowTaskCompletedRequest as Request;

use super::super::draft::draft;
use super::super::state::Started;
use super::super::step::Step;
use super::super::{Note, Soft, State, stored, update};
use super::{schedule, scheduled, timed_out, timeout_of_attempt};
use crate::policy::duration;

/// A task that was lost on its way to a worker delays the update by this much.
const SCHEDULE_TO_START: Duration = Duration::from_secs(5);

/// Schedules a task that need not be written, unless there is one already.
pub(crate) fn schedule_unwritten(step: &mut Step<'_>) {
    let state = &step.state;
    if state.task().is_some() || !state.is_running() {
        return;
    }
    let timeout = timeout_of_attempt(state, state.core.workflow_task_attempt);
    let patience = if state.is_sticky() {
        duration::value(state.core.sticky_schedule_to_start_timeout.as_ref())
    } else {
        SCHEDULE_TO_START
    };
    let now = step.now.as_nanos();
    step.soft(Soft::SpeculativeScheduled(stored::WorkflowTask {
        scheduled_event_id: step.state.core.next_event_id,
        scheduled_time: now,
        original_scheduled_time: now,
        start_to_close_timeout: Some(duration::proto(timeout)),
        transient: false,
        schedule_to_start_deadline: (step.now + patience).as_nanos(),
        started_unwritten: false,
    }));
}

/// Something is about to be written: the task becomes a normal one.
pub(crate) fn settle(step: &mut Step<'_>) {
    let Some(task) = step.state.speculative else { return };
    let started = step.state.started.clone();
    write_scheduled(step, &task);
    let deadline = if started.is_some() { 0 } else { task.schedule_to_start_deadline };
    step.note(Note::SpeculativeWritten { deadline, started: started.is_some() });
    if let Some(started) = started {
        // Who polled was never written down, and is not known any more.
        let started = Started { identity: String::new(), worker_version: None, ..(*started).clone() };
        step.soft(Soft::TaskStarted(started.into()));
    }
}

/// Its own `Scheduled`, and the end of the run, which nothing can follow.
pub(crate) fn leaves_unwritten(attributes: &Attributes) -> bool {
    matches!(
        attributes,
        Attributes::WorkflowTaskScheduledEventAttributes(_)
            | Attributes::WorkflowExecutionTerminatedEventAttributes(_)
            | Attributes::WorkflowExecutionTimedOutEventAttributes(_)
    )
}

/// Nobody took it in time, or it was lost on the way.
pub(crate) fn time_out(step: &mut Step<'_>) {
    let Some(task) = step.state.speculative else { return };
    write_scheduled(step, &task);
    step.event(timed_out(task.scheduled_event_id, 0, TimeoutType::ScheduleToStart));
    schedule(step);
}

/// Whether the completion of the held task leaves no trace: the worker rejected all updates,
/// and will not mind to be shown the same events again.
pub(crate) fn leaves_no_trace(state: &State, request: &Request, events_max: i64) -> bool {
    if state.speculative.is_none() || !request.commands.is_empty() || request.force_create_new_workflow_task {
        return false;
    }
    let capabilities = request.capabilities.unwrap_or_default();
    let shown_again = if capabilities.discard_speculative_workflow_task_with_events { events_max } else { 0 };
    // `Started` and `Completed` of the last task are known to the worker.
    let known = state.core.last_completed_task_started_event_id + 2;
    let is_rejection =
        |body: Option<&prost_types::Any>| body.is_some_and(|body| update::type_name(body) == Rejection::full_name());
    state.core.next_event_id <= known + shown_again
        && request.messages.iter().all(|message| is_rejection(message.body.as_ref()))
}

fn write_scheduled(step: &mut Step<'_>, task: &stored::WorkflowTask) {
    let timeout = duration::value(task.start_to_close_timeout.as_ref());
    let attempt = step.state.core.workflow_task_attempt;
    let attributes = scheduled(step.state.current_queue(), timeout, attempt);
    let time = base::Timestamp::from_nanos(task.scheduled_time);
    step.write(draft(time, attributes));
}
