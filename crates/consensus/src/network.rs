//! openraft's network over [`Transport`]: the sending side.
//!
//! Append requests are pipelined: several are on the way while the first is answered,
//! and the transport keeps their order. Heartbeats and snapshots have clients of their
//! own, so neither waits behind entries here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::{Entropy, NodeId};
use bytes::Bytes;
use futures_util::stream::{self, FuturesOrdered};
use futures_util::{Stream, StreamExt};
use openraft::RaftNetworkFactory;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;
use storage::GroupId;

use crate::codec::{self, DecodeError, proto};
use crate::snapshot::{Cursor, SnapshotData, SnapshotView};
use crate::types::{Snapshot, TypeConfig, Vote};
use crate::{Transport, TransportError};

/// The most append requests to one follower without an answer.
const APPENDS_IN_FLIGHT: usize = 8;
/// The most bytes of pairs in one chunk of a snapshot.
const CHUNK_BYTES: usize = 1 << 20;
/// How long storing one chunk may take the receiver.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the receiver may take to put a complete snapshot into its place.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often one chunk is sent before the transfer is given up.
const CHUNK_ATTEMPTS: u32 = 5;
/// Between two attempts.
const CHUNK_RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// What one transfer may take from the network and the receiver's disk.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 64 << 20;

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// Makes the clients of one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
    /// How long a follower may take to make entries durable.
    pub(crate) append_timeout: Duration,
}

/// Speaks to one other replica.
pub(crate) struct Client {
    network: Network,
    target: u64,
    /// `None`: as long as openraft says.
    append_timeout: Option<Duration>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, (): &()) -> Client {
        Client { network: self.clone(), target, append_timeout: Some(self.append_timeout) }
    }

    async fn new_heartbeat_client(&mut self, target: u64, (): &()) -> Client {
        Client { network: self.clone(), target, append_timeout: None }
    }
}

fn malformed(error: impl Into<DecodeError>) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&error.into()))
}

