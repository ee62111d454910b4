//! The running service: requests in, tasks out to pollers. The lock is held for a step of
//! the matcher and never while waiting; each poll is a future of its caller, so matching
//! runs no task per poll.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use api::Error;
use api::internal::matching_request::Request;
use api::internal::matching_response::Response;
use api::internal::{
    CancelPolls, HistoryRequest, MatchingRequest, MatchingResponse, OfferTasks, OfferTasksResponse, PartitionKey,
    StickyQueueUnavailable, TaskRef, history_request,
};
use async_trait::async_trait;
use base::{Clock, Entropy, NodeId, Timestamp, cell_of};
use bytes::Bytes;
use cluster::{ActivityReservation, MatchingService};
use futures_util::stream::{FuturesUnordered, StreamExt};
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::key::Key;
use crate::matcher::{Input, Place, PollerId, Rank, Task};
use crate::registry::{Bounds, Registry};
use crate::state::{Ask, Effects, GoneWorker, Host, Limits, Start, State, Step, TaskKey, Work};
use crate::statistics::Backlog;
use crate::{Config, Upstream};

/// How long a shard may take to take back a task of a silent sticky queue. After that the
/// task's own schedule-to-start timer does it.
const STICKY_RETURN_TIMEOUT: Duration = Duration::from_secs(10);

/// A task on its way back to its shard, with its namespace's name.
type StickyReturn = (String, TaskRef);

pub(crate) struct Inner {
    pub config: Config,
    pub upstream: Arc<dyn Upstream>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    origin: Instant,
    state: Mutex<State>,
    registry: Mutex<Registry>,
    sticky_returns: mpsc::Sender<StickyReturn>,
    /// A partition wants to be woken sooner than the loop knows.
    wake_sooner: Notify,
}

impl Host for Inner {
    fn config(&self) -> &Config {
        &self.config
    }

    fn generation(&self) -> u64 {
        self.entropy.next_u64()
    }

    fn api_rate(&self, key: &Key) -> Option<f64> {
        if key.sticky {
            return None;
        }
        let config = self.upstream.queue_config(&key.namespace_id, &key.task_queue, key.task_queue_type())?;
        config.queue_rate_limit?.rate_limit.map(|limit| limit.requests_per_second.into())
    }
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

/// What must run for the handles to work.
pub struct Service {
    handle: Handle,
    sticky_returns: mpsc::Receiver<StickyReturn>,
}

impl Service {
    #[must_use]
    pub fn new(config: Config, upstream: Arc<dyn Upstream>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let (sender, sticky_returns) = mpsc::channel(config.sticky_returns_waiting_max);
        let bounds = Bounds {
            workers_max: config.workers_max,
            bytes_max: config.worker_bytes_max,
            time_to_live: config.worker_time_to_live,
        };
        let inner = Inner {
            registry: Mutex::new(Registry::new(bounds)),
            config,
            upstream,
            clock,
            entropy,
            origin: Instant::now(),
            state: Mutex::default(),
            sticky_returns: sender,
            wake_sooner: Notify::new(),
        };
        Self { handle: Handle { inner: Arc::new(inner) }, sticky_returns }
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until `shutdown`; then every poll ends with an empty answer, and new ones are
    /// refused.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let config = &self.handle.inner.config;
        let mut sweep = tokio::time::interval(config.sweep_interval);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut membership = self.handle.inner.upstream.membership();
        let mut membership_lives = true;
        let mut settings = self.handle.inner.upstream.settings();
        let mut settings_live = true;
        let mut returning = FuturesUnordered::new();
        let mut telling = FuturesUnordered::new();
        let mut live: BTreeSet<NodeId> = self.handle.inner.upstream.live_nodes().into_iter().collect();
        loop {
            let wake = self.handle.lock().next_wake().map(|at| self.handle.inner.origin + at);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                changed = membership.changed(), if membership_lives => {
                    membership_lives = changed.is_ok();
                    self.handle.disown();
                    let now: BTreeSet<NodeId> = self.handle.inner.upstream.live_nodes().into_iter().collect();
                    telling.extend(now.difference(&live).map(|node| self.handle.tell_gone_workers(*node)));
                    live = now;
                }
                changed = settings.changed(), if settings_live => {
                    settings_live = changed.is_ok();
                    self.handle.reconfigure();
                }
                () = self.handle.inner.wake_sooner.notified() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.handle.wake_due(),
                _ = sweep.tick() => self.handle.sweep(),
                Some(()) = returning.next() => {}
                Some(()) = telling.next() => {}
                Some(task) = self.sticky_returns.recv(), if returning.len() < config.sticky_returns_concurrent_max => {
                    returning.push(self.handle.return_sticky(task));
                }
            }
        }
        self.handle.drain();
    }
}

