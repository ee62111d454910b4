//! Workflows of two shards that start, signal and cancel each other, while power is cut and
//! leaders die.

use std::collections::BTreeSet;
use std::time::Duration;

use temporalio_protos::temporal::api::command::v1::command::Attributes as C;
use temporalio_protos::temporal::api::command::v1::{
    Command, RequestCancelExternalWorkflowExecutionCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::WorkflowType;
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType as E, ParentClosePolicy};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, QUEUE, complete_workflow, execution, types};
use crate::world::World;

const PAIRS: usize = 6;
const LIVES_MAX: usize = 40;

pub(crate) fn start_child(workflow_id: &str, policy: ParentClosePolicy) -> Command {
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.into(),
        workflow_type: Some(WorkflowType { name: "child".into() }),
        parent_close_policy: policy.into(),
        ..Default::default()
    };
    Command {
        command_type: CommandType::StartChildWorkflowExecution.into(),
        attributes: Some(C::StartChildWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

fn signal_external(workflow_id: &str, name: &str) -> Command {
    let attributes = SignalExternalWorkflowExecutionCommandAttributes {
        execution: Some(execution(workflow_id, "")),
        signal_name: name.into(),
        ..Default::default()
    };
    Command {
        command_type: CommandType::SignalExternalWorkflowExecution.into(),
        attributes: Some(C::SignalExternalWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

fn cancel_external(workflow_id: &str) -> Command {
    let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.into(),
        ..Default::default()
    };
    Command {
        command_type: CommandType::RequestCancelExternalWorkflowExecution.into(),
        attributes: Some(C::RequestCancelExternalWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

pub(crate) fn count(events: &[HistoryEvent], kind: E) -> usize {
    events.iter().filter(|event| event.event_type() == kind).count()
}

pub(crate) fn workflow_id(task: &wf::PollWorkflowTaskQueueResponse) -> &str {
    &task.workflow_execution.as_ref().unwrap().workflow_id
}

/// An id that is not in the shard of `of`: there are two of them.
pub(crate) fn elsewhere(client: &Client, of: &str) -> String {
    let half = |id: &str| base::cell_of(&client.namespace_id, id).index() < base::CELLS / 2;
    (0..).map(|number| format!("{of}-child-{number}")).find(|id| half(id) != half(of)).unwrap()
}

pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_child_of_another_shard_starts_ends_and_reports() {
    World::new().live(async |life| {
        let client = &life.client;
        let child = elsewhere(client, "parent");
        client.start("parent").await;
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![start_child(&child, ParentClosePolicy::Terminate)]).await.unwrap();
        let (first, second) = (client.poll_workflow(QUEUE).await, client.poll_workflow(QUEUE).await);
        assert_eq!((workflow_id(&first), workflow_id(&second)), ("parent", &*child), "the parent knows first");
        client.complete(&first, Vec::new()).await.unwrap();
        client.complete(&second, vec![complete_workflow()]).await.unwrap();
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
        let expected = [
            E::WorkflowExecutionStarted,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::StartChildWorkflowExecutionInitiated,
            E::ChildWorkflowExecutionStarted,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::ChildWorkflowExecutionCompleted,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::WorkflowExecutionCompleted,
        ];
        assert_eq!(client.history("parent").await, expected);
        let described = client.describe(&child).await.unwrap().workflow_execution_info.unwrap();
        assert_eq!(described.parent_execution.unwrap().workflow_id, "parent");
        assert_eq!(described.root_execution.unwrap().workflow_id, "parent");
    });
}

#[test]
fn children_follow_their_parent_by_its_policy() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("parent").await;
        let task = client.poll_workflow(QUEUE).await;
        let commands = vec![
            start_child("ended", ParentClosePolicy::Terminate),
            start_child("asked", ParentClosePolicy::RequestCancel),
            start_child("left", ParentClosePolicy::Abandon),
        ];
        client.complete(&task, commands).await.unwrap();
        until(async || count(&client.events_of_run("parent", "").await, E::ChildWorkflowExecutionStarted) == 3).await;
        client.terminate("parent").await.unwrap();
        let last = async |id: &str| client.history(id).await.last().copied();
        until(async || last("ended").await == Some(E::WorkflowExecutionTerminated)).await;
        until(async || last("asked").await == Some(E::WorkflowExecutionCancelRequested)).await;
        until(async || last("left").await == Some(E::WorkflowTaskScheduled)).await;
        assert_eq!(client.describe("parent").await.unwrap().pending_children.len(), 3);
    });
}

#[test]
fn what_cannot_arrive_is_told() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        client.start("taken").await;
        let task = client.poll_workflow(QUEUE).await;
        let commands = vec![
            signal_external("nobody", "s"),
            cancel_external("nobody"),
            signal_external("w", "s"),
            cancel_external("w"),
            start_child("taken", ParentClosePolicy::Terminate),
        ];
        client.complete(&task, commands).await.unwrap();
        until(async || {
            let events = client.events_of_run("w", "").await;
            count(&events, E::SignalExternalWorkflowExecutionFailed) == 2
                && count(&events, E::RequestCancelExternalWorkflowExecutionFailed) == 2
                && count(&events, E::StartChildWorkflowExecutionFailed) == 1
        })
        .await;
    });
}

