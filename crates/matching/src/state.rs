//! Everything the service holds, under one lock: partitions, their parked polls and
//! waiting tasks, and queries that wait for an answer. What a step of the matcher asks for
//! is done here at once where it is a matter of memory, and otherwise handed back as
//! [`Effects`]. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::TaskRef;
use base::Timestamp;
use bytes::Bytes;
use cluster::ActivityReservation;
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest, RespondQueryTaskCompletedRequest,
};
use tokio::sync::oneshot;

use crate::Config;
use crate::key::Key;
use crate::limiter::{Limiter, effective};
use crate::matcher::{Input, Output, Partition, Rank, Settings, Task};
use crate::statistics::{Backlog, Backlogs, Rates, Seen, UNLIMITED_RATE, Workers};

/// As in the official server, for each of a queue's pollers.
const SCALING_DECISIONS_PER_SECOND: f64 = 10.0;
/// More pollers are asked for when tasks come this much faster than they go.
const SCALE_UP_RATIO: f64 = 1.2;

/// What a partition needs to be loaded.
pub(crate) trait Host {
    fn config(&self) -> &Config;

    /// A number that no other partition was loaded with.
    fn generation(&self) -> u64;

    /// The rate that an operator set for the queue.
    fn api_rate(&self, key: &Key) -> Option<f64>;
}

/// What makes two task references the same task.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum TaskKey {
    Start { run_id: String, scheduled_event_id: i64, stamp: i64 },
    Query(u64),
}

/// What a poller gets.
#[derive(Debug)]
pub(crate) enum Work {
    Start(Box<Start>),
    Query {
        id: u64,
        /// An encoded `PollWorkflowTaskQueueResponse` that lacks its token.
        task: Bytes,
    },
}

impl Work {
    /// When a task was scheduled; queries are none.
    fn scheduled(&self) -> Option<Timestamp> {
        match self {
            Self::Start(start) => start.task.scheduled_time.as_ref().map(Timestamp::from_proto),
            Self::Query { .. } => None,
        }
    }
}

/// A task to be started at its shard.
#[derive(Debug)]
pub(crate) struct Start {
    pub task: TaskRef,
    /// Chosen at the first attempt and kept with the task, so that an attempt whose
    /// outcome was lost is repeated, by whichever poller, and not done twice.
    pub request_id: Option<String>,
}

pub(crate) type Held = Task<TaskKey, Work>;
pub(crate) type Step = Input<Waiter, TaskKey, Work>;

/// Who polls, in the caller's own words.
#[derive(Debug)]
pub(crate) enum Ask {
    Workflow(PollWorkflowTaskQueueRequest),
    Activity(PollActivityTaskQueueRequest),
}

impl Ask {
    pub(crate) fn worker_instance_key(&self) -> &str {
        match self {
            Self::Workflow(poll) => &poll.worker_instance_key,
            Self::Activity(poll) => &poll.worker_instance_key,
        }
    }

    /// The rate that the worker wants for the whole queue.
    pub(crate) fn rate(&self) -> Option<f64> {
        match self {
            Self::Workflow(_) => None,
            Self::Activity(poll) => poll.task_queue_metadata.as_ref()?.max_tasks_per_second,
        }
    }

    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Workflow(poll) => &poll.identity,
            Self::Activity(poll) => &poll.identity,
        }
    }

    #[expect(deprecated, reason = "older workers tell their version in the old field")]
    pub(crate) fn seen(&self, now: Timestamp) -> Seen {
        match self {
            Self::Workflow(poll) => Seen {
                last_access: now,
                rate_per_second: UNLIMITED_RATE,
                capabilities: poll.worker_version_capabilities.clone(),
                deployment_options: poll.deployment_options.clone(),
            },
            Self::Activity(poll) => Seen {
                last_access: now,
                rate_per_second: self.rate().unwrap_or(UNLIMITED_RATE),
                capabilities: poll.worker_version_capabilities.clone(),
                deployment_options: poll.deployment_options.clone(),
            },
        }
    }
}

/// A parked poll's end of the line.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub deliver: oneshot::Sender<Delivery>,
    pub ask: Arc<Ask>,
}

/// What a parked poll is told.
#[derive(Debug)]
pub(crate) enum Delivery {
    Work(Held),
    /// A shard is committing a task for this poller; it sends the answer, or drops it.
    Reserved(oneshot::Receiver<Bytes>),
    End,
}

