//! The model says no where workers do, and yes where they go on.

use temporalio_protos::temporal::api::enums::v1::{TimeoutType, WorkflowTaskFailedCause};
use temporalio_protos::temporal::api::history::v1 as history;

use super::super::draft::draft;
use super::*;

/// Events in order, numbered from 1.
fn read(events: Vec<A>) -> Result<(), Refused> {
    let numbered = events.into_iter().zip(1..).map(|(attributes, event_id)| event(event_id, attributes));
    check(&numbered.collect::<Vec<_>>())
}

fn event(event_id: i64, attributes: A) -> HistoryEvent {
    HistoryEvent { event_id, ..draft(base::Timestamp::ZERO, attributes) }
}

fn refused(events: Vec<A>) -> (i64, &'static str) {
    let Refused { event_id, reason, .. } = read(events).expect_err("no worker accepts this");
    (event_id, reason)
}

fn start() -> A {
    A::WorkflowExecutionStartedEventAttributes(Default::default())
}

fn scheduled() -> A {
    A::WorkflowTaskScheduledEventAttributes(Default::default())
}

fn started(scheduled_event_id: i64) -> A {
    let attributes = history::WorkflowTaskStartedEventAttributes { scheduled_event_id, ..Default::default() };
    A::WorkflowTaskStartedEventAttributes(attributes)
}

fn completed(scheduled_event_id: i64, started_event_id: i64) -> A {
    A::WorkflowTaskCompletedEventAttributes(history::WorkflowTaskCompletedEventAttributes {
        scheduled_event_id,
        started_event_id,
        ..Default::default()
    })
}

fn failed(scheduled_event_id: i64, cause: WorkflowTaskFailedCause) -> A {
    let cause = cause.into();
    let attributes = history::WorkflowTaskFailedEventAttributes { scheduled_event_id, cause, ..Default::default() };
    A::WorkflowTaskFailedEventAttributes(attributes)
}

fn timed_out(scheduled_event_id: i64) -> A {
    let timeout_type = TimeoutType::ScheduleToStart.into();
    let attributes =
        history::WorkflowTaskTimedOutEventAttributes { scheduled_event_id, timeout_type, ..Default::default() };
    A::WorkflowTaskTimedOutEventAttributes(attributes)
}

fn signaled() -> A {
    A::WorkflowExecutionSignaledEventAttributes(Default::default())
}

fn activity(workflow_task_completed_event_id: i64) -> A {
    A::ActivityTaskScheduledEventAttributes(history::ActivityTaskScheduledEventAttributes {
        workflow_task_completed_event_id,
        ..Default::default()
    })
}

fn activity_started(scheduled_event_id: i64) -> A {
    let attributes = history::ActivityTaskStartedEventAttributes { scheduled_event_id, ..Default::default() };
    A::ActivityTaskStartedEventAttributes(attributes)
}

fn activity_canceled(scheduled_event_id: i64) -> A {
    let attributes = history::ActivityTaskCanceledEventAttributes { scheduled_event_id, ..Default::default() };
    A::ActivityTaskCanceledEventAttributes(attributes)
}

fn activity_completed(scheduled_event_id: i64) -> A {
    let attributes = history::ActivityTaskCompletedEventAttributes { scheduled_event_id, ..Default::default() };
    A::ActivityTaskCompletedEventAttributes(attributes)
}

fn cancel_requested(scheduled_event_id: i64) -> A {
    A::ActivityTaskCancelRequestedEventAttributes(history::ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id,
        workflow_task_completed_event_id: 4,
    })
}

/// What follows on the first workflow task.
fn after_task(events: impl IntoIterator<Item = A>) -> Vec<A> {
    [start(), scheduled(), started(2), completed(2, 3)].into_iter().chain(events).collect()
}

#[test]
fn a_workflow_task_that_nobody_started_cannot_fail() {
    // What a pause wrote once, and what the official server writes.
    let cause = WorkflowTaskFailedCause::WorkflowPauseRequestedBeforeTaskStarted;
    assert_eq!(refused(vec![start(), scheduled(), failed(2, cause)]).0, 3);
    assert_eq!(refused(vec![start(), scheduled(), completed(2, 0)]).0, 3);
    assert_eq!(read(vec![start(), scheduled(), timed_out(2), scheduled()]), Ok(()));
    let cause = WorkflowTaskFailedCause::ResetWorkflow;
    assert_eq!(read(vec![start(), scheduled(), signaled(), started(2), failed(2, cause), scheduled()]), Ok(()));
}

#[test]
fn one_workflow_task_at_a_time_and_nothing_while_it_is_held() {
    assert_eq!(refused(vec![start(), scheduled(), scheduled()]), (3, "there is a workflow task already"));
    assert_eq!(refused(vec![start(), scheduled(), started(2), signaled()]), (4, "a worker holds the workflow task"));
    assert_eq!(refused(after_task([completed(2, 3)])).0, 5);
    assert_eq!(refused(vec![start(), started(2)]), (2, "what it is about never began"));
}

