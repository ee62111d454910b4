//! What is right goes to the right place, normalised, and the answer comes back untouched.

use std::time::Duration;

use api::Error;
use api::internal::history_request::Request as HistoryCall;
use api::internal::matching_request::Request as MatchingCall;
use api::internal::{ActivityTaskToken, OfficialTaskToken, QueryTaskToken, TaskKind, WorkflowTaskToken};
use base::{NodeId, cell_of};
use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads, WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use temporalio_protos::temporal::api::query::v1::WorkflowQuery;
use temporalio_protos::temporal::api::taskqueue::v1::{PollerInfo, TaskQueue, TaskQueueStats};
use temporalio_protos::temporal::api::workflowservice::v1::*;
use tonic::Code;

use crate::fake::{DEFAULT_ID, Fake, WORKFLOW_SERVICE, ask, call};

fn start() -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "T".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn huge() -> Option<Payloads> {
    Some(Payloads { payloads: vec![Payload { data: vec![0; 2 << 20], ..Default::default() }] })
}

fn activity_token() -> Vec<u8> {
    ActivityTaskToken {
        namespace_id: DEFAULT_ID.into(),
        workflow_id: "w".into(),
        run_id: "r".into(),
        scheduled_event_id: 5,
        ..Default::default()
    }
    .encode_to_vec()
}

#[tokio::test]
async fn a_start_reaches_its_cell_with_defaults() {
    let fake = Fake::new();
    let answer = Bytes::from_static(b"not even a message");
    fake.will_answer(Ok(answer.clone()));
    assert_eq!(call(&fake.service(), "StartWorkflowExecution", &start()).await.unwrap(), answer);

    let [request] = fake.history.lock().unwrap().clone().try_into().expect("one request");
    assert_eq!((request.namespace_id.as_str(), request.namespace.as_str()), (DEFAULT_ID, "default"));
    assert_eq!(request.cell, u32::from(cell_of(DEFAULT_ID, "w").index()));
    let Some(HistoryCall::Start(started)) = request.request else { panic!("a start") };
    assert_eq!(started.request_id.len(), 36);
    assert_eq!((started.workflow_id_reuse_policy, started.workflow_id_conflict_policy), (1, 1));
    assert_eq!(started.task_queue.expect("a queue").kind, 1);
}

#[tokio::test]
async fn the_deprecated_reuse_policy_is_translated() {
    let fake = Fake::new();
    let request = StartWorkflowExecutionRequest { workflow_id_reuse_policy: 4, ..start() };
    call(&fake.service(), "StartWorkflowExecution", &request).await.unwrap();
    let Some(HistoryCall::Start(started)) = fake.history.lock().unwrap()[0].request.clone() else { panic!("a start") };
    assert_eq!((started.workflow_id_reuse_policy, started.workflow_id_conflict_policy), (1, 3));
}

#[tokio::test]
async fn errors_of_the_shard_become_statuses() {
    let fake = Fake::new();
    let service = fake.service();
    for (error, code) in [
        (Error::NotFound("workflow not found for ID: w".into()), Code::NotFound),
        (Error::NotLeader { hint: None }, Code::Unavailable),
        (Error::Internal("a secret".into()), Code::Internal),
    ] {
        fake.will_answer(Err(error));
        let status = call(&service, "StartWorkflowExecution", &start()).await.expect_err("refused");
        assert_eq!(status.code(), code);
        assert!(!status.message().contains("secret"));
    }
    let operations = service.metrics().snapshot();
    let [operation] = operations.as_slice() else { panic!("one operation") };
    assert_eq!((operation.operation, operation.requests), ("StartWorkflowExecution", 3));
    assert_eq!(operation.errors, [(5, 1), (13, 1), (14, 1)]);
}

#[tokio::test]
async fn terminations_by_users_say_so() {
    let fake = Fake::new();
    let request = TerminateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(WorkflowExecution { workflow_id: "w".into(), ..Default::default() }),
        ..Default::default()
    };
    call(&fake.service(), "TerminateWorkflowExecution", &request).await.unwrap();
    let Some(HistoryCall::Terminate(sent)) = fake.history.lock().unwrap()[0].request.clone() else { panic!("one") };
    assert_eq!((sent.reason.as_str(), sent.identity.as_str()), ("terminated by user via frontend", "frontend-service"));
}