/// How the wait for a query's answer ends.
#[derive(Debug)]
pub(crate) enum QueryEnd {
    Answer(Box<RespondQueryTaskCompletedRequest>),
    NoPoller,
}

/// What is left to do after a step.
#[derive(Default)]
pub(crate) struct Effects {
    pub refused: usize,
    pub reserved: Option<ActivityReservation>,
    /// Tasks of a sticky queue that nobody listens to, with their namespace's name.
    pub unavailable: Vec<(String, TaskRef)>,
    /// A partition wants to be woken before any other.
    pub wake_sooner: bool,
    queries_without_poller: Vec<u64>,
}

/// The rates that are wanted for a partition, in tasks per second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Limits {
    /// Set by an operator.
    pub api: Option<f64>,
    /// Set by the last poll.
    pub worker: Option<f64>,
}

/// A partition and what is told about it.
pub(crate) struct Slot {
    pub matcher: Partition<Waiter, TaskKey, Work>,
    /// The name of the namespace, as the last request had it.
    pub namespace: String,
    pub workers: Workers,
    pub added: Rates,
    pub dispatched: Rates,
    /// What waits in the shards, as they told.
    pub backlogs: Backlogs,
    pub limits: Limits,
    /// Changes when the partition is loaded anew: what was held before is lost.
    pub generation: u64,
    /// Poller scaling decisions that may be made now.
    pub decisions: Limiter,
    /// When the matcher is to be woken, as noted in [`State::wakes`].
    wake_at: Option<Duration>,
    pub loaded: Duration,
    pub used: Duration,
    /// Since when another node owns the partition.
    pub disowned: Option<Duration>,
}

impl Slot {
    /// One input and everything that follows from it without waiting.
    fn step(&mut self, input: Step, now: Duration, effects: &mut Effects) {
        let mut inputs = VecDeque::from([input]);
        let mut outputs = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.matcher.step(input, now, &mut outputs);
            for output in outputs.drain(..) {
                inputs.extend(self.act(output, effects));
            }
        }
    }

    /// Returns what to tell the matcher when a poller turns out to be gone.
    fn act(&self, output: Output<Waiter, TaskKey, Work>, effects: &mut Effects) -> Option<Step> {
        match output {
            Output::Match { payload, task, .. } => match payload.deliver.send(Delivery::Work(task)) {
                Err(Delivery::Work(task)) => Some(Input::Return { task, rest_until: None }),
                _ => None,
            },
            Output::Reserved { payload, .. } => {
                let Ask::Activity(poll) = &*payload.ask else { return None };
                let poll = poll.clone();
                let (deliver, answer) = oneshot::channel();
                if payload.deliver.send(Delivery::Reserved(answer)).is_err() {
                    return Some(Input::Reserve);
                }
                effects.reserved = Some(ActivityReservation { poll, deliver });
                None
            }
            Output::End { payload, .. } => {
                // A poll that is gone needs no end.
                let _ = payload.deliver.send(Delivery::End);
                None
            }
            Output::Refused(_) => {
                effects.refused += 1;
                None
            }
            Output::Unavailable(Work::Start(start)) => {
                effects.unavailable.push((self.namespace.clone(), start.task));
                None
            }
            Output::Unavailable(Work::Query { id, .. }) => {
                effects.queries_without_poller.push(id);
                None
            }
        }
    }

    /// What an operator set, or a poll; the matcher is told when that changes the rate.
    pub(crate) fn set_limits(&mut self, limits: Limits, system: f64, now: Duration) {
        let rate = |limits: Limits| effective(limits.api, limits.worker, system).0;
        let (before, after) = (rate(self.limits), rate(limits));
        self.limits = limits;
        if before.total_cmp(&after).is_ne() {
            // Pairs nobody: a slower rate lets none go, and a faster one is seen by the
            // next step, which follows at once.
            self.matcher.limit(after, now);
        }
    }

    /// Whether another poller would help. Asked with every task that goes out; answered
    /// with yes only a few times a second for each worker, so that the number of pollers
    /// does not run away before the first new ones arrive.
    pub(crate) fn scale_up(&mut self, age: Duration, time: Timestamp, now: Duration) -> bool {
        self.decisions.set_rate(SCALING_DECISIONS_PER_SECOND * self.workers.len().max(1) as f64, now);
        if !self.decisions.is_ready(now) {
            return false;
        }
        self.decisions.take(now);
        let is_old = self.oldest().is_some_and(|oldest| time.since(oldest) > age);
        is_old || self.added.all(now) > SCALE_UP_RATIO * self.dispatched.all(now)
    }

    /// When the task was scheduled that has waited for longest, or about so: those that
    /// wait here are in the order of their arrival.
    fn oldest(&self) -> Option<Timestamp> {
        let first = self.matcher.unmatched().find_map(|(_, work)| work.scheduled());
        first.into_iter().chain(self.backlogs.iter().filter_map(|(_, backlog)| backlog.oldest)).min()
    }

    /// Tasks without a poller by rank, here and in the shards. Queries are no tasks.
    pub(crate) fn backlog(&self) -> BTreeMap<Rank, Backlog> {
        let mut all = BTreeMap::<Rank, Backlog>::new();
        for (rank, work) in self.matcher.unmatched() {
            if let Work::Start(_) = work {
                all.entry(rank).or_default().add(1, work.scheduled());
            }
        }
        for (rank, backlog) in self.backlogs.iter() {
            all.entry(rank).or_default().add(backlog.count, backlog.oldest);
        }
        all
    }

    fn idle(&self, since: Duration) -> bool {
        self.used <= since && self.matcher.pollers().len() == 0 && self.matcher.tasks() == 0
    }
}

