//! An acknowledged completion of an activity is in the history once, and no attempt is
//! handed out twice. Source: `protocol.md` 2.5, activity token row.

use std::collections::{BTreeMap, BTreeSet};

use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let mut attempts: BTreeSet<(&str, &str, i32)> = BTreeSet::new();
    let mut completions: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for event in events {
        match event {
            Event::ActivityStarted { workflow_id, activity_id, attempt }
                if !attempts.insert((workflow_id, activity_id, *attempt)) =>
            {
                violations.push(format!("{workflow_id}/{activity_id}: attempt {attempt} was handed out twice"));
            }
            Event::ActivityAcknowledged { workflow_id, activity_id, .. } => {
                *completions.entry((workflow_id, activity_id)).or_default() += 1;
            }
            _ => {}
        }
    }
    for ((workflow_id, activity_id), acknowledged) in completions {
        let Some(runs) = finals.get(workflow_id) else { continue };
        let history = runs.current().events;
        let scheduled = history.iter().find_map(|event| match &event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(a)) if a.activity_id == activity_id => {
                Some(event.event_id)
            }
            _ => None,
        });
        let completed = history
            .iter()
            .filter(|event| matches!(&event.attributes, Some(Attributes::ActivityTaskCompletedEventAttributes(a)) if Some(a.scheduled_event_id) == scheduled))
            .count();
        if acknowledged != 1 || completed != 1 {
            violations.push(format!(
                "{workflow_id}/{activity_id}: {acknowledged} completions acknowledged, {completed} in history"
            ));
        }
    }
    violations
}
