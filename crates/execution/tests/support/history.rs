//! What must be true of every history, whatever led to it. Reads events only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;
use execution::Limits;
use temporalio_protos::temporal::api::enums::v1::TimeoutType;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::history::v1::{
    ActivityTaskScheduledEventAttributes, ActivityTaskTimedOutEventAttributes, HistoryEvent,
    WorkflowTaskTimedOutEventAttributes,
};

#[derive(Default)]
struct Checker {
    /// When the run times out at the earliest.
    run_timeout: Option<Timestamp>,
    /// The workflow task that is scheduled and not closed, its timeout, and its start.
    task: Option<i64>,
    task_timeout: Duration,
    started: Option<(i64, Timestamp)>,
    completed_tasks: BTreeSet<i64>,
    /// Pending activities by scheduled event id, with their start.
    activities: BTreeMap<i64, Activity>,
    /// When each pending timer may fire.
    timers: BTreeMap<i64, Timestamp>,
    /// Children that did not end, by initiated event id, with the event of their start.
    children: BTreeMap<i64, Option<i64>>,
    /// Signals and cancel requests on their way.
    external: BTreeSet<i64>,
    /// Updates by id: the event that accepted them, until they are completed.
    updates: BTreeMap<String, Option<i64>>,
    closed: bool,
    begun: Timestamp,
    heartbeats_max: Duration,
}

struct Activity {
    input: ActivityTaskScheduledEventAttributes,
    scheduled_time: Timestamp,
    started: Option<(i64, Timestamp)>,
}

/// Panics with a sentence when the history could not have happened.
pub(crate) fn check(history: &[HistoryEvent], limits: &Limits) {
    let mut checker = Checker {
        begun: history.first().map_or(Timestamp::ZERO, time),
        heartbeats_max: limits.workflow_task_heartbeat_max,
        ..Checker::default()
    };
    for event in history {
        assert!(!checker.closed, "nothing follows the closing event: {event:?}");
        if let Some((started, _)) = checker.started {
            let next = started + 1;
            assert_eq!(event.event_id, next, "what ends a task follows its start");
            assert!(ends_task(event), "nothing comes between a task's start and its end: {event:?}");
        }
        checker.event(event, event.attributes.as_ref().expect("events have attributes"));
    }
    assert_eq!(checker.started, None, "a start is written together with the end");
}

fn ends_task(event: &HistoryEvent) -> bool {
    matches!(
        event.attributes,
        Some(
            A::WorkflowTaskCompletedEventAttributes(_)
                | A::WorkflowTaskFailedEventAttributes(_)
                | A::WorkflowTaskTimedOutEventAttributes(_)
        )
    )
}

