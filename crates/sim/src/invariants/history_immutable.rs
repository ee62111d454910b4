//! What a reader or a worker has seen of a history never changes afterwards. Excepted is
//! the unwritten tail of a workflow task in progress (rfd/0005): what follows the last
//! event that ended a task, when no later event proves it written.

use temporalio_protos::temporal::api::enums::v1::EventType;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

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

/// A start that was seen before it was written may be lost with its leader, and the task is
/// started again: by whom and when is known for good when the task ends. A reader that pages
/// on may see the one and then what followed the other. What it is the start of stays.
fn is_same(seen: &HistoryEvent, kept: &HistoryEvent) -> bool {
    let (
        Some(Attributes::WorkflowTaskStartedEventAttributes(seen_start)),
        Some(Attributes::WorkflowTaskStartedEventAttributes(kept_start)),
    ) = (&seen.attributes, &kept.attributes)
    else {
        return seen == kept;
    };
    seen.event_id == kept.event_id && seen_start.scheduled_event_id == kept_start.scheduled_event_id
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
