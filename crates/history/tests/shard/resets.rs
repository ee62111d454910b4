//! Reset and delete: runs that begin with a copy of another's history, and runs that go.

use std::time::Duration;

use api::Error;
use api::internal::history_request::Request;
use storage::{Kv, Scan};
use temporalio_protos::temporal::api::common::v1::Payloads;
use temporalio_protos::temporal::api::enums::v1::EventType as E;
use temporalio_protos::temporal::api::enums::v1::WorkflowExecutionStatus as Status;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, QUEUE, complete_workflow, execution, schedule_activity, types};
use crate::world::{Life, World};

pub(crate) async fn reset(
    client: &Client,
    workflow_id: &str,
    run_id: &str,
    at: i64,
    request_id: &str,
) -> Result<String, Error> {
    let request = wf::ResetWorkflowExecutionRequest {
        workflow_execution: Some(execution(workflow_id, run_id)),
        reason: "why".into(),
        workflow_task_finish_event_id: at,
        request_id: request_id.into(),
        ..Default::default()
    };
    let response: wf::ResetWorkflowExecutionResponse = client.call(workflow_id, Request::Reset(request)).await?;
    Ok(response.run_id)
}

pub(crate) async fn delete(client: &Client, workflow_id: &str, run_id: &str) -> Result<(), Error> {
    let request = wf::DeleteWorkflowExecutionRequest {
        workflow_execution: Some(execution(workflow_id, run_id)),
        ..Default::default()
    };
    client.raw(workflow_id, Request::Delete(request)).await.map(|_| ())
}

async fn describe(
    client: &Client,
    workflow_id: &str,
    run_id: &str,
) -> Result<wf::DescribeWorkflowExecutionResponse, Error> {
    let request =
        wf::DescribeWorkflowExecutionRequest { execution: Some(execution(workflow_id, run_id)), ..Default::default() };
    client.call(workflow_id, Request::Describe(request)).await
}

fn history_rows(life: &Life) -> usize {
    let all = life.kv.scan(&Scan::range(vec![0, 0], vec![0x10, 0], 100_000)).unwrap();
    all.iter().filter(|(key, _)| (1..=6).contains(&key[2])).count()
}

#[test]
fn a_reset_run_goes_on_from_the_fork_and_survives_a_crash() {
    let world = World::new();
    let (base, new) = world.live(async |life| {
        let client = &life.client;
        let base = client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![schedule_activity("a")]).await.unwrap();
        client.signal("w", "s").await.unwrap();
        let new = reset(client, "w", "", 4, "r1").await.unwrap();
        assert_eq!(reset(client, "w", "", 4, "r1").await.unwrap(), new, "the repetition of a request");
        (base, new)
    });
    world.live(async |life| {
        let client = &life.client;
        assert_eq!(reset(client, "w", "", 4, "r1").await.unwrap(), new);
        let events = client.events_of_run("w", &new).await;
        assert_eq!(
            types(&events),
            [
                E::WorkflowExecutionStarted,
                E::WorkflowTaskScheduled,
                E::WorkflowTaskStarted,
                E::WorkflowTaskFailed,
                E::WorkflowExecutionSignaled,
                E::WorkflowTaskScheduled
            ]
        );
        let old = client.events_of_run("w", &base).await;
        assert_eq!(events[..3], old[..3]);
        assert_eq!(old.last().unwrap().event_type(), E::WorkflowExecutionTerminated);
        let described = describe(client, "w", &base).await.unwrap();
        assert_eq!(described.workflow_extended_info.unwrap().reset_run_id, new);
        let current = client.describe("w").await.unwrap().workflow_execution_info.unwrap();
        assert_eq!(current.execution.unwrap().run_id, new);
        // A worker does the rest.
        let task = client.poll_workflow(QUEUE).await;
        assert_eq!(task.workflow_execution.as_ref().unwrap().run_id, new);
        assert_eq!(task.history.as_ref().unwrap().events.len(), 7);
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
        assert_eq!(client.history("w").await.last(), Some(&E::WorkflowExecutionCompleted));
    });
}

#[test]
fn pending_activities_of_the_fork_are_offered_again() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![schedule_activity("a"), schedule_activity("b")]).await.unwrap();
        let old = client.poll_activity().await;
        client.signal("w", "s").await.unwrap();
        client.signal("w", "after").await.unwrap();
        // Events: 5, 6 activities, 7 signal, 8 task scheduled, 9 signal.
        let new = reset(client, "w", "", 9, "r").await.unwrap();
        assert!(client.complete_activity(&old).await.is_err(), "its run is closed");
        let mut ids = Vec::new();
        while ids.len() < 2 {
            let task = client.poll_activity().await;
            if task.workflow_execution.as_ref().unwrap().run_id == new {
                ids.push(task.activity_id.clone());
                client.complete_activity(&task).await.unwrap();
            }
        }
        ids.sort();
        assert_eq!(ids, ["a", "b"]);
    });
}

