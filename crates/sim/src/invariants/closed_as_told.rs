//! A workflow that a user was told to be terminated is terminated; one that it was told to
//! be asked to cancel was asked once. That what is closed stays so follows from the
//! histories, which neither change nor grow behind a closing event. Source: `protocol.md`
//! 2.5, cancel and terminate rows.

use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for event in events {
        match event {
            Event::TerminateAcknowledged { workflow_id } => {
                let Some(runs) = finals.get(workflow_id.as_str()) else { continue };
                let last = runs.current().events.last().and_then(|event| event.attributes.as_ref());
                if !matches!(last, Some(A::WorkflowExecutionTerminatedEventAttributes(_))) {
                    violations.push(format!("{workflow_id}: was terminated and ends with {last:?}"));
                }
            }
            Event::CancelAcknowledged { workflow_id } => {
                let Some(runs) = finals.get(workflow_id.as_str()) else { continue };
                let requests = runs.current().events.iter().filter(|event| {
                    matches!(event.attributes, Some(A::WorkflowExecutionCancelRequestedEventAttributes(_)))
                });
                let count = requests.count();
                if count != 1 {
                    violations.push(format!("{workflow_id}: {count} cancel requests are written"));
                }
            }
            _ => {}
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ended, event, violations_of};
    use super::*;

    #[test]
    fn what_was_told_and_is_not_there_is_found() {
        let completed = || event(1, A::WorkflowExecutionCompletedEventAttributes(Default::default()));
        let terminated = || event(1, A::WorkflowExecutionTerminatedEventAttributes(Default::default()));
        let asked = || event(1, A::WorkflowExecutionCancelRequestedEventAttributes(Default::default()));
        let terminate = || Event::TerminateAcknowledged { workflow_id: "wf".into() };
        let cancel = || Event::CancelAcknowledged { workflow_id: "wf".into() };
        let count = |told, events| violations_of(check, &[told, ended("wf", "run", events)]);
        assert_eq!(count(terminate(), vec![terminated()]), 0);
        assert_eq!(count(terminate(), vec![completed()]), 1);
        assert_eq!(count(cancel(), vec![asked()]), 0);
        assert_eq!(count(cancel(), vec![]), 1);
        assert_eq!(count(cancel(), vec![asked(), asked()]), 1);
    }
}
