//! Tasks on their way to matching.
//!
//! ```text
//! committed ──push──▶ waiting ──offer──▶ accepted by matching ──start──▶ forgotten
//!                        ▲                    │ owner of the partition changed
//!                        └──── scan of PENDING rows ◀── too many to keep, new leader
//! ```
//! One offer per partition is under way at a time, so tasks keep their order. What matching
//! refuses waits here, and beyond a bound in the PENDING rows only.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use api::Error;
use api::internal::matching_request::Request;
use api::internal::matching_response::Response;
use api::internal::{MatchingRequest, MatchingResponse, OfferTasks, PartitionKey, TaskKind, TaskRef};
use base::NamespaceId;
use execution::workflow::Task;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Context;
use crate::run::RunKey;

/// Starts seen of a refused partition after which it is worth another offer.
const FREED_BEFORE_OFFER: usize = 16;

/// A task queue as the shard sees it; ordered, so that a run of the loop is reproducible.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct QueueKey {
    pub(super) namespace_id: NamespaceId,
    pub(super) task_queue: String,
    pub(super) kind: i32,
    pub(super) is_sticky: bool,
}

impl QueueKey {
    pub(super) fn partition(&self) -> PartitionKey {
        PartitionKey {
            namespace_id: self.namespace_id.as_str().to_owned(),
            task_queue: self.task_queue.clone(),
            kind: self.kind,
            partition: 0,
            sticky: self.is_sticky,
        }
    }
}

/// Which attempt of which task.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct TaskKey {
    run: RunKey,
    kind: i32,
    scheduled_event_id: i64,
    stamp: i64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<TaskRef>,
    /// Tasks of the offer under way, from the front.
    offered: usize,
    /// Until then only starts of its tasks make another offer worth while.
    blocked_until: Option<Instant>,
    freed: usize,
}

/// What came of an offer.
pub(super) struct Offered {
    queue: QueueKey,
    result: Result<MatchingResponse, Error>,
}

pub(super) struct Dispatch {
    queues: BTreeMap<QueueKey, Queue>,
    /// Queues that may have something to offer.
    ready: BTreeSet<QueueKey>,
    blocked: BTreeSet<(Instant, QueueKey)>,
    /// Waiting here or in matching. Only ever asked, never listed.
    outstanding: HashSet<TaskKey>,
    waiting: usize,
    overflowed: bool,
    pub(super) offers: FuturesUnordered<BoxFuture<'static, Offered>>,
}

impl Dispatch {
    pub(super) fn new() -> Self {
        Self {
            queues: BTreeMap::new(),
            ready: BTreeSet::new(),
            blocked: BTreeSet::new(),
            outstanding: HashSet::new(),
            waiting: 0,
            overflowed: false,
            offers: FuturesUnordered::new(),
        }
    }

    /// Takes the task, unless it is known already or there is no room.
    pub(super) fn push(&mut self, run: &RunKey, task: &Task, tasks_max: usize) {
        if self.waiting >= tasks_max {
            self.overflowed = true;
            return;
        }
        let (queue, reference) = describe(run, task);
        let key = key_of(run, queue.kind, &reference);
        if self.outstanding.insert(key) {
            self.queues.entry(queue.clone()).or_default().waiting.push_back(reference);
            self.waiting += 1;
            self.ready.insert(queue);
        }
    }

    /// Matching asked to start the task: it has room for another.
    pub(super) fn started(&mut self, run: &RunKey, kind: TaskKind, reference: &TaskRef, task_queue: &str) {
        self.outstanding.remove(&key_of(run, kind.into(), reference));
        let queue = QueueKey {
            namespace_id: run.workflow.namespace_id.clone(),
            task_queue: task_queue.to_owned(),
            kind: kind.into(),
            is_sticky: !reference.normal_queue.is_empty(),
        };
        if let Some(state) = self.queues.get_mut(&queue)
            && let Some(until) = state.blocked_until
        {
            state.freed += 1;
            if state.freed >= FREED_BEFORE_OFFER.min(state.waiting.len()) {
                state.blocked_until = None;
                self.blocked.remove(&(until, queue.clone()));
                self.ready.insert(queue);
            }
        }
    }