#[test]
fn commands_stand_behind_their_own_completion() {
    assert_eq!(read(after_task([activity(4), signaled(), activity(4)])), Ok(()));
    assert_eq!(refused(after_task([scheduled(), activity(4)])).0, 6);
    assert_eq!(refused(after_task([activity(3)])).0, 5);
}

#[test]
fn activities_start_before_they_complete_and_are_asked_before_they_cancel() {
    assert_eq!(read(after_task([activity(4), activity_started(5), activity_completed(5)])), Ok(()));
    assert_eq!(read(after_task([activity(4), cancel_requested(5), activity_canceled(5)])), Ok(()));
    let both = [activity(4), cancel_requested(5), activity_started(5), activity_completed(5)];
    assert_eq!(read(after_task(both)), Ok(()));
    assert_eq!(refused(after_task([activity(4), activity_completed(5)])).0, 6);
    assert_eq!(refused(after_task([activity(4), activity_started(5), activity_canceled(5)])).0, 7);
    assert_eq!(
        refused(after_task([activity(4), activity_started(5), activity_completed(5), activity_completed(5)])).0,
        8
    );
}

#[test]
fn timers_and_requests_to_others_end_once() {
    let command = 4;
    let timer =
        history::TimerStartedEventAttributes { workflow_task_completed_event_id: command, ..Default::default() };
    let fired = || {
        let attributes = history::TimerFiredEventAttributes { started_event_id: 5, ..Default::default() };
        A::TimerFiredEventAttributes(attributes)
    };
    let timer = A::TimerStartedEventAttributes(timer);
    assert_eq!(read(after_task([timer.clone(), fired()])), Ok(()));
    assert_eq!(refused(after_task([timer, fired(), fired()])).0, 7);
    let signal = history::SignalExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: command,
        ..Default::default()
    };
    let delivered = || {
        A::ExternalWorkflowExecutionSignaledEventAttributes(history::ExternalWorkflowExecutionSignaledEventAttributes {
            initiated_event_id: 5,
            ..Default::default()
        })
    };
    let signal = A::SignalExternalWorkflowExecutionInitiatedEventAttributes(signal);
    assert_eq!(refused(after_task([signal, delivered(), delivered()])).0, 7);
}

#[test]
fn a_child_starts_before_it_ends() {
    let initiated = A::StartChildWorkflowExecutionInitiatedEventAttributes(
        history::StartChildWorkflowExecutionInitiatedEventAttributes {
            workflow_task_completed_event_id: 4,
            ..Default::default()
        },
    );
    let started =
        A::ChildWorkflowExecutionStartedEventAttributes(history::ChildWorkflowExecutionStartedEventAttributes {
            initiated_event_id: 5,
            ..Default::default()
        });
    let ended =
        A::ChildWorkflowExecutionTerminatedEventAttributes(history::ChildWorkflowExecutionTerminatedEventAttributes {
            initiated_event_id: 5,
            ..Default::default()
        });
    assert_eq!(read(after_task([initiated.clone(), started.clone(), ended.clone()])), Ok(()));
    assert_eq!(refused(after_task([initiated.clone(), ended.clone()])).0, 6);
    assert_eq!(refused(after_task([initiated.clone(), started.clone(), started.clone()])).0, 7);
    assert_eq!(refused(after_task([initiated, started, ended.clone(), ended])).0, 8);
}

#[test]
fn an_update_is_accepted_once_and_then_completed() {
    let accepted =
        A::WorkflowExecutionUpdateAcceptedEventAttributes(history::WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: "u".into(),
            ..Default::default()
        });
    let meta = temporalio_protos::temporal::api::update::v1::Meta { update_id: "u".into(), ..Default::default() };
    let completed =
        A::WorkflowExecutionUpdateCompletedEventAttributes(history::WorkflowExecutionUpdateCompletedEventAttributes {
            meta: Some(meta),
            ..Default::default()
        });
    assert_eq!(read(after_task([accepted.clone(), completed.clone()])), Ok(()));
    assert_eq!(refused(after_task([completed.clone()])).0, 5);
    assert_eq!(refused(after_task([accepted.clone(), accepted])).0, 6);
}

#[test]
fn a_run_begins_once_and_ends_once() {
    let terminated = || A::WorkflowExecutionTerminatedEventAttributes(Default::default());
    assert_eq!(read(vec![start(), scheduled(), terminated()]), Ok(()));
    assert_eq!(refused(vec![start(), terminated(), signaled()]), (3, "nothing follows the end of a run"));
    assert_eq!(refused(vec![start(), start()]).0, 2);
    assert_eq!(refused(vec![scheduled()]).0, 1);
}

#[test]
fn what_workers_do_not_know_must_say_that_they_may_ignore_it() {
    let paused = A::WorkflowExecutionPausedEventAttributes(Default::default());
    assert_eq!(refused(vec![start(), paused.clone()]).0, 2);
    let paused = HistoryEvent { worker_may_ignore: true, ..event(2, paused) };
    assert_eq!(check(&[event(1, start()), paused]), Ok(()));
    assert_eq!(
        check(&[event(1, start()), event(3, signaled())]).unwrap_err().reason,
        "events come one after the other"
    );
}
