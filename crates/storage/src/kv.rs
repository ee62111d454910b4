//! The state machine's store: ordered keys, atomic batches, point-in-time snapshots.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// One write of a [`Batch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    Put { key: Bytes, value: Bytes },
    Delete { key: Bytes },
    /// Deletes `start <= key < end`.
    DeleteRange { start: Bytes, end: Bytes },
}

/// Writes that become visible together, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    pub ops: Vec<Op>,
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

#[derive(Clone, Debug, thiserror::Error)]
pub enum KvError {
    #[error("key-value engine failed: {0}")]
    Engine(Arc<str>),
}

pub type Pairs = Vec<(Bytes, Bytes)>;

/// An ordered store with atomic batches. Writes are durable only after [`Kv::checkpoint`].
pub trait Kv: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError>;
    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError>;
    fn write(&self, batch: Batch) -> Result<(), KvError>;
    /// A view that later writes do not change.
    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError>;
    /// Blocks until everything written before the call survives a power cut.
    fn checkpoint(&self) -> Result<(), KvError>;
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
pub fn open_kv(_engine: Engine, _directory: &Path) -> Result<Arc<dyn Kv>, KvError> {
    unimplemented!("storage owner")
}

/// Everything in memory. After [`MemoryKv::power_cut`] only what the last checkpoint
/// held (or, chosen by the caller, some prefix of the writes since) remains.
#[derive(Debug, Default)]
pub struct MemoryKv {}
