//! Updates: who waits for them, and what becomes of them when things change.

use std::time::Duration;

use api::Error;
use api::internal::UpdateWithStart;
use api::internal::history_request::Request;
use prost::{Message, Name};
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_protos::temporal::api::enums::v1::UpdateWorkflowExecutionLifecycleStage as Stage;
use temporalio_protos::temporal::api::enums::v1::WorkflowIdConflictPolicy;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::protocol::v1 as protocol;
use temporalio_protos::temporal::api::update::v1 as update;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, QUEUE, complete_workflow, execution};
use crate::world::World;

pub(crate) fn request(id: &str, stage: Stage) -> wf::UpdateWorkflowExecutionRequest {
    wf::UpdateWorkflowExecutionRequest {
        workflow_execution: Some(execution("w", "")),
        wait_policy: Some(update::WaitPolicy { lifecycle_stage: stage.into() }),
        request: Some(update::Request {
            meta: Some(update::Meta { update_id: id.into(), ..Default::default() }),
            input: Some(update::Input { name: "set".into(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) async fn ask(client: &Client, id: &str, stage: Stage) -> Result<wf::UpdateWorkflowExecutionResponse, Error> {
    client.call("w", Request::Update(request(id, stage))).await
}

async fn poll(client: &Client, id: &str, stage: Stage) -> Result<wf::PollWorkflowExecutionUpdateResponse, Error> {
    let reference = update::UpdateRef { workflow_execution: Some(execution("w", "")), update_id: id.into() };
    let request = wf::PollWorkflowExecutionUpdateRequest {
        update_ref: Some(reference),
        wait_policy: Some(update::WaitPolicy { lifecycle_stage: stage.into() }),
        ..Default::default()
    };
    client.call("w", Request::PollUpdate(request)).await
}

fn message<M: Message + Name>(id: &str, body: &M) -> protocol::Message {
    let type_url = format!("type.googleapis.com/{}", M::full_name());
    protocol::Message {
        id: format!("{id}/{}", M::NAME),
        protocol_instance_id: id.into(),
        body: Some(prost_types::Any { type_url, value: body.encode_to_vec() }),
        sequencing_id: None,
    }
}

pub(crate) fn accept(id: &str) -> protocol::Message {
    let body = update::Acceptance {
        accepted_request_message_id: format!("{id}/request"),
        accepted_request_sequencing_event_id: 1,
        accepted_request: None,
    };
    message(id, &body)
}

pub(crate) fn respond(id: &str) -> protocol::Message {
    let meta = Some(update::Meta { update_id: id.into(), ..Default::default() });
    message(id, &update::Response { meta, outcome: Some(success()) })
}

fn reject(id: &str) -> protocol::Message {
    let failure = Some(Failure { message: "no".into(), ..Default::default() });
    message(id, &update::Rejection { failure, ..Default::default() })
}

fn success() -> update::Outcome {
    let payload = Payload { data: b"done".to_vec(), ..Default::default() };
    update::Outcome { value: Some(update::outcome::Value::Success(Payloads { payloads: vec![payload] })) }
}

pub(crate) async fn answer(
    client: &Client,
    task: &wf::PollWorkflowTaskQueueResponse,
    messages: Vec<protocol::Message>,
) {
    let completion = wf::RespondWorkflowTaskCompletedRequest { messages, ..Default::default() };
    client.complete_with(task, completion).await.unwrap();
}

/// Started, and waiting for whatever comes.
pub(crate) async fn idle(client: &Client) {
    client.start("w").await;
    let task = client.poll_workflow(QUEUE).await;
    client.complete(&task, vec![]).await.unwrap();
}

/// How many events there are.
async fn events(client: &Client) -> usize {
    client.history("w").await.len()
}

#[test]
fn a_rejected_update_leaves_no_trace() {
    World::new().live(async |life| {
        let client = &life.client;
        idle(client).await;
        let before = events(client).await;
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            assert_eq!(task.messages.len(), 1);
            assert_eq!(task.history.as_ref().unwrap().events.len(), before + 2, "its own events, and none is written");
            answer(client, &task, vec![reject("u")]).await;
        };
        let (outcome, ()) = tokio::join!(ask(client, "u", Stage::Completed), worker);
        let outcome = outcome.unwrap();
        assert_eq!(outcome.stage(), Stage::Completed);
        let Some(update::outcome::Value::Failure(failure)) = outcome.outcome.unwrap().value else { panic!("rejected") };
        assert_eq!(failure.message, "no");
        assert_eq!(events(client).await, before);
        assert_eq!(
            poll(client, "u", Stage::Unspecified).await.unwrap_err(),
            Error::NotFound("update \"u\" not found".into())
        );
    });
}

#[test]
fn every_waiter_gets_what_it_waits_for() {
    World::new().live(async |life| {
        let client = &life.client;
        idle(client).await;
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            answer(client, &task, vec![accept("u")]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.signal("w", "s").await.unwrap();
            let task = client.poll_workflow(QUEUE).await;
            answer(client, &task, vec![respond("u")]).await;
        };
        let joins = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ask(client, "u", Stage::Completed).await
        };
        let (accepted, completed, ()) = tokio::join!(ask(client, "u", Stage::Accepted), joins, worker);
        assert_eq!(accepted.unwrap().stage(), Stage::Accepted);
        assert_eq!(completed.unwrap().outcome, Some(success()));
        // From history, as long as the run is there.
        assert_eq!(ask(client, "u", Stage::Completed).await.unwrap().outcome, Some(success()));
        assert_eq!(poll(client, "u", Stage::Completed).await.unwrap().outcome, Some(success()));
    });
}

#[test]
fn who_waits_too_long_is_told_how_far_it_is() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let begun = tokio::time::Instant::now();
        let update = ask(client, "u", Stage::Completed).await.unwrap();
        assert_eq!((update.stage(), update.outcome), (Stage::Admitted, None));
        assert_eq!(begun.elapsed().as_secs(), 20);
        let task = client.poll_workflow(QUEUE).await;
        answer(client, &task, vec![accept("u")]).await;
        assert_eq!(poll(client, "u", Stage::Completed).await.unwrap().stage(), Stage::Accepted);
    });
}

#[test]
fn the_next_leader_is_asked_again() {
    let world = World::new();
    world.live(async |life| {
        let client = &life.client;
        idle(client).await;
        let task = tokio::select! {
            _ = ask(client, "u", Stage::Accepted) => panic!("nobody answered"),
            task = client.poll_workflow(QUEUE) => task,
        };
        assert_eq!(task.messages.len(), 1);
    });
    world.live(async |life| {
        let client = &life.client;
        assert!(matches!(poll(client, "u", Stage::Unspecified).await, Err(Error::NotFound(_))), "it is lost");
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            answer(client, &task, vec![accept("u")]).await;
        };
        let (update, ()) = tokio::join!(ask(client, "u", Stage::Accepted), worker);
        assert_eq!(update.unwrap().stage(), Stage::Accepted);
    });
    world.live(async |life| {
        let client = &life.client;
        assert_eq!(poll(client, "u", Stage::Unspecified).await.unwrap().stage(), Stage::Accepted, "it is kept");
        client.terminate("w").await.unwrap();
        let update = ask(client, "u", Stage::Completed).await.unwrap();
        let Some(update::outcome::Value::Failure(failure)) = update.outcome.unwrap().value else { panic!("failed") };
        assert!(failure.message.contains("completed before the Update completed"));
    });
}

