//! A handle to one replica of one group on this node.

use std::future::Future;

use base::{NodeId, Term};
use tokio::sync::watch;

use crate::Proposal;

/// This replica's part in its group, as Raft knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// `ready` once an entry of this very term is applied here: only then may commands
    /// be evaluated against local state.
    Leader { term: Term, ready: bool },
    Follower { term: Term, leader: Option<NodeId> },
    Learner { term: Term, leader: Option<NodeId> },
    Candidate { term: Term },
    Stopped,
}

/// The entry is committed: it will be applied on every replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposed {
    pub index: u64,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was appended.
    #[error("not the leader of term {0}")]
    NotLeader(Term, Option<NodeId>),
    /// The entry may or may not commit later.
    #[error("outcome unknown: {0}")]
    Unknown(&'static str),
    #[error("group is stopped")]
    Stopped,
}

/// What an operator or a test wants to see of a replica.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    pub role: Role,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    /// Entries whose fence did not match at apply.
    pub fenced: u64,
}

/// One replica. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    _private: (),
}

impl Group {
    /// Hands the entry to Raft before it returns, so that proposals made one after the
    /// other are appended in that order; the future resolves at *commit* (not at apply).
    /// The entry is appended only while this node leads `proposal.fence.term`.
    pub fn propose(&self, _proposal: Proposal) -> impl Future<Output = Result<Proposed, ProposeError>> + Send + 'static + use<> {
        async { unimplemented!("consensus owner") }
    }

    /// Resolves once everything committed before the call is applied here and this node
    /// has proved that it still led `term` after the call began.
    pub async fn read_barrier(&self, _term: Term) -> Result<(), ProposeError> {
        unimplemented!("consensus owner")
    }

    /// Resolves when the entry at `index` is applied to the local KV.
    pub async fn applied(&self, _index: u64) {
        unimplemented!("consensus owner")
    }

    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        unimplemented!("consensus owner")
    }

    /// The shard epoch that proposals must carry.
    #[must_use]
    pub fn shard_epoch(&self) -> u64 {
        unimplemented!("consensus owner")
    }

    #[must_use]
    pub fn status(&self) -> GroupStatus {
        unimplemented!("consensus owner")
    }

    /// Asks Raft to hand leadership to `target`, if that node is caught up.
    pub async fn transfer_leader(&self, _target: NodeId) -> Result<(), ProposeError> {
        unimplemented!("consensus owner")
    }

    /// Starts an election now (used when the leader's node is known dead).
    pub async fn campaign(&self) {
        unimplemented!("consensus owner")
    }
}
