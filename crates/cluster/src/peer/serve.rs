//! The requests that a peer sent and that are being worked on. They end when they are
//! answered, cancelled, past their deadline, or when the connection ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use api::Error;
use api::internal::frame::Body;
use api::internal::{Frame, NodeBeat, RaftMessage};
use consensus::TransportError;
use prost::Message;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use crate::{DiskShortage, Services};

/// The most requests of one peer in progress, parked polls included.
const SERVED_MAX: usize = 16_384;
/// On top of it for Raft, so that a crowd of polls does not stop replication.
const SERVED_RAFT_MAX: usize = SERVED_MAX + 4096;
/// A request without a deadline gets this one.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// What a peer can ask for at most.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The service must be done a little earlier than the caller stops waiting, so that a
/// poll that ends empty is not taken for a lost answer.
const ANSWER_MARGIN_MAX: Duration = Duration::from_millis(50);

pub(crate) struct Served {
    connection: Arc<Connection>,
    /// Each task returns its request's id. Dropping the set aborts them all.
    tasks: JoinSet<u64>,
    /// What the peer may cancel. Raft requests are left to finish.
    cancellable: BTreeMap<u64, AbortHandle>,
}

impl Served {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, tasks: JoinSet::new(), cancellable: BTreeMap::new() }
    }

    /// Starts working on a frame that is not an answer. Never waits for the work itself.
    pub(crate) async fn handle(&mut self, frame: Frame, services: &Services) {
        self.reap();
        let timeout = frame
            .timeout
            .and_then(|timeout| Duration::try_from(timeout).ok())
            .unwrap_or(TIMEOUT_DEFAULT)
            .min(TIMEOUT_MAX);
        let deadline = Instant::now() + timeout;
        match frame.body {
            Some(Body::Beat(beat)) => self.beat(beat, services),
            Some(Body::Cancel(id)) => {
                if let Some(task) = self.cancellable.remove(&id) {
                    task.abort();
                }
            }
            Some(Body::Raft(message)) => self.raft(frame.id, message, services).await,
            Some(body) => self.call(frame.id, body, deadline, timeout, services),
            // A body of a later version: its caller runs into the deadline.
            None => tracing::debug!(peer = %self.connection.peer, "frame without a known body"),
        }
    }

    fn reap(&mut self) {
        while let Some(finished) = self.tasks.try_join_next() {
            match finished {
                Ok(id) => {
                    self.cancellable.remove(&id);
                }
                Err(error) if error.is_panic() => {
                    let id = self.cancellable.iter().find(|(_, task)| task.id() == error.id()).map(|(&id, _)| id);
                    if let Some(id) = id {
                        self.cancellable.remove(&id);
                        let error = Error::Internal("the request failed by a defect of the server".to_owned());
                        self.connection.tell_answer(id, Body::Error(error.into()));
                    }
                }
                Err(_) => {}
            }
        }
    }

    fn beat(&self, beat: NodeBeat, services: &Services) {
        let Connection { peer, incarnation, .. } = *self.connection;
        // A beat speaks for its sender only, whatever it claims; and what a connection
        // that was replaced still had in its buffer is old.
        if beat.node_id == peer.0 && beat.incarnation == incarnation && !self.connection.is_closed() {
            let shortage = beat.shortage.map(|shortage| Arc::new(DiskShortage::decode(peer, shortage)));
            services.liveness.beat(peer, incarnation, beat.draining, shortage);
        }
    }

    /// The first poll happens here, in the order of arrival, so that pipelined appends
    /// enter their group's queue in order; the rest of the work is a task.
    async fn raft(&mut self, id: u64, message: RaftMessage, services: &Services) {
        let RaftMessage { group, body } = message;
        if self.tasks.len() >= SERVED_RAFT_MAX {
            answer_raft(&self.connection, id, group, Err(TransportError::Unreachable("overloaded".to_owned())));
            return;
        }
        let mut work = match services.raft.get() {
            Some(handler) => handler.handle(group, body),
            None => Box::pin(async { Err(TransportError::Unreachable("starting".to_owned())) }),
        };
        let first = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        match first {
            Poll::Ready(result) => answer_raft(&self.connection, id, group, result),
            Poll::Pending => {
                let connection = Arc::clone(&self.connection);
                self.tasks.spawn(async move {
                    let result = work.await;
                    answer_raft(&connection, id, group, result);
                    id
                });
            }
        }
    }

    fn call(&mut self, id: u64, body: Body, deadline: Instant, timeout: Duration, services: &Services) {
        let work = if self.tasks.len() >= SERVED_MAX {
            Box::pin(std::future::ready(Err(overloaded())))
        } else {
            services.start(body, deadline - (timeout / 10).min(ANSWER_MARGIN_MAX))
        };
        let connection = Arc::clone(&self.connection);
        let in_progress = services.count_served();
        let task = self.tasks.spawn(async move {
            // Past the deadline nobody waits for an answer.
            if let Ok(result) = timeout_at(deadline, work).await {
                let body = result.unwrap_or_else(|error| Body::Error(error.into()));
                connection.answer(id, body, deadline).await;
            }
            drop(in_progress);
            id
        });
        self.cancellable.insert(id, task);
    }
}

/// An answer that finds no room is dropped: its caller times out and Raft tries again.
fn answer_raft(connection: &Connection, id: u64, group: u64, result: Result<bytes::Bytes, TransportError>) {
    let body = match result {
        Ok(body) => Body::Raft(RaftMessage { group, body }),
        Err(TransportError::Unreachable(reason)) => Body::Error(Error::Unavailable(reason).into()),
        Err(TransportError::Timeout(_)) => Body::Error(Error::DeadlineExceeded.into()),
    };
    let frame = Frame { id, answer: true, timeout: None, body: Some(body) };
    let _ = connection.outbox.push_raft(group, frame.encode_to_vec().into());
}

fn overloaded() -> Error {
    use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
    Error::ResourceExhausted {
        message: "too many requests are forwarded to the node".to_owned(),
        cause: ResourceExhaustedCause::SystemOverloaded.into(),
        scope: ResourceExhaustedScope::System.into(),
    }
}
