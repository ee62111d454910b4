//! The receiving side: requests of other replicas, answered by the group they name.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use openraft::errors::Fatal;
use openraft::raft::TransferLeaderRequest;
use openraft::rt::WatchReceiver;
use prost::Message;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::codec::{self, DecodeError, proto};
use crate::install;
use crate::machine::{Record, Store, blocking};
use crate::snapshot::SnapshotData;
use crate::types::{Raft, Snapshot, TypeConfig, Vote};
use crate::{RaftHandler, TransportError};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The snapshot that is arriving, if any. Whoever holds the lock owns the staging table,
/// the state machine while it installs included.
#[derive(Default)]
pub(crate) struct Incoming {
    transfer: Option<u64>,
    next_sequence: u64,
    pub(crate) installed: bool,
}

/// One group as other nodes see it.
pub(crate) struct Receiver {
    pub(crate) raft: Raft,
    pub(crate) store: Arc<Store>,
    pub(crate) incoming: Arc<Mutex<Incoming>>,
    /// Until then no vote is given, see [`crate::group::Shared::hold_until`].
    pub(crate) hold_until: Option<Instant>,
    /// See [`crate::Host::decline_appends`].
    pub(crate) declining: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("no votes so soon after the start")]
    HoldDown,
    #[error("no room on the disk of this node")]
    NoRoom,
    #[error("unknown or broken snapshot transfer")]
    Transfer,
    #[error("storing a chunk: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Raft(#[from] Fatal<TypeConfig>),
}

impl From<prost::DecodeError> for ReceiveError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Decode(error.into())
    }
}

impl Receiver {
    pub(crate) async fn receive(self: Arc<Self>, request: Bytes) -> Result<Bytes, ReceiveError> {
        use proto::request::Kind as Request;
        use proto::response::Kind as Response;
        let request = proto::Request::decode(request)?.kind.ok_or(DecodeError::Missing("kind"))?;
        let response = match request {
            Request::Append(append) => {
                if !append.entries.is_empty() {
                    self.may_store()?;
                }
                let response = self.raft.append_entries(codec::decode_append(append)?).await;
                Response::Append(codec::encode_append_response(api(response)?))
            }
            Request::Vote(vote) => {
                self.may_vote()?;
                let response = self.raft.vote(codec::decode_vote_request(vote)?).await;
                Response::Vote(codec::encode_vote_response(api(response)?))
            }
            Request::PreVote(vote) => {
                self.may_vote()?;
                let response = self.raft.pre_vote(codec::decode_vote_request(vote)?).await;
                Response::Vote(codec::encode_vote_response(api(response)?))
            }
            Request::Transfer(transfer) => Response::Transfer(self.transfer(transfer).await?),
            Request::Snapshot(chunk) => {
                self.may_store()?;
                Response::Snapshot(self.chunk(chunk).await?)
            }
        };
        Ok(codec::encode(&proto::Response { kind: Some(response) }))
    }

    fn may_store(&self) -> Result<(), ReceiveError> {
        if self.declining.load(Ordering::Relaxed) { Err(ReceiveError::NoRoom) } else { Ok(()) }
    }

    fn may_vote(&self) -> Result<(), ReceiveError> {
        match self.hold_until {
            Some(until) if Instant::now() < until => Err(ReceiveError::HoldDown),
            _ => Ok(()),
        }
    }

    async fn transfer(&self, request: proto::TransferRequest) -> Result<proto::TransferResponse, ReceiveError> {
        let from = request.from_leader.ok_or(DecodeError::Missing("from_leader"))?.into();
        let request = TransferLeaderRequest::new(from, request.to, request.last_log_id.map(Into::into));
        let refused = match self.raft.handle_transfer_leader(request).await? {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        Ok(proto::TransferResponse { refused })
    }

    async fn chunk(&self, chunk: proto::SnapshotChunk) -> Result<proto::SnapshotResponse, ReceiveError> {
        let vote: Vote = chunk.vote.ok_or(DecodeError::Missing("vote"))?.into();
        let mine = self.raft.server_metrics().borrow_watched().vote;
        if mine > vote {
            return Ok(proto::SnapshotResponse { vote: Some(mine.into()), next_sequence: 0, installed: false });
        }
        let mut incoming = self.incoming.clone().lock_owned().await;
        let response =
            |next_sequence, installed| proto::SnapshotResponse { vote: Some(vote.into()), next_sequence, installed };
        if Some(chunk.transfer) != incoming.transfer {
            if chunk.sequence != 0 {
                return Err(ReceiveError::Transfer);
            }
            blocking(|| install::clear_staging(&self.store))?;
            *incoming = Incoming { transfer: Some(chunk.transfer), next_sequence: 0, installed: false };
        }
        if incoming.installed || chunk.sequence < incoming.next_sequence {
            // The answer to this chunk was lost.
            return Ok(response(chunk.sequence + 1, incoming.installed));
        }
        if chunk.sequence > incoming.next_sequence {
            return Err(ReceiveError::Transfer);
        }
        let pairs = chunk.pairs.into_iter().map(|pair| (pair.key, pair.value.unwrap_or_default())).collect();
        blocking(|| install::stage(&self.store, pairs))?;
        incoming.next_sequence += 1;
        let Some(finish) = chunk.finish else { return Ok(response(incoming.next_sequence, false)) };
        let record = Record::decode(finish)?;
        let snapshot = Snapshot { meta: record.meta(), snapshot: SnapshotData::Staged(record, incoming) };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await?;
        Ok(proto::SnapshotResponse {
            vote: Some(installed.vote.into()),
            next_sequence: chunk.sequence + 1,
            installed: true,
        })
    }
}

/// The protocol calls fail only when Raft stopped.
fn api<T>(result: Result<T, openraft::errors::RaftError<TypeConfig>>) -> Result<T, ReceiveError> {
    result.map_err(|error| match error {
        openraft::errors::RaftError::Fatal(fatal) => ReceiveError::Raft(fatal),
        openraft::errors::RaftError::APIError(never) => match never {},
    })
}

/// Finds the group a request is for.
pub(crate) trait Directory: Send + Sync + 'static {
    fn receiver(&self, group: storage::GroupId) -> Option<Arc<Receiver>>;
}

pub(crate) struct Handler<D>(pub(crate) D);

impl<D: Directory> RaftHandler for Handler<D> {
    fn handle(&self, group: storage::GroupId, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let Some(receiver) = self.0.receiver(group) else {
            let error = TransportError::Unreachable(format!("group {group} is not on this node"));
            return Box::pin(std::future::ready(Err(error)));
        };
        let answer = async move {
            receiver.receive(request).await.map_err(|error| {
                tracing::debug!(group, %error, "a request of another replica was refused");
                TransportError::Unreachable(error.to_string())
            })
        };
        start_now(Box::pin(answer))
    }
}

/// Polls once before it returns, so that requests reach Raft's queue in the order of the
/// calls, whatever the caller does with the futures.
fn start_now<T: Send + 'static>(mut future: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let first = tokio::task::unconstrained(PollOnce(&mut future));
    match std::pin::pin!(first).poll(&mut cx) {
        Poll::Ready(Poll::Ready(value)) => Box::pin(std::future::ready(value)),
        _ => future,
    }
}

struct PollOnce<'a, T>(&'a mut BoxFuture<'static, T>);

impl<T> Future for PollOnce<'_, T> {
    type Output = Poll<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Poll<T>> {
        Poll::Ready(self.0.as_mut().poll(cx))
    }
}
