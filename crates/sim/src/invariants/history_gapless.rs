//! Event ids count from 1 without a gap, the first event starts the run, the last and
//! only the last closes it, and no task or activity closes twice. Source: `protocol.md` 2.2.

use std::collections::BTreeSet;

use temporalio_protos::temporal::api::enums::v1::EventType;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::{Finals, Run, runs};
use crate::client::is_close;
use crate::record::Event;

pub(super) fn check(_: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (workflow_id, Run { events, .. }) in runs(finals) {
        if let Some((index, event)) =
            events.iter().enumerate().find(|(index, event)| event.event_id != *index as i64 + 1)
        {
            violations.push(format!("{workflow_id}: event {} stands at place {}", event.event_id, index + 1));
        }
        if events.first().is_none_or(|event| event.event_type() != EventType::WorkflowExecutionStarted) {
            violations.push(format!("{workflow_id}: does not begin with its start"));
        }
        let closes = events.iter().filter(|event| is_close(event)).count();
        if closes != 1 || !events.last().is_some_and(is_close) {
            violations.push(format!("{workflow_id}: {closes} closing events, the last one must be the only one"));
        }
        let mut closed = BTreeSet::new();
        for event in events {
            if let Some(scheduled) = closes_scheduled(event.attributes.as_ref())
                && !closed.insert(scheduled)
            {
                violations.push(format!("{workflow_id}: what event {scheduled} scheduled is closed twice"));
            }
        }
    }
    violations
}

/// The scheduling event that this event closes.
fn closes_scheduled(attributes: Option<&Attributes>) -> Option<i64> {
    match attributes? {
        Attributes::WorkflowTaskCompletedEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::WorkflowTaskTimedOutEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::WorkflowTaskFailedEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::ActivityTaskCompletedEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::ActivityTaskFailedEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::ActivityTaskTimedOutEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::TimerFiredEventAttributes(a) => Some(a.started_event_id),
        _ => None,
    }
}
