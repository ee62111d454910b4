//! A workflow id that refuses duplicates has one run: whoever was told that it started
//! was told of the same run, and that run is still there. Source: `protocol.md` 2.5, id
//! reuse and request-id rows.

use std::collections::BTreeMap;

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let mut acknowledged: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for event in events {
        let (workflow_id, run_id) = match event {
            Event::StartAcknowledged { workflow_id, request_id, run_id } => {
                let first = *acknowledged.entry(workflow_id).or_insert((request_id, run_id));
                if first != (request_id.as_str(), run_id.as_str()) {
                    violations.push(format!("{workflow_id}: acknowledged {first:?} and {:?}", (request_id, run_id)));
                }
                (workflow_id, run_id)
            }
            Event::Joined { workflow_id, run_id } => (workflow_id, run_id),
            _ => continue,
        };
        if let Some(runs) = finals.get(workflow_id.as_str())
            && runs.get(run_id).is_none()
        {
            let last = runs.current().id;
            violations.push(format!("{workflow_id}: acknowledged run {run_id}, at the end there is {last}"));
        }
    }
    violations
}
