//! A child that a parent initiates is started once: the one run that there is knows its
//! parent and the event, the parent has one start of it, and at most one end, with the
//! result that the child itself has. Source: `protocol.md` 2.5, children rows.

use temporalio_protos::temporal::api::common::v1::{Payloads, WorkflowExecution};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;

use super::{Finals, Run, runs};
use crate::record::Event;

pub(super) fn check(_: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (parent_id, parent) in runs(finals) {
        for event in parent.events {
            let Some(A::StartChildWorkflowExecutionInitiatedEventAttributes(initiated)) = &event.attributes else {
                continue;
            };
            let problem = problem_of(parent_id, parent, event.event_id, &initiated.workflow_id, finals);
            violations.extend(problem.map(|problem| format!("{parent_id}: {}: {problem}", initiated.workflow_id)));
        }
    }
    violations
}

fn problem_of(
    parent_id: &str,
    parent: Run<'_>,
    initiated_event_id: i64,
    child_id: &str,
    finals: &Finals<'_>,
) -> Option<String> {
    let about: Vec<_> = parent.events.iter().filter_map(|event| Some((of(event)?, event))).collect();
    let about: Vec<_> = about.into_iter().filter(|((id, _), _)| *id == initiated_event_id).collect();
    let starts: Vec<_> = about.iter().filter(|(_, event)| is_start(event)).collect();
    if starts.len() != 1 {
        return Some(format!("{} starts are written", starts.len()));
    }
    if about.len() > 2 {
        return Some(format!("{} ends are written", about.len() - 1));
    }
    let child = finals.get(child_id)?;
    let run = child.current();
    if let Some(((_, execution), event)) = about.iter().find(|((_, execution), _)| execution.run_id != run.id) {
        return Some(format!("event {} is of run {}, there is {}", event.event_id, execution.run_id, run.id));
    }
    match run.events.first().and_then(|event| event.attributes.as_ref()) {
        Some(A::WorkflowExecutionStartedEventAttributes(a))
            if a.parent_initiated_event_id == initiated_event_id
                && a.parent_workflow_execution
                    .as_ref()
                    .is_some_and(|execution| execution.workflow_id == parent_id && execution.run_id == parent.id) => {}
        other => return Some(format!("its first event does not name its parent: {other:?}")),
    }
    let told = about.iter().find_map(|(_, event)| match &event.attributes {
        Some(A::ChildWorkflowExecutionCompletedEventAttributes(a)) => Some(a.result.clone()),
        _ => None,
    })?;
    let own = result(run.events);
    (own.as_ref() != Some(&told)).then(|| format!("the parent was told {told:?}, its own result is {own:?}"))
}

/// What the child itself completed with.
fn result(events: &[HistoryEvent]) -> Option<Option<Payloads>> {
    match events.last()?.attributes.as_ref()? {
        A::WorkflowExecutionCompletedEventAttributes(a) => Some(a.result.clone()),
        _ => None,
    }
}

fn is_start(event: &HistoryEvent) -> bool {
    matches!(event.attributes, Some(A::ChildWorkflowExecutionStartedEventAttributes(_)))
}

/// The initiating event and the run that an event about a child names.
fn of(event: &HistoryEvent) -> Option<(i64, WorkflowExecution)> {
    let (id, execution) = match event.attributes.as_ref()? {
        A::ChildWorkflowExecutionStartedEventAttributes(a) => (a.initiated_event_id, &a.workflow_execution),
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => (a.initiated_event_id, &a.workflow_execution),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => (a.initiated_event_id, &a.workflow_execution),
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => (a.initiated_event_id, &a.workflow_execution),
        A::ChildWorkflowExecutionTimedOutEventAttributes(a) => (a.initiated_event_id, &a.workflow_execution),
        A::ChildWorkflowExecutionTerminatedEventAttributes(a) => (a.initiated_event_id, &a.workflow_execution),
        A::StartChildWorkflowExecutionFailedEventAttributes(a) => (a.initiated_event_id, &None),
        _ => return None,
    };
    Some((id, execution.clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1 as history;

    use super::super::testing::{ended, event, violations_of};
    use super::*;

    fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
        Some(WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() })
    }

    fn initiated() -> HistoryEvent {
        event(
            2,
            A::StartChildWorkflowExecutionInitiatedEventAttributes(
                history::StartChildWorkflowExecutionInitiatedEventAttributes {
                    workflow_id: "child".into(),
                    ..Default::default()
                },
            ),
        )
    }

    fn started(id: i64, run_id: &str) -> HistoryEvent {
        let attributes = history::ChildWorkflowExecutionStartedEventAttributes {
            initiated_event_id: 2,
            workflow_execution: execution("child", run_id),
            ..Default::default()
        };
        event(id, A::ChildWorkflowExecutionStartedEventAttributes(attributes))
    }

    fn completed(id: i64, result: Option<Payloads>) -> HistoryEvent {
        let attributes = history::ChildWorkflowExecutionCompletedEventAttributes {
            initiated_event_id: 2,
            workflow_execution: execution("child", "child-run"),
            result,
            ..Default::default()
        };
        event(id, A::ChildWorkflowExecutionCompletedEventAttributes(attributes))
    }

    fn child(parent_run: &str) -> Vec<HistoryEvent> {
        let started = history::WorkflowExecutionStartedEventAttributes {
            parent_initiated_event_id: 2,
            parent_workflow_execution: execution("parent", parent_run),
            ..Default::default()
        };
        let completed = history::WorkflowExecutionCompletedEventAttributes::default();
        vec![
            event(1, A::WorkflowExecutionStartedEventAttributes(started)),
            event(2, A::WorkflowExecutionCompletedEventAttributes(completed)),
        ]
    }

    #[test]
    fn a_child_that_is_started_or_ends_twice_is_found() {
        let count = |parent: Vec<HistoryEvent>, child: Vec<HistoryEvent>| {
            violations_of(check, &[ended("parent", "run", parent), ended("child", "child-run", child)])
        };
        let good = || vec![initiated(), started(3, "child-run"), completed(4, None)];
        assert_eq!(count(good(), child("run")), 0);
        assert_eq!(count(vec![initiated()], child("run")), 1, "never started");
        let twice = vec![initiated(), started(3, "child-run"), started(4, "child-run")];
        assert_eq!(count(twice, child("run")), 1, "started twice");
        assert_eq!(count([good(), vec![completed(5, None)]].concat(), child("run")), 1, "ended twice");
        assert_eq!(count(vec![initiated(), started(3, "another")], child("run")), 1, "two runs");
        assert_eq!(count(good(), child("another")), 1, "another parent's");
        let other = vec![initiated(), started(3, "child-run"), completed(4, Some(Payloads::default()))];
        assert_eq!(count(other, child("run")), 1, "another result");
    }
}
