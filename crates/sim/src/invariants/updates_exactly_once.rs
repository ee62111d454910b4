//! An update is accepted and completed at most once, whoever asks for it and how often; a
//! completed one is in the history with the outcome that everybody was told, a refused one
//! is not. Source: `protocol.md` 2.5, update id rows.

use std::collections::BTreeMap;

use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::update::v1::{Outcome, outcome::Value};

use super::{Finals, runs};
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (workflow_id, run) in runs(finals) {
        let mut accepted: BTreeMap<&str, usize> = BTreeMap::new();
        for event in run.events {
            if let Some(A::WorkflowExecutionUpdateAcceptedEventAttributes(a)) = &event.attributes {
                *accepted.entry(&a.protocol_instance_id).or_default() += 1;
            }
        }
        let twice = accepted.iter().filter(|(_, count)| **count > 1);
        violations.extend(twice.map(|(id, count)| format!("{workflow_id}: {id} is accepted {count} times")));
    }
    for event in events {
        let Event::UpdateAcknowledged { workflow_id, update_id, outcome } = event else { continue };
        let Some(runs) = finals.get(workflow_id.as_str()) else { continue };
        let written: Vec<_> = outcomes(runs.current().events, update_id).collect();
        let good = match outcome.value {
            Some(Value::Success(_)) => written == [Some(outcome.as_ref())],
            _ => written.is_empty(),
        };
        if !good {
            violations.push(format!("{workflow_id}: {update_id} was answered {outcome:?}, written is {written:?}"));
        }
    }
    violations
}

fn outcomes<'a>(events: &'a [HistoryEvent], update_id: &str) -> impl Iterator<Item = Option<&'a Outcome>> {
    events.iter().filter_map(move |event| match &event.attributes {
        Some(A::WorkflowExecutionUpdateCompletedEventAttributes(a))
            if a.meta.as_ref().is_some_and(|meta| meta.update_id == update_id) =>
        {
            Some(a.outcome.as_ref())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::common::v1::{Payload, Payloads};
    use temporalio_protos::temporal::api::history::v1 as history;
    use temporalio_protos::temporal::api::update::v1::Meta;

    use super::super::testing::{ended, event, violations_of};
    use super::*;

    fn outcome(text: &str) -> Outcome {
        let payloads = vec![Payload { data: text.as_bytes().to_vec(), ..Default::default() }];
        Outcome { value: Some(Value::Success(Payloads { payloads })) }
    }

    fn accepted() -> HistoryEvent {
        let attributes = history::WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: "u".into(),
            ..Default::default()
        };
        event(1, A::WorkflowExecutionUpdateAcceptedEventAttributes(attributes))
    }

    fn completed(text: &str) -> HistoryEvent {
        let attributes = history::WorkflowExecutionUpdateCompletedEventAttributes {
            meta: Some(Meta { update_id: "u".into(), ..Default::default() }),
            outcome: Some(outcome(text)),
            ..Default::default()
        };
        event(2, A::WorkflowExecutionUpdateCompletedEventAttributes(attributes))
    }

    #[test]
    fn an_outcome_that_changes_is_found() {
        let count = |history: Vec<HistoryEvent>, outcome: Outcome| {
            let told = Event::UpdateAcknowledged {
                workflow_id: "wf".into(),
                update_id: "u".into(),
                outcome: Box::new(outcome),
            };
            violations_of(check, &[told, ended("wf", "run", history)])
        };
        let good = || vec![accepted(), completed("one")];
        assert_eq!(count(good(), outcome("one")), 0);
        assert_eq!(count(good(), outcome("another")), 1);
        assert_eq!(count(vec![accepted()], outcome("one")), 1, "lost");
        assert_eq!(count([good(), vec![completed("one")]].concat(), outcome("one")), 1, "completed twice");
        assert_eq!(count([good(), vec![accepted()]].concat(), outcome("one")), 1, "accepted twice");
        assert_eq!(count(vec![], Outcome::default()), 0, "refused");
        assert_eq!(count(good(), Outcome::default()), 1, "refused, and there");
    }
}
