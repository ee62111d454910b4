//! The state machine's store: ordered keys, atomic batches, point-in-time snapshots.

mod fjall;
mod memory;
mod resolve;
mod sled;
mod watched;

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use memory::MemoryKv;
pub use watched::WatchedKv;

/// Keys are not empty and not longer than this.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// One write of a [`Batch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    Put {
        key: Bytes,
        value: Bytes,
    },
    Delete {
        key: Bytes,
    },
    /// Deletes `start <= key < end`. What two callers write at the same time must not
    /// overlap with it.
    DeleteRange {
        start: Bytes,
        end: Bytes,
    },
}

/// Writes that become visible together, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    pub ops: Vec<Op>,
}

impl Batch {
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.ops.push(Op::Put { key: key.into(), value: value.into() });
    }

    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.ops.push(Op::Delete { key: key.into() });
    }

    pub fn delete_range(&mut self, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        self.ops.push(Op::DeleteRange { start: start.into(), end: end.into() });
    }

    /// Engines disagree about keys outside of the limits: none gets to see one.
    fn check_keys(&self) {
        for op in &self.ops {
            if let Op::Put { key, .. } | Op::Delete { key } = op {
                assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "a key of {} bytes", key.len());
            }
        }
    }
}

/// One page of an ordered scan.
#[derive(Clone, Debug)]
pub struct Scan {
    pub start: Bound<Bytes>,
    pub end: Bound<Bytes>,
    pub reverse: bool,
    /// The most pairs to return. To go on, scan again from behind the last key.
    pub limit: usize,
}

impl Scan {
    /// `start <= key < end`, ascending.
    #[must_use]
    pub fn range(start: impl Into<Bytes>, end: impl Into<Bytes>, limit: usize) -> Self {
        Self { start: Bound::Included(start.into()), end: Bound::Excluded(end.into()), reverse: false, limit }
    }

    /// All keys that begin with `prefix`, ascending.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>, limit: usize) -> Self {
        let prefix = prefix.into();
        let end = match prefix.iter().rposition(|&byte| byte != u8::MAX) {
            Some(last) => {
                let mut end = prefix[..=last].to_vec();
                end[last] += 1;
                Bound::Excluded(end.into())
            }
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(prefix), end, reverse: false, limit }
    }

    /// The same keys, descending.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = !self.reverse;
        self
    }

    /// The bounds as the engines want them, `None` when no key can lie between.
    fn bounds(&self) -> Option<KeyRange<'_>> {
        let start = self.start.as_ref().map(|key| &key[..]);
        let end = self.end.as_ref().map(|key| &key[..]);
        let is_empty = match (start, end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end) | Bound::Included(end)) => {
                start >= end
            }
        };
        (!is_empty && self.limit > 0).then_some((start, end))
    }
}

type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

#[derive(Clone, Debug, thiserror::Error)]
pub enum KvError {
    #[error("key-value engine failed: {0}")]
    Engine(Arc<str>),
    /// Another process has the files open.
    #[error("the key-value store is in use by another process")]
    Locked,
    /// The machine is short of file handles or memory for now. Only of reads: a write that
    /// fails leaves doubt about what is stored.
    #[error("key-value engine is short of a resource of the machine: {0}")]
    Busy(Arc<str>),
    /// The files cannot be used any more. The state is on the other replicas: remove the
    /// directory and let them send it again.
    #[error("key-value store is damaged, wipe it and reinstall the node's replicas from their peers: {0}")]
    Damaged(Arc<str>),
}

impl KvError {
    /// A failed call, by what the operating system said.
    fn of_io(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(ENOMEM | ENFILE | EMFILE) => Self::Busy(error.to_string().into()),
            _ => Self::Engine(error.to_string().into()),
        }
    }
}

// The same numbers on every Unix.
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

pub type Pairs = Vec<(Bytes, Bytes)>;

/// An ordered store with atomic batches. Writes are durable only after [`Kv::checkpoint`].
pub trait Kv: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError>;
    /// Each page is a point in time; two pages in a row are not, a snapshot is.
    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError>;
    /// # Panics
    /// When a key is empty or longer than [`KEY_BYTES_MAX`].
    fn write(&self, batch: Batch) -> Result<(), KvError>;
    /// A view that later writes do not change.
    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError>;
    /// Blocks until everything written before the call survives a power cut.
    fn checkpoint(&self) -> Result<(), KvError>;
    /// Fails when writes would, because something failed in the background. Costs little.
    fn check(&self) -> Result<(), KvError> {
        Ok(())
    }
}

pub trait KvSnapshot: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError>;
    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError>;
}

/// Which engine keeps the state. See `docs/rfd/0003-engines.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    #[default]
    Fjall,
    Sled,
    Memory,
}

/// Opens or creates the store in `directory` (unused by [`Engine::Memory`]).
pub fn open_kv(engine: Engine, directory: &Path) -> Result<Arc<dyn Kv>, KvError> {
    Ok(match engine {
        Engine::Fjall => Arc::new(fjall::FjallKv::open(directory)?),
        Engine::Sled => Arc::new(sled::SledKv::open(directory)?),
        Engine::Memory => Arc::new(MemoryKv::new()),
    })
}