impl Checker {
    fn event(&mut self, event: &HistoryEvent, attributes: &A) {
        match attributes {
            A::WorkflowExecutionStartedEventAttributes(a) => {
                let begins = time(event) + duration(a.first_workflow_task_backoff.as_ref());
                let run = Some(duration(a.workflow_run_timeout.as_ref())).filter(|run| !run.is_zero());
                let chain = a.workflow_execution_expiration_time.as_ref().map(Timestamp::from_proto);
                self.run_timeout = run.map(|run| begins + run).into_iter().chain(chain).min();
            }
            A::WorkflowTaskScheduledEventAttributes(a) => {
                assert_eq!(self.task, None, "one workflow task at a time");
                self.task = Some(event.event_id);
                self.task_timeout = duration(a.start_to_close_timeout.as_ref());
            }
            A::WorkflowTaskStartedEventAttributes(a) => {
                assert_eq!(self.task, Some(a.scheduled_event_id), "the scheduled task starts");
                self.started = Some((event.event_id, time(event)));
            }
            A::WorkflowTaskCompletedEventAttributes(a) => {
                self.task_ended(a.scheduled_event_id, a.started_event_id);
                self.completed_tasks.insert(event.event_id);
            }
            A::WorkflowTaskFailedEventAttributes(a) => self.task_ended(a.scheduled_event_id, a.started_event_id),
            A::WorkflowTaskTimedOutEventAttributes(a) => self.task_timed_out(event, a),
            A::TimerStartedEventAttributes(a) => {
                self.commanded(a.workflow_task_completed_event_id);
                self.timers.insert(event.event_id, time(event) + duration(a.start_to_fire_timeout.as_ref()));
            }
            A::TimerFiredEventAttributes(a) => {
                let due = self.timers.remove(&a.started_event_id).expect("a pending timer fires, once");
                assert!(time(event) >= due, "a timer fires early");
            }
            A::TimerCanceledEventAttributes(a) => {
                self.commanded(a.workflow_task_completed_event_id);
                self.timers.remove(&a.started_event_id).expect("a pending timer is cancelled");
            }
            A::MarkerRecordedEventAttributes(a) => self.commanded(a.workflow_task_completed_event_id),
            A::WorkflowExecutionCompletedEventAttributes(a) => self.closed_by(a.workflow_task_completed_event_id),
            A::WorkflowExecutionFailedEventAttributes(a) => self.closed_by(a.workflow_task_completed_event_id),
            A::WorkflowExecutionCanceledEventAttributes(a) => self.closed_by(a.workflow_task_completed_event_id),
            A::WorkflowExecutionContinuedAsNewEventAttributes(a) => self.closed_by(a.workflow_task_completed_event_id),
            A::WorkflowExecutionTerminatedEventAttributes(_) => self.closed = true,
            A::WorkflowExecutionTimedOutEventAttributes(_) => {
                let due = self.run_timeout.expect("a run without timeout does not time out");
                assert!(time(event) >= due, "a run times out early");
                self.closed = true;
            }
            A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                let known = self.updates.insert(a.protocol_instance_id.clone(), Some(event.event_id));
                assert_eq!(known, None, "an update is accepted once");
            }
            A::WorkflowExecutionUpdateCompletedEventAttributes(a) => {
                let id = a.meta.as_ref().map_or("", |meta| &meta.update_id);
                let accepted = self.updates.get_mut(id).and_then(Option::take);
                assert_eq!(accepted, Some(a.accepted_event_id), "an accepted update is completed, once");
            }
            attributes => self.activity(event, attributes),
        }
    }

    fn activity(&mut self, event: &HistoryEvent, attributes: &A) {
        match attributes {
            A::ActivityTaskScheduledEventAttributes(a) => {
                self.commanded(a.workflow_task_completed_event_id);
                let activity = Activity { input: a.clone(), scheduled_time: time(event), started: None };
                self.activities.insert(event.event_id, activity);
            }
            A::ActivityTaskStartedEventAttributes(a) => {
                let activity = self.activities.get_mut(&a.scheduled_event_id).expect("a pending activity starts");
                assert_eq!(activity.started, None, "only the last start is in history");
                activity.started = Some((event.event_id, time(event)));
                let attempts = activity.input.retry_policy.as_ref().map_or(0, |policy| policy.maximum_attempts);
                assert!(attempts == 0 || a.attempt <= attempts, "an attempt too many");
            }
            A::ActivityTaskCompletedEventAttributes(a) => self.activity_ended(a.scheduled_event_id, a.started_event_id),
            A::ActivityTaskFailedEventAttributes(a) => self.activity_ended(a.scheduled_event_id, a.started_event_id),
            A::ActivityTaskTimedOutEventAttributes(a) => self.activity_timed_out(event, a),
            A::ActivityTaskCanceledEventAttributes(a) => self.activity_ended(a.scheduled_event_id, a.started_event_id),
            A::ActivityTaskCancelRequestedEventAttributes(a) => self.commanded(a.workflow_task_completed_event_id),
            attributes => self.between(event, attributes),
        }
    }

    /// Children, signals and cancel requests of other workflows.
    fn between(&mut self, event: &HistoryEvent, attributes: &A) {
        match attributes {
            A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
                self.commanded(a.workflow_task_completed_event_id);
                self.children.insert(event.event_id, None);
            }
            A::StartChildWorkflowExecutionFailedEventAttributes(a) => self.child_ended(a.initiated_event_id, 0),
            A::ChildWorkflowExecutionStartedEventAttributes(a) => {
                let started = self.children.get_mut(&a.initiated_event_id).expect("a child was initiated");
                assert_eq!(started.replace(event.event_id), None, "a child starts once");
            }
            A::ChildWorkflowExecutionCompletedEventAttributes(a) => {
                self.child_ended(a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionFailedEventAttributes(a) => {
                self.child_ended(a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionCanceledEventAttributes(a) => {
                self.child_ended(a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionTimedOutEventAttributes(a) => {
                self.child_ended(a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionTerminatedEventAttributes(a) => {
                self.child_ended(a.initiated_event_id, a.started_event_id);
            }
            A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                self.commanded(a.workflow_task_completed_event_id);
                self.external.insert(event.event_id);
            }
            A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                self.commanded(a.workflow_task_completed_event_id);
                self.external.insert(event.event_id);
            }
            A::ExternalWorkflowExecutionSignaledEventAttributes(a) => self.arrived(a.initiated_event_id),
            A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => self.arrived(a.initiated_event_id),
            A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => self.arrived(a.initiated_event_id),
            A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => self.arrived(a.initiated_event_id),
            _ => {}
        }
    }

    fn child_ended(&mut self, initiated: i64, started: i64) {
        let known = self.children.remove(&initiated).expect("a pending child ends, once");
        assert_eq!(known.unwrap_or(0), started, "a child's end names its start");
    }

    fn arrived(&mut self, initiated: i64) {
        assert!(self.external.remove(&initiated), "what was sent has one outcome");
    }

    fn task_ended(&mut self, scheduled: i64, started: i64) {
        assert_eq!(self.task.take(), Some(scheduled), "the pending task ends");
        let held = self.started.take().map_or(0, |(id, _)| id);
        assert_eq!(held, started, "by the worker that has it, or by nobody");
    }

    fn task_timed_out(&mut self, event: &HistoryEvent, attributes: &WorkflowTaskTimedOutEventAttributes) {
        // Heartbeats that go on for too long end a task sooner than its own timeout.
        if let Some((_, started)) = self.started
            && time(event) < self.begun + self.heartbeats_max
        {
            assert!(time(event) >= started + self.task_timeout, "a workflow task times out early");
        }
        self.task_ended(attributes.scheduled_event_id, attributes.started_event_id);
    }

    fn activity_ended(&mut self, scheduled: i64, started: i64) {
        let activity = self.activities.remove(&scheduled).expect("a pending activity ends, once");
        assert_eq!(activity.started.map_or(0, |(id, _)| id), started, "an activity's end names its start");
    }

    fn activity_timed_out(&mut self, event: &HistoryEvent, attributes: &ActivityTaskTimedOutEventAttributes) {
        let activity = self.activities.get(&attributes.scheduled_event_id).expect("a pending activity times out");
        let kind = match attributes.failure.as_ref().and_then(|failure| failure.failure_info.as_ref()) {
            Some(FailureInfo::TimeoutFailureInfo(info)) => info.timeout_type(),
            other => panic!("a timeout is not {other:?}"),
        };
        let started = activity.started.map(|(_, time)| time);
        let due = match kind {
            TimeoutType::StartToClose => {
                started.expect("started") + duration(activity.input.start_to_close_timeout.as_ref())
            }
            TimeoutType::Heartbeat => started.expect("started") + duration(activity.input.heartbeat_timeout.as_ref()),
            TimeoutType::ScheduleToStart => {
                activity.scheduled_time + duration(activity.input.schedule_to_start_timeout.as_ref())
            }
            // Also when no time is left for another attempt.
            _ => activity.scheduled_time,
        };
        assert!(time(event) >= due, "an activity times out early");
        self.activity_ended(attributes.scheduled_event_id, attributes.started_event_id);
    }

    fn commanded(&self, completed: i64) {
        assert!(self.completed_tasks.contains(&completed), "a command's event names the task that made it");
        assert_eq!(self.completed_tasks.last(), Some(&completed), "and that is the last one");
    }

    fn closed_by(&mut self, completed: i64) {
        self.commanded(completed);
        self.closed = true;
    }
}

fn duration(value: Option<&prost_types::Duration>) -> Duration {
    value.map_or(Duration::ZERO, |value| Duration::new(value.seconds as u64, value.nanos as u32))
}

fn time(event: &HistoryEvent) -> Timestamp {
    event.event_time.as_ref().map(Timestamp::from_proto).expect("events have a time")
}