#[test]
fn signals_of_the_runs_that_followed_come_again() {
    World::new().live(async |life| {
        let client = &life.client;
        let base = client.start("w").await;
        client.signal("w", "one").await.unwrap();
        client.terminate("w").await.unwrap();
        let other = client.start("w").await;
        client.signal("w", "two").await.unwrap();
        // The second run does not continue the first: its signals are its own.
        let new = reset(client, "w", &base, 3, "r").await.unwrap();
        let signals = client.events_of_run("w", &new).await.into_iter().filter_map(|event| match event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => Some(signal.signal_name),
            _ => None,
        });
        assert_eq!(signals.collect::<Vec<_>>(), ["one"]);
        let described = describe(client, "w", &other).await.unwrap().workflow_execution_info.unwrap();
        assert_eq!(described.status(), Status::Terminated);
    });
}

#[test]
fn only_where_a_workflow_task_is_can_be_forked() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        // The task is started, which is not written: 4 is too far, 3 is not.
        let too_far = "Workflow task finish ID must be > 1 && <= workflow last event ID.";
        for at in [0, 1, 4] {
            let error = reset(client, "w", "", at, "r").await.unwrap_err();
            assert_eq!(error, Error::InvalidArgument(too_far.into()));
        }
        client.complete(&task, vec![schedule_activity("a")]).await.unwrap();
        for at in [2, 5] {
            let error = reset(client, "w", "", at, "r").await.unwrap_err();
            assert!(matches!(&error, Error::InvalidArgument(text) if text.contains("at the boundary")), "{error:?}");
        }
        client.signal("w", "s").await.unwrap();
        let error = reset(client, "w", "", 6, "r").await.unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(text) if text.contains("in range")), "{error:?}");
        // A refusal changes nothing.
        assert_eq!(client.history("w").await.len(), 7);
    });
}

/// A history that does not fit into one proposal is copied in several; the last one decides.
#[test]
fn a_long_history_is_copied_in_pieces() {
    let mut world = World::new();
    world.config.batch_bytes_max = 4 << 10;
    world.retention = Duration::from_secs(3600);
    world.live(async |life| {
        let client = &life.client;
        client.start("w").await;
        for number in 0..40 {
            let input = Payloads { payloads: vec![Default::default(); 200] };
            let request = wf::SignalWorkflowExecutionRequest {
                workflow_execution: Some(execution("w", "")),
                signal_name: format!("s{number}"),
                input: Some(input),
                ..Default::default()
            };
            client.raw("w", Request::Signal(request)).await.unwrap();
        }
        let base = client.describe("w").await.unwrap().workflow_execution_info.unwrap().execution.unwrap().run_id;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![]).await.unwrap();
        client.signal("w", "last").await.unwrap();
        // 1 started, 2 scheduled, 3.. signals, 43 task started, 44 completed.
        let new = reset(client, "w", "", 44, "r").await.unwrap();
        let (old, events) = (client.events_of_run("w", &base).await, client.events_of_run("w", &new).await);
        assert_eq!(events[..43], old[..43]);
        assert_eq!(events.len(), 46);
        client.terminate("w").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        assert_eq!(history_rows(life), 0, "nothing stays of the copy");
    });
}

#[test]
fn a_deleted_run_is_gone_and_its_id_is_free() {
    World::new().live(async |life| {
        let client = &life.client;
        let first = client.start("w").await;
        client.terminate("w").await.unwrap();
        let second = client.start("w").await;
        delete(client, "w", &first).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let gone = describe(client, "w", &first).await.unwrap_err();
        assert!(matches!(gone, Error::NotFound(_)));
        assert_eq!(client.history("w").await.len(), 2, "the other run is not touched");
        // The open one ends first.
        delete(client, "w", "").await.unwrap();
        let ended = describe(client, "w", &second).await.unwrap().workflow_execution_info.unwrap();
        assert_eq!(ended.status(), Status::Terminated);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(client.describe("w").await.unwrap_err(), Error::NotFound("workflow not found for ID: w".into()));
        assert!(matches!(delete(client, "w", "").await.unwrap_err(), Error::NotFound(_)));
        assert_eq!(history_rows(life), 0);
        client.start("w").await;
    });
}

async fn pause(client: &Client, workflow_id: &str) {
    let request = wf::PauseWorkflowExecutionRequest { workflow_id: workflow_id.into(), ..Default::default() };
    client.raw(workflow_id, Request::Pause(request)).await.unwrap();
}

/// A pause is durable; a new leader offers nothing of the run before it goes on.
#[test]
fn a_paused_run_stays_paused_over_a_crash() {
    let world = World::new();
    world.live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![schedule_activity("a")]).await.unwrap();
        client.signal("w", "s").await.unwrap();
        let _held = client.poll_workflow(QUEUE).await;
        pause(client, "w").await;
    });
    world.live(async |life| {
        let client = &life.client;
        let described = client.describe("w").await.unwrap();
        assert_eq!(described.workflow_execution_info.unwrap().status(), Status::Paused);
        let silence = tokio::time::timeout(Duration::from_secs(60), client.poll_workflow(QUEUE)).await;
        assert!(silence.is_err(), "a task of a paused run");
        let request = wf::UnpauseWorkflowExecutionRequest { workflow_id: "w".into(), ..Default::default() };
        client.raw("w", Request::Unpause(request)).await.unwrap();
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![]).await.unwrap();
        assert_eq!(client.poll_activity().await.activity_id, "a");
    });
}
