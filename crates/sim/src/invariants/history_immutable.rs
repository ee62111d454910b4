//! What a reader or a worker has seen of a history never changes afterwards. Excepted is
//! the unwritten tail of a workflow task in progress (rfd/0005): what follows the last
//! event that ended a task, when no later event proves it written.

use temporalio_protos::temporal::api::enums::v1::EventType;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowTaskStartedEventAttributes};

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for event in events {
        let Event::Observed { workflow_id, run_id, events } = event else { continue };
        let Some((final_run, last)) = finals.get(workflow_id.as_str()) else { continue };
        if run_id != final_run {
            violations.push(format!("{workflow_id}: run {run_id} was seen, at the end there is {final_run}"));
            continue;
        }
        let written = written(events);
        for (seen, kept) in written.iter().zip(last.iter()) {
            if !is_same(seen, kept) {
                violations.push(format!(
                    "{workflow_id}: event {} was seen as {} and is now {}",
                    seen.event_id,
                    seen.event_type().as_str_name(),
                    kept.event_type().as_str_name()
                ));
                break;
            }
        }
        if written.len() > last.len() {
            violations.push(format!("{workflow_id}: {} events were seen, {} are left", written.len(), last.len()));
        }
    }
    violations
}

/// The start of a task that is not written yet names nobody; who is written as its starter is
/// known when the task ends. A reader may see the one and, on its next page, what followed.
#[expect(deprecated, reason = "old workers are still named by it")]
fn is_same(seen: &HistoryEvent, kept: &HistoryEvent) -> bool {
    let (Some(Attributes::WorkflowTaskStartedEventAttributes(seen_start)), Some(kept_attributes)) =
        (&seen.attributes, &kept.attributes)
    else {
        return seen == kept;
    };
    let Attributes::WorkflowTaskStartedEventAttributes(kept_start) = kept_attributes else { return false };
    if !seen_start.identity.is_empty() {
        return seen == kept;
    }
    let mut named = seen.clone();
    let start = WorkflowTaskStartedEventAttributes {
        identity: kept_start.identity.clone(),
        worker_version: kept_start.worker_version.clone(),
        ..seen_start.clone()
    };
    named.attributes = Some(Attributes::WorkflowTaskStartedEventAttributes(start));
    named == *kept
}

/// The part that cannot change: all but a trailing started task.
fn written(events: &[HistoryEvent]) -> &[HistoryEvent] {
    let mut end = events.len();
    while end > 0 && events[end - 1].event_type() == EventType::WorkflowTaskStarted {
        end -= 1;
    }
    if end < events.len() && end > 0 && events[end - 1].event_type() == EventType::WorkflowTaskScheduled {
        // A transient task's own scheduling is not written either.
        end -= 1;
    }
    &events[..end]
}