/// A worker that announced its shutdown.
pub(crate) struct GoneWorker {
    pub(crate) namespace_id: String,
    /// How long that is remembered.
    pub(crate) until: Duration,
}

#[derive(Default)]
pub(crate) struct State {
    pub partitions: BTreeMap<Key, Slot>,
    pub queries: BTreeMap<u64, oneshot::Sender<QueryEnd>>,
    /// By their instance keys.
    gone_workers: BTreeMap<String, GoneWorker>,
    /// Polls being served: parked, or starting a task.
    pub polls: usize,
    /// Tasks of all partitions.
    pub tasks: usize,
    pub draining: bool,
    /// When partitions are to be woken because a rate holds them up.
    wakes: BTreeSet<(Duration, Key)>,
    last_number: u64,
}

impl State {
    /// Numbers for pollers and places: unique on this node, and in order of arrival.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The partition, loaded if there is room.
    pub(crate) fn load(
        &mut self,
        key: &Key,
        namespace: &str,
        host: &impl Host,
        now: Duration,
    ) -> Result<&mut Slot, Error> {
        let config = host.config();
        if !self.partitions.contains_key(key) {
            if self.partitions.len() >= config.partitions_max {
                return Err(exhausted("too many task queues are loaded on this node"));
            }
            let settings = Settings {
                sticky_window: key.sticky.then_some(config.sticky_poller_window),
                tasks_max: config.tasks_per_partition_max,
                rate: config.dispatch_rate_max,
            };
            let mut slot = Slot {
                matcher: Partition::new(settings),
                namespace: String::new(),
                workers: Workers::default(),
                added: Rates::default(),
                dispatched: Rates::default(),
                backlogs: Backlogs::default(),
                limits: Limits::default(),
                // Zero says that nothing is loaded.
                generation: host.generation().max(1),
                decisions: Limiter::new(SCALING_DECISIONS_PER_SECOND),
                wake_at: None,
                loaded: now,
                used: now,
                disowned: None,
            };
            let limits = Limits { api: host.api_rate(key), worker: None };
            slot.set_limits(limits, config.dispatch_rate_max, now);
            self.partitions.insert(key.clone(), slot);
        }
        let slot = self.partitions.get_mut(key).expect("it is loaded");
        slot.used = now;
        if slot.namespace != namespace {
            namespace.clone_into(&mut slot.namespace);
        }
        Ok(slot)
    }

    /// Steps one partition; one that is not loaded any more has nobody left to tell.
    pub(crate) fn step(&mut self, key: &Key, input: Step, now: Duration) -> Effects {
        let mut effects = Effects::default();
        if let Some(slot) = self.partitions.get_mut(key) {
            let before = slot.matcher.tasks();
            slot.step(input, now, &mut effects);
            self.tasks = self.tasks - before + slot.matcher.tasks();
        }
        effects.wake_sooner = self.note_wake(key);
        self.end_queries(&mut effects);
        effects
    }

