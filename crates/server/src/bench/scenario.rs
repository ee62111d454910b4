//! What the bench's one workflow does, as a pure fold over its history: events in,
//! commands out. Results are numbers that the load can foretell, so that a lost, doubled
//! or mixed-up task shows.

use std::time::Duration;

use base::Timestamp;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::{ActivityType, Payload, Payloads};
use temporalio_protos::temporal::api::enums::v1::CommandType;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as Event;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;

/// The signal that adds its number, and the one that ends the workflow.
pub(super) const SIGNAL_ADD: &str = "add";
pub(super) const SIGNAL_FINISH: &str = "finish";

/// Long enough never to be what is measured.
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Scenario {
    /// Workflows with activities, one after the other in each.
    Activities,
    /// Workflows that wait for a timer; also measures how late it fires.
    Timers,
    /// Signals to one workflow.
    Signals,
    /// Starting workflows that no worker takes up.
    Start,
    /// Like `activities`, with one workflow at a time: latency without a queue.
    OneAtATime,
}

/// What each workflow does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    Activities { count: u32 },
    Timer { duration: Duration },
    Signals,
    Nothing,
}

/// One timer of a workflow, on the server's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Firing {
    pub due: Timestamp,
    pub fired: Timestamp,
}

/// A run, as far as its events are known.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Run {
    /// The event that continues this state.
    pub next_event_id: i64,
    seed: i64,
    sum: i64,
    scheduled: u32,
    completed: u32,
    timer_due: Option<Timestamp>,
    /// The timer, when it is among the events folded last.
    pub firing: Option<Firing>,
    finish: bool,
}

impl Run {
    pub(super) fn new() -> Self {
        Self { next_event_id: 1, ..Self::default() }
    }

    /// Ready for more events; a firing told before is not told again.
    pub(super) fn resumed(self) -> Self {
        Self { firing: None, ..self }
    }

    pub(super) fn fold(&mut self, event: &HistoryEvent) {
        self.next_event_id = event.event_id + 1;
        let time = event.event_time.as_ref().map(Timestamp::from_proto).unwrap_or_default();
        match &event.attributes {
            Some(Event::WorkflowExecutionStartedEventAttributes(started)) => {
                self.seed = number(started.input.as_ref());
            }
            Some(Event::ActivityTaskScheduledEventAttributes(_)) => self.scheduled += 1,
            Some(Event::ActivityTaskCompletedEventAttributes(completed)) => {
                self.completed += 1;
                self.sum = self.sum.wrapping_add(number(completed.result.as_ref()));
            }
            Some(Event::TimerStartedEventAttributes(timer)) => {
                let length = timer.start_to_fire_timeout.as_ref().and_then(|length| (*length).try_into().ok());
                self.timer_due = Some(time + length.unwrap_or(Duration::ZERO));
            }
            Some(Event::TimerFiredEventAttributes(_)) => {
                self.firing = self.timer_due.map(|due| Firing { due, fired: time });
            }
            Some(Event::WorkflowExecutionSignaledEventAttributes(signal)) => match signal.signal_name.as_str() {
                SIGNAL_FINISH => self.finish = true,
                _ => self.sum = self.sum.wrapping_add(number(signal.input.as_ref())),
            },
            _ => {}
        }
    }

    /// The next step, and whether it is the last.
    pub(super) fn decide(&self, plan: Plan, queue: &str) -> (Vec<Command>, bool) {
        match plan {
            Plan::Activities { count } if self.completed >= count => (vec![complete(self.sum)], true),
            Plan::Activities { .. } if self.scheduled == self.completed => {
                let input = self.seed.wrapping_add(self.completed.into());
                (vec![schedule_activity(self.completed, input, queue)], false)
            }
            Plan::Timer { .. } if self.firing.is_some() => (vec![complete(self.seed)], true),
            Plan::Timer { duration } if self.timer_due.is_none() => (vec![start_timer(duration)], false),
            Plan::Signals if self.finish => (vec![complete(self.sum)], true),
            _ => (Vec::new(), false),
        }
    }
}