#[tokio::test]
async fn history_pages_are_never_too_long() {
    let fake = Fake::new();
    let service = fake.service();
    for (asked, sent) in [(0, 256), (-5, 256), (10, 10), (100_000, 256)] {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: "default".into(),
            execution: Some(WorkflowExecution { workflow_id: "w".into(), ..Default::default() }),
            maximum_page_size: asked,
            ..Default::default()
        };
        call(&service, "GetWorkflowExecutionHistory", &request).await.unwrap();
        let last = fake.history.lock().unwrap().pop().expect("a request");
        let Some(HistoryCall::GetHistory(request)) = last.request else { panic!("a read") };
        assert_eq!((request.maximum_page_size, request.history_event_filter_type), (sent, 1));
    }
}

#[tokio::test]
async fn polls_go_to_their_partition() {
    let fake = Fake::new();
    let service = fake.service();
    let sticky = TaskQueue { name: "s".into(), kind: 2, normal_name: "q".into() };
    let poll =
        PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: Some(sticky), ..Default::default() };
    call(&service, "PollWorkflowTaskQueue", &poll).await.unwrap();
    let poll = PollActivityTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    call(&service, "PollActivityTaskQueue", &poll).await.unwrap();

    let sent = fake.matching.lock().unwrap().clone();
    let keys: Vec<_> = sent.into_iter().map(|(_, request)| request.partition.expect("a partition")).collect();
    assert_eq!((keys[0].task_queue.as_str(), keys[0].sticky, keys[0].kind), ("s", true, TaskKind::Workflow as i32));
    assert_eq!((keys[1].task_queue.as_str(), keys[1].sticky, keys[1].kind), ("q", false, TaskKind::Activity as i32));
}

#[tokio::test]
async fn draining_ends_polls_with_empty_answers() {
    let fake = Fake::new();
    *fake.park.lock().unwrap() = true;
    let service = fake.service();
    let poll = PollActivityTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    let (answer, ()) = tokio::join!(call(&service, "PollActivityTaskQueue", &poll), async {
        while fake.matching.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        service.drain().await;
    });
    assert_eq!(answer.expect("no error"), Bytes::new());
}

#[tokio::test]
async fn calls_end_at_their_deadline() {
    let fake = Fake::new();
    *fake.park.lock().unwrap() = true;
    let request = DescribeTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    let path = format!("/{WORKFLOW_SERVICE}/DescribeTaskQueue");
    let timeout = Some(Duration::from_millis(10));
    let answer = fake.service().call(&path, &HeaderMap::new(), request.encode_to_vec().into(), timeout).await;
    let status = answer.expect_err("too late");
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "context deadline exceeded"));
}

#[tokio::test]
async fn queries_that_time_out_say_why() {
    let fake = Fake::new();
    fake.will_answer(Err(Error::DeadlineExceeded));
    let request = QueryWorkflowRequest {
        namespace: "default".into(),
        execution: Some(WorkflowExecution { workflow_id: "w".into(), ..Default::default() }),
        query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
        ..Default::default()
    };
    let status = call(&fake.service(), "QueryWorkflow", &request).await.expect_err("too late");
    assert_eq!(status.message(), "query timed out before a worker could process it");
}

#[tokio::test]
async fn answers_of_queries_go_to_the_node_that_waits() {
    let fake = Fake::new();
    let token = QueryTaskToken { namespace_id: DEFAULT_ID.into(), query_id: "q7".into(), node_id: 9 };
    let request = RespondQueryTaskCompletedRequest {
        task_token: token.encode_to_vec(),
        query_result: huge(),
        completed_type: 1,
        ..Default::default()
    };
    call(&fake.service(), "RespondQueryTaskCompleted", &request).await.unwrap();
    let (node, sent) = fake.matching.lock().unwrap()[0].clone();
    assert_eq!(node, Some(NodeId(9)));
    let Some(MatchingCall::RespondQuery(sent)) = sent.request else { panic!("an answer") };
    assert_eq!(sent.token, Some(token));
    let answer = sent.request.expect("the request");
    assert_eq!((answer.completed_type, answer.error_message.as_str()), (2, "Blob data size exceeds limit."));
}

