//! Queries: a task that a worker answers to us and not to a shard. The node whose matcher
//! dispatched it waits for the answer; the token leads the answer there.

use std::time::Duration;

use api::Error;
use api::internal::{DispatchQuery, DispatchQueryResponse, QueryTaskToken, RespondQuery};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::Handle;
use crate::key::Key;
use crate::matcher::{Input, Place, Rank, Task};
use crate::state::{QueryEnd, TaskKey, Work, exhausted};

/// How long a query waits when its caller does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Field number of `PollWorkflowTaskQueueResponse.task_token`.
const TASK_TOKEN_TAG: u32 = 1;

/// A waiting query. Dropping it withdraws the query, wherever it is.
struct Waiting<'a> {
    handle: &'a Handle,
    key: &'a Key,
    id: u64,
    place: Place,
    answer: oneshot::Receiver<QueryEnd>,
    /// Without a poller by then, there is none.
    patience: Option<Instant>,
}

impl Handle {
    pub(crate) async fn dispatch_query(
        &self,
        key: Key,
        namespace: &str,
        query: DispatchQuery,
        deadline: Instant,
    ) -> Result<DispatchQueryResponse, Error> {
        let timeout = query.timeout.and_then(|timeout| Duration::try_from(timeout).ok()).unwrap_or(DEFAULT_TIMEOUT);
        let end = deadline.min(Instant::now() + timeout);
        let no_poller = DispatchQueryResponse { answer: None, no_poller: true };
        let Some(mut waiting) = self.enqueue_query(&key, namespace, query.task)? else {
            return Ok(no_poller);
        };
        if let Some(patience) = waiting.patience
            && let Ok(ended) = timeout_at(patience.min(end), &mut waiting.answer).await
        {
            return Ok(response(ended));
        }
        if !self.polled_recently(&key) {
            return Ok(no_poller);
        }
        match timeout_at(end, &mut waiting.answer).await {
            Ok(ended) => Ok(response(ended)),
            Err(_) if self.polled_recently(&key) => Err(Error::DeadlineExceeded),
            Err(_) => Ok(no_poller),
        }
    }

    /// Puts the query before all tasks of the queue; `None` when nobody polls it.
    fn enqueue_query<'a>(&'a self, key: &'a Key, namespace: &str, task: Bytes) -> Result<Option<Waiting<'a>>, Error> {
        let now = self.now();
        let config = &self.inner.config;
        let id = self.inner.entropy.next_u64();
        let (ended, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.draining {
            return Err(Error::Unavailable("the node is shutting down".to_owned()));
        }
        if state.queries.len() >= config.queries_max {
            return Err(exhausted("too many queries wait at this node"));
        }
        let slot = state.load(key, namespace, &*self.inner, now)?;
        let window = if key.sticky { config.sticky_poller_window } else { config.query_poller_window };
        let grace_end = slot.loaded + config.query_poller_grace;
        let polled = slot.matcher.polled_within(window, now);
        let fresh = !key.sticky && !slot.matcher.ever_polled() && now < grace_end;
        if !polled && !fresh {
            return Ok(None);
        }
        let patience = (!polled).then(|| Instant::now() + (grace_end - now));
        let place = Place { rank: Rank::QUERY, number: state.next_number() };
        state.queries.insert(id, ended);
        let task = Task { place, key: TaskKey::Query(id), payload: Work::Query { id, task } };
        let effects = state.step(key, Input::Offer(task), now);
        drop(state);
        self.settle(effects);
        Ok(Some(Waiting { handle: self, key, id, place, answer, patience }))
    }

    pub(crate) fn respond_query(&self, respond: RespondQuery) -> Result<(), Error> {
        let id = respond.token.and_then(|token| u64::from_str_radix(&token.query_id, 16).ok());
        let waiting = id.and_then(|id| self.lock().queries.remove(&id));
        let waiting = waiting.ok_or_else(|| Error::NotFound("query task not found, or already expired".to_owned()))?;
        // A caller that gave up in this moment needs no answer.
        let _ = waiting.send(QueryEnd::Answer(Box::new(respond.request.unwrap_or_default())));
        Ok(())
    }

    fn polled_recently(&self, key: &Key) -> bool {
        let config = &self.inner.config;
        let window = if key.sticky { config.sticky_poller_window } else { config.query_poller_window };
        let now = self.now();
        self.lock().partitions.get(key).is_some_and(|slot| slot.matcher.polled_within(window, now))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.handle.lock().queries.remove(&self.id);
        self.handle.step(self.key, Input::Withdraw { place: self.place, key: TaskKey::Query(self.id) });
    }
}

/// The query's poll response. Protobuf messages merge when joined, so the token is simply
/// appended to the bytes that history has made.
pub(crate) fn query_answer(handle: &Handle, key: &Key, id: u64, task: &Bytes) -> Bytes {
    let token = QueryTaskToken {
        namespace_id: key.namespace_id.clone(),
        query_id: format!("{id:016x}"),
        node_id: handle.inner.upstream.this_node().0,
    };
    let token = token.encode_to_vec();
    let mut answer = BytesMut::with_capacity(task.len() + token.len() + 8);
    answer.put_slice(task);
    encode_key(TASK_TOKEN_TAG, WireType::LengthDelimited, &mut answer);
    encode_varint(token.len() as u64, &mut answer);
    answer.put_slice(&token);
    answer.freeze()
}

fn response(ended: Result<QueryEnd, oneshot::error::RecvError>) -> DispatchQueryResponse {
    match ended {
        Ok(QueryEnd::Answer(answer)) => DispatchQueryResponse { answer: Some(*answer), no_poller: false },
        // Without its sender the query was ended with its worker.
        Ok(QueryEnd::NoPoller) | Err(_) => DispatchQueryResponse { answer: None, no_poller: true },
    }
}
