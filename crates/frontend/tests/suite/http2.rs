//! Over real sockets: framing, compression, deadlines, health, reflection, and the end.

use std::sync::Arc;
use std::time::Duration;

use base::{Net as _, TcpNet};
use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1::*;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::fake::{Fake, WORKFLOW_SERVICE};
use crate::raw::Client;

struct Running {
    service: frontend::Service,
    client: Client,
    shutdown: CancellationToken,
    server: JoinSet<()>,
}

async fn run(fake: &Arc<Fake>) -> Running {
    let service = fake.service();
    let listener = TcpNet.listen("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let shutdown = CancellationToken::new();
    let mut server = JoinSet::new();
    let (serving, stop) = (service.clone(), shutdown.clone());
    server.spawn(async move { serving.serve(listener, stop).await.expect("serves") });
    Running { service, client: Client::connect(address).await, shutdown, server }
}

async fn ask(client: &Client, name: &str, request: &impl prost::Message) -> Result<Bytes, tonic::Status> {
    let path = format!("/{WORKFLOW_SERVICE}/{name}");
    client.call(&path, &HeaderMap::new(), request.encode_to_vec().into(), Some(Duration::from_secs(20))).await
}

fn signal(bytes: usize) -> SignalWorkflowExecutionRequest {
    let payload = Payload { data: vec![b'x'; bytes], ..Default::default() };
    SignalWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(temporalio_protos::temporal::api::common::v1::WorkflowExecution {
            workflow_id: "w".into(),
            ..Default::default()
        }),
        signal_name: "s".into(),
        input: Some(Payloads { payloads: vec![payload] }),
        ..Default::default()
    }
}

#[tokio::test]
async fn calls_make_the_round_trip() {
    let fake = Fake::new();
    let running = run(&fake).await;
    for client in [running.client.clone(), running.client.gzip()] {
        // Small, above one frame, and large enough to be sent in two pieces.
        for bytes in [0, 20_000, 1 << 20] {
            let answer = Bytes::from(vec![7; bytes]);
            fake.will_answer(Ok(answer.clone()));
            let got = ask(&client, "SignalWorkflowExecution", &signal(bytes)).await.expect("an answer");
            assert!(got == answer, "{bytes} bytes");
        }
    }
    let status = ask(&running.client, "SignalWorkflowExecution", &signal(5 << 20)).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("grpc: received message larger than max ("), "{}", status.message());
}

#[tokio::test]
async fn errors_carry_their_details() {
    let running = run(&Fake::new()).await;
    let request = SignalWorkflowExecutionRequest { namespace: "nobody".into(), ..Default::default() };
    let status = ask(&running.client, "SignalWorkflowExecution", &request).await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "Namespace nobody is not found."));
    let inner = temporalio_protos::google::rpc::Status::decode(status.details()).expect("details");
    assert!(inner.details[0].type_url.ends_with("temporal.api.errordetails.v1.NamespaceNotFoundFailure"));

    let client = &running.client;
    let status = client.call("/no.such.Service/Call", &HeaderMap::new(), Bytes::new(), None).await.expect_err("none");
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "unknown service no.such.Service"));
    let status = ask(client, "CreateSchedule", &CreateScheduleRequest::default()).await.expect_err("not built");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_follows_draining() {
    let running = run(&Fake::new()).await;
    let mut health = HealthClient::new(running.client.channel());
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving;
    for (drained, expected) in
        [(false, serving), (true, tonic_health::pb::health_check_response::ServingStatus::NotServing)]
    {
        if drained {
            running.service.drain().await;
        }
        for service in ["", WORKFLOW_SERVICE, "temporal.api.operatorservice.v1.OperatorService"] {
            let answer = health.check(HealthCheckRequest { service: service.into() }).await.expect("known");
            assert_eq!(answer.into_inner().status(), expected, "{service}");
        }
    }
    let status = health.check(HealthCheckRequest { service: "coffee".into() }).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let running = run(&Fake::new()).await;
    let mut client = ServerReflectionClient::new(running.client.channel());
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await.expect("served");
    let answer = answers.into_inner().message().await.expect("no error").expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("a list") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.iter().any(|name| name == WORKFLOW_SERVICE), "{names:?}");
    assert!(names.iter().any(|name| name == "grpc.health.v1.Health"), "{names:?}");
}

#[tokio::test]
async fn shutdown_waits_for_calls_that_end_and_cuts_off_the_rest() {
    let fake = Fake::new();
    *fake.park.lock().unwrap() = true;
    let mut running = run(&fake).await;
    let poll = PollActivityTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    let parked = async {
        while fake.matching.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        running.shutdown.cancel();
    };
    let (answer, ()) = tokio::join!(ask(&running.client, "PollActivityTaskQueue", &poll), parked);
    assert_eq!(answer.expect("an empty answer"), Bytes::new());
    running.server.join_next().await.expect("the server").expect("ends well");

    // A call that does not end is cut off after the grace period.
    *fake.park.lock().unwrap() = true;
    let mut running = run(&fake).await;
    let describe = DescribeTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    let before = fake.matching.lock().unwrap().len();
    let stop = async {
        while fake.matching.lock().unwrap().len() == before {
            tokio::task::yield_now().await;
        }
        running.shutdown.cancel();
        running.server.join_next().await.expect("the server").expect("ends well");
    };
    let (answer, ()) = tokio::join!(ask(&running.client, "DescribeTaskQueue", &describe), stop);
    answer.expect_err("cut off");
}
