//! The log of a node: every Raft group's entries and votes, in one stream of fsyncs.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;

/// A Raft group on this node.
pub type GroupId = u64;

/// One log entry. The payload is opaque here; the caller encodes term and content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    pub index: u64,
    pub payload: Bytes,
}

/// Small per-group values that must be durable in order with the entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum MetaKey {
    Vote = 0,
    Committed = 1,
    /// Whatever the caller wants to remember of the last purged entry (its log id).
    Purged = 2,
}

/// Called once, from the writer, when the append is durable or can never be.
pub type Completion = Box<dyn FnOnce(Result<(), WalError>) + Send>;

#[derive(Clone, Debug)]
pub struct WalConfig {
    pub segment_bytes: u64,
    /// The most bytes written between two syncs.
    pub batch_bytes_max: usize,
    /// Entries of each group kept in memory for followers that are nearly caught up.
    pub tail_bytes_max: usize,
    /// False only for in-memory development servers: completes without syncing.
    pub sync: bool,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    #[error("WAL {operation} of {file} failed: {reason}; the node must stop")]
    Io { operation: &'static str, file: Arc<str>, reason: Arc<str> },
    #[error("WAL is corrupt in {file} at offset {offset}: {reason}")]
    Corrupt { file: Arc<str>, offset: u64, reason: Arc<str> },
    #[error("WAL stopped after an earlier failure: {0}")]
    Stopped(Arc<str>),
    #[error("log index {index} of group {group} is not in the log ({first}..={last})")]
    OutOfRange { group: GroupId, index: u64, first: u64, last: u64 },
}

/// The node's log. Cheap to clone.
#[derive(Clone)]
pub struct Wal {
    _private: (),
}

impl Wal {
    /// Replays the segments in `disk`. A torn tail is cut; anything else that does not
    /// check out is [`WalError::Corrupt`], with file and offset.
    ///
    /// The returned future is the writer: the caller runs it on a thread of its own (or
    /// as a task, under simulation). It ends after [`Wal::shutdown`] or a failed sync.
    pub fn open(_disk: Arc<dyn Disk>, _config: WalConfig) -> Result<Self, WalError> {
        unimplemented!("storage owner")
    }

    #[must_use]
    pub fn group(&self, _group: GroupId) -> GroupLog {
        unimplemented!("storage owner")
    }
}

/// One group's view of the log. Cheap to clone. Calls for one group are ordered: what
/// was submitted first is durable first, votes included.
#[derive(Clone)]
pub struct GroupLog {
    _private: (),
}

impl GroupLog {
    /// Entries must continue the log without a gap. They can be read on return.
    pub fn append(&self, _entries: Vec<LogEntry>, _done: Completion) {
        unimplemented!("storage owner")
    }

    /// Drops entries with `index >= from`.
    pub fn truncate(&self, _from: u64, _done: Completion) {
        unimplemented!("storage owner")
    }

    /// Drops entries with `index <= through` and remembers `marker` as [`MetaKey::Purged`].
    /// `through` may lie past the last entry: the log then restarts behind it.
    pub fn purge(&self, _through: u64, _marker: Bytes, _done: Completion) {
        unimplemented!("storage owner")
    }

    pub fn save_meta(&self, _key: MetaKey, _value: Bytes, _done: Completion) {
        unimplemented!("storage owner")
    }

    #[must_use]
    pub fn meta(&self, _key: MetaKey) -> Option<Bytes> {
        unimplemented!("storage owner")
    }

    /// First and last index, `None` when empty.
    #[must_use]
    pub fn bounds(&self) -> Option<(u64, u64)> {
        unimplemented!("storage owner")
    }

    /// Entries of `range`, stopping early past `bytes_max` (but at least one). Reads the
    /// disk when the tail in memory does not hold them.
    pub fn read(&self, _range: Range<u64>, _bytes_max: usize) -> Result<Vec<LogEntry>, WalError> {
        unimplemented!("storage owner")
    }
}
