//! Who owns a workflow id.

use api::Error;
use api::internal::history_request::Request;
use temporalio_protos::temporal::api::enums::v1::{
    EventType as E, WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse,
};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, QUEUE, complete_workflow};
use crate::world::World;

fn request(client: &Client, conflict: Conflict, reuse: Reuse) -> wf::StartWorkflowExecutionRequest {
    wf::StartWorkflowExecutionRequest {
        workflow_id_conflict_policy: conflict.into(),
        workflow_id_reuse_policy: reuse.into(),
        ..client.start_request("w")
    }
}

#[test]
fn policies_while_the_run_is_open() {
    World::new().live(async |life| {
        let client = &life.client;
        let run_id = client.start("w").await;
        let refused = client.start_with(request(client, Conflict::Fail, Reuse::AllowDuplicate)).await.unwrap_err();
        assert!(matches!(&refused, Error::AlreadyStarted { run_id: id, .. } if *id == run_id), "{refused:?}");
        let joined = client.start_with(request(client, Conflict::UseExisting, Reuse::AllowDuplicate)).await.unwrap();
        assert_eq!((&joined.run_id, joined.started), (&run_id, false));
        let replaced =
            client.start_with(request(client, Conflict::TerminateExisting, Reuse::AllowDuplicate)).await.unwrap();
        assert_ne!(replaced.run_id, run_id);
        let old = client.events_of_run("w", &run_id).await;
        assert_eq!(old.last().unwrap().event_type(), E::WorkflowExecutionTerminated);
        assert_eq!(client.history("w").await, [E::WorkflowExecutionStarted, E::WorkflowTaskScheduled]);
        // The task of the old run is stale.
        let task = client.poll_workflow(QUEUE).await;
        assert_eq!(task.workflow_execution.unwrap().run_id, replaced.run_id);
    });
}

#[test]
fn policies_after_the_run_has_ended_well() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
        for reuse in [Reuse::RejectDuplicate, Reuse::AllowDuplicateFailedOnly] {
            let refused = client.start_with(request(client, Conflict::Unspecified, reuse)).await.unwrap_err();
            assert!(matches!(refused, Error::AlreadyStarted { .. }), "{refused:?}");
        }
        client.start_with(request(client, Conflict::Unspecified, Reuse::AllowDuplicate)).await.unwrap();
    });
}

#[test]
fn two_starts_at_once_make_one_run() {
    World::new().live(async |life| {
        let client = &life.client;
        let starts = (0..20).map(|_| client.start_with(client.start_request("w")));
        let results = futures_util::future::join_all(starts).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    });
}

#[test]
fn signal_with_start_starts_once_and_signals_each_time() {
    World::new().live(async |life| {
        let client = &life.client;
        let mut run_ids = Vec::new();
        for number in 0..3 {
            let start = client.start_request("w");
            let request = wf::SignalWithStartWorkflowExecutionRequest {
                namespace: start.namespace,
                workflow_id: start.workflow_id,
                workflow_type: start.workflow_type,
                task_queue: start.task_queue,
                request_id: start.request_id,
                signal_name: format!("s{number}"),
                ..Default::default()
            };
            let response: wf::SignalWithStartWorkflowExecutionResponse =
                client.call("w", Request::SignalWithStart(request)).await.unwrap();
            assert_eq!(response.started, number == 0);
            run_ids.push(response.run_id);
        }
        run_ids.dedup();
        assert_eq!(run_ids.len(), 1);
        let signaled = E::WorkflowExecutionSignaled;
        let expected = [E::WorkflowExecutionStarted, signaled, E::WorkflowTaskScheduled, signaled, signaled];
        assert_eq!(client.history("w").await, expected);
    });
}

#[test]
fn an_eager_start_brings_the_first_task_along() {
    World::new().live(async |life| {
        let client = &life.client;
        let request = wf::StartWorkflowExecutionRequest { request_eager_execution: true, ..client.start_request("w") };
        let task = client.start_with(request).await.unwrap().eager_workflow_task.expect("a task");
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
        assert_eq!(client.history("w").await.len(), 5);
        assert_eq!(life.matching.offered(), 0);
    });
}