/// What a worker does with the task: parents start a child, signal and cancel it once it has
/// started, and end when they have heard of its end; children end when they are cancelled.
fn decide(task: &wf::PollWorkflowTaskQueueResponse) -> Vec<Command> {
    let events = &task.history.as_ref().unwrap().events;
    let id = workflow_id(task);
    if id.starts_with('c') {
        let asked = count(events, E::WorkflowExecutionCancelRequested) > 0 && !signals(events).is_empty();
        return if asked { vec![complete_workflow()] } else { Vec::new() };
    }
    let child = id.replace('p', "c");
    if count(events, E::StartChildWorkflowExecutionInitiated) == 0 {
        vec![start_child(&child, ParentClosePolicy::Terminate)]
    } else if count(events, E::ChildWorkflowExecutionCompleted) > 0 {
        vec![complete_workflow()]
    } else if count(events, E::ChildWorkflowExecutionStarted) > 0
        && count(events, E::SignalExternalWorkflowExecutionInitiated) == 0
    {
        vec![signal_external(&child, "hello"), cancel_external(&child)]
    } else {
        Vec::new()
    }
}

fn signals(events: &[HistoryEvent]) -> Vec<&str> {
    let name =
        |event: &'_ HistoryEvent| matches!(event.attributes, Some(A::WorkflowExecutionSignaledEventAttributes(_)));
    events.iter().filter(|event| name(event)).map(|_| "signal").collect()
}

/// Everything happened, and each thing once.
async fn check(client: &Client) {
    for pair in 0..PAIRS {
        let parent = client.events_of_run(&format!("p{pair}"), "").await;
        assert_eq!(types(&parent).last(), Some(&E::WorkflowExecutionCompleted));
        for kind in [
            E::StartChildWorkflowExecutionInitiated,
            E::ChildWorkflowExecutionStarted,
            E::ExternalWorkflowExecutionSignaled,
            E::ExternalWorkflowExecutionCancelRequested,
            E::ChildWorkflowExecutionCompleted,
        ] {
            assert_eq!(count(&parent, kind), 1, "{kind:?} in {:?}", types(&parent));
        }
        let child = client.events_of_run(&format!("c{pair}"), "").await;
        assert_eq!(types(&child).last(), Some(&E::WorkflowExecutionCompleted));
        for kind in [E::WorkflowExecutionSignaled, E::WorkflowExecutionCancelRequested] {
            assert_eq!(count(&child, kind), 1, "{kind:?} in {:?}", types(&child));
        }
    }
}

#[test]
fn everything_happens_once_while_power_is_cut() {
    let world = World::new();
    world.live(async |life| {
        for pair in 0..PAIRS {
            life.client.start(&format!("p{pair}")).await;
        }
    });
    let mut open: BTreeSet<String> = (0..PAIRS).map(|pair| format!("p{pair}")).collect();
    // Lives become longer, so that in the end all is done.
    for life_number in 0..LIVES_MAX {
        world.live(async |life| {
            let client = &life.client;
            let tasks = async {
                for _ in 0..life_number + 1 {
                    let task = client.poll_workflow(QUEUE).await;
                    let commands = decide(&task);
                    let _ = client.complete(&task, commands).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(30), tasks).await;
            let mut left = BTreeSet::new();
            for id in &open {
                if client.history(id).await.last() != Some(&E::WorkflowExecutionCompleted) {
                    left.insert(id.clone());
                }
            }
            open = left;
        });
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "left: {open:?}");
    world.live(async |life| check(&life.client).await);
}

/// Drives all pairs to their end, whoever leads.
pub(crate) async fn drive(client: &Client) {
    let mut left = PAIRS;
    while left > 0 {
        let Ok(task) = client.try_poll_workflow(QUEUE).await else { continue };
        let commands = decide(&task);
        let ends = workflow_id(&task).starts_with('p')
            && commands.iter().any(|command| command.command_type() == CommandType::CompleteWorkflowExecution);
        match client.complete(&task, commands).await {
            Ok(_) if ends => left -= 1,
            _ => {}
        }
    }
}

pub(crate) async fn begin(client: &Client) {
    for pair in 0..PAIRS {
        client.start(&format!("p{pair}")).await;
    }
}

pub(crate) async fn check_all(client: &Client) {
    check(client).await;
}
