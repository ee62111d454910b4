//! When a parent closes, its open children are terminated, asked to cancel, or left alone,
//! as each one's policy says. That all of them close is liveness; here it is how. Source:
//! `protocol.md` 2.5, parent close policy rows.

use temporalio_protos::temporal::api::enums::v1::{EventType, ParentClosePolicy};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;

use super::{Finals, runs};
use crate::record::Event;

/// As the terminating event says it.
const BY_POLICY: &str = "by parent close policy";

pub(super) fn check(_: &[Event], finals: &Finals<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (parent_id, parent) in runs(finals) {
        for event in parent.events {
            let Some(A::StartChildWorkflowExecutionInitiatedEventAttributes(a)) = &event.attributes else { continue };
            // What ended before its parent did is none of the policy's business.
            if has_ended(parent.events, event.event_id) {
                continue;
            }
            let Some(child) = finals.get(a.workflow_id.as_str()).map(|runs| runs.current()) else { continue };
            let terminated = child.events.iter().filter(|event| is_terminated(event)).count();
            let cancels = child.events.iter().filter(|event| is_cancel_request(event)).count();
            // It may have completed by itself while its parent closed.
            let completed =
                child.events.last().is_some_and(|event| event.event_type() == EventType::WorkflowExecutionCompleted);
            let good = match a.parent_close_policy() {
                ParentClosePolicy::Terminate => cancels == 0 && terminated + usize::from(completed) == 1,
                ParentClosePolicy::RequestCancel => terminated == 0 && cancels + usize::from(completed) == 1,
                _ => terminated + cancels == 0,
            };
            if !good {
                violations.push(format!(
                    "{parent_id}: {} with {}: {terminated} terminations, {cancels} cancel requests, completed: {completed}",
                    a.workflow_id,
                    a.parent_close_policy().as_str_name()
                ));
            }
        }
    }
    violations
}

/// Whether the parent has heard of the child's end.
fn has_ended(parent: &[HistoryEvent], initiated_event_id: i64) -> bool {
    parent.iter().any(|event| match &event.attributes {
        Some(A::ChildWorkflowExecutionCompletedEventAttributes(a)) => a.initiated_event_id == initiated_event_id,
        Some(A::ChildWorkflowExecutionFailedEventAttributes(a)) => a.initiated_event_id == initiated_event_id,
        Some(A::ChildWorkflowExecutionCanceledEventAttributes(a)) => a.initiated_event_id == initiated_event_id,
        Some(A::ChildWorkflowExecutionTimedOutEventAttributes(a)) => a.initiated_event_id == initiated_event_id,
        Some(A::ChildWorkflowExecutionTerminatedEventAttributes(a)) => a.initiated_event_id == initiated_event_id,
        _ => false,
    })
}

fn is_terminated(event: &HistoryEvent) -> bool {
    matches!(&event.attributes, Some(A::WorkflowExecutionTerminatedEventAttributes(a)) if a.reason == BY_POLICY)
}

fn is_cancel_request(event: &HistoryEvent) -> bool {
    event.event_type() == EventType::WorkflowExecutionCancelRequested
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1 as history;

    use super::super::testing::{ended, event, violations_of};
    use super::*;

    fn initiated(policy: ParentClosePolicy) -> HistoryEvent {
        let attributes = history::StartChildWorkflowExecutionInitiatedEventAttributes {
            workflow_id: "child".into(),
            parent_close_policy: policy.into(),
            ..Default::default()
        };
        event(2, A::StartChildWorkflowExecutionInitiatedEventAttributes(attributes))
    }

    fn terminated(reason: &str) -> HistoryEvent {
        let attributes =
            history::WorkflowExecutionTerminatedEventAttributes { reason: reason.into(), ..Default::default() };
        event(9, A::WorkflowExecutionTerminatedEventAttributes(attributes))
    }

    fn cancel_requested() -> HistoryEvent {
        let mut event = event(3, A::WorkflowExecutionCancelRequestedEventAttributes(Default::default()));
        event.event_type = EventType::WorkflowExecutionCancelRequested.into();
        event
    }

    #[test]
    fn a_child_that_is_not_treated_as_asked_is_found() {
        let count = |policy, child: Vec<HistoryEvent>| {
            violations_of(check, &[ended("parent", "run", vec![initiated(policy)]), ended("child", "run", child)])
        };
        assert_eq!(count(ParentClosePolicy::Terminate, vec![terminated(BY_POLICY)]), 0);
        assert_eq!(count(ParentClosePolicy::Terminate, vec![terminated("by a user")]), 1);
        assert_eq!(count(ParentClosePolicy::RequestCancel, vec![cancel_requested()]), 0);
        assert_eq!(count(ParentClosePolicy::RequestCancel, vec![cancel_requested(), cancel_requested()]), 1);
        assert_eq!(count(ParentClosePolicy::RequestCancel, vec![terminated(BY_POLICY)]), 1);
        assert_eq!(count(ParentClosePolicy::Abandon, vec![]), 0);
        assert_eq!(count(ParentClosePolicy::Abandon, vec![cancel_requested()]), 1);
    }
}