    /// Makes the offers that are possible now.
    pub(super) fn pump(&mut self, context: &Context) {
        let now = Instant::now();
        while self.blocked.first().is_some_and(|(until, _)| *until <= now) {
            let (_, key) = self.blocked.pop_first().expect("just seen");
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.blocked_until = None;
            }
            self.ready.insert(key);
        }
        while let Some(key) = self.ready.pop_first() {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            if queue.offered > 0 || queue.blocked_until.is_some() {
                continue;
            }
            let tasks: Vec<_> = queue.waiting.iter().take(context.config.offer_tasks_max).cloned().collect();
            if tasks.is_empty() {
                self.queues.remove(&key);
                continue;
            }
            queue.offered = tasks.len();
            let namespace = context.namespaces.by_id(key.namespace_id.as_str());
            let request = MatchingRequest {
                namespace_id: key.namespace_id.as_str().to_owned(),
                namespace: namespace.map(|namespace| namespace.name.clone()).unwrap_or_default(),
                partition: Some(key.partition()),
                request: Some(Request::Offer(OfferTasks { tasks })),
            };
            let (router, deadline) = (context.router.clone(), now + context.config.offer_timeout);
            self.offers.push(Box::pin(async move {
                let result = router.matching(request, deadline).await;
                Offered { queue: key, result }
            }));
        }
    }

    pub(super) fn on_offered(&mut self, offered: Offered, context: &Context) {
        let Offered { queue: key, result } = offered;
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let sent = std::mem::take(&mut queue.offered);
        let accepted = match result {
            Ok(MatchingResponse { response: Some(Response::Offer(answer)) }) => {
                usize::try_from(answer.accepted).unwrap_or(usize::MAX).min(sent)
            }
            Ok(_) => 0,
            Err(error) => {
                tracing::debug!(queue = key.task_queue, %error, "offer of tasks failed, it is made again");
                0
            }
        };
        queue.waiting.drain(..accepted);
        self.waiting -= accepted;
        if accepted == sent {
            self.ready.insert(key);
            return;
        }
        let until = Instant::now() + context.config.offer_retry;
        queue.blocked_until = Some(until);
        queue.freed = 0;
        self.blocked.insert((until, key));
    }

    /// Whether the PENDING rows must be read again; asked when there is room.
    pub(super) fn take_overflow(&mut self, tasks_max: usize) -> bool {
        self.waiting < tasks_max / 2 && std::mem::take(&mut self.overflowed)
    }

    /// Partitions may have new owners: whatever was accepted before counts as lost. A task
    /// that is handed out twice is refused when it starts.
    pub(super) fn forget_accepted(&mut self) {
        let waiting = &self.queues;
        let mut known = HashSet::with_capacity(self.waiting);
        for (queue, state) in waiting {
            for reference in &state.waiting {
                let run = crate::run::WorkflowKey::new(&reference.namespace_id, &reference.workflow_id)
                    .run(&reference.run_id);
                known.insert(key_of(&run, queue.kind, reference));
            }
        }
        self.outstanding = known;
        for (_, key) in std::mem::take(&mut self.blocked) {
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.blocked_until = None;
            }
            self.ready.insert(key);
        }
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.blocked.first().map(|(until, _)| *until)
    }
}

fn key_of(run: &RunKey, kind: i32, reference: &TaskRef) -> TaskKey {
    TaskKey { run: run.clone(), kind, scheduled_event_id: reference.scheduled_event_id, stamp: reference.stamp }
}

/// Where a task goes, and how matching refers to it.
pub(super) fn describe(run: &RunKey, task: &Task) -> (QueueKey, TaskRef) {
    let (kind, task_queue, normal_queue, scheduled_event_id, stamp, scheduled_time) = match task {
        Task::Workflow(task) => (
            TaskKind::Workflow,
            &task.task_queue,
            task.normal_queue.clone(),
            task.scheduled_event_id,
            task.stamp,
            task.scheduled_time,
        ),
        Task::Activity(task) => {
            (TaskKind::Activity, &task.task_queue, None, task.scheduled_event_id, task.stamp, task.scheduled_time)
        }
    };
    let queue = QueueKey {
        namespace_id: run.workflow.namespace_id.clone(),
        task_queue: task_queue.clone(),
        kind: kind.into(),
        is_sticky: normal_queue.is_some(),
    };
    let priority = match task {
        Task::Workflow(task) => &task.priority,
        Task::Activity(task) => &task.priority,
    };
    let priority = priority.clone().unwrap_or_default();
    let reference = TaskRef {
        namespace_id: run.workflow.namespace_id.as_str().to_owned(),
        workflow_id: run.workflow.workflow_id.as_str().to_owned(),
        run_id: run.run_id.as_str().to_owned(),
        scheduled_event_id,
        stamp,
        scheduled_time: Some(scheduled_time.to_proto()),
        normal_queue: normal_queue.unwrap_or_default(),
        priority_key: priority.priority_key,
        fairness_key: priority.fairness_key,
        fairness_weight: priority.fairness_weight,
    };
    (queue, reference)
}
