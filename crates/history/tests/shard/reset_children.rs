//! What became of a child while no run of its parent was there to be told, and a reset that wants
//! to know. Parents and children live in different shards.

use std::time::Duration;

use temporalio_protos::temporal::api::command::v1::command::Attributes as C;
use temporalio_protos::temporal::api::command::v1::{Command, ContinueAsNewWorkflowExecutionCommandAttributes};
use temporalio_protos::temporal::api::common::v1::WorkflowType;
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType as E, ParentClosePolicy};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::children::{count, elsewhere, start_child, until, workflow_id};
use crate::client::{Client, QUEUE, complete_workflow};
use crate::resets::{delete, reset};
use crate::world::World;

/// The completion of the parent's second task; the child started before it.
const FORK: i64 = 9;
/// Whatever was under way between the runs has arrived.
const A_WHILE: Duration = Duration::from_secs(5);

/// A parent that left its child behind.
struct Left {
    parent_run_id: String,
    child: String,
    /// The first task of the child.
    task: wf::PollWorkflowTaskQueueResponse,
}

/// The parent completes when its child has started.
async fn leave(client: &Client, policy: ParentClosePolicy) -> Left {
    let child = elsewhere(client, "parent");
    let parent_run_id = client.start("parent").await;
    let task = client.poll_workflow(QUEUE).await;
    client.complete(&task, vec![start_child(&child, policy)]).await.unwrap();
    let mut tasks = [client.poll_workflow(QUEUE).await, client.poll_workflow(QUEUE).await];
    tasks.sort_by_key(|task| workflow_id(task) == child);
    let [parent, task] = tasks;
    client.complete(&parent, vec![complete_workflow()]).await.unwrap();
    Left { parent_run_id, child, task }
}

/// The new run, once an event of the kind tells it of the child's end.
async fn told(client: &Client, run_id: &str, kind: E) -> A {
    until(async || count(&client.events_of_run("parent", run_id).await, kind) == 1).await;
    let events = client.events_of_run("parent", run_id).await;
    events.into_iter().find(|event| event.event_type() == kind).and_then(|event| event.attributes).unwrap()
}

