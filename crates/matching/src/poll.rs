//! One poll, from arrival to answer: park, be matched, have the task started at its shard,
//! answer; and whatever happens on the way, leave nothing behind.
//!
//! A poll that is dropped (its client left, the node drains) leaves its queue at once and
//! puts the task it was starting back at its place. Should the start have been recorded
//! already, the next attempt carries the same request id and gets the same answer. Only an
//! answer lost after it left here waits for the task's start-to-close timer.

use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::{HistoryRequest, HistoryResponse, StartActivityTask, StartWorkflowTask, history_request};
use base::cell_of;
use bytes::Bytes;
use prost::Message;
use temporalio_protos::temporal::api::taskqueue::v1::PollerScalingDecision;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::key::Key;
use crate::matcher::{Input, PollerId, Rank};
use crate::query::query_answer;
use crate::state::{Ask, Delivery, Held, Limits, Start, Waiter, Work, exhausted};
use crate::{Config, Handle};

/// A poll's place in its queue. Dropping it gives everything back.
struct Ticket<'a> {
    handle: &'a Handle,
    key: &'a Key,
    ask: Arc<Ask>,
    poller: PollerId,
    /// The poll's end in the matcher's time.
    end: Duration,
    inbox: oneshot::Receiver<Delivery>,
    held: Option<Held>,
}

/// What came of starting a task.
enum Started {
    Answer(Bytes),
    /// The reference was stale.
    Gone,
    /// The task rests for so long.
    Failed(Duration),
}

impl Handle {
    /// The encoded public poll response; empty when no task came in time.
    pub(crate) async fn poll(&self, key: Key, namespace: &str, ask: Ask, deadline: Instant) -> Result<Bytes, Error> {
        let config = &self.inner.config;
        let arrived = Instant::now();
        let last = deadline.checked_sub(config.long_poll_margin).unwrap_or(arrived);
        let end = (arrived + config.long_poll).min(last);
        if end <= arrived {
            return Ok(Bytes::new());
        }
        let Some(mut ticket) = self.enter(&key, namespace, Arc::new(ask), end - arrived)? else {
            return Ok(Bytes::new());
        };
        // Asked after parking: if the partition moves later, this poll is among those ended.
        let owned = self.inner.upstream.owns(&key.to_proto());
        let end = if owned { end } else { end.min(arrived + config.misrouted_poll) };
        loop {
            let (answer, matched, fused) = match ticket.wait(end).await {
                Delivery::End => return Ok(Bytes::new()),
                Delivery::Reserved(answer) => {
                    let matched = Instant::now();
                    (timeout_at(deadline, answer).await.ok().and_then(Result::ok), matched, true)
                }
                Delivery::Work(held) => {
                    let (matched, rank) = (Instant::now(), held.place.rank);
                    let answer = ticket.serve(held, namespace, deadline).await;
                    if answer.is_some() {
                        ticket.count_dispatch(rank);
                    }
                    (answer, matched, false)
                }
            };
            if let Some(answer) = answer {
                if fused {
                    ticket.count_fused();
                }
                return Ok(match ticket.scaling(matched - arrived) {
                    Some(decision) => ticket.with_decision(&answer, decision),
                    None => answer,
                });
            }
            // Its worker may have announced its shutdown while the poll was matched with what it did not get.
            let is_gone = self.lock().worker_is_gone(ticket.ask.worker_instance_key(), self.now());
            if is_gone || Instant::now() >= end {
                return Ok(Bytes::new());
            }
            ticket.park();
        }
    }

    /// Parks a new poll; `None` when its worker has announced its shutdown.
    fn enter<'a>(
        &'a self,
        key: &'a Key,
        namespace: &str,
        ask: Arc<Ask>,
        wait: Duration,
    ) -> Result<Option<Ticket<'a>>, Error> {
        let now = self.now();
        let config = &self.inner.config;
        let seen = ask.seen(self.inner.clock.now());
        let mut state = self.lock();
        if state.draining {
            return Err(Error::Unavailable("the node is shutting down".to_owned()));
        }
        if state.worker_is_gone(ask.worker_instance_key(), now) {
            return Ok(None);
        }
        if state.polls >= config.pollers_max {
            return Err(exhausted("too many polls wait at this node"));
        }
        let slot = state.load(key, namespace, &*self.inner, now)?;
        if slot.matcher.pollers().len() >= config.pollers_per_partition_max {
            return Err(exhausted("too many polls wait at this task queue"));
        }
        slot.workers.note(ask.identity(), seen, config.identities_per_partition_max);
        // The last poll wins, also one that sets no rate. Who may go now goes when it parks.
        slot.set_limits(Limits { worker: ask.rate(), ..slot.limits }, config.dispatch_rate_max, now);
        state.polls += 1;
        let poller = PollerId(state.next_number());
        drop(state);
        let (_, inbox) = oneshot::channel();
        let mut ticket = Ticket { handle: self, key, ask, poller, end: now + wait, inbox, held: None };
        ticket.park();
        Ok(Some(ticket))
    }

    async fn start(
        &self,
        ask: &Ask,
        start: &Start,
        namespace: &str,
        deadline: Instant,
    ) -> Result<HistoryResponse, Error> {
        let task = start.task.clone();
        let request_id = start.request_id.clone().unwrap_or_default();
        let cell = cell_of(&task.namespace_id, &task.workflow_id).index().into();
        let namespace_id = task.namespace_id.clone();
        let request = match ask {
            Ask::Workflow(poll) => history_request::Request::StartWorkflowTask(StartWorkflowTask {
                task: Some(task),
                request_id,
                poll: Some(poll.clone()),
            }),
            Ask::Activity(poll) => history_request::Request::StartActivityTask(StartActivityTask {
                task: Some(task),
                request_id,
                poll: Some(poll.clone()),
            }),
        };
        let request = Box::new(HistoryRequest {
            namespace_id,
            namespace: namespace.to_owned(),
            cell,
            request: Some(request),
            ..HistoryRequest::default()
        });
        let deadline = deadline.min(Instant::now() + self.inner.config.start_timeout);
        // The router gives up at the deadline by itself; this holds should it not.
        timeout_at(deadline, self.inner.upstream.history(request, deadline))
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))
    }
}

