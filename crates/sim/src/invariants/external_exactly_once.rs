//! What one workflow does to another is in effect once when it is told of its success, and
//! never twice: signals have names of their own here, cancel requests name who asked.
//! Source: `protocol.md` 2.5, external signal and cancel rows.

use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;

use super::{Finals, Run, runs};
use crate::record::Event;

pub(super) fn check(_: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (workflow_id, run) in runs(finals) {
        for event in run.events {
            let effects = match &event.attributes {
                Some(A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a)) => {
                    let target = a.workflow_execution.clone().unwrap_or_default().workflow_id;
                    effects(finals, &target, |event| is_signal(event, &a.signal_name, workflow_id))
                }
                Some(A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a)) => {
                    let target = a.workflow_execution.clone().unwrap_or_default().workflow_id;
                    effects(finals, &target, |other| is_cancel(other, workflow_id, run, event.event_id))
                }
                _ => continue,
            };
            let Some(effects) = effects else { continue };
            let told: Vec<_> = run.events.iter().filter_map(told).filter(|(id, _)| *id == event.event_id).collect();
            let succeeded = told.iter().any(|(_, success)| *success);
            if told.len() > 1 || effects > 1 || (succeeded && effects != 1) {
                violations.push(format!(
                    "{workflow_id}: event {} took effect {effects} times, {} outcomes, success: {succeeded}",
                    event.event_id,
                    told.len()
                ));
            }
        }
    }
    violations
}

/// How many events of the target there are, of all its runs; none if nobody has read it.
fn effects(finals: &Finals<'_>, target: &str, is_effect: impl Fn(&HistoryEvent) -> bool) -> Option<usize> {
    let runs = finals.get(target)?;
    Some(runs.iter().flat_map(|run| run.events).filter(|event| is_effect(event)).count())
}

fn is_signal(event: &HistoryEvent, name: &str, from: &str) -> bool {
    matches!(&event.attributes, Some(A::WorkflowExecutionSignaledEventAttributes(a))
        if a.signal_name == name
            && a.external_workflow_execution.as_ref().is_some_and(|execution| execution.workflow_id == from))
}

fn is_cancel(event: &HistoryEvent, from: &str, run: Run<'_>, initiated_event_id: i64) -> bool {
    matches!(&event.attributes, Some(A::WorkflowExecutionCancelRequestedEventAttributes(a))
    if a.external_initiated_event_id == initiated_event_id
        && a.external_workflow_execution.as_ref().is_some_and(|execution| {
            execution.workflow_id == from && execution.run_id == run.id
        }))
}

/// The initiating event and whether it succeeded.
fn told(event: &HistoryEvent) -> Option<(i64, bool)> {
    match event.attributes.as_ref()? {
        A::ExternalWorkflowExecutionSignaledEventAttributes(a) => Some((a.initiated_event_id, true)),
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => Some((a.initiated_event_id, false)),
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => Some((a.initiated_event_id, true)),
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => Some((a.initiated_event_id, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
    use temporalio_protos::temporal::api::history::v1 as history;

    use super::super::testing::{ended, event, violations_of};
    use super::*;

    fn execution(workflow_id: &str) -> Option<WorkflowExecution> {
        Some(WorkflowExecution { workflow_id: workflow_id.into(), run_id: "run".into() })
    }

    fn sender(told: usize) -> Vec<HistoryEvent> {
        let initiated = history::SignalExternalWorkflowExecutionInitiatedEventAttributes {
            workflow_execution: execution("target"),
            signal_name: "s".into(),
            ..Default::default()
        };
        let signaled =
            history::ExternalWorkflowExecutionSignaledEventAttributes { initiated_event_id: 1, ..Default::default() };
        let told = (0..told).map(|_| event(2, A::ExternalWorkflowExecutionSignaledEventAttributes(signaled.clone())));
        let initiated = event(1, A::SignalExternalWorkflowExecutionInitiatedEventAttributes(initiated));
        [initiated].into_iter().chain(told).collect()
    }

    fn target(signals: usize) -> Vec<HistoryEvent> {
        let signal = history::WorkflowExecutionSignaledEventAttributes {
            signal_name: "s".into(),
            external_workflow_execution: execution("sender"),
            ..Default::default()
        };
        (0..signals).map(|_| event(2, A::WorkflowExecutionSignaledEventAttributes(signal.clone()))).collect()
    }

    #[test]
    fn a_signal_that_is_lost_or_doubled_is_found() {
        let count = |told, signals| {
            violations_of(check, &[ended("sender", "run", sender(told)), ended("target", "run", target(signals))])
        };
        assert_eq!(count(1, 1), 0);
        assert_eq!(count(0, 1), 0, "the sender closed before it was told");
        assert_eq!(count(1, 0), 1, "lost");
        assert_eq!(count(1, 2), 1, "doubled");
        assert_eq!(count(0, 2), 1, "doubled, and nobody was told");
        assert_eq!(count(2, 1), 1, "told twice");
    }

    #[test]
    fn a_cancel_request_that_is_doubled_is_found() {
        let initiated = history::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
            workflow_execution: execution("target"),
            ..Default::default()
        };
        let cancel = history::WorkflowExecutionCancelRequestedEventAttributes {
            external_initiated_event_id: 1,
            external_workflow_execution: execution("sender"),
            ..Default::default()
        };
        let cancel = event(2, A::WorkflowExecutionCancelRequestedEventAttributes(cancel));
        let sender = vec![event(1, A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(initiated))];
        let count = |cancels| {
            let target = vec![cancel.clone(); cancels];
            violations_of(check, &[ended("sender", "run", sender.clone()), ended("target", "run", target)])
        };
        assert_eq!(count(1), 0);
        assert_eq!(count(2), 1);
    }
}
