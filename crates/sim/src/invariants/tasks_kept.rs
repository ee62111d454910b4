//! An acknowledged completion of a workflow task is in the history, for the task that was
//! given out. Source: `protocol.md` 2.3, token checks row.

use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for event in events {
        let Event::TaskAcknowledged { workflow_id, run_id, started_event_id } = event else { continue };
        let Some(run) = finals.get(workflow_id.as_str()).and_then(|runs| runs.get(run_id)) else { continue };
        let there = run.events.iter().any(|event| {
            matches!(&event.attributes, Some(Attributes::WorkflowTaskCompletedEventAttributes(a)) if a.started_event_id == *started_event_id)
        });
        if !there {
            violations
                .push(format!("{workflow_id}: the completion of the task started by event {started_event_id} is gone"));
        }
    }
    violations
}
