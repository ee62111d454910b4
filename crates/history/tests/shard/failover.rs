//! Three nodes on loopback; the one that leads most shards dies.

use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::history_request::Request;
use base::{NodeId, SystemClock};
use cluster::Member;
use temporalio_protos::temporal::api::enums::v1::EventType as E;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::runtime::Runtime;

use crate::children;
use crate::client::{Client, QUEUE, complete_workflow, execution, types};
use crate::matching::FakeMatching;
use crate::world::{Life, World};

const WORKFLOWS: usize = 12;
const SIGNALS: usize = 20;

/// A signal that is sent again, as a client would, until somebody has taken it.
async fn signal(client: &Client, workflow_id: &str, name: &str) {
    loop {
        let request = wf::SignalWorkflowExecutionRequest {
            workflow_execution: Some(execution(workflow_id, "")),
            signal_name: name.into(),
            request_id: name.into(),
            ..Default::default()
        };
        match client.raw(workflow_id, Request::Signal(request)).await {
            Ok(_) => return,
            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn signals(events: &[HistoryEvent]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event.attributes.as_ref()? {
            Attributes::WorkflowExecutionSignaledEventAttributes(signal) => Some(signal.signal_name.as_str()),
            _ => None,
        })
        .collect()
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn start_nodes(matching: &Arc<FakeMatching>) -> Vec<(Runtime, Life)> {
    let members: Vec<Member> = (1..=3).map(|id| Member { id: NodeId(id), peer_address: free_address() }).collect();
    let starts = members.iter().map(|member| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut world = World::new();
        (world.node, world.members) = (member.id, members.clone());
        let matching = Arc::clone(matching);
        let life = runtime.spawn(async move { world.start(Arc::new(SystemClock), matching).await });
        (runtime, life)
    });
    let starts: Vec<_> = starts.collect();
    starts
        .into_iter()
        .map(|(runtime, life)| {
            let life = runtime.block_on(life).unwrap();
            (runtime, life)
        })
        .collect()
}

/// Every workflow gets its signals and ends, whatever happens meanwhile.
async fn drive(client: &Client) {
    for number in 0..SIGNALS {
        for workflow in 0..WORKFLOWS {
            signal(client, &format!("w{workflow}"), &number.to_string()).await;
        }
    }
}

/// Takes tasks and ends workflows that have all their signals.
async fn work(client: &Client) {
    let mut left = WORKFLOWS;
    while left > 0 {
        let Ok(task) = client.try_poll_workflow(QUEUE).await else { continue };
        let has_all = signals(&task.history.as_ref().unwrap().events).len() == SIGNALS;
        let commands = if has_all { vec![complete_workflow()] } else { Vec::new() };
        match client.complete(&task, commands).await {
            Ok(_) if has_all => left -= 1,
            _ => {}
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_the_leader_dies() {
    let matching = Arc::new(FakeMatching::default());
    let mut nodes = start_nodes(&matching);
    nodes.sort_by_key(|(_, life)| life.leads());
    let (dying_runtime, dying) = nodes.pop().unwrap();
    let (runtime, life) = &nodes[0];
    let client = &life.client;
    runtime.block_on(async {
        for workflow in 0..WORKFLOWS {
            client.start(&format!("w{workflow}")).await;
        }
        let death = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            dying_runtime.shutdown_background();
        };
        let all = async { tokio::join!(drive(client), work(client), death) };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("everything ends on two nodes");
        for workflow in 0..WORKFLOWS {
            let events = client.events_of_run(&format!("w{workflow}"), "").await;
            assert_eq!(types(&events).last(), Some(&E::WorkflowExecutionCompleted));
            let expected: Vec<String> = (0..SIGNALS).map(|number| number.to_string()).collect();
            assert_eq!(signals(&events), expected, "each once and in order");
        }
    });
    drop(dying);
    for (runtime, life) in nodes {
        drop(life);
        runtime.shutdown_background();
    }
}

#[test]
fn children_and_signals_happen_once_when_the_leader_dies() {
    let matching = Arc::new(FakeMatching::default());
    let mut nodes = start_nodes(&matching);
    nodes.sort_by_key(|(_, life)| life.leads());
    let (dying_runtime, dying) = nodes.pop().unwrap();
    let (runtime, life) = &nodes[0];
    let client = &life.client;
    runtime.block_on(async {
        children::begin(client).await;
        let death = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            dying_runtime.shutdown_background();
        };
        let all = async { tokio::join!(children::drive(client), death) };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("everything ends on two nodes");
        children::check_all(client).await;
    });
    drop(dying);
    for (runtime, life) in nodes {
        drop(life);
        runtime.shutdown_background();
    }
}
