//! Between openraft's types, ours, and the protobuf messages on disk and on the wire.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use prost::Message;
use storage::{Batch, LogEntry, Op};

use crate::Proposal;
use crate::types::{Command, Entry, LogId, Membership, StoredMembership, TypeConfig, Vote, log_id};

/// The generated messages.
#[expect(unreachable_pub, clippy::doc_markdown, reason = "generated")]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/perpetuo.consensus.v1.rs"));
}

/// Bytes that are not what they should be: corruption, or a newer version's.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    Malformed(#[from] prost::DecodeError),
    #[error("field {0} is missing")]
    Missing(&'static str),
    #[error("membership is inconsistent: {0}")]
    Membership(String),
}

impl From<DecodeError> for std::io::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

impl proto::Op {
    pub(crate) fn from_op(op: Op) -> Self {
        match op {
            Op::Put { key, value } => Self { key, value: Some(value), end: None },
            Op::Delete { key } => Self { key, value: None, end: None },
            Op::DeleteRange { start, end } => Self { key: start, value: None, end: Some(end) },
        }
    }

    pub(crate) fn into_op(self) -> Op {
        match (self.value, self.end) {
            (Some(value), _) => Op::Put { key: self.key, value },
            (None, Some(end)) => Op::DeleteRange { start: self.key, end },
            (None, None) => Op::Delete { key: self.key },
        }
    }
}

/// Encodes a proposal as the log entry it will become.
pub(crate) fn encode_proposal(proposal: Proposal) -> Command {
    let term = proposal.fence.term.0;
    let entry = proto::Entry {
        term,
        membership: None,
        proposal: Some(proto::Proposal {
            seq: proposal.fence.seq,
            shard_epoch: proposal.fence.shard_epoch,
            ops: proposal.batch.ops.into_iter().map(proto::Op::from_op).collect(),
        }),
    };
    Command { term, bytes: encode(&entry) }
}

/// A decoded proposal: its fence without the term, and its writes.
pub(crate) struct Decided {
    pub(crate) seq: u64,
    pub(crate) shard_epoch: u64,
    pub(crate) batch: Batch,
}

pub(crate) fn decode_proposal(command: &Command) -> Result<Decided, DecodeError> {
    let entry = proto::Entry::decode(command.bytes.clone())?;
    let proposal = entry.proposal.ok_or(DecodeError::Missing("proposal"))?;
    Ok(Decided {
        seq: proposal.seq,
        shard_epoch: proposal.shard_epoch,
        batch: Batch { ops: proposal.ops.into_iter().map(proto::Op::into_op).collect() },
    })
}

pub(crate) fn encode_entry(entry: Entry) -> LogEntry {
    let index = entry.log_id.index;
    let term = entry.log_id.leader_id.term;
    let payload = match entry.payload {
        EntryPayload::Normal(command) => {
            assert_eq!(command.term, term, "a proposal is appended in the term it names");
            command.bytes
        }
        EntryPayload::Blank => encode(&proto::EntryHead { term, membership: None, proposal: None }),
        EntryPayload::Membership(membership) => {
            let membership = Some(encode_membership(&membership));
            encode(&proto::EntryHead { term, membership, proposal: None })
        }
    };
    LogEntry { index, payload }
}

pub(crate) fn decode_entry(index: u64, payload: Bytes) -> Result<Entry, DecodeError> {
    let head = proto::EntryHead::decode(payload.clone())?;
    let body = match (head.membership, head.proposal) {
        (Some(membership), _) => EntryPayload::Membership(decode_membership(membership)?),
        (None, Some(_)) => EntryPayload::Normal(Command { term: head.term, bytes: payload }),
        (None, None) => EntryPayload::Blank,
    };
    Ok(Entry::new(log_id(head.term, index), body))
}

pub(crate) fn encode<M: Message>(message: &M) -> Bytes {
    let mut buffer = BytesMut::with_capacity(message.encoded_len());
    message.encode(&mut buffer).expect("the buffer grows");
    buffer.freeze()
}

impl From<LogId> for proto::LogId {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<proto::LogId> for LogId {
    fn from(id: proto::LogId) -> Self {
        log_id(id.term, id.index)
    }
}

impl From<Vote> for proto::Vote {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<proto::Vote> for Vote {
    fn from(vote: proto::Vote) -> Self {
        if vote.committed { Self::new_committed(vote.term, vote.node) } else { Self::new(vote.term, vote.node) }
    }
}

fn encode_membership(membership: &Membership) -> proto::Membership {
    proto::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| proto::membership::Voters { nodes: voters.iter().copied().collect() })
            .collect(),
        nodes: membership.nodes().map(|(node, ())| *node).collect(),
    }
}

