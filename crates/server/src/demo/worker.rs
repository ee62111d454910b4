//! A worker in a hundred lines: it polls, looks at the history, answers with commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use temporalio_protos::temporal::api::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes, command::Attributes,
};
use temporalio_protos::temporal::api::common::v1::ActivityType;
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::client::Client;

pub(super) const NAMESPACE: &str = "default";
pub(super) const TASK_QUEUE: &str = "demo-orders";
const IDENTITY: &str = "perpetuo-demo-worker";
const POLL_TIMEOUT: Duration = Duration::from_secs(20);
const CHARGE_TAKES: Duration = Duration::from_secs(2);

/// Any node will do: a call that a dead one does not answer goes to the next.
#[derive(Clone)]
pub(super) struct Anywhere {
    clients: Arc<[Client]>,
    next: Arc<AtomicUsize>,
}

impl Anywhere {
    pub(super) fn new(addresses: &[String]) -> anyhow::Result<Self> {
        let clients = addresses.iter().map(|address| Client::lazy(address)).collect::<anyhow::Result<_>>()?;
        Ok(Self { clients, next: Arc::default() })
    }

    /// Repeats what is safe to repeat, on the next node, until `timeout`.
    pub(super) async fn call<Req, Res>(&self, method: &str, request: Req, timeout: Duration) -> Result<Res, Status>
    where
        Req: Message + Clone + 'static,
        Res: Message + Default + 'static,
    {
        let deadline = Instant::now() + timeout;
        loop {
            let client = &self.clients[self.next.load(Ordering::Relaxed) % self.clients.len()];
            match client.workflow(method, request.clone(), timeout).await {
                Err(status) if retryable(&status) && Instant::now() < deadline => {
                    self.next.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }
}

fn retryable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled)
}

/// Runs the one workflow and the one activity of the demonstration.
pub(super) struct Worker {
    anywhere: Anywhere,
    /// The activity has begun.
    pub(super) charging: Notify,
    /// Its result was accepted.
    pub(super) charged: Notify,
    charges: AtomicUsize,
}

impl Worker {
    pub(super) fn new(anywhere: Anywhere) -> Self {
        Self { anywhere, charging: Notify::new(), charged: Notify::new(), charges: AtomicUsize::new(0) }
    }

    /// How often the activity's function ran.
    pub(super) fn charges(&self) -> usize {
        self.charges.load(Ordering::Relaxed)
    }

    pub(super) async fn poll_workflow_tasks(self: Arc<Self>) {
        loop {
            let request = wf::PollWorkflowTaskQueueRequest {
                namespace: NAMESPACE.to_owned(),
                task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
                identity: IDENTITY.to_owned(),
                ..Default::default()
            };
            let polled: Result<wf::PollWorkflowTaskQueueResponse, _> =
                self.anywhere.call("PollWorkflowTaskQueue", request, POLL_TIMEOUT).await;
            let Ok(task) = polled else { continue };
            if task.task_token.is_empty() {
                continue;
            }
            let events = task.history.unwrap_or_default().events;
            let answer = wf::RespondWorkflowTaskCompletedRequest {
                namespace: NAMESPACE.to_owned(),
                task_token: task.task_token,
                commands: decide(&events),
                identity: IDENTITY.to_owned(),
                ..Default::default()
            };
            // A refused answer needs nothing: the server offers the task again.
            let _: Result<wf::RespondWorkflowTaskCompletedResponse, _> =
                self.anywhere.call("RespondWorkflowTaskCompleted", answer, POLL_TIMEOUT).await;
        }
    }

    pub(super) async fn poll_activity_tasks(self: Arc<Self>) {
        loop {
            let request = wf::PollActivityTaskQueueRequest {
                namespace: NAMESPACE.to_owned(),
                task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
                identity: IDENTITY.to_owned(),
                ..Default::default()
            };
            let polled: Result<wf::PollActivityTaskQueueResponse, _> =
                self.anywhere.call("PollActivityTaskQueue", request, POLL_TIMEOUT).await;
            let Ok(task) = polled else { continue };
            if task.task_token.is_empty() {
                continue;
            }
            self.charges.fetch_add(1, Ordering::Relaxed);
            self.charging.notify_one();
            tokio::time::sleep(CHARGE_TAKES).await;
            let answer = wf::RespondActivityTaskCompletedRequest {
                namespace: NAMESPACE.to_owned(),
                task_token: task.task_token,
                identity: IDENTITY.to_owned(),
                ..Default::default()
            };
            let answered: Result<wf::RespondActivityTaskCompletedResponse, _> =
                self.anywhere.call("RespondActivityTaskCompleted", answer, POLL_TIMEOUT).await;
            // NOT_FOUND: an attempt before this one got through, only its answer was lost.
            if answered.is_ok() || answered.is_err_and(|status| status.code() == Code::NotFound) {
                self.charged.notify_one();
            }
        }
    }
}

/// The workflow: charge, wait a second, and finish once approved. A function of its
/// history, as every workflow is.
fn decide(events: &[HistoryEvent]) -> Vec<Command> {
    let happened = |kind: EventType| events.iter().any(|event| event.event_type() == kind);
    if !happened(EventType::ActivityTaskScheduled) {
        return vec![command(
            CommandType::ScheduleActivityTask,
            Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
                activity_id: "charge".to_owned(),
                activity_type: Some(ActivityType { name: "charge".to_owned() }),
                task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
                start_to_close_timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
                ..Default::default()
            }),
        )];
    }
    if happened(EventType::ActivityTaskCompleted) && !happened(EventType::TimerStarted) {
        return vec![command(
            CommandType::StartTimer,
            Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
                timer_id: "settle".to_owned(),
                start_to_fire_timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            }),
        )];
    }
    if happened(EventType::TimerFired) && happened(EventType::WorkflowExecutionSignaled) {
        return vec![command(
            CommandType::CompleteWorkflowExecution,
            Attributes::CompleteWorkflowExecutionCommandAttributes(
                CompleteWorkflowExecutionCommandAttributes::default(),
            ),
        )];
    }
    Vec::new()
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind.into(), attributes: Some(attributes), ..Default::default() }
}
