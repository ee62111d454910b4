//! Tasks on their way to matching.
//!
//! ```text
//! committed ──push──▶ waiting ──offer──▶ accepted by matching ──start──▶ forgotten
//!                        ▲                    │ owner of the partition changed, or lost them
//!                        └──── scan of PENDING rows ◀── too many to keep, new leader
//! ```
//! One offer per partition is under way at a time, so tasks keep their order: by priority,
//! then by age. What matching refuses waits here, and beyond a bound in the PENDING rows only.
//!
//! A partition that was loaded anew has lost what it had accepted. Its answers say so; where
//! tasks are out and nothing is offered, it is asked now and then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::matching_request::Request;
use api::internal::matching_response::Response;
use api::internal::{MatchingRequest, MatchingResponse, OfferTasks, PartitionKey, ShardBacklog, TaskKind, TaskRef};
use base::NamespaceId;
use execution::workflow::Task;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Context;
use super::worker::run_of;
use crate::run::RunKey;

/// Starts seen of a refused partition after which it is worth another offer.
const FREED_BEFORE_OFFER: usize = 16;
/// Until a namespace is looked for again that this node does not know.
const NAMESPACE_RETRY: Duration = Duration::from_secs(1);
const DEFAULT_PRIORITY: i32 = 3;

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

/// Where a task stands: by priority, then by arrival.
type Place = (i32, u64);

/// Where a task is that was pushed and not started.
struct Standing {
    queue: Arc<QueueKey>,
    /// Its place among those that wait here; `None` once matching has accepted it.
    place: Option<Place>,
}

#[derive(Default)]
struct Queue {
    waiting: BTreeMap<Place, TaskRef>,
    /// How many wait, by priority.
    counts: BTreeMap<i32, u64>,
    /// The offer under way, if there is one; an empty one is a question.
    offered: Option<Vec<Place>>,
    /// Until then only starts of its tasks make another offer worth while.
    blocked_until: Option<Instant>,
    freed: usize,
    /// Accepted by matching and not started yet, by count.
    out: usize,
    /// Under which load of the partition those were accepted.
    generation: u64,
    /// When matching last said anything.
    heard: Option<Instant>,
}

impl Queue {
    /// Nothing waits, nothing is out, and nothing is about to happen.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.out == 0 && self.offered.is_none() && self.blocked_until.is_none()
    }

    fn push(&mut self, place: Place, reference: TaskRef) {
        *self.counts.entry(place.0).or_default() += 1;
        self.waiting.insert(place, reference);
    }

    fn remove(&mut self, place: &Place) -> Option<TaskRef> {
        let reference = self.waiting.remove(place)?;
        if let Some(count) = self.counts.get_mut(&place.0) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place.0);
            }
        }
        Some(reference)
    }

    /// What waits behind the tasks that are offered.
    fn backlog(&self, offered: &[Place]) -> Vec<ShardBacklog> {
        let mut backlog = Vec::new();
        for (&priority, &count) in &self.counts {
            let offered = offered.iter().filter(|place| place.0 == priority);
            let behind = offered.clone().next_back().map_or(0, |place| place.1 + 1);
            let count = count - offered.count() as u64;
            if count > 0 {
                let oldest = self.waiting.range((priority, behind)..).next();
                let oldest = oldest.and_then(|(_, reference)| reference.scheduled_time);
                backlog.push(ShardBacklog { priority_key: priority, count, oldest });
            }
        }
        backlog
    }
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
    /// Waiting here or in matching. Its order is never seen.
    outstanding: HashMap<TaskKey, Standing>,
    waiting: usize,
    /// Accepted by matching and not started yet.
    out: usize,
    last_place: u64,
    overflowed: bool,
    /// A partition lost tasks that it had accepted.
    lost: bool,
    /// When partitions that were silent are asked again.
    next_check: Option<Instant>,
    pub(super) offers: FuturesUnordered<BoxFuture<'static, Offered>>,
}