fn decode_membership(membership: proto::Membership) -> Result<Membership, DecodeError> {
    let configs =
        membership.configs.into_iter().map(|voters| voters.nodes.into_iter().collect::<BTreeSet<_>>()).collect();
    let nodes: BTreeSet<u64> = membership.nodes.into_iter().collect();
    Membership::new(configs, nodes).map_err(|e| DecodeError::Membership(e.to_string()))
}

impl From<&StoredMembership> for proto::StoredMembership {
    fn from(stored: &StoredMembership) -> Self {
        Self { log_id: stored.log_id().map(Into::into), membership: Some(encode_membership(stored.membership())) }
    }
}

pub(crate) fn decode_stored_membership(
    stored: Option<proto::StoredMembership>,
) -> Result<StoredMembership, DecodeError> {
    let Some(stored) = stored else { return Ok(StoredMembership::default()) };
    let membership = stored.membership.ok_or(DecodeError::Missing("membership"))?;
    if membership.configs.is_empty() {
        return Ok(StoredMembership::default());
    }
    Ok(StoredMembership::new(stored.log_id.map(Into::into), decode_membership(membership)?))
}

pub(crate) fn encode_append(request: AppendEntriesRequest<TypeConfig>) -> proto::AppendRequest {
    proto::AppendRequest {
        vote: Some(request.vote.into()),
        previous: request.prev_log_id.map(Into::into),
        committed: request.leader_commit.map(Into::into),
        entries: request.entries.into_iter().map(|entry| encode_entry(entry).payload).collect(),
    }
}

pub(crate) fn decode_append(request: proto::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, DecodeError> {
    let first = request.previous.as_ref().map_or(0, |previous| previous.index + 1);
    let entries = (first..).zip(request.entries).map(|(index, payload)| decode_entry(index, payload));
    Ok(AppendEntriesRequest {
        vote: request.vote.ok_or(DecodeError::Missing("vote"))?.into(),
        prev_log_id: request.previous.map(Into::into),
        entries: entries.collect::<Result<_, _>>()?,
        leader_commit: request.committed.map(Into::into),
    })
}

pub(crate) fn encode_append_response(response: AppendEntriesResponse<TypeConfig>) -> proto::AppendResponse {
    use proto::append_response::Outcome;
    let (outcome, vote) = match response {
        AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => (Outcome::Success, None),
        AppendEntriesResponse::Conflict => (Outcome::Conflict, None),
        AppendEntriesResponse::HigherVote(vote) => (Outcome::HigherVote, Some(vote.into())),
    };
    proto::AppendResponse { outcome: outcome.into(), vote }
}

pub(crate) fn decode_append_response(
    response: proto::AppendResponse,
) -> Result<AppendEntriesResponse<TypeConfig>, DecodeError> {
    use proto::append_response::Outcome;
    Ok(match response.outcome() {
        Outcome::Success => AppendEntriesResponse::Success,
        Outcome::Conflict => AppendEntriesResponse::Conflict,
        Outcome::HigherVote => {
            AppendEntriesResponse::HigherVote(response.vote.ok_or(DecodeError::Missing("vote"))?.into())
        }
    })
}

pub(crate) fn encode_vote_request(request: VoteRequest<TypeConfig>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(request.vote.into()),
        last_log_id: request.last_log_id.map(Into::into),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn decode_vote_request(request: proto::VoteRequest) -> Result<VoteRequest<TypeConfig>, DecodeError> {
    Ok(VoteRequest {
        vote: request.vote.ok_or(DecodeError::Missing("vote"))?.into(),
        last_log_id: request.last_log_id.map(Into::into),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn encode_vote_response(response: VoteResponse<TypeConfig>) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(response.vote.into()),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.map(Into::into),
    }
}

pub(crate) fn decode_vote_response(response: proto::VoteResponse) -> Result<VoteResponse<TypeConfig>, DecodeError> {
    let vote: Vote = response.vote.ok_or(DecodeError::Missing("vote"))?.into();
    Ok(VoteResponse { vote, vote_granted: response.granted, last_log_id: response.last_log_id.map(Into::into) })
}

#[cfg(test)]
mod tests;
