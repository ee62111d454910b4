//! Task tokens that no leader of ours handed out: what kits for tests put together, and what is left of a run that
//! was removed.

use api::Error;
use api::internal::history_request::Request;
use api::internal::{
    ActivityAddress, ActivityTaskToken, RecordActivityTaskHeartbeat, RespondActivityTaskCanceled,
    RespondActivityTaskCompleted, RespondActivityTaskFailed, RespondWorkflowTaskCompleted, RespondWorkflowTaskFailed,
    WorkflowTaskToken,
};
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::EventType as E;

use crate::client::{Client, QUEUE, schedule_activity};
use crate::world::World;

const NO_RUN: &str = "3c2ddc0a-4f4b-4c56-b3b6-0f5f7c6a9d11";

fn workflow_task(client: &Client, run_id: &str) -> WorkflowTaskToken {
    WorkflowTaskToken {
        namespace_id: client.namespace_id.clone(),
        workflow_id: "w".into(),
        run_id: run_id.into(),
        scheduled_event_id: 2,
        attempt: 1,
        ..Default::default()
    }
}

/// Every way to answer a task.
fn answers(client: &Client, run_id: &str) -> Vec<Request> {
    let token = Some(workflow_task(client, run_id));
    let activity = ActivityTaskToken {
        namespace_id: client.namespace_id.clone(),
        workflow_id: "w".into(),
        run_id: run_id.into(),
        scheduled_event_id: 5,
        attempt: 1,
        ..Default::default()
    };
    let address = Some(ActivityAddress { token: Some(activity), ..Default::default() });
    vec![
        Request::CompleteWorkflowTask(RespondWorkflowTaskCompleted {
            token: token.clone(),
            request: Some(Default::default()),
        }),
        Request::FailWorkflowTask(RespondWorkflowTaskFailed { token, request: Some(Default::default()) }),
        Request::CompleteActivity(RespondActivityTaskCompleted {
            address: address.clone(),
            request: Some(Default::default()),
        }),
        Request::FailActivity(RespondActivityTaskFailed {
            address: address.clone(),
            request: Some(Default::default()),
        }),
        Request::CancelActivity(RespondActivityTaskCanceled {
            address: address.clone(),
            request: Some(Default::default()),
        }),
        Request::Heartbeat(RecordActivityTaskHeartbeat { address, request: Some(Default::default()) }),
    ]
}

#[test]
fn an_unknown_workflow_is_named() {
    World::new().live(async |life| {
        let client = &life.client;
        let of_no_run = format!("workflow execution not found for workflow ID \"w\" and run ID \"{NO_RUN}\"");
        let unknown = [(NO_RUN, of_no_run), ("", "workflow not found for ID: w".to_owned())];
        for (run_id, message) in unknown {
            for request in answers(client, run_id) {
                let error = client.raw("w", request.clone()).await.unwrap_err();
                assert_eq!(error, Error::NotFound(message.clone()), "{request:?}");
            }
        }
    });
}

#[test]
fn what_a_token_leaves_out_is_not_checked() {
    World::new().live(async |life| {
        let client = &life.client;
        let run_id = client.start("w").await;
        let complete = |attempt| {
            let token = WorkflowTaskToken { attempt, ..workflow_task(client, &run_id) };
            let mut request = RespondWorkflowTaskCompleted { token: Some(token), ..Default::default() };
            request.request.get_or_insert_default().commands = vec![schedule_activity("a")];
            client.raw("w", Request::CompleteWorkflowTask(request))
        };
        let not_found = Error::NotFound("Workflow task not found.".into());
        assert_eq!(complete(1).await.unwrap_err(), not_found, "nobody has it");
        client.poll_workflow(QUEUE).await;
        assert_eq!(complete(2).await.unwrap_err(), not_found, "another attempt");
        complete(1).await.unwrap();
        assert_eq!(client.history("w").await.last(), Some(&E::ActivityTaskScheduled));
        // The current run, when the token names none.
        let task = client.poll_activity().await;
        let token = ActivityTaskToken::decode(&task.task_token[..]).unwrap();
        let token = ActivityTaskToken { run_id: String::new(), started_event_id: 0, ..token };
        let address = Some(ActivityAddress { token: Some(token), ..Default::default() });
        let request = RespondActivityTaskCompleted { address, request: Some(Default::default()) };
        client.raw("w", Request::CompleteActivity(request)).await.unwrap();
        assert!(client.history("w").await.contains(&E::ActivityTaskCompleted));
    });
}
