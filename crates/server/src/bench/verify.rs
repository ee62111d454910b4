//! Did the server do what it acknowledged? Every result was compared by the load; here
//! whole histories of a sample are read again and held against the plan.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as Event;
use tokio::time::Instant;

use super::remote::Remote;
use super::scenario::{Plan, SIGNAL_ADD, number};

/// How long reading one history may take.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// After so many histories in a row that cannot be read, the rest is not tried.
const UNREADABLE_MAX: u32 = 3;
/// Problems kept in words; the rest is counted.
const PROBLEMS_MAX: usize = 20;

/// What was checked, and what was wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Verdict {
    pub problems: Vec<String>,
    pub problems_more: u64,
    pub failed_operations: u64,
    pub histories_checked: u64,
    /// Workflow tasks that timed out or failed: allowed, but a sign of trouble.
    pub task_failures: u64,
}

impl Verdict {
    pub(super) fn problem(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.problems_more += 1;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        other.problems.into_iter().for_each(|problem| self.problem(problem));
        self.problems_more += other.problems_more;
        self.failed_operations += other.failed_operations;
        self.histories_checked += other.histories_checked;
        self.task_failures += other.task_failures;
    }

    /// A timer may be late, never early.
    pub(super) fn early_timers(&mut self, early: u64) {
        if early > 0 {
            self.problem(format!("{early} timers fired early"));
        }
    }

    /// The worker must not have completed more workflows than there are. Fewer is possible:
    /// an answer may have been lost whose effect was not.
    pub(super) fn completions(&mut self, accepted: u64, workflows: u64) {
        let possible = workflows + self.failed_operations;
        if accepted > possible {
            self.problem(format!("{accepted} completions were accepted for {possible} workflows"));
        }
    }
}

/// Reads up to `max` histories, spread evenly over all workflows.
pub(super) async fn histories(remote: &Remote, plan: Plan, issued: u64, failed: &BTreeSet<u64>, max: u64) -> Verdict {
    let mut verdict = Verdict::default();
    if max == 0 {
        return verdict;
    }
    let stride = issued.div_ceil(max).max(1);
    let mut workflow = 0;
    let mut unreadable = 0;
    while workflow < issued && unreadable < UNREADABLE_MAX {
        if !failed.contains(&workflow) {
            let id = remote.workflow_id(workflow);
            match remote.history(&remote.execution(workflow), Vec::new(), Instant::now() + READ_PATIENCE).await {
                Err(status) => {
                    unreadable += 1;
                    verdict.problem(format!("{id} cannot be read: {}", status.message()));
                }
                Ok(events) => {
                    unreadable = 0;
                    verdict.histories_checked += 1;
                    verdict.task_failures += count(&events, is_task_failure);
                    if let Err(problem) = check(&events, plan) {
                        verdict.problem(format!("{id}: {problem}"));
                    }
                }
            }
        }
        workflow += stride;
    }
    verdict
}

/// One history against the plan. A pure function.
fn check(events: &[HistoryEvent], plan: Plan) -> Result<(), String> {
    let gap = events.iter().zip(1..).find(|(event, id)| event.event_id != *id);
    if let Some((event, id)) = gap {
        return Err(format!("event {} stands where {id} should be", event.event_id));
    }
    expect("start", count(events, |event| matches!(event, Event::WorkflowExecutionStartedEventAttributes(_))), 1)?;
    let completed = |event: &Event| matches!(event, Event::WorkflowExecutionCompletedEventAttributes(_));
    let open = plan == Plan::Nothing;
    expect("completion", count(events, completed), u64::from(!open))?;
    if !open && !events.last().and_then(|event| event.attributes.as_ref()).is_some_and(completed) {
        return Err("something follows the completion".to_owned());
    }
    match plan {
        Plan::Activities { count: activities } => check_activities(events, activities),
        Plan::Timer { duration } => check_timer(events, duration),
        Plan::Signals => check_signals(events),
        Plan::Nothing => Ok(()),
    }
}