impl Plan {
    /// The result of a workflow that nobody signals.
    pub(super) fn expected(self, seed: i64) -> i64 {
        match self {
            Self::Activities { count } => {
                let inputs = (0..count).map(|n| seed.wrapping_add(n.into()));
                inputs.fold(0, |sum, input| sum.wrapping_add(activity(input)))
            }
            Self::Timer { .. } => seed,
            Self::Signals | Self::Nothing => 0,
        }
    }
}

/// What the activity computes.
pub(super) fn activity(input: i64) -> i64 {
    input.wrapping_mul(3).wrapping_add(1)
}

/// A number as every SDK would write it.
pub(super) fn payloads(number: i64) -> Payloads {
    let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
    Payloads { payloads: vec![Payload { metadata, data: number.to_string().into_bytes(), ..Default::default() }] }
}

/// The number in `payloads`; zero when there is none, which no check expects.
pub(super) fn number(payloads: Option<&Payloads>) -> i64 {
    let data = payloads.and_then(|payloads| payloads.payloads.first()).map(|payload| payload.data.as_slice());
    data.and_then(|data| std::str::from_utf8(data).ok()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn normal_queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), kind: 1, normal_name: String::new() }
}

fn complete(result: i64) -> Command {
    let attributes = CompleteWorkflowExecutionCommandAttributes { result: Some(payloads(result)) };
    command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(attributes))
}

fn schedule_activity(nth: u32, input: i64, queue: &str) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: nth.to_string(),
        activity_type: Some(ActivityType { name: "bench".to_owned() }),
        task_queue: Some(normal_queue(queue)),
        input: Some(payloads(input)),
        start_to_close_timeout: ACTIVITY_TIMEOUT.try_into().ok(),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(attributes))
}

fn start_timer(duration: Duration) -> Command {
    let attributes =
        StartTimerCommandAttributes { timer_id: "timer".to_owned(), start_to_fire_timeout: duration.try_into().ok() };
    command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(attributes))
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind.into(), attributes: Some(attributes), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1::{
        ActivityTaskCompletedEventAttributes, ActivityTaskScheduledEventAttributes,
        WorkflowExecutionStartedEventAttributes,
    };

    use super::*;

    #[test]
    fn a_run_does_its_activities_and_ends_with_the_foretold_number() {
        let plan = Plan::Activities { count: 2 };
        let mut run = Run::new();
        let started = WorkflowExecutionStartedEventAttributes { input: Some(payloads(7)), ..Default::default() };
        let mut next = Event::WorkflowExecutionStartedEventAttributes(started);
        for id in 1..=5 {
            run.fold(&HistoryEvent { event_id: id, attributes: Some(next), ..Default::default() });
            let (commands, last) = run.decide(plan, "q");
            next = match commands.into_iter().next().and_then(|command| command.attributes) {
                Some(Attributes::ScheduleActivityTaskCommandAttributes(task)) => {
                    assert!(!last);
                    let input = task.input;
                    Event::ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes {
                        input,
                        ..Default::default()
                    })
                }
                Some(Attributes::CompleteWorkflowExecutionCommandAttributes(done)) => {
                    assert_eq!((id, last), (5, true));
                    assert_eq!(number(done.result.as_ref()), plan.expected(7));
                    return;
                }
                _ => Event::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
                    result: Some(payloads(activity(7 + i64::from(run.completed)))),
                    ..Default::default()
                }),
            };
        }
        panic!("the run did not end");
    }

    #[test]
    fn numbers_survive_the_wire() {
        for value in [0, -1, i64::MAX, i64::MIN] {
            assert_eq!(number(Some(&payloads(value))), value);
        }
        assert_eq!(number(None), 0);
    }
}
