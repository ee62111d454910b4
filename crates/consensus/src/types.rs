//! How openraft is instantiated: one leader per term, numeric node ids without further
//! data, and entries that carry already encoded bytes.

use std::fmt;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::impls::leader_id_std;
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;

use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::snapshot::SnapshotData;

#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Command;
    type R = ();
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Receipt<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<TypeConfig, Machine>;
pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeader = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeader>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = EntryPayload<Command, u64, ()>;
pub(crate) type Entry = openraft::Entry<CommittedLeader, Payload>;
pub(crate) type Membership = openraft::Membership<u64, ()>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeader, u64, ()>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, u64, ()>;
pub(crate) type Snapshot = openraft::Snapshot<CommittedLeader, u64, (), SnapshotData>;

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeader::new(term), index)
}

/// A proposal as bytes: encoded once, then shared by WAL, replication and apply.
/// It is a whole encoded `Entry` message, `term` included, because a proposal is only
/// ever appended by the leader of the term it names.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) term: u64,
    pub(crate) bytes: Bytes,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command(term {}, {} bytes)", self.term, self.bytes.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What becomes of one write, told by openraft's core task.
pub(crate) trait Outcome<T>: Send {
    fn committed(&mut self, log_id: LogId);
    fn completed(self: Box<Self>, result: T);
}

/// openraft wants one responder type for any result, so the outcome is boxed.
pub(crate) struct Receipt<T>(pub(crate) Box<dyn Outcome<T>>);

impl<T: Send + 'static> Responder<TypeConfig, T> for Receipt<T> {
    fn on_commit(&mut self, log_id: LogId) {
        self.0.committed(log_id);
    }

    fn on_complete(self, result: T) {
        self.0.completed(result);
    }
}