impl Ticket<'_> {
    /// Parks, under the same id and so at the old place when it was parked before.
    fn park(&mut self) {
        let (deliver, inbox) = oneshot::channel();
        self.inbox = inbox;
        let payload = Waiter { deliver, ask: Arc::clone(&self.ask) };
        self.handle.step(self.key, Input::Park { poller: self.poller, deadline: self.end, payload });
    }

    async fn wait(&mut self, end: Instant) -> Delivery {
        match timeout_at(end, &mut self.inbox).await {
            Ok(Ok(delivery)) => delivery,
            // The partition is not loaded any more.
            Ok(Err(_)) => Delivery::End,
            // What arrives from now on is given back when the ticket is dropped.
            Err(_) => Delivery::End,
        }
    }

    /// Turns a task into the poll's answer; `None` sends the poll back to its queue.
    async fn serve(&mut self, held: Held, namespace: &str, deadline: Instant) -> Option<Bytes> {
        // From here on a dropped poll gives the task back.
        let held = self.held.insert(held);
        let started = match &mut held.payload {
            Work::Query { id, task } => Started::Answer(query_answer(self.handle, self.key, *id, task)),
            Work::Start(start) => {
                start.request_id.get_or_insert_with(|| self.handle.inner.entropy.uuid());
                judge(self.handle.start(&self.ask, start, namespace, deadline).await, &self.handle.inner.config)
            }
        };
        let held = self.held.take()?;
        match started {
            Started::Answer(answer) => {
                self.handle.step(self.key, Input::Finish { key: held.key });
                Some(answer)
            }
            Started::Gone => {
                self.handle.step(self.key, Input::Finish { key: held.key });
                None
            }
            Started::Failed(rest) => {
                let rest_until = Some(self.handle.now() + rest);
                self.handle.step(self.key, Input::Return { task: held, rest_until });
                None
            }
        }
    }

    fn count_dispatch(&self, rank: Rank) {
        let now = self.handle.now();
        if let Some(slot) = self.handle.lock().partitions.get_mut(self.key) {
            slot.dispatched.add(rank, now);
        }
    }

    /// A task that its shard brought here itself was never offered.
    fn count_fused(&self) {
        let now = self.handle.now();
        if let Some(slot) = self.handle.lock().partitions.get_mut(self.key) {
            slot.added.add(Rank::DEFAULT, now);
            slot.dispatched.add(Rank::DEFAULT, now);
        }
    }

    /// How many polls more or fewer the worker should make.
    fn scaling(&self, waited: Duration) -> Option<i32> {
        let config = &self.handle.inner.config;
        if waited >= config.scale_down_after {
            return Some(-1);
        }
        let (now, time) = (self.handle.now(), self.handle.inner.clock.now());
        let mut state = self.handle.lock();
        state.partitions.get_mut(self.key)?.scale_up(config.scale_up_age, time, now).then_some(1)
    }

    /// Protobuf messages merge when joined, so the decision is simply appended.
    fn with_decision(&self, answer: &Bytes, poll_request_delta_suggestion: i32) -> Bytes {
        let decision = Some(PollerScalingDecision { poll_request_delta_suggestion });
        let tail = match &*self.ask {
            Ask::Workflow(_) => {
                PollWorkflowTaskQueueResponse { poller_scaling_decision: decision, ..Default::default() }
                    .encode_to_vec()
            }
            Ask::Activity(_) => {
                PollActivityTaskQueueResponse { poller_scaling_decision: decision, ..Default::default() }
                    .encode_to_vec()
            }
        };
        [answer.as_ref(), &tail].concat().into()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.inbox.close();
        let undelivered = match self.inbox.try_recv() {
            Ok(Delivery::Work(held)) => Some(held),
            _ => None,
        };
        let now = self.handle.now();
        let mut state = self.handle.lock();
        state.polls -= 1;
        if let Some(slot) = state.partitions.get_mut(self.key) {
            slot.used = now;
        }
        let mut unsettled = vec![state.step(self.key, Input::Leave { poller: self.poller }, now)];
        for task in self.held.take().into_iter().chain(undelivered) {
            unsettled.push(state.step(self.key, Input::Return { task, rest_until: None }, now));
        }
        drop(state);
        for effects in unsettled {
            self.handle.settle(effects);
        }
    }
}

/// A task is only ever dropped when its shard says that it is gone: what matching has
/// accepted, the shard does not offer again by itself.
fn judge(response: Result<HistoryResponse, Error>, config: &Config) -> Started {
    match response {
        Ok(response) if response.task_gone => Started::Gone,
        Ok(response) => Started::Answer(response.body),
        Err(Error::NotFound(_) | Error::NamespaceNotFound(_)) => Started::Gone,
        Err(
            error @ (Error::Unavailable(_)
            | Error::NotLeader { .. }
            | Error::DeadlineExceeded
            | Error::Canceled
            | Error::ResourceExhausted { .. }),
        ) => {
            debug!(%error, "the task could not be started; it rests");
            Started::Failed(config.start_retry)
        }
        Err(error) => {
            warn!(%error, "the shard refused to start a task; it rests for longer");
            Started::Failed(config.start_retry_refused)
        }
    }
}
