//! A reset makes one run, however often it is asked for: the base is terminated, the new
//! run is the current one and names the base where it begins to differ. Source:
//! `protocol.md` 2.5, reset rows.

use std::collections::BTreeMap;

use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let mut told: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for event in events {
        let Event::ResetAcknowledged { workflow_id, base_run_id, run_id } = event else { continue };
        let first = *told.entry(workflow_id).or_insert((base_run_id, run_id));
        if first != (base_run_id.as_str(), run_id.as_str()) {
            violations.push(format!("{workflow_id}: the reset was answered {first:?} and {:?}", (base_run_id, run_id)));
        }
    }
    for (workflow_id, (base_run_id, run_id)) in told {
        let Some(runs) = finals.get(workflow_id) else { continue };
        let current = runs.current();
        let forks: Vec<_> = current.events.iter().filter_map(fork).collect();
        if current.id != run_id || forks != [(base_run_id, run_id)] {
            violations.push(format!(
                "{workflow_id}: {base_run_id} was reset to {run_id}, there is {} from {forks:?}",
                current.id
            ));
        }
        let terminated = runs.get(base_run_id).and_then(|base| base.events.last()).is_some_and(is_terminated);
        if !terminated {
            violations.push(format!("{workflow_id}: the base {base_run_id} was not terminated"));
        }
    }
    violations
}

/// The base and the new run that the event of a reset names.
fn fork(event: &HistoryEvent) -> Option<(&str, &str)> {
    match event.attributes.as_ref()? {
        A::WorkflowTaskFailedEventAttributes(a) if !a.new_run_id.is_empty() => Some((&a.base_run_id, &a.new_run_id)),
        _ => None,
    }
}

fn is_terminated(event: &HistoryEvent) -> bool {
    matches!(event.attributes, Some(A::WorkflowExecutionTerminatedEventAttributes(_)))
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1 as history;

    use super::super::testing::{ended, event, violations_of};
    use super::*;

    fn told(run_id: &str) -> Event {
        Event::ResetAcknowledged { workflow_id: "wf".into(), base_run_id: "base".into(), run_id: run_id.into() }
    }

    fn base() -> Event {
        ended("wf", "base", vec![event(1, A::WorkflowExecutionTerminatedEventAttributes(Default::default()))])
    }

    fn new(run_id: &str) -> Event {
        let attributes = history::WorkflowTaskFailedEventAttributes {
            base_run_id: "base".into(),
            new_run_id: run_id.into(),
            ..Default::default()
        };
        ended("wf", run_id, vec![event(1, A::WorkflowTaskFailedEventAttributes(attributes))])
    }

    #[test]
    fn a_reset_that_is_done_twice_is_found() {
        assert_eq!(violations_of(check, &[told("new"), base(), new("new")]), 0);
        assert_eq!(violations_of(check, &[told("new"), base(), new("another")]), 1);
        assert_eq!(violations_of(check, &[told("new"), told("another"), base(), new("new")]), 1);
        assert_eq!(violations_of(check, &[told("new"), ended("wf", "base", vec![]), new("new")]), 1, "left open");
    }
}