impl Client {
    /// One request and its answer. The request is handed to the transport at once, not
    /// when the future is first polled.
    fn call(
        &self,
        action: RPCTypes,
        kind: proto::request::Kind,
        timeout: Duration,
    ) -> impl Future<Output = Rpc<proto::response::Kind>> + Send + use<> {
        let request = codec::encode(&proto::Request { kind: Some(kind) });
        let answer = self.network.transport.call(NodeId(self.target), self.network.group, request, timeout);
        let (id, target) = (self.network.node.0, self.target);
        async move {
            // The transport keeps the deadline, too; this is for one that forgets.
            let answer = match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error @ TransportError::Unreachable(_))) => {
                    return Err(RPCError::Unreachable(Unreachable::new(&error)));
                }
                Ok(Err(TransportError::Timeout(_))) | Err(_) => {
                    return Err(RPCError::Timeout(Timeout { action, id, target, timeout }));
                }
            };
            let response = proto::Response::decode(answer).map_err(malformed)?;
            response.kind.ok_or_else(|| malformed(DecodeError::Missing("kind")))
        }
    }

    fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        timeout: Duration,
    ) -> impl Future<Output = Rpc<AppendEntriesResponse<TypeConfig>>> + Send + use<> {
        let kind = proto::request::Kind::Append(codec::encode_append(request));
        let answer = self.call(RPCTypes::AppendEntries, kind, timeout);
        async move {
            match answer.await? {
                proto::response::Kind::Append(response) => codec::decode_append_response(response).map_err(malformed),
                _ => Err(malformed(DecodeError::Missing("append"))),
            }
        }
    }

    async fn ask_vote(&self, kind: proto::request::Kind, timeout: Duration) -> Rpc<VoteResponse<TypeConfig>> {
        match self.call(RPCTypes::Vote, kind, timeout).await? {
            proto::response::Kind::Vote(response) => codec::decode_vote_response(response).map_err(malformed),
            _ => Err(malformed(DecodeError::Missing("vote"))),
        }
    }

    /// Sends a chunk until it is answered: a lost answer must not cost the whole transfer.
    async fn send_chunk(&self, chunk: proto::SnapshotChunk) -> Rpc<proto::SnapshotResponse> {
        let timeout = if chunk.finish.is_some() { INSTALL_TIMEOUT } else { CHUNK_TIMEOUT };
        let mut attempt = 1;
        loop {
            let kind = proto::request::Kind::Snapshot(chunk.clone());
            match self.call(RPCTypes::InstallSnapshot, kind, timeout).await {
                Ok(proto::response::Kind::Snapshot(response)) => return Ok(response),
                Ok(_) => return Err(malformed(DecodeError::Missing("snapshot"))),
                Err(error) if attempt == CHUNK_ATTEMPTS => return Err(error),
                Err(_) => tokio::time::sleep(CHUNK_RETRY_INTERVAL).await,
            }
            attempt += 1;
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        view: SnapshotView,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let transfer = self.network.entropy.next_u64();
        let mut cursor = Cursor::default();
        for sequence in 0.. {
            let page = view.page(&mut cursor, CHUNK_BYTES).map_err(|e| NetworkError::new(&e))?;
            let finish = page.is_empty().then(|| view.record.encode());
            let bytes = page.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            let pairs =
                page.into_iter().map(|(key, value): (Bytes, Bytes)| proto::Op { key, value: Some(value), end: None });
            let chunk =
                proto::SnapshotChunk { vote: Some(vote.into()), transfer, sequence, pairs: pairs.collect(), finish };
            let response = self.send_chunk(chunk).await?;
            let theirs: Vote = response.vote.ok_or_else(|| malformed(DecodeError::Missing("vote")))?.into();
            if response.installed || theirs > vote {
                return Ok(SnapshotResponse::new(theirs));
            }
            if response.next_sequence != sequence + 1 {
                return Err(NetworkError::from_string("the receiver lost the transfer").into());
            }
            tokio::time::sleep(Duration::from_micros(bytes * 1_000_000 / SNAPSHOT_BYTES_PER_SECOND)).await;
        }
        unreachable!("a view ends")
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        self.append(rpc, self.append_timeout.unwrap_or(option.hard_ttl())).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let timeout = self.append_timeout.unwrap_or(option.hard_ttl());
        let client: &'s Self = self;
        let mut in_flight = FuturesOrdered::new();
        let mut input_ended = false;
        let mut failed = false;
        let answers = stream::poll_fn(move |cx| {
            use std::task::Poll;
            if failed {
                return Poll::Ready(None);
            }
            while !input_ended && in_flight.len() < APPENDS_IN_FLIGHT {
                match input.poll_next_unpin(cx) {
                    Poll::Ready(Some(request)) => {
                        let previous = request.prev_log_id;
                        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
                        let answer = client.append(request, timeout);
                        in_flight.push_back(async move { Ok(answer.await?.into_stream_result(previous, last)) });
                    }
                    Poll::Ready(None) => input_ended = true,
                    Poll::Pending => break,
                }
            }
            match in_flight.poll_next_unpin(cx) {
                Poll::Ready(None) if !input_ended => Poll::Pending,
                Poll::Ready(Some(answer)) => {
                    // Whatever follows a refused request does not fit the follower's log.
                    failed = !matches!(answer, Ok(Ok(_)));
                    Poll::Ready(Some(answer))
                }
                other => other,
            }
        });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask_vote(proto::request::Kind::Vote(codec::encode_vote_request(rpc)), option.hard_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask_vote(proto::request::Kind::PreVote(codec::encode_vote_request(rpc)), option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::View(view) = snapshot.snapshot else {
            return Err(NetworkError::from_string("this snapshot has no content").into());
        };
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, view) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let kind = proto::request::Kind::Transfer(proto::TransferRequest {
            from_leader: Some((*req.from_leader()).into()),
            to: *req.to_node_id(),
            last_log_id: req.last_log_id().map(|id| (*id).into()),
        });
        match self.call(RPCTypes::TransferLeader, kind, option.hard_ttl()).await? {
            proto::response::Kind::Transfer(response) if response.refused.is_empty() => Ok(Ok(())),
            proto::response::Kind::Transfer(_) => {
                let expected = req.last_log_id().copied();
                Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual: None }))
            }
            _ => Err(malformed(DecodeError::Missing("transfer"))),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        None
    }
}