#[async_trait]
impl MatchingService for Handle {
    async fn call(&self, request: Box<MatchingRequest>, deadline: Instant) -> Result<MatchingResponse, Error> {
        let MatchingRequest { namespace_id, namespace, partition, request } = *request;
        let key = || partition.clone().map(Key::from).ok_or_else(|| defect("a request without a partition"));
        let response = match request.ok_or_else(|| defect("an empty request"))? {
            Request::Offer(offer) => Response::Offer(self.offer(&key()?, &namespace, offer)),
            Request::PollWorkflow(poll) => {
                Response::Body(self.poll(key()?, &namespace, Ask::Workflow(poll), deadline).await?)
            }
            Request::PollActivity(poll) => {
                Response::Body(self.poll(key()?, &namespace, Ask::Activity(poll), deadline).await?)
            }
            Request::DispatchQuery(query) => {
                Response::Query(self.dispatch_query(key()?, &namespace, query, deadline).await?)
            }
            Request::RespondQuery(respond) => {
                self.respond_query(respond)?;
                Response::Body(Bytes::new())
            }
            Request::Describe(describe) => {
                let partition = partition.ok_or_else(|| defect("a request without a partition"))?;
                Response::Body(self.describe(partition, &describe))
            }
            Request::CancelPolls(cancel) => {
                self.cancel_polls(&namespace_id, &cancel);
                Response::Body(Bytes::new())
            }
            Request::RecordHeartbeat(request) => {
                self.registry().record(&namespace_id, request.worker_heartbeat, self.now());
                Response::Body(Bytes::new())
            }
            Request::ListWorkers(request) => encoded(&self.registry().list(&namespace_id, &request)?),
            Request::CountWorkers(request) => encoded(&self.registry().count(&namespace_id, &request)?),
            Request::DescribeWorker(request) => encoded(&self.registry().describe(&namespace_id, request)?),
        };
        Ok(MatchingResponse { response: Some(response) })
    }

    fn reserve_activity_poller(&self, partition: &PartitionKey) -> Option<ActivityReservation> {
        self.step(&Key::from(partition.clone()), Input::Reserve).reserved
    }
}

impl Handle {
    /// The matcher's time.
    pub(crate) fn now(&self) -> Duration {
        self.inner.origin.elapsed()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no panic while held")
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner.registry.lock().expect("no panic while held")
    }

    /// Steps a partition, and does or hands on what follows.
    pub(crate) fn step(&self, key: &Key, input: Step) -> Effects {
        let now = self.now();
        let effects = self.lock().step(key, input, now);
        self.settle(effects)
    }

    pub(crate) fn settle(&self, mut effects: Effects) -> Effects {
        if effects.wake_sooner {
            self.inner.wake_sooner.notify_one();
        }
        for task in effects.unavailable.drain(..) {
            if self.inner.sticky_returns.try_send(task).is_err() {
                warn!("too many sticky tasks wait to return; one is left to its schedule-to-start timer");
            }
        }
        effects
    }

