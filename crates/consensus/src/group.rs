//! A handle to one replica of one group on this node.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::{NodeId, Term};
use futures_util::future::Either;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::rt::WatchReceiver;
use openraft::{Instant as _, LinearizerOption};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Proposal;
use crate::codec;
use crate::machine::Store;
use crate::pipeline::Pipeline;
use crate::types::Raft;

/// This replica's part in its group, as Raft knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// `ready` once an entry of this very term is applied here: only then may commands
    /// be evaluated against local state.
    Leader {
        term: Term,
        ready: bool,
    },
    Follower {
        term: Term,
        leader: Option<NodeId>,
    },
    Learner {
        term: Term,
        leader: Option<NodeId>,
    },
    Candidate {
        term: Term,
    },
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
    pub(crate) shared: Arc<Shared>,
}

/// The parts of a replica.
pub(crate) struct Shared {
    pub(crate) raft: Raft,
    pub(crate) store: Arc<Store>,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) role: watch::Receiver<Role>,
    pub(crate) timing: Timing,
    /// Until then this node neither votes nor campaigns: before the restart it may have
    /// acknowledged a leader that still trusts its lease.
    pub(crate) hold_until: Option<Instant>,
    /// With one voter there is nobody to ask who leads.
    pub(crate) single_voter: bool,
}

/// Durations that calls on a group depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// An acknowledgement by a quorum that is younger than this proves leadership.
    pub(crate) lease_trusted: Duration,
    /// How long a transfer of leadership may take.
    pub(crate) transfer: Duration,
}

/// Entries that the target of a transfer may lack.
const TRANSFER_LAG_MAX: u64 = 1000;

