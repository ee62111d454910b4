//! The bench's worker: polls of three kinds, each answered before the next one, and a
//! sticky cache of runs as every SDK has it. Nothing here is measured but timers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Clock as _, SystemClock};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse, RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use super::meter::Meter;
use super::remote::Remote;
use super::scenario::{Plan, Run, activity, normal_queue, number, payloads};

/// A little more than the server's own long poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(70);
/// After a failed poll.
const POLL_BACKOFF: Duration = Duration::from_millis(100);
/// How long answering a task is tried: no task lives longer.
const RESPOND_PATIENCE: Duration = Duration::from_secs(10);
/// As the SDKs set it.
const STICKY_TIMEOUT: Duration = Duration::from_secs(5);
/// Past this the cache is emptied; runs come back with their whole history.
const CACHE_MAX: usize = 200_000;

pub(super) struct Worker {
    remote: Arc<Remote>,
    meter: Arc<Meter>,
    plan: Plan,
    queue: String,
    sticky: bool,
    cache: Mutex<HashMap<String, Run>>,
    accepted: AtomicU64,
}

impl Worker {
    pub(super) fn new(remote: Arc<Remote>, meter: Arc<Meter>, plan: Plan, sticky: bool) -> Self {
        let queue = remote.queue();
        Self { remote, meter, plan, queue, sticky, cache: Mutex::default(), accepted: AtomicU64::new(0) }
    }

    /// How many workflows the server accepted as completed from here.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn spawn(self: &Arc<Self>, tasks: &mut JoinSet<()>, pollers: u32) {
        for _ in 0..pollers {
            tasks.spawn(Arc::clone(self).poll_workflows(normal_queue(&self.queue)));
            if self.sticky {
                tasks.spawn(Arc::clone(self).poll_workflows(self.sticky_queue()));
            }
            if matches!(self.plan, Plan::Activities { count: 1.. }) {
                tasks.spawn(Arc::clone(self).poll_activities());
            }
        }
    }

    fn sticky_queue(&self) -> TaskQueue {
        TaskQueue { name: format!("{}-sticky", self.queue), kind: 2, normal_name: self.queue.clone() }
    }

    async fn poll_workflows(self: Arc<Self>, queue: TaskQueue) {
        let request = PollWorkflowTaskQueueRequest {
            namespace: self.remote.namespace.clone(),
            task_queue: Some(queue),
            identity: self.remote.identity(),
            ..Default::default()
        };
        loop {
            let polled = self.remote.once("PollWorkflowTaskQueue", request.clone(), POLL_TIMEOUT).await;
            match polled {
                Ok(task) => self.workflow_task(task).await,
                Err(_) => tokio::time::sleep(POLL_BACKOFF).await,
            }
        }
    }

    async fn workflow_task(&self, task: PollWorkflowTaskQueueResponse) {
        if task.task_token.is_empty() {
            return;
        }
        let execution = task.workflow_execution.unwrap_or_default();
        let run_id = execution.run_id.clone();
        let events = task.history.unwrap_or_default().events;
        // An error was counted where it happened; the server gives the task again.
        let Ok(run) = self.replay(&execution, events, task.next_page_token).await else { return };
        let (commands, last) = run.decide(self.plan, &self.queue);
        if let Some(firing) = run.firing {
            if firing.fired < firing.due {
                self.meter.early_timer();
            }
            self.meter.timer(firing.fired.since(firing.due), SystemClock.now().since(firing.due));
        }
        if !last {
            self.remember(run_id.clone(), run);
        }
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token,
            commands,
            identity: self.remote.identity(),
            namespace: self.remote.namespace.clone(),
            sticky_attributes: self.sticky.then(|| StickyExecutionAttributes {
                worker_task_queue: Some(self.sticky_queue()),
                schedule_to_start_timeout: STICKY_TIMEOUT.try_into().ok(),
            }),
            ..Default::default()
        };
        let responded: Result<RespondWorkflowTaskCompletedResponse, Status> =
            self.remote.persist("RespondWorkflowTaskCompleted", request, Instant::now() + RESPOND_PATIENCE).await;
        match responded {
            Ok(_) if last => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(_) => {
                self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(&run_id);
            }
        }
    }

    /// The state after all events. A history that begins in the middle continues the cached
    /// state; when that is not its beginning, the whole history is read.
    async fn replay(
        &self,
        execution: &WorkflowExecution,
        mut events: Vec<HistoryEvent>,
        next_page: Vec<u8>,
    ) -> Result<Run, Status> {
        let deadline = Instant::now() + RESPOND_PATIENCE;
        if !next_page.is_empty() {
            events.extend(self.remote.history(execution, next_page, deadline).await?);
        }
        let first = events.first().map_or(0, |event| event.event_id);
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(&execution.run_id);
        let mut run = match cached {
            _ if first == 1 => Run::new(),
            Some(run) if run.next_event_id == first => run.resumed(),
            _ => {
                events = self.remote.history(execution, Vec::new(), deadline).await?;
                Run::new()
            }
        };
        events.iter().for_each(|event| run.fold(event));
        Ok(run)
    }

    /// Kept before the task is answered: the next one may come before the answer's answer.
    fn remember(&self, run_id: String, run: Run) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(run_id, run);
    }

    async fn poll_activities(self: Arc<Self>) {
        let request = PollActivityTaskQueueRequest {
            namespace: self.remote.namespace.clone(),
            task_queue: Some(normal_queue(&self.queue)),
            identity: self.remote.identity(),
            ..Default::default()
        };
        loop {
            let polled = self.remote.once("PollActivityTaskQueue", request.clone(), POLL_TIMEOUT).await;
            match polled {
                Ok(task) => self.activity_task(task).await,
                Err(_) => tokio::time::sleep(POLL_BACKOFF).await,
            }
        }
    }

    async fn activity_task(&self, task: PollActivityTaskQueueResponse) {
        if task.task_token.is_empty() {
            return;
        }
        let request = RespondActivityTaskCompletedRequest {
            task_token: task.task_token,
            result: Some(payloads(activity(number(task.input.as_ref())))),
            identity: self.remote.identity(),
            namespace: self.remote.namespace.clone(),
            ..Default::default()
        };
        // An error was counted where it happened; the activity's own timeout repeats it.
        let _: Result<RespondActivityTaskCompletedResponse, Status> =
            self.remote.persist("RespondActivityTaskCompleted", request, Instant::now() + RESPOND_PATIENCE).await;
    }
}
