//! A timer fires no earlier than it was asked to. Source: `design.md` 5.

use base::Timestamp;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::{Finals, Run, runs};
use crate::record::Event;

pub(super) fn check(_: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (workflow_id, Run { events, .. }) in runs(finals) {
        for event in events {
            let Some(Attributes::TimerFiredEventAttributes(fired)) = &event.attributes else { continue };
            let Some((started, asked)) = started(events, fired.started_event_id) else {
                violations
                    .push(format!("{workflow_id}: event {} fires a timer that was never started", event.event_id));
                continue;
            };
            if time(event).since(started) < asked {
                violations.push(format!(
                    "{workflow_id}: timer {} fired after {:?} of {asked:?}",
                    fired.timer_id,
                    time(event).since(started)
                ));
            }
        }
    }
    violations
}

fn started(events: &[HistoryEvent], id: i64) -> Option<(Timestamp, std::time::Duration)> {
    let event = events.iter().find(|event| event.event_id == id)?;
    match &event.attributes {
        Some(Attributes::TimerStartedEventAttributes(timer)) => {
            Some((time(event), std::time::Duration::try_from(timer.start_to_fire_timeout?).ok()?))
        }
        _ => None,
    }
}

fn time(event: &HistoryEvent) -> Timestamp {
    event.event_time.as_ref().map_or(Timestamp::ZERO, Timestamp::from_proto)
}
