//! What a reader or a worker has seen written of a history never changes afterwards. The
//! unwritten tail of a workflow task in progress (rfd/0005) is not recorded as seen: users
//! read as clients that are not shown it, workers leave it out. Source: `design.md` 9.

use super::{Finals, Run};
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for event in events {
        let Event::Observed { workflow_id, run_id, events: seen } = event else { continue };
        let Some(runs) = finals.get(workflow_id.as_str()) else { continue };
        let Some(Run { events: last, .. }) = runs.get(run_id) else {
            violations.push(format!("{workflow_id}: run {run_id} was seen, at the end there is {}", runs.current().id));
            continue;
        };
        if let Some(pair) = seen.windows(2).find(|pair| pair[0].event_id + 1 != pair[1].event_id) {
            violations
                .push(format!("{workflow_id}: event {} was shown behind event {}", pair[1].event_id, pair[0].event_id));
            continue;
        }
        let changed = seen.iter().find_map(|event| {
            let kept = usize::try_from(event.event_id - 1).ok().and_then(|place| last.get(place));
            (kept != Some(event)).then_some((event, kept))
        });
        if let Some((event, kept)) = changed {
            violations.push(format!("{workflow_id}: was seen as {event:?} and is now {kept:?}"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1::{
        HistoryEvent, WorkflowTaskStartedEventAttributes, history_event::Attributes,
    };

    use super::*;

    fn started(event_id: i64, identity: &str) -> HistoryEvent {
        let attributes = WorkflowTaskStartedEventAttributes { identity: identity.to_owned(), ..Default::default() };
        HistoryEvent {
            event_id,
            attributes: Some(Attributes::WorkflowTaskStartedEventAttributes(attributes)),
            ..Default::default()
        }
    }

    #[test]
    fn a_seen_event_that_changes_is_found() {
        let last = [started(1, "one"), started(2, "two")];
        let mut finals = Finals::new();
        finals.entry("wf").or_default().add(Run { id: "run", events: &last });
        let violations = |events: &[HistoryEvent]| {
            let seen = Event::Observed { workflow_id: "wf".into(), run_id: "run".into(), events: events.to_vec() };
            check(&[seen], &finals).len()
        };
        assert_eq!(violations(&last), 0);
        assert_eq!(violations(&last[1..]), 0, "a part of it");
        assert_eq!(violations(&[started(1, "one"), started(2, "another")]), 1, "only the starter is another one");
        assert_eq!(violations(&[started(1, "one"), started(2, "two"), started(3, "three")]), 1, "lost");
        assert_eq!(violations(&[started(1, "one"), started(3, "three")]), 1, "a gap");
    }
}