impl Dispatch {
    pub(super) fn new() -> Self {
        Self {
            queues: BTreeMap::new(),
            ready: BTreeSet::new(),
            blocked: BTreeSet::new(),
            outstanding: HashMap::new(),
            waiting: 0,
            out: 0,
            last_place: 0,
            overflowed: false,
            lost: false,
            next_check: None,
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
        if self.outstanding.contains_key(&key) {
            return;
        }
        self.last_place += 1;
        let place = (priority_of(&reference), self.last_place);
        self.outstanding.insert(key, Standing { queue: Arc::new(queue.clone()), place: Some(place) });
        let state = self.queues.entry(queue.clone()).or_default();
        // Tasks that matching has no room for must not hold up more urgent ones.
        let overtakes = state.waiting.first_key_value().is_some_and(|(first, _)| place.0 < first.0);
        state.push(place, reference);
        self.waiting += 1;
        if overtakes && let Some(until) = state.blocked_until.take() {
            self.blocked.remove(&(until, queue.clone()));
        }
        self.ready.insert(queue);
    }

    /// Matching asked to start the task: it has room for another.
    pub(super) fn started(&mut self, run: &RunKey, kind: TaskKind, reference: &TaskRef, task_queue: &str) {
        self.forget(run, kind, reference);
        let queue = QueueKey {
            namespace_id: run.workflow.namespace_id.clone(),
            task_queue: task_queue.to_owned(),
            kind: kind.into(),
            is_sticky: !reference.normal_queue.is_empty(),
        };
        let Some(state) = self.queues.get_mut(&queue) else { return };
        if let Some(until) = state.blocked_until {
            state.freed += 1;
            if state.freed >= FREED_BEFORE_OFFER.min(state.waiting.len()) {
                state.blocked_until = None;
                self.blocked.remove(&(until, queue.clone()));
                self.ready.insert(queue);
            }
        }
    }

    /// Matching has the task no more: it is being started, or came back.
    pub(super) fn forget(&mut self, run: &RunKey, kind: TaskKind, reference: &TaskRef) {
        let Some(Standing { queue, place }) = self.outstanding.remove(&key_of(run, kind.into(), reference)) else {
            return;
        };
        let Some(state) = self.queues.get_mut(&*queue) else { return };
        match place {
            // Its acceptance is still on the way here.
            Some(place) => {
                state.remove(&place);
                self.waiting -= 1;
            }
            None => {
                state.out -= 1;
                self.out -= 1;
            }
        }
        if state.is_idle() {
            self.queues.remove(&*queue);
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
            self.offer(key, now, context);
        }
        self.check_silent(now, context);
    }

    fn offer(&mut self, key: QueueKey, now: Instant, context: &Context) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        if queue.offered.is_some() || queue.blocked_until.is_some() {
            return;
        }
        if queue.waiting.is_empty() {
            if queue.is_idle() {
                self.queues.remove(&key);
            }
            return;
        }
        self.send(key, now, context.config.offer_tasks_max, context);
    }