#[tokio::test]
async fn workflow_tasks_are_answered_by_token() {
    let fake = Fake::new();
    let token = WorkflowTaskToken {
        namespace_id: DEFAULT_ID.into(),
        workflow_id: "w".into(),
        scheduled_event_id: 2,
        ..Default::default()
    };
    // The namespace of the request is optional.
    for namespace in ["", "default"] {
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: token.encode_to_vec(),
            namespace: namespace.into(),
            ..Default::default()
        };
        call(&fake.service(), "RespondWorkflowTaskCompleted", &request).await.unwrap();
        let sent = fake.history.lock().unwrap().pop().expect("a request");
        assert_eq!((sent.namespace.as_str(), sent.cell), ("default", u32::from(cell_of(DEFAULT_ID, "w").index())));
        let Some(HistoryCall::CompleteWorkflowTask(sent)) = sent.request else { panic!("a completion") };
        assert_eq!(sent.token.as_ref(), Some(&token));
    }
    let request = RespondWorkflowTaskCompletedRequest {
        task_token: token.encode_to_vec(),
        namespace: "old".into(),
        ..Default::default()
    };
    let status = call(&fake.service(), "RespondWorkflowTaskCompleted", &request).await.expect_err("refused");
    assert_eq!(status.message(), "Operation requested with a token from a different namespace.");
}

#[tokio::test]
async fn tokens_of_the_official_server_are_understood() {
    let fake = Fake::new();
    let service = fake.service();
    let official = OfficialTaskToken {
        namespace_id: DEFAULT_ID.into(),
        workflow_id: "w".into(),
        run_id: "r".into(),
        scheduled_event_id: 5,
        attempt: 1,
        activity_id: "a".into(),
        ..Default::default()
    };
    let task_token = official.encode_to_vec();
    let completed = RespondWorkflowTaskCompletedRequest { task_token: task_token.clone(), ..Default::default() };
    call(&service, "RespondWorkflowTaskCompleted", &completed).await.unwrap();
    let completed = RespondActivityTaskCompletedRequest { task_token: task_token.clone(), ..Default::default() };
    call(&service, "RespondActivityTaskCompleted", &completed).await.unwrap();
    let [task, activity] = fake.history.lock().unwrap().clone().try_into().expect("two requests");
    let Some(HistoryCall::CompleteWorkflowTask(task)) = task.request else { panic!("a completion") };
    let token = task.token.expect("the token");
    assert_eq!((&*token.workflow_id, &*token.run_id, token.scheduled_event_id, token.term), ("w", "r", 5, 0));
    let Some(HistoryCall::CompleteActivity(activity)) = activity.request else { panic!("a completion") };
    let token = activity.address.and_then(|address| address.token).expect("the token");
    assert_eq!((&*token.run_id, &*token.activity_id, token.attempt), ("r", "a", 1));
    // One of a query: the parts of a task's look like it. Nobody waits for the answer.
    let query = RespondQueryTaskCompletedRequest { task_token, completed_type: 1, ..Default::default() };
    call(&service, "RespondQueryTaskCompleted", &query).await.unwrap();
    let (node, _) = fake.matching.lock().unwrap()[0].clone();
    assert_eq!(node, Some(NodeId(0)));
}

#[tokio::test]
async fn results_that_are_too_large_fail_the_activity() {
    let fake = Fake::new();
    let service = fake.service();
    let request = RespondActivityTaskCompletedRequest {
        task_token: activity_token(),
        result: huge(),
        identity: "me".into(),
        ..Default::default()
    };
    call(&service, "RespondActivityTaskCompleted", &request).await.unwrap();
    let beat =
        RecordActivityTaskHeartbeatRequest { task_token: activity_token(), details: huge(), ..Default::default() };
    let response: RecordActivityTaskHeartbeatResponse = ask(&service, "RecordActivityTaskHeartbeat", &beat).await;
    assert!(response.cancel_requested);
    let messages: Vec<String> = fake
        .history
        .lock()
        .unwrap()
        .iter()
        .map(|request| {
            let Some(HistoryCall::FailActivity(sent)) = request.request.clone() else { panic!("a failure") };
            sent.request.expect("the request").failure.expect("a failure").message
        })
        .collect();
    assert_eq!(messages, ["Complete result exceeds size limit.", "Heartbeat details exceed size limit."]);
}

