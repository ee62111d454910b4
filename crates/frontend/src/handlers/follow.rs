//! Clients that do not say that they follow `new_execution_run_id` (the Java SDK among them)
//! would take the end of one run for the end of the chain. To them the close event of a run
//! that was retried, or followed by the next one of its cron, is shown as continued as new;
//! only where they ask for nothing but the close event.

use api::Error;
use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::Payloads;
use temporalio_protos::temporal::api::enums::v1::{EventType, TimeoutType};
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{Failure, TimeoutFailureInfo};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowExecutionContinuedAsNewEventAttributes};
use temporalio_protos::temporal::api::workflowservice::v1::GetWorkflowExecutionHistoryResponse;

const FEATURE: &str = "follows-next-run-id";

/// Whether the client's metadata names the feature.
pub(crate) fn follows_next_run(headers: &HeaderMap) -> bool {
    let features = headers.get("supported-features").and_then(|features| features.to_str().ok());
    features.is_some_and(|features| features.split(',').any(|feature| feature == FEATURE))
}

/// The answer as such a client understands it.
pub(super) fn as_continued(answer: Bytes) -> Result<Bytes, Error> {
    let decoded = GetWorkflowExecutionHistoryResponse::decode(answer.clone());
    let mut decoded = decoded.map_err(|error| Error::Internal(format!("an answer of history: {error}")))?;
    let last = decoded.history.as_mut().and_then(|history| history.events.last_mut());
    let Some((event, attributes)) = last.and_then(|event| continued(event).map(|attributes| (event, attributes)))
    else {
        return Ok(answer);
    };
    *event = HistoryEvent {
        event_id: event.event_id,
        event_time: event.event_time,
        event_type: EventType::WorkflowExecutionContinuedAsNew as i32,
        version: event.version,
        task_id: event.task_id,
        attributes: Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(attributes)),
        ..HistoryEvent::default()
    };
    Ok(decoded.encode_to_vec().into())
}

#[expect(deprecated, reason = "the official server fills it in")]
fn continued(event: &HistoryEvent) -> Option<WorkflowExecutionContinuedAsNewEventAttributes> {
    let (run_id, result, failure): (&String, Option<Payloads>, Option<Failure>) = match event.attributes.as_ref()? {
        Attributes::WorkflowExecutionCompletedEventAttributes(a) => (&a.new_execution_run_id, a.result.clone(), None),
        Attributes::WorkflowExecutionFailedEventAttributes(a) => (&a.new_execution_run_id, None, a.failure.clone()),
        Attributes::WorkflowExecutionTimedOutEventAttributes(a) => (&a.new_execution_run_id, None, Some(timed_out())),
        _ => return None,
    };
    (!run_id.is_empty()).then(|| WorkflowExecutionContinuedAsNewEventAttributes {
        new_execution_run_id: run_id.clone(),
        last_completion_result: result,
        failure,
        ..WorkflowExecutionContinuedAsNewEventAttributes::default()
    })
}

fn timed_out() -> Failure {
    Failure {
        message: "workflow timeout".to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: TimeoutType::StartToClose as i32,
            ..TimeoutFailureInfo::default()
        })),
        ..Failure::default()
    }
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1::{History, WorkflowExecutionFailedEventAttributes};

    use super::*;

    fn answer(new_execution_run_id: &str) -> Bytes {
        let attributes = WorkflowExecutionFailedEventAttributes {
            new_execution_run_id: new_execution_run_id.to_owned(),
            failure: Some(Failure { message: "not yet".to_owned(), ..Failure::default() }),
            ..WorkflowExecutionFailedEventAttributes::default()
        };
        let event = HistoryEvent {
            event_id: 5,
            event_type: EventType::WorkflowExecutionFailed as i32,
            attributes: Some(Attributes::WorkflowExecutionFailedEventAttributes(attributes)),
            ..HistoryEvent::default()
        };
        let history = Some(History { events: vec![event] });
        GetWorkflowExecutionHistoryResponse { history, ..GetWorkflowExecutionHistoryResponse::default() }
            .encode_to_vec()
            .into()
    }

    #[test]
    fn a_failure_that_is_retried_is_shown_as_continued() {
        let shown = as_continued(answer("next")).expect("it can be decoded");
        let shown = GetWorkflowExecutionHistoryResponse::decode(shown).expect("it can be decoded");
        let event = shown.history.expect("a history").events.remove(0);
        assert_eq!((event.event_id, event.event_type()), (5, EventType::WorkflowExecutionContinuedAsNew));
        let Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(attributes)) = event.attributes else {
            panic!("other attributes");
        };
        assert_eq!(attributes.new_execution_run_id, "next");
    }

    #[test]
    fn the_end_of_a_chain_stays_what_it_is() {
        assert_eq!(as_continued(answer("")).expect("it can be decoded"), answer(""));
    }

    #[test]
    fn the_feature_is_one_of_a_list() {
        let mut headers = HeaderMap::new();
        assert!(!follows_next_run(&headers));
        headers.insert("supported-features", http::HeaderValue::from_static("other,follows-next-run-id"));
        assert!(follows_next_run(&headers));
    }
}