    /// When to call [`Self::wake_due`].
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Wakes the partitions whose rates allow another task.
    pub(crate) fn wake_due(&mut self, now: Duration) -> Vec<Effects> {
        let mut all = Vec::new();
        while let Some((_, key)) = self.wakes.first().filter(|(at, _)| *at <= now).cloned() {
            all.push(self.step(&key, Input::Wake, now));
            if self.wakes.first().is_some_and(|(at, first)| *at <= now && *first == key) {
                // It was ready and still wants to be woken: leave it to the sweep.
                self.wakes.pop_first();
                if let Some(slot) = self.partitions.get_mut(&key) {
                    slot.wake_at = None;
                }
            }
        }
        all
    }

    /// Says whether the service must wake sooner than it knew.
    fn note_wake(&mut self, key: &Key) -> bool {
        let Some(slot) = self.partitions.get_mut(key) else { return false };
        let wanted = slot.matcher.wake_at();
        if slot.wake_at == wanted {
            return false;
        }
        let first = self.wakes.first().map(|(at, _)| *at);
        if let Some(at) = std::mem::replace(&mut slot.wake_at, wanted) {
            self.wakes.remove(&(at, key.clone()));
        }
        let Some(at) = wanted else { return false };
        self.wakes.insert((at, key.clone()));
        first.is_none_or(|first| at < first)
    }

    /// Lets time pass in every partition; forgets idle ones and those that moved long ago.
    pub(crate) fn sweep(&mut self, now: Duration, config: &Config) -> Effects {
        let mut effects = Effects::default();
        let mut tasks = 0;
        let mut forgotten = Vec::new();
        self.partitions.retain(|key, slot| {
            slot.backlogs.expire(now);
            if slot.matcher.backlog() > 0 {
                slot.step(Input::Wake, now, &mut effects);
            }
            let moved = slot.disowned.is_some_and(|since| now >= since + config.disowned_keep);
            if moved {
                slot.step(Input::Close, now, &mut effects);
            }
            tasks += slot.matcher.tasks();
            let idle = now.checked_sub(config.idle_unload).is_some_and(|since| slot.idle(since));
            let is_kept = !moved && !idle;
            forgotten.extend(slot.wake_at.filter(|_| !is_kept).map(|at| (at, key.clone())));
            is_kept
        });
        for wake in forgotten {
            self.wakes.remove(&wake);
        }
        self.tasks = tasks;
        self.gone_workers.retain(|_, worker| now < worker.until);
        self.end_queries(&mut effects);
        effects
    }

    /// Ends all polls of a partition, drops its tasks and forgets it.
    pub(crate) fn close(&mut self, key: &Key, now: Duration) -> Effects {
        let effects = self.step(key, Input::Close, now);
        if let Some(at) = self.partitions.remove(key).and_then(|slot| slot.wake_at) {
            self.wakes.remove(&(at, key.clone()));
        }
        effects
    }

    pub(crate) fn remember_gone_worker(&mut self, worker_instance_key: &str, worker: GoneWorker, max: usize) {
        if self.gone_workers.len() >= max {
            let oldest = self.gone_workers.iter().min_by_key(|(_, worker)| worker.until).map(|(key, _)| key.clone());
            oldest.map(|key| self.gone_workers.remove(&key));
        }
        self.gone_workers.insert(worker_instance_key.to_owned(), worker);
    }

    pub(crate) fn worker_is_gone(&self, worker_instance_key: &str, now: Duration) -> bool {
        self.gone_workers.get(worker_instance_key).is_some_and(|worker| now < worker.until)
    }

    /// The workers that are gone, with the ids of their namespaces.
    pub(crate) fn gone_workers(&self) -> Vec<(String, String)> {
        self.gone_workers.iter().map(|(key, worker)| (key.clone(), worker.namespace_id.clone())).collect()
    }

    fn end_queries(&mut self, effects: &mut Effects) {
        for id in effects.queries_without_poller.drain(..) {
            if let Some(waiting) = self.queries.remove(&id) {
                // A caller that is gone needs no answer.
                let _ = waiting.send(QueryEnd::NoPoller);
            }
        }
    }
}

/// A bound of this node was reached; the caller comes back later.
pub(crate) fn exhausted(message: &str) -> Error {
    Error::ResourceExhausted {
        message: message.to_owned(),
        cause: ResourceExhaustedCause::SystemOverloaded.into(),
        scope: ResourceExhaustedScope::System.into(),
    }
}