    /// Offers up to `tasks_max` of the tasks that wait. None at all is a question.
    fn send(&mut self, key: QueueKey, now: Instant, tasks_max: usize, context: &Context) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let Some(namespace) = context.namespaces.by_id(key.namespace_id.as_str()) else {
            // This node has not heard of it yet, or it is gone; a worker could not poll it.
            let until = now + NAMESPACE_RETRY;
            queue.blocked_until = Some(until);
            queue.freed = 0;
            self.blocked.insert((until, key));
            return;
        };
        let (places, tasks): (Vec<_>, Vec<_>) =
            queue.waiting.iter().take(tasks_max).map(|(place, reference)| (*place, reference.clone())).unzip();
        let offer = OfferTasks { tasks, shard_id: context.shard.0, backlog: queue.backlog(&places) };
        queue.offered = Some(places);
        let request = Box::new(MatchingRequest {
            namespace_id: key.namespace_id.as_str().to_owned(),
            namespace: namespace.name.clone(),
            partition: Some(key.partition()),
            request: Some(Request::Offer(offer)),
        });
        let (router, deadline) = (context.router.clone(), now + context.config.offer_timeout);
        self.offers.push(Box::pin(async move {
            let result = router.matching(request, deadline).await;
            Offered { queue: key, result }
        }));
    }

    /// Asks the partitions that hold tasks of ours and have said nothing for long.
    fn check_silent(&mut self, now: Instant, context: &Context) {
        let interval = context.config.partition_check;
        if self.next_check.is_some_and(|at| now < at) {
            return;
        }
        self.next_check = Some(now + interval);
        if self.out == 0 {
            return;
        }
        let is_silent = |queue: &Queue| {
            queue.out > 0 && queue.offered.is_none() && queue.heard.is_none_or(|heard| now >= heard + interval)
        };
        let silent: Vec<_> =
            self.queues.iter().filter(|(_, queue)| is_silent(queue)).map(|(key, _)| key.clone()).collect();
        for key in silent {
            self.send(key, now, 0, context);
        }
    }

    pub(super) fn on_offered(&mut self, offered: Offered, context: &Context) {
        let Offered { queue: key, result } = offered;
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let sent = queue.offered.take().unwrap_or_default();
        let now = Instant::now();
        let (accepted, generation) = match result {
            Ok(MatchingResponse { response: Some(Response::Offer(answer)) }) => {
                (usize::try_from(answer.accepted).unwrap_or(usize::MAX).min(sent.len()), Some(answer.generation))
            }
            Ok(_) => (0, None),
            Err(error) => {
                tracing::debug!(queue = key.task_queue, %error, "offer of tasks failed, it is made again");
                (0, None)
            }
        };
        if let Some(generation) = generation {
            queue.heard = Some(now);
            if queue.out > 0 && queue.generation != generation {
                tracing::debug!(queue = key.task_queue, tasks = queue.out, "the partition has lost its tasks");
                self.lost = true;
            }
            queue.generation = generation;
        }
        for place in &sent[..accepted] {
            // One that is being started already is not there any more.
            let Some(reference) = queue.remove(place) else { continue };
            self.waiting -= 1;
            let run = run_of(&reference);
            if let Some(standing) = self.outstanding.get_mut(&key_of(&run, key.kind, &reference)) {
                standing.place = None;
                queue.out += 1;
                self.out += 1;
            }
        }
        if accepted == sent.len() && queue.blocked_until.is_none() {
            self.ready.insert(key);
            return;
        }
        let until = now + context.config.offer_retry;
        queue.blocked_until = Some(until);
        queue.freed = 0;
        self.blocked.insert((until, key));
    }

    /// Whether tasks were lost on their way; then whatever was accepted must be found again.
    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Whether the PENDING rows must be read again; asked when there is room.
    pub(super) fn take_overflow(&mut self, tasks_max: usize) -> bool {
        self.waiting < tasks_max / 2 && std::mem::take(&mut self.overflowed)
    }

    /// Partitions may have new owners: whatever was accepted before counts as lost. A task
    /// that is handed out twice is refused when it starts.
    pub(super) fn forget_accepted(&mut self) {
        self.outstanding.retain(|_, standing| standing.place.is_some());
        self.out = 0;
        for state in self.queues.values_mut() {
            state.out = 0;
        }
        for (_, key) in std::mem::take(&mut self.blocked) {
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.blocked_until = None;
            }
            self.ready.insert(key);
        }
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        let check = self.next_check.filter(|_| self.out > 0);
        self.blocked.first().map(|(until, _)| *until).into_iter().chain(check).min()
    }
}

/// Lower goes first; the default is 3.
fn priority_of(reference: &TaskRef) -> i32 {
    if reference.priority_key == 0 { DEFAULT_PRIORITY } else { reference.priority_key }
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
        Task::Errand(errand) => unreachable!("{errand:?} does not go to a worker"),
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
        Task::Errand(_) => &None,
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