    fn offer(&self, key: &Key, namespace: &str, offer: OfferTasks) -> OfferTasksResponse {
        if !self.inner.upstream.owns(&key.to_proto()) {
            return OfferTasksResponse::default();
        }
        let now = self.now();
        let config = &self.inner.config;
        let mut state = self.lock();
        if offer.tasks.is_empty() {
            // Only a question; it keeps nothing loaded.
            let generation = state.partitions.get(key).map_or(0, |slot| slot.generation);
            return OfferTasksResponse { generation, ..OfferTasksResponse::default() };
        }
        if state.draining || state.load(key, namespace, &*self.inner, now).is_err() {
            return OfferTasksResponse::default();
        }
        let mut accepted = 0;
        let mut unsettled = Vec::new();
        let mut backlog = told_backlog(&offer);
        let mut tasks = offer.tasks.into_iter();
        for task in tasks.by_ref() {
            let rank = Rank::of_priority(task.priority_key);
            let scheduled = task.scheduled_time.as_ref().map(Timestamp::from_proto);
            let place = Place { rank, number: state.next_number() };
            let effects = (state.tasks < config.tasks_max)
                .then(|| state.step(key, Input::Offer(start_task(place, task)), now))
                .filter(|effects| effects.refused == 0);
            let Some(effects) = effects else {
                backlog.entry(rank).or_default().add(1, scheduled);
                break;
            };
            accepted += 1;
            unsettled.push(effects);
            let slot = state.partitions.get_mut(key).expect("it was loaded above");
            slot.added.add(rank, now);
        }
        for task in tasks {
            let scheduled = task.scheduled_time.as_ref().map(Timestamp::from_proto);
            backlog.entry(Rank::of_priority(task.priority_key)).or_default().add(1, scheduled);
        }
        let room = config.tasks_max.saturating_sub(state.tasks);
        let slot = state.partitions.get_mut(key).expect("it was loaded above");
        slot.backlogs.note(offer.shard_id, backlog, now);
        let credit = u32::try_from(slot.matcher.credit().min(room)).unwrap_or(u32::MAX);
        let generation = slot.generation;
        drop(state);
        for effects in unsettled {
            self.settle(effects);
        }
        OfferTasksResponse { accepted, credit, generation }
    }

    /// A worker goes away: its polls end, and the tasks of its sticky queue return.
    fn cancel_polls(&self, namespace_id: &str, cancel: &CancelPolls) {
        let now = self.now();
        let config = &self.inner.config;
        let worker = cancel.worker_instance_key.as_str();
        let sticky = Key::sticky(namespace_id, &cancel.sticky_queue);
        let mut state = self.lock();
        if !worker.is_empty() {
            let gone = GoneWorker { namespace_id: namespace_id.to_owned(), until: now + config.worker_shutdown_memory };
            state.remember_gone_worker(worker, gone, config.worker_shutdowns_max);
            for (key, poller, identity) in polls_of(&state, namespace_id, worker) {
                if let Some(slot) = state.partitions.get_mut(&key) {
                    slot.workers.forget(&identity);
                }
                // Ending a poll moves no task, so nothing else follows.
                state.step(&key, Input::End { poller }, now);
            }
        }
        let effects = state.step(&sticky, Input::WorkerGone, now);
        drop(state);
        self.settle(effects);
    }

    /// A node that was away has not heard which workers are gone; their polls would take tasks there.
    async fn tell_gone_workers(&self, node: NodeId) {
        if node == self.inner.upstream.this_node() {
            return;
        }
        let gone = self.lock().gone_workers();
        for (worker_instance_key, namespace_id) in gone {
            let cancel = CancelPolls { worker_instance_key, sticky_queue: String::new() };
            let request = MatchingRequest {
                namespace_id,
                request: Some(Request::CancelPolls(cancel)),
                ..MatchingRequest::default()
            };
            let deadline = Instant::now() + self.inner.config.start_timeout;
            if let Err(error) = self.inner.upstream.matching_at(node, request, deadline).await {
                debug!(%node, %error, "a node was not told which workers are gone");
                return;
            }
        }
    }

    /// Lets the partitions go on that a rate held up until now.
    fn wake_due(&self) {
        let now = self.now();
        let all = self.lock().wake_due(now);
        for effects in all {
            self.settle(effects);
        }
    }