fn continue_as_new() -> Command {
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name: "child".into() }),
        ..Default::default()
    };
    Command {
        command_type: CommandType::ContinueAsNewWorkflowExecution.into(),
        attributes: Some(C::ContinueAsNewWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

#[test]
fn a_child_that_ended_unheard_is_asked_by_the_reset() {
    World::new().live(async |life| {
        let client = &life.client;
        let left = leave(client, ParentClosePolicy::Abandon).await;
        client.complete(&left.task, vec![complete_workflow()]).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        let new = reset(client, "parent", &left.parent_run_id, FORK, "r").await.unwrap();
        let A::ChildWorkflowExecutionCompletedEventAttributes(end) =
            told(client, &new, E::ChildWorkflowExecutionCompleted).await
        else {
            unreachable!("it was asked for by its kind")
        };
        assert_eq!(end.workflow_execution, left.task.workflow_execution);
        // It is told once, whoever asks and tells.
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(count(&client.events_of_run("parent", &new).await, E::ChildWorkflowExecutionCompleted), 1);
        // A second reset asks again.
        let newer = reset(client, "parent", &new, FORK, "again").await.unwrap();
        told(client, &newer, E::ChildWorkflowExecutionCompleted).await;
    });
}

#[test]
fn a_child_that_was_closed_with_its_parent_is_asked_too() {
    World::new().live(async |life| {
        let client = &life.client;
        let left = leave(client, ParentClosePolicy::Terminate).await;
        until(async || client.history(&left.child).await.last() == Some(&E::WorkflowExecutionTerminated)).await;
        tokio::time::sleep(A_WHILE).await;
        let new = reset(client, "parent", &left.parent_run_id, FORK, "r").await.unwrap();
        told(client, &new, E::ChildWorkflowExecutionTerminated).await;
    });
}

/// The question crosses a crash; whoever leads next finds it in the rows.
#[test]
fn the_question_survives_a_crash() {
    let world = World::new();
    let new = world.live(async |life| {
        let client = &life.client;
        let left = leave(client, ParentClosePolicy::Abandon).await;
        client.complete(&left.task, vec![complete_workflow()]).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        reset(client, "parent", &left.parent_run_id, FORK, "r").await.unwrap()
    });
    world.live(async |life| {
        told(&life.client, &new, E::ChildWorkflowExecutionCompleted).await;
    });
}

#[test]
fn the_end_of_a_chain_is_found_when_others_have_its_id() {
    World::new().live(async |life| {
        let client = &life.client;
        let left = leave(client, ParentClosePolicy::Abandon).await;
        client.complete(&left.task, vec![continue_as_new()]).await.unwrap();
        let second = client.poll_workflow(QUEUE).await;
        client.complete(&second, vec![complete_workflow()]).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        client.start(&left.child).await;
        client.terminate(&left.child).await.unwrap();
        let new = reset(client, "parent", &left.parent_run_id, FORK, "r").await.unwrap();
        let A::ChildWorkflowExecutionCompletedEventAttributes(end) =
            told(client, &new, E::ChildWorkflowExecutionCompleted).await
        else {
            unreachable!("it was asked for by its kind")
        };
        assert_eq!(end.workflow_execution, second.workflow_execution, "the last run of the chain");
    });
}

#[test]
fn a_child_that_was_removed_has_ended_somehow() {
    World::new().live(async |life| {
        let client = &life.client;
        let left = leave(client, ParentClosePolicy::Abandon).await;
        client.complete(&left.task, vec![complete_workflow()]).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        delete(client, &left.child, "").await.unwrap();
        until(async || client.describe(&left.child).await.is_err()).await;
        let new = reset(client, "parent", &left.parent_run_id, FORK, "r").await.unwrap();
        let A::ChildWorkflowExecutionFailedEventAttributes(end) =
            told(client, &new, E::ChildWorkflowExecutionFailed).await
        else {
            unreachable!("it was asked for by its kind")
        };
        assert!(end.failure.unwrap().message.contains("removed before this run could learn how"));
    });
}

/// A child only knows the run that started it, which is gone before the child ends.
#[test]
fn a_child_is_heard_when_the_run_that_started_it_is_removed() {
    World::new().live(async |life| {
        let client = &life.client;
        let left = leave(client, ParentClosePolicy::Abandon).await;
        let new = reset(client, "parent", &left.parent_run_id, FORK, "r").await.unwrap();
        delete(client, "parent", &left.parent_run_id).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        client.complete(&left.task, vec![complete_workflow()]).await.unwrap();
        told(client, &new, E::ChildWorkflowExecutionCompleted).await;
    });
}

/// What a later run of the chain heard of its own child is nothing to the run that a reset makes.
#[test]
fn the_children_of_later_runs_are_not_those_of_the_reset() {
    World::new().live(async |life| {
        let client = &life.client;
        let (child, other) = (elsewhere(client, "parent"), "other");
        let base = client.start("parent").await;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![start_child(&child, ParentClosePolicy::Abandon)]).await.unwrap();
        let mut tasks = [client.poll_workflow(QUEUE).await, client.poll_workflow(QUEUE).await];
        tasks.sort_by_key(|task| workflow_id(task) == child);
        client.complete(&tasks[0], vec![continue_as_new()]).await.unwrap();
        // The same event of the second run begins another child, which ends.
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![start_child(other, ParentClosePolicy::Abandon)]).await.unwrap();
        let mut ended = false;
        while !ended {
            let task = client.poll_workflow(QUEUE).await;
            ended = workflow_id(&task) == other;
            let commands = if ended { vec![complete_workflow()] } else { Vec::new() };
            client.complete(&task, commands).await.unwrap();
        }
        until(async || count(&client.events_of_run("parent", "").await, E::ChildWorkflowExecutionCompleted) == 1).await;
        let new = reset(client, "parent", &base, FORK, "r").await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(count(&client.events_of_run("parent", &new).await, E::ChildWorkflowExecutionCompleted), 0);
        client.complete(&tasks[1], vec![complete_workflow()]).await.unwrap();
        told(client, &new, E::ChildWorkflowExecutionCompleted).await;
    });
}
