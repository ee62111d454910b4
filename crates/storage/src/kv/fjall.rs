//! The default engine: fjall, a log-structured merge tree. One keyspace for everything:
//! cells are key prefixes, and each further keyspace would cost a memtable and pin journals.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::resolve::resolve;
use super::{Batch, Kv, KvError, KvSnapshot, Pairs, Scan};

const KEYSPACE: &str = "state";
/// Sized for an idle server of 100 MB.
const CACHE_BYTES: u64 = 32 << 20;
const MEMTABLE_BYTES: u64 = 16 << 20;
/// Journals hold what is not in tables yet; more only makes opening after a crash slower.
const JOURNALS_BYTES_MAX: u64 = 128 << 20;
const WORKER_THREADS: usize = 2;
const POISONED: &str = "an earlier write, flush or compaction failed, most often for want of space on the disk";

pub(super) struct FjallKv {
    database: Database,
    state: Keyspace,
}

impl FjallKv {
    pub(super) fn open(directory: &Path) -> Result<Self, KvError> {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .open()
            .map_err(KvError::from)?;
        let state = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        })?;
        Ok(Self { database, state })
    }
}

impl Kv for FjallKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.state.get(key)?.map(|value| copy(&value)))
    }

    /// Goes through a snapshot, since `Keyspace::range` shows batches that are being written.
    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        match scan.bounds() {
            Some(bounds) => collect(self.database.snapshot().range::<&[u8], _>(&self.state, bounds), scan),
            None => Ok(Vec::new()),
        }
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        let writes = resolve(batch, |start, end, limit| {
            let range = start.clone()..end.clone();
            self.state.range(range).take(limit).map(|guard| Ok(copy(&guard.key()?))).collect()
        })?;
        let mut batch = self.database.batch();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(&self.state, &key[..], &value[..]),
                None => batch.remove(&self.state, &key[..]),
            }
        }
        Ok(batch.commit()?)
    }

    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError> {
        Ok(Arc::new(FjallSnapshot { snapshot: self.database.snapshot(), state: self.state.clone() }))
    }

    fn checkpoint(&self) -> Result<(), KvError> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    /// A flush or a compaction that failed has poisoned the database, which reads do not
    /// show. Hands buffered bytes to the operating system on the way, and waits for nothing.
    fn check(&self) -> Result<(), KvError> {
        Ok(self.database.persist(PersistMode::Buffer)?)
    }
}

struct FjallSnapshot {
    snapshot: Snapshot,
    state: Keyspace,
}

impl KvSnapshot for FjallSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.snapshot.get(&self.state, key)?.map(|value| copy(&value)))
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        match scan.bounds() {
            Some(bounds) => collect(self.snapshot.range::<&[u8], _>(&self.state, bounds), scan),
            None => Ok(Vec::new()),
        }
    }
}

impl From<fjall::Error> for KvError {
    fn from(error: fjall::Error) -> Self {
        match &error {
            fjall::Error::Io(error) => Self::of_io(error),
            fjall::Error::Storage(fjall::LsmError::Io(error)) => Self::of_io(error),
            fjall::Error::Poisoned => Self::Engine(POISONED.into()),
            fjall::Error::Locked => Self::Locked,
            other => Self::Engine(other.to_string().into()),
        }
    }
}

fn collect(pairs: impl DoubleEndedIterator<Item = Guard>, scan: &Scan) -> Result<Pairs, KvError> {
    let decode = |guard: Guard| {
        let (key, value) = guard.into_inner()?;
        Ok((copy(&key), copy(&value)))
    };
    if scan.reverse {
        pairs.rev().take(scan.limit).map(decode).collect()
    } else {
        pairs.take(scan.limit).map(decode).collect()
    }
}

/// A copy, since a slice of the engine would keep its whole block in memory.
fn copy(slice: &[u8]) -> Bytes {
    Bytes::copy_from_slice(slice)
}