    /// Operators may have set other rates.
    fn reconfigure(&self) {
        let now = self.now();
        let mut state = self.lock();
        let keys: Vec<Key> = state.partitions.keys().cloned().collect();
        let mut unsettled = Vec::new();
        for key in keys {
            let api = self.inner.api_rate(&key);
            let Some(slot) = state.partitions.get_mut(&key) else { continue };
            if slot.limits.api != api {
                slot.set_limits(Limits { api, ..slot.limits }, self.inner.config.dispatch_rate_max, now);
                unsettled.push(state.step(&key, Input::Wake, now));
            }
        }
        drop(state);
        for effects in unsettled {
            self.settle(effects);
        }
    }

    fn sweep(&self) {
        let now = self.now();
        let effects = self.lock().sweep(now, &self.inner.config);
        self.settle(effects);
        self.registry().expire(now);
    }

    /// Ends the polls of what has moved to another node: they find the way by themselves.
    /// The tasks stay for a while, because views of the cluster differ for a moment and a
    /// shard that saw no move offers nothing again; one that did is refused nothing but a
    /// second start.
    fn disown(&self) {
        let keys: Vec<Key> = self.lock().partitions.keys().cloned().collect();
        let now = self.now();
        for key in &keys {
            let owned = self.inner.upstream.owns(&key.to_proto());
            let mut state = self.lock();
            let Some(slot) = state.partitions.get_mut(key) else { continue };
            if owned {
                slot.disowned = None;
            } else if slot.disowned.is_none() {
                debug!(task_queue = key.task_queue, "the partition moved to another node");
                slot.disowned = Some(now);
                let effects = state.step(key, Input::EndAll, now);
                drop(state);
                self.settle(effects);
            }
        }
    }

    fn drain(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.draining = true;
        let keys: Vec<Key> = state.partitions.keys().cloned().collect();
        for key in &keys {
            state.close(key, now);
        }
    }

    async fn return_sticky(&self, (namespace, task): StickyReturn) {
        let request = HistoryRequest {
            namespace_id: task.namespace_id.clone(),
            namespace,
            cell: cell_of(&task.namespace_id, &task.workflow_id).index().into(),
            request: Some(history_request::Request::StickyQueueUnavailable(StickyQueueUnavailable {
                task: Some(task),
            })),
            ..HistoryRequest::default()
        };
        let deadline = Instant::now() + STICKY_RETURN_TIMEOUT;
        if let Err(error) = self.inner.upstream.history(Box::new(request), deadline).await {
            debug!(%error, "a sticky task could not be returned; its schedule-to-start timer will do it");
        }
    }
}

/// What waits in the shard behind the offer.
fn told_backlog(offer: &OfferTasks) -> BTreeMap<Rank, Backlog> {
    let mut backlog = BTreeMap::<Rank, Backlog>::new();
    for told in &offer.backlog {
        let oldest = told.oldest.as_ref().map(Timestamp::from_proto);
        backlog.entry(Rank::of_priority(told.priority_key)).or_default().add(told.count, oldest);
    }
    backlog
}

fn encoded(message: &impl Message) -> Response {
    Response::Body(message.encode_to_vec().into())
}

fn start_task(place: Place, task: TaskRef) -> Task<TaskKey, Work> {
    let key =
        TaskKey::Start { run_id: task.run_id.clone(), scheduled_event_id: task.scheduled_event_id, stamp: task.stamp };
    Task { place, key, payload: Work::Start(Box::new(Start { task, request_id: None })) }
}

/// The parked polls of one worker, in all queues of its namespace, and who they said they are.
fn polls_of(state: &State, namespace_id: &str, worker: &str) -> Vec<(Key, PollerId, String)> {
    let first = Key { activity: false, sticky: false, ..Key::sticky(namespace_id, "") };
    let slots = state.partitions.range(first..).take_while(|(key, _)| key.namespace_id == namespace_id);
    let polls = slots.flat_map(|(key, slot)| slot.matcher.pollers().map(move |(poller, waiter)| (key, poller, waiter)));
    let of_worker = polls.filter(|(_, _, waiter)| waiter.ask.worker_instance_key() == worker);
    of_worker.map(|(key, poller, waiter)| (key.clone(), poller, waiter.ask.identity().to_owned())).collect()
}

/// A request that our own nodes never send.
fn defect(what: &str) -> Error {
    Error::Internal(format!("matching: {what}"))
}

#[cfg(test)]
mod tests;
