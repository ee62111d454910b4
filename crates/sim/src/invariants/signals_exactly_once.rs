//! An acknowledged signal is in the history once; one that was only sent, at most once. A
//! reset brings those along that the reset run had received.
//! Source: `protocol.md` 2.5, signals dedupe row.

use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for event in events {
        let (workflow_id, name, acknowledged) = match event {
            Event::SignalAcknowledged { workflow_id, name } => (workflow_id, name, true),
            Event::SignalInvoked { workflow_id, name } => (workflow_id, name, false),
            _ => continue,
        };
        let Some(runs) = finals.get(workflow_id.as_str()) else { continue };
        let there = runs
            .current()
            .events
            .iter()
            .filter(|event| {
                matches!(&event.attributes, Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) if signal.signal_name == *name)
            })
            .count();
        if there > 1 || (acknowledged && there != 1) {
            violations.push(format!("{workflow_id}: {name} (acknowledged: {acknowledged}) is there {there} times"));
        }
    }
    violations
}