fn check_activities(events: &[HistoryEvent], activities: u32) -> Result<(), String> {
    let scheduled = count(events, |event| matches!(event, Event::ActivityTaskScheduledEventAttributes(_)));
    expect("scheduled activities", scheduled, activities.into())?;
    let completions = events.iter().filter_map(|event| match &event.attributes {
        Some(Event::ActivityTaskCompletedEventAttributes(done)) => Some(done.scheduled_event_id),
        _ => None,
    });
    let completions: Vec<i64> = completions.collect();
    expect("completed activities", completions.len() as u64, activities.into())?;
    let distinct: BTreeSet<i64> = completions.into_iter().collect();
    expect("activities completed once", distinct.len() as u64, activities.into())
}

fn check_timer(events: &[HistoryEvent], duration: Duration) -> Result<(), String> {
    let time = |event: &HistoryEvent| event.event_time.as_ref().map(Timestamp::from_proto).unwrap_or_default();
    let of = |wanted: fn(&Event) -> bool| {
        let found = events.iter().filter(move |event| event.attributes.as_ref().is_some_and(wanted));
        found.map(time).collect::<Vec<_>>()
    };
    let started = of(|event| matches!(event, Event::TimerStartedEventAttributes(_)));
    let fired = of(|event| matches!(event, Event::TimerFiredEventAttributes(_)));
    match (&started[..], &fired[..]) {
        ([started], [fired]) if *fired >= *started + duration => Ok(()),
        ([_], [_]) => Err("the timer fired early".to_owned()),
        _ => Err(format!("{} timers started and {} fired", started.len(), fired.len())),
    }
}

fn check_signals(events: &[HistoryEvent]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for event in events {
        if let Some(Event::WorkflowExecutionSignaledEventAttributes(signal)) = &event.attributes
            && signal.signal_name == SIGNAL_ADD
            && !seen.insert(number(signal.input.as_ref()))
        {
            return Err(format!("signal {} is there twice", number(signal.input.as_ref())));
        }
    }
    Ok(())
}

fn is_task_failure(event: &Event) -> bool {
    matches!(event, Event::WorkflowTaskTimedOutEventAttributes(_) | Event::WorkflowTaskFailedEventAttributes(_))
}

fn count(events: &[HistoryEvent], wanted: impl Fn(&Event) -> bool) -> u64 {
    events.iter().filter(|event| event.attributes.as_ref().is_some_and(&wanted)).count() as u64
}

fn expect(what: &str, found: u64, expected: u64) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found} instead of {expected}")) }
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1::{
        ActivityTaskCompletedEventAttributes as Completed, ActivityTaskScheduledEventAttributes,
        WorkflowExecutionCompletedEventAttributes, WorkflowExecutionStartedEventAttributes,
    };

    use super::*;

    fn history(kinds: Vec<Event>) -> Vec<HistoryEvent> {
        let events = kinds.into_iter().zip(1..);
        events.map(|(kind, event_id)| HistoryEvent { event_id, attributes: Some(kind), ..Default::default() }).collect()
    }

    fn good() -> Vec<Event> {
        vec![
            Event::WorkflowExecutionStartedEventAttributes(WorkflowExecutionStartedEventAttributes::default()),
            Event::ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes::default()),
            Event::ActivityTaskCompletedEventAttributes(Completed { scheduled_event_id: 2, ..Default::default() }),
            Event::WorkflowExecutionCompletedEventAttributes(WorkflowExecutionCompletedEventAttributes::default()),
        ]
    }

    #[test]
    fn planted_faults_are_found() {
        let plan = Plan::Activities { count: 1 };
        assert_eq!(check(&history(good()), plan), Ok(()));
        for index in 0..4 {
            let mut missing = good();
            missing.remove(index);
            assert!(check(&history(missing), plan).is_err(), "without event {index}");
            let mut doubled = good();
            doubled.insert(index, doubled[index].clone());
            assert!(check(&history(doubled), plan).is_err(), "event {index} twice");
        }
        let mut gap = history(good());
        gap[3].event_id = 9;
        assert!(check(&gap, plan).is_err());
    }

    #[test]
    fn too_many_completions_are_a_problem() {
        let mut verdict = Verdict::default();
        verdict.completions(5, 5);
        assert!(verdict.problems.is_empty());
        verdict.completions(6, 5);
        assert_eq!(verdict.problems.len(), 1);
    }
}