#[test]
fn a_run_that_closes_has_the_last_word() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.complete(&task, vec![complete_workflow()]).await.unwrap();
        };
        let (update, ()) = tokio::join!(ask(client, "u", Stage::Completed), worker);
        let closing = Error::NotFound("workflow update was aborted by closing workflow".into());
        assert_eq!(update.unwrap_err(), closing);
    });
}

#[test]
fn update_with_start_is_both_or_neither() {
    World::new().live(async |life| {
        let client = &life.client;
        let both = |id: &str, policy: WorkflowIdConflictPolicy| {
            let mut start = client.start_request("w");
            start.workflow_id_conflict_policy = policy.into();
            let update = Some(request(id, Stage::Accepted));
            Request::UpdateWithStart(UpdateWithStart { start: Some(start), update })
        };
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            answer(client, &task, vec![accept("u")]).await;
        };
        let started = client.call::<wf::ExecuteMultiOperationResponse>("w", both("u", WorkflowIdConflictPolicy::Fail));
        let (started, ()) = tokio::join!(started, worker);
        assert_eq!(started.unwrap().responses.len(), 2);
        let refused = client.call::<wf::ExecuteMultiOperationResponse>("w", both("v", WorkflowIdConflictPolicy::Fail));
        let Err(Error::MultiOperation { operations, .. }) = refused.await else { panic!("refused") };
        assert!(matches!(operations[0], Some(Error::AlreadyStarted { .. })));
        assert_eq!(operations[1], Some(Error::OperationAborted));
        let joined = client.call::<wf::ExecuteMultiOperationResponse>("w", both("u", WorkflowIdConflictPolicy::Fail));
        assert_eq!(joined.await.unwrap().responses.len(), 2, "the update is known");
    });
}