impl Group {
    /// Hands the entry to Raft before it returns, so that proposals made one after the
    /// other are appended in that order; the future resolves at *commit* (not at apply).
    /// The entry is appended only while this node leads `proposal.fence.term`.
    ///
    /// While the term lasts, proposals that Raft refuses for a moment are kept and
    /// submitted again in order, so the future resolves with an error only when the term
    /// is over (or the call did not continue the sequence of the term, in which case
    /// nothing was taken and the sequence number is still free). A caller that stops
    /// waiting must therefore not evaluate anything new in this term without the effects
    /// of the proposal.
    pub fn propose(
        &self,
        proposal: Proposal,
    ) -> impl Future<Output = Result<Proposed, ProposeError>> + Send + 'static + use<> {
        match self.submit(proposal) {
            Ok(reply) => Either::Left(async move { reply.await.unwrap_or(Err(ProposeError::Unknown("Raft stopped"))) }),
            Err(error) => Either::Right(std::future::ready(Err(error))),
        }
    }

    fn submit(
        &self,
        proposal: Proposal,
    ) -> Result<tokio::sync::oneshot::Receiver<crate::pipeline::Reply>, ProposeError> {
        let fence = proposal.fence;
        match *self.shared.role.borrow() {
            Role::Stopped => return Err(ProposeError::Stopped),
            Role::Leader { term, .. } if term == fence.term && fence.shard_epoch == self.shard_epoch() => {}
            Role::Leader { .. } | Role::Candidate { .. } => return Err(ProposeError::NotLeader(fence.term, None)),
            Role::Follower { leader, .. } | Role::Learner { leader, .. } => {
                return Err(ProposeError::NotLeader(fence.term, leader));
            }
        }
        self.shared.pipeline.submit(&self.shared.raft, fence.seq, codec::encode_proposal(proposal))
    }

    /// The sequence number with which to go on in `term`, for a proposer that starts anew
    /// in a term where an earlier one made proposals: waits until these are answered and
    /// applied, so that the local state is what the next proposal will be applied to.
    pub async fn next_seq(&self, term: Term) -> Result<u64, ProposeError> {
        let seq = self.shared.pipeline.next_seq(term).await.ok_or(ProposeError::NotLeader(term, None))?;
        self.applied(self.shared.pipeline.committed_index()).await;
        Ok(seq)
    }

    /// Resolves once everything committed before the call is applied here and this node
    /// has proved that it still led `term` after the call began.
    pub async fn read_barrier(&self, term: Term) -> Result<(), ProposeError> {
        let role = *self.shared.role.borrow();
        match role {
            Role::Leader { term: led, ready } if led == term => {
                if self.shared.single_voter && ready {
                    // Nobody else can have committed anything.
                    self.applied(self.shared.pipeline.committed_index()).await;
                    return self.still_running();
                }
            }
            Role::Stopped => return Err(ProposeError::Stopped),
            Role::Follower { leader, .. } | Role::Learner { leader, .. } => {
                return Err(ProposeError::NotLeader(term, leader));
            }
            Role::Leader { .. } | Role::Candidate { .. } => return Err(ProposeError::NotLeader(term, None)),
        }
        let option = LinearizerOption::new(Some(self.shared.timing.lease_trusted), true);
        let linearizer = match self.shared.raft.get_read_linearizer(option).await {
            Ok(linearizer) => linearizer,
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                return Err(ProposeError::NotLeader(term, forward.leader_id.map(NodeId)));
            }
            Err(RaftError::APIError(_)) => return Err(ProposeError::Unknown("no quorum confirmed the leader in time")),
            Err(RaftError::Fatal(_)) => return Err(ProposeError::Stopped),
        };
        // The position to read at is never older than the first entry of the leader's own
        // term, so its term is the one that was proved.
        if linearizer.read_log_id().committed_leader_id().term != term.0 {
            return Err(ProposeError::NotLeader(term, None));
        }
        self.applied(linearizer.read_log_id().index()).await;
        self.still_running()
    }

    fn still_running(&self) -> Result<(), ProposeError> {
        if *self.shared.role.borrow() == Role::Stopped { Err(ProposeError::Stopped) } else { Ok(()) }
    }

    /// Resolves when the entry at `index` is applied to the local KV, or the group stopped.
    pub async fn applied(&self, index: u64) {
        let mut applied = self.shared.store.applied.subscribe();
        let mut role = self.shared.role.clone();
        tokio::select! {
            biased;
            _ = applied.wait_for(|record| record.log_id.is_some_and(|id| id.index >= index)) => {}
            _ = role.wait_for(|role| *role == Role::Stopped) => {}
        }
    }

    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.shared.role.clone()
    }

    /// The shard epoch that proposals must carry.
    #[must_use]
    pub fn shard_epoch(&self) -> u64 {
        self.shared.store.applied.borrow().shard_epoch
    }

    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        GroupStatus {
            role: *self.shared.role.borrow(),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            committed_index: metrics.local_committed.map_or(0, |id| id.index),
            applied_index: self.shared.store.applied.borrow().log_id.map_or(0, |id| id.index),
            fenced: self.shared.store.fenced.load(Ordering::Relaxed),
        }
    }

    /// Asks Raft to hand leadership to `target`, if that node is caught up. Resolves when
    /// this node leads no longer.
    pub async fn transfer_leader(&self, target: NodeId) -> Result<(), ProposeError> {
        let Role::Leader { term, .. } = *self.shared.role.borrow() else {
            return Err(ProposeError::NotLeader(Term::default(), None));
        };
        // A transfer cannot be taken back: were the target dead, the group would do
        // nothing until somebody else is elected.
        if !self.is_caught_up(target) {
            return Err(ProposeError::Unknown("the target of the transfer is not caught up"));
        }
        let mut role = self.shared.role.clone();
        self.shared.raft.trigger().transfer_leader(target.0).await.map_err(|_| ProposeError::Stopped)?;
        let moved = role.wait_for(|role| !matches!(role, Role::Leader { term: led, .. } if *led == term));
        match tokio::time::timeout(self.shared.timing.transfer, moved).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ProposeError::Unknown("the target of the transfer did not take over")),
        }
    }

    /// The nodes that have a replica, voters and learners, as far as applied here.
    #[must_use]
    pub fn replicas(&self) -> BTreeSet<NodeId> {
        self.shared.store.applied.borrow().membership.nodes().map(|(node, ())| NodeId(*node)).collect()
    }

    /// Those of them that vote.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.shared.store.applied.borrow().membership.voter_ids().map(NodeId).collect()
    }

    /// Has the leader send the log, or a snapshot, to one more node, which votes on nothing.
    /// Resolves when that is committed; the node may lag behind for long.
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ProposeError> {
        match self.shared.raft.add_learner(node.0, (), false).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(_)) => {
                Err(ProposeError::Unknown("another change is in progress, or the leader has changed"))
            }
            Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped),
        }
    }

    fn is_caught_up(&self, target: NodeId) -> bool {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched =
            metrics.replication.as_ref().and_then(|replication| replication.get(&target.0).copied().flatten());
        let acked = metrics.heartbeat.as_ref().and_then(|heartbeat| heartbeat.get(&target.0).copied().flatten());
        let is_voter = metrics.membership_config.voter_ids().any(|voter| voter == target.0);
        let last = metrics.last_log_index.unwrap_or(0);
        is_voter
            && matched.is_some_and(|id| id.index + TRANSFER_LAG_MAX >= last)
            && acked.is_some_and(|instant| instant.elapsed() < self.shared.timing.lease_trusted)
    }

    /// Starts an election now (used when the leader's node is known dead). The other
    /// voters still refuse while they trust the lease of the old leader; soon after a
    /// restart this node does not know of any lease, and does nothing.
    pub async fn campaign(&self) {
        if self.shared.hold_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        // A stopped group cannot campaign, and says so by its role.
        self.shared.raft.trigger().elect(true).await.ok();
    }
}
