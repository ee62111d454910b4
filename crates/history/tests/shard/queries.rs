//! Queries: direct, riding on a task, and refused.

use std::collections::HashMap;
use std::time::Duration;

use api::Error;
use api::internal::history_request::Request;
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_protos::temporal::api::enums::v1::{
    QueryRejectCondition, QueryResultType, WorkflowExecutionStatus, WorkflowTaskFailedCause,
};
use temporalio_protos::temporal::api::query::v1::{WorkflowQuery, WorkflowQueryResult};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, QUEUE, complete_workflow, execution, sticky};
use crate::world::World;

fn payloads(data: &str) -> Option<Payloads> {
    let payload = Payload { data: data.as_bytes().to_vec(), ..Default::default() };
    Some(Payloads { payloads: vec![payload] })
}

pub(crate) fn request(condition: QueryRejectCondition) -> wf::QueryWorkflowRequest {
    wf::QueryWorkflowRequest {
        execution: Some(execution("w", "")),
        query: Some(WorkflowQuery { query_type: "q".into(), ..Default::default() }),
        query_reject_condition: condition.into(),
        ..Default::default()
    }
}

pub(crate) async fn query(client: &Client) -> Result<wf::QueryWorkflowResponse, Error> {
    client.call("w", Request::Query(request(QueryRejectCondition::None))).await
}

pub(crate) fn answer(data: &str) -> wf::RespondQueryTaskCompletedRequest {
    wf::RespondQueryTaskCompletedRequest {
        completed_type: QueryResultType::Answered.into(),
        query_result: payloads(data),
        ..Default::default()
    }
}

#[test]
fn an_idle_run_is_asked_directly_sticky_queue_first() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        let completion =
            wf::RespondWorkflowTaskCompletedRequest { sticky_attributes: sticky("mine"), ..Default::default() };
        client.complete_with(&task, completion).await.unwrap();
        life.matching.answer_queries(|partition, task| {
            assert!(partition.sticky && partition.task_queue == "mine");
            assert_eq!(task.history.unwrap().events[0].event_id, 4);
            Some(answer("sticky"))
        });
        assert_eq!(query(client).await.unwrap().query_result, payloads("sticky"));
        // A silent sticky queue is given up for good.
        life.matching.answer_queries(|partition, task| {
            (!partition.sticky).then(|| {
                assert_eq!(task.history.unwrap().events[0].event_id, 1);
                answer("normal")
            })
        });
        assert_eq!(query(client).await.unwrap().query_result, payloads("normal"));
        client.signal("w", "s").await.unwrap();
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
        assert_eq!(query(client).await.unwrap().query_result, payloads("normal"), "a closed run answers, too");
    });
}

#[test]
fn a_busy_run_answers_with_its_task() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let worker = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let task = client.poll_workflow(QUEUE).await;
            assert_eq!(task.queries.values().map(|query| query.query_type.as_str()).collect::<Vec<_>>(), ["q"]);
            let result = WorkflowQueryResult {
                result_type: QueryResultType::Answered.into(),
                answer: payloads("rode along"),
                ..Default::default()
            };
            let query_results: HashMap<_, _> = task.queries.keys().map(|id| (id.clone(), result.clone())).collect();
            let completion = wf::RespondWorkflowTaskCompletedRequest { query_results, ..Default::default() };
            client.complete_with(&task, completion).await.unwrap();
        };
        let second = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            query(client).await
        };
        let (first, second, ()) = tokio::join!(query(client), second, worker);
        assert_eq!(first.unwrap().query_result, payloads("rode along"));
        assert!(matches!(second, Err(Error::ResourceExhausted { .. })), "one query waits at most");
    });
}

#[test]
fn a_query_left_out_by_the_worker_is_asked_directly_once_the_run_is_idle() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        life.matching.answer_queries(|_, _| Some(answer("direct")));
        let task = client.poll_workflow(QUEUE).await;
        let worker = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.complete(&task, vec![]).await.unwrap();
        };
        let (result, ()) = tokio::join!(query(client), worker);
        assert_eq!(result.unwrap().query_result, payloads("direct"));
    });
}

#[test]
fn reasons_to_refuse() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        client.terminate("w").await.unwrap();
        let rejected: wf::QueryWorkflowResponse =
            client.call("w", Request::Query(request(QueryRejectCondition::NotOpen))).await.unwrap();
        assert_eq!(rejected.query_rejected.unwrap().status(), WorkflowExecutionStatus::Terminated);
        let error = query(client).await.unwrap_err();
        assert_eq!(error, Error::WorkflowNotReady("Workflow execution closed before WorkflowTaskStarted event".into()));

        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![]).await.unwrap();
        let error = query(client).await.unwrap_err();
        let expected = "no poller seen for task queue recently, worker may be down";
        assert_eq!(error, Error::FailedPrecondition(expected.into()));
        life.matching.answer_queries(|_, _| {
            Some(wf::RespondQueryTaskCompletedRequest {
                completed_type: QueryResultType::Failed.into(),
                error_message: "no such query".into(),
                cause: WorkflowTaskFailedCause::Unspecified.into(),
                ..Default::default()
            })
        });
        let error = query(client).await.unwrap_err();
        assert_eq!(error, Error::QueryFailed { message: "no such query".into(), failure: Vec::new() });
    });
}
