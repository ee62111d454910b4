//! Workers can go on with every history that was shown to anybody, or is left in the end. Source:
//! `execution::workflow::replay`.

use execution::workflow::replay;

use super::{Finals, Run, runs};
use crate::record::Event;

pub(super) fn check(events: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let seen = events.iter().filter_map(|event| match event {
        // Workers are also shown only what is new to them.
        Event::Observed { workflow_id, events, .. } if events.first().is_some_and(|event| event.event_id == 1) => {
            Some((workflow_id.as_str(), events.as_slice()))
        }
        _ => None,
    });
    let left = runs(finals).map(|(workflow_id, Run { events, .. })| (workflow_id, events));
    let refused =
        seen.chain(left).filter_map(|(workflow_id, events)| Some((workflow_id, replay::check(events).err()?)));
    refused.map(|(workflow_id, refused)| format!("{workflow_id}: {refused}")).collect()
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::enums::v1::EventType;
    use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
    use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowTaskFailedEventAttributes};

    use super::super::testing::{ended, violations_of};
    use super::*;

    fn event(event_id: i64, kind: EventType, attributes: A) -> HistoryEvent {
        HistoryEvent { event_id, event_type: kind.into(), attributes: Some(attributes), ..HistoryEvent::default() }
    }

    #[test]
    fn a_task_that_failed_without_a_start_is_found() {
        let mut history = vec![
            event(
                1,
                EventType::WorkflowExecutionStarted,
                A::WorkflowExecutionStartedEventAttributes(Default::default()),
            ),
            event(2, EventType::WorkflowTaskScheduled, A::WorkflowTaskScheduledEventAttributes(Default::default())),
        ];
        assert_eq!(violations_of(check, &[ended("wf", "run", history.clone())]), 0);
        let failed = WorkflowTaskFailedEventAttributes { scheduled_event_id: 2, ..Default::default() };
        history.push(event(3, EventType::WorkflowTaskFailed, A::WorkflowTaskFailedEventAttributes(failed)));
        assert_eq!(violations_of(check, &[ended("wf", "run", history.clone())]), 1);
        let seen = Event::Observed { workflow_id: "wf".into(), run_id: "run".into(), events: history };
        assert_eq!(violations_of(check, &[seen]), 1);
    }
}
