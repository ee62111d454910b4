//! Everything the service holds, under one lock: partitions, their parked polls and
//! waiting tasks, and queries that wait for an answer. What a step of the matcher asks for
//! is done here at once where it is a matter of memory, and otherwise handed back as
//! [`Effects`]. Nothing here waits.

use std::collections::{BTreeMap, VecDeque};
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
use crate::matcher::{Input, Output, Partition, Settings, Task};
use crate::statistics::{Rate, Seen, UNLIMITED_RATE, Workers};

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
            Self::Activity(poll) => {
                let limit = poll.task_queue_metadata.as_ref().and_then(|metadata| metadata.max_tasks_per_second);
                Seen {
                    last_access: now,
                    rate_per_second: limit.unwrap_or(UNLIMITED_RATE),
                    capabilities: poll.worker_version_capabilities.clone(),
                    deployment_options: poll.deployment_options.clone(),
                }
            }
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
    queries_without_poller: Vec<u64>,
}

/// A partition and what is told about it.
pub(crate) struct Slot {
    pub matcher: Partition<Waiter, TaskKey, Work>,
    /// The name of the namespace, as the last request had it.
    pub namespace: String,
    pub workers: Workers,
    pub added: Rate,
    pub dispatched: Rate,
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

    fn idle(&self, since: Duration) -> bool {
        self.used <= since && self.matcher.pollers().len() == 0 && self.matcher.tasks() == 0
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub partitions: BTreeMap<Key, Slot>,
    pub queries: BTreeMap<u64, oneshot::Sender<QueryEnd>>,
    /// Workers that announced their shutdown, and until when that is remembered.
    gone_workers: BTreeMap<String, Duration>,
    /// Polls being served: parked, or starting a task.
    pub polls: usize,
    /// Tasks of all partitions.
    pub tasks: usize,
    pub draining: bool,
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
        config: &Config,
        now: Duration,
    ) -> Result<&mut Slot, Error> {
        if !self.partitions.contains_key(key) {
            if self.partitions.len() >= config.partitions_max {
                return Err(exhausted("too many task queues are loaded on this node"));
            }
            let settings = Settings {
                sticky_window: key.sticky.then_some(config.sticky_poller_window),
                tasks_max: config.tasks_per_partition_max,
            };
            let slot = Slot {
                matcher: Partition::new(settings),
                namespace: String::new(),
                workers: Workers::default(),
                added: Rate::default(),
                dispatched: Rate::default(),
                loaded: now,
                used: now,
                disowned: None,
            };
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
        self.end_queries(&mut effects);
        effects
    }

    /// Lets time pass in every partition; forgets idle ones and those that moved long ago.
    pub(crate) fn sweep(&mut self, now: Duration, config: &Config) -> Effects {
        let mut effects = Effects::default();
        let mut tasks = 0;
        self.partitions.retain(|_, slot| {
            if slot.matcher.backlog() > 0 {
                slot.step(Input::Wake, now, &mut effects);
            }
            let moved = slot.disowned.is_some_and(|since| now >= since + config.disowned_keep);
            if moved {
                slot.step(Input::Close, now, &mut effects);
            }
            tasks += slot.matcher.tasks();
            let idle = now.checked_sub(config.idle_unload).is_some_and(|since| slot.idle(since));
            !moved && !idle
        });
        self.tasks = tasks;
        self.gone_workers.retain(|_, until| now < *until);
        self.end_queries(&mut effects);
        effects
    }

    /// Ends all polls of a partition, drops its tasks and forgets it.
    pub(crate) fn close(&mut self, key: &Key, now: Duration) -> Effects {
        let effects = self.step(key, Input::Close, now);
        self.partitions.remove(key);
        effects
    }

    pub(crate) fn remember_gone_worker(&mut self, worker_instance_key: &str, until: Duration, max: usize) {
        if self.gone_workers.len() >= max {
            let oldest = self.gone_workers.iter().min_by_key(|(_, until)| **until).map(|(key, _)| key.clone());
            oldest.map(|key| self.gone_workers.remove(&key));
        }
        self.gone_workers.insert(worker_instance_key.to_owned(), until);
    }

    pub(crate) fn worker_is_gone(&self, worker_instance_key: &str, now: Duration) -> bool {
        self.gone_workers.get(worker_instance_key).is_some_and(|until| now < *until)
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
