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
        let Event::StartAcknowledged { workflow_id, request_id, run_id } = event else { continue };
        match acknowledged.get(workflow_id.as_str()) {
            None => drop(acknowledged.insert(workflow_id, (request_id, run_id))),
            Some(first) if first != &(request_id.as_str(), run_id.as_str()) => {
                violations.push(format!("{workflow_id}: acknowledged {first:?} and {:?}", (request_id, run_id)));
            }
            Some(_) => {}
        }
        if let Some((last, _)) = finals.get(workflow_id.as_str())
            && last != run_id
        {
            violations.push(format!("{workflow_id}: acknowledged run {run_id}, at the end there is {last}"));
        }
    }
    violations
}
