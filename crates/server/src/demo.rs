//! `perpetuo demo`: three nodes, an order, and the death of a leader in the middle of it.
//! The client and the worker in here speak only the public API.

mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use temporalio_protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{EventType, HistoryEventFilterType};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster_dev::LocalCluster;
use crate::target::Target;
use crate::{admin, output};
use worker::{Anywhere, NAMESPACE, TASK_QUEUE, Worker};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How many nodes to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=9))]
    nodes: u8,
}

const WORKFLOW_ID: &str = "order-1001";
/// How long any one step of the demonstration may take.
const STEP_MAX: Duration = Duration::from_secs(30);
const SHARDS: u32 = 8;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("cannot create a temporary directory")?;
    output::line(&format!("Starting {} nodes ...", args.nodes));
    let mut cluster = LocalCluster::start(dir.path(), args.nodes, 0, SHARDS, "error").await?;
    for node in &cluster.description.nodes {
        output::line(&format!("  node {}  gRPC {}  pid {}", node.id, node.grpc_address, node.pid));
    }
    let result = story(&mut cluster).await;
    cluster.stop().await;
    result
}

async fn story(cluster: &mut LocalCluster) -> anyhow::Result<()> {
    let addresses: Vec<_> = cluster.description.nodes.iter().map(|node| node.grpc_address.clone()).collect();
    let anywhere = Anywhere::new(&addresses)?;
    let worker = Arc::new(Worker::new(anywhere.clone()));
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&worker).poll_workflow_tasks());
    tasks.spawn(Arc::clone(&worker).poll_activity_tasks());

    output::line("");
    let run_id = start(&anywhere).await?;
    let leader = leader(cluster, None).await?;
    output::line(&format!("Order {WORKFLOW_ID} started. Its shard is led by node {leader}."));
    step(worker.charging.notified(), "the activity to start").await?;
    output::line("The worker is charging the card (an activity, it takes 2 s) ...");

    cluster.kill(leader).await?;
    let killed = Instant::now();
    output::line(&format!("kill -9: node {leader} is dead, and stays dead."));
    let new_leader = self::leader(cluster, Some(leader)).await?;
    output::line(&format!("node {new_leader} leads the shard now, {:.2} s later.", killed.elapsed().as_secs_f64()));

    signal(&anywhere).await?;
    output::line("Signal `approve` acknowledged.");
    step(worker.charged.notified(), "the activity's result to be accepted").await?;
    output::line("The activity's result was accepted by the new leader. A durable timer of 1 s runs ...");
    let events = history(&anywhere, &run_id).await?;
    output::line("");
    for event in &events {
        output::line(&format!(
            "  {:>3}  {}",
            event.event_id,
            event.event_type().as_str_name().trim_start_matches("EVENT_TYPE_")
        ));
    }
    verify(&events)?;
    output::line("");
    output::line(&format!(
        "The order is complete: {} events without a gap, the card charged {} time(s), the signal there once, though the leader died in the middle and never came back.",
        events.len(),
        worker.charges(),
    ));
    Ok(())
}

async fn step(done: impl Future<Output = ()>, what: &str) -> anyhow::Result<()> {
    tokio::time::timeout(STEP_MAX, done).await.with_context(|| format!("waited {STEP_MAX:?} for {what}"))
}

async fn start(anywhere: &Anywhere) -> anyhow::Result<String> {
    let request = wf::StartWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_id: WORKFLOW_ID.to_owned(),
        workflow_type: Some(WorkflowType { name: "Order".to_owned() }),
        task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
        identity: "perpetuo-demo".to_owned(),
        // One request id for all attempts: the server answers a repeated start with the same run.
        request_id: "demo-start".to_owned(),
        ..Default::default()
    };
    let started: wf::StartWorkflowExecutionResponse =
        anywhere.call("StartWorkflowExecution", request, STEP_MAX).await?;
    Ok(started.run_id)
}

async fn signal(anywhere: &Anywhere) -> anyhow::Result<()> {
    let request = wf::SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_execution: Some(WorkflowExecution { workflow_id: WORKFLOW_ID.to_owned(), run_id: String::new() }),
        signal_name: "approve".to_owned(),
        identity: "perpetuo-demo".to_owned(),
        request_id: "demo-signal".to_owned(),
        ..Default::default()
    };
    let _: wf::SignalWorkflowExecutionResponse = anywhere.call("SignalWorkflowExecution", request, STEP_MAX).await?;
    Ok(())
}

/// Waits for the close event, then reads everything.
async fn history(anywhere: &Anywhere, run_id: &str) -> anyhow::Result<Vec<HistoryEvent>> {
    let mut request = wf::GetWorkflowExecutionHistoryRequest {
        namespace: NAMESPACE.to_owned(),
        execution: Some(WorkflowExecution { workflow_id: WORKFLOW_ID.to_owned(), run_id: run_id.to_owned() }),
        wait_new_event: true,
        history_event_filter_type: HistoryEventFilterType::CloseEvent.into(),
        ..Default::default()
    };
    let deadline = Instant::now() + STEP_MAX;
    loop {
        let page: wf::GetWorkflowExecutionHistoryResponse =
            anywhere.call("GetWorkflowExecutionHistory", request.clone(), STEP_MAX).await?;
        if page.history.is_some_and(|history| !history.events.is_empty()) {
            break;
        }
        if Instant::now() > deadline {
            bail!("the workflow did not close within {STEP_MAX:?}");
        }
        request.next_page_token = page.next_page_token;
    }
    request.wait_new_event = false;
    request.history_event_filter_type = HistoryEventFilterType::AllEvent.into();
    request.next_page_token = Vec::new();
    let mut events = Vec::new();
    loop {
        let page: wf::GetWorkflowExecutionHistoryResponse =
            anywhere.call("GetWorkflowExecutionHistory", request.clone(), STEP_MAX).await?;
        events.extend(page.history.unwrap_or_default().events);
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        request.next_page_token = page.next_page_token;
    }
}

/// Does not take the sentence at the end on trust.
fn verify(events: &[HistoryEvent]) -> anyhow::Result<()> {
    for (index, event) in events.iter().enumerate() {
        if event.event_id != i64::try_from(index)? + 1 {
            bail!("event {} stands at place {}", event.event_id, index + 1);
        }
    }
    let count = |kind: EventType| events.iter().filter(|event| event.event_type() == kind).count();
    for kind in [
        EventType::WorkflowExecutionStarted,
        EventType::WorkflowExecutionSignaled,
        EventType::ActivityTaskCompleted,
        EventType::TimerFired,
        EventType::WorkflowExecutionCompleted,
    ] {
        if count(kind) != 1 {
            bail!("{} events of type {}", count(kind), kind.as_str_name());
        }
    }
    Ok(())
}

/// The leader of the order's shard, once it is another than `not`.
async fn leader(cluster: &LocalCluster, not: Option<u64>) -> anyhow::Result<u64> {
    let deadline = Instant::now() + STEP_MAX;
    loop {
        for node in cluster.description.nodes.iter().filter(|node| Some(node.id) != not) {
            if let Ok(located) = admin::locate(&Target::plain(&node.admin_address), NAMESPACE, WORKFLOW_ID).await
                && located.leader != 0
                && Some(located.leader) != not
            {
                return Ok(located.leader);
            }
        }
        if Instant::now() > deadline {
            bail!("no leader for the shard of {WORKFLOW_ID} within {STEP_MAX:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