#[tokio::test]
async fn failures_are_added_to_the_shards_answer() {
    let fake = Fake::new();
    let theirs = Failure { message: "from the shard".into(), ..Default::default() };
    fake.will_answer(Ok(RespondActivityTaskFailedResponse { failures: vec![theirs] }.encode_to_vec().into()));
    let info = FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default());
    let request = RespondActivityTaskFailedRequest {
        task_token: activity_token(),
        failure: Some(Failure { failure_info: Some(info), ..Default::default() }),
        last_heartbeat_details: huge(),
        ..Default::default()
    };
    let response: RespondActivityTaskFailedResponse = ask(&fake.service(), "RespondActivityTaskFailed", &request).await;
    let messages: Vec<&str> = response.failures.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(messages, ["from the shard", "Heartbeat details exceed size limit."]);
    let Some(HistoryCall::FailActivity(sent)) = fake.history.lock().unwrap()[0].request.clone() else { panic!("one") };
    assert_eq!(sent.request.expect("the request").last_heartbeat_details, None);
}

#[tokio::test]
async fn activities_are_found_by_id() {
    let fake = Fake::new();
    let request = RespondActivityTaskCompletedByIdRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        activity_id: "a".into(),
        ..Default::default()
    };
    call(&fake.service(), "RespondActivityTaskCompletedById", &request).await.unwrap();
    let Some(HistoryCall::CompleteActivity(sent)) = fake.history.lock().unwrap()[0].request.clone() else {
        panic!("a completion")
    };
    let address = sent.address.expect("an address");
    assert_eq!((address.workflow_id.as_str(), address.activity_id.as_str(), address.token), ("w", "a", None));
}

#[tokio::test]
async fn the_enhanced_description_gathers_all_types() {
    let fake = Fake::new();
    for pollers in [1, 2] {
        let described = DescribeTaskQueueResponse {
            pollers: vec![PollerInfo::default(); pollers],
            stats: Some(TaskQueueStats { approximate_backlog_count: 3, ..Default::default() }),
            ..Default::default()
        };
        fake.will_answer(Ok(described.encode_to_vec().into()));
    }
    let request = DescribeTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        api_mode: 1,
        report_pollers: true,
        report_stats: true,
        ..Default::default()
    };
    let mut versions =
        ask::<DescribeTaskQueueResponse>(&fake.service(), "DescribeTaskQueue", &request).await.versions_info;
    let info = versions.remove("").expect("the unversioned").types_info;
    assert_eq!((info[&1].pollers.len(), info[&2].pollers.len()), (1, 2));
    assert_eq!(info[&1].stats.as_ref().expect("stats").approximate_backlog_count, 3);
}

#[tokio::test]
async fn workers_say_goodbye_everywhere() {
    let fake = Fake::new();
    let request = ShutdownWorkerRequest {
        namespace: "default".into(),
        sticky_task_queue: "s".into(),
        worker_instance_key: "worker".into(),
        ..Default::default()
    };
    call(&fake.service(), "ShutdownWorker", &request).await.unwrap();
    let nodes: Vec<Option<NodeId>> = fake.matching.lock().unwrap().iter().map(|(node, _)| *node).collect();
    assert_eq!(nodes, [Some(NodeId(1)), Some(NodeId(2)), None]);
}

#[tokio::test]
async fn what_is_not_built_names_itself() {
    let service = Fake::new().service();
    let status = call(&service, "CreateSchedule", &CreateScheduleRequest::default()).await.expect_err("not built");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unimplemented, "CreateSchedule is not implemented by this server.")
    );
    let status = call(&service, "MakeCoffee", &GetSystemInfoRequest::default()).await.expect_err("no such");
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().starts_with("unknown method MakeCoffee for service temporal.api"));
}
