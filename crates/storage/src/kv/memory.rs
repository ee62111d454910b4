//! The engine in memory: a persistent tree, so that a snapshot is one pointer. For
//! development servers, and for simulation, where a power cut loses what came after the
//! last checkpoint.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use super::{Batch, Kv, KvError, KvSnapshot, Op, Pairs, Scan};

/// The most states since the last checkpoint that a power cut can fall back to.
const STATES_MAX: usize = 4096;

type Map = RedBlackTreeMapSync<Bytes, Bytes>;

/// Everything in memory. After [`MemoryKv::power_cut`] only what the last checkpoint
/// held (or, chosen by the caller, some prefix of the writes since) remains. Clones share
/// the content: a node that restarts goes on with a clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryKv {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    current: Map,
    synced: Map,
    /// The state after each write since the checkpoint.
    since: VecDeque<Map>,
}

impl MemoryKv {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Falls back to the last checkpoint and the first few writes after it; how many is
    /// `choice` modulo the number of possibilities, so that 0 loses all of them.
    pub fn power_cut(&self, choice: u64) {
        let mut inner = self.lock();
        let kept = (choice % (inner.since.len() as u64 + 1)) as usize;
        if kept > 0 {
            inner.synced = inner.since[kept - 1].clone();
        }
        inner.current = inner.synced.clone();
        inner.since.clear();
    }

    /// Another store with the same content.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { inner: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Empty as on the first day.
    pub fn wipe(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.lock().current.get(key).cloned())
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        let map = self.lock().current.clone();
        Ok(scan_map(&map, scan))
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        batch.check_keys();
        let mut inner = self.lock();
        for op in batch.ops {
            apply(&mut inner.current, op);
        }
        let state = inner.current.clone();
        if inner.since.len() == STATES_MAX {
            inner.since.pop_front();
        }
        inner.since.push_back(state);
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError> {
        Ok(Arc::new(MemorySnapshot { map: self.lock().current.clone() }))
    }

    fn checkpoint(&self) -> Result<(), KvError> {
        let mut inner = self.lock();
        inner.synced = inner.current.clone();
        inner.since.clear();
        Ok(())
    }
}

struct MemorySnapshot {
    map: Map,
}

impl KvSnapshot for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.map.get(key).cloned())
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        Ok(scan_map(&self.map, scan))
    }
}

fn scan_map(map: &Map, scan: &Scan) -> Pairs {
    let Some(bounds) = scan.bounds() else {
        return Vec::new();
    };
    let pairs = map.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone()));
    if scan.reverse { pairs.rev().take(scan.limit).collect() } else { pairs.take(scan.limit).collect() }
}

fn apply(map: &mut Map, op: Op) {
    match op {
        Op::Put { key, value } => {
            map.insert_mut(key, value);
        }
        Op::Delete { key } => {
            map.remove_mut(&key);
        }
        Op::DeleteRange { start, end } if start < end => {
            let keys: Vec<Bytes> = map.range(start..end).map(|(key, _)| key.clone()).collect();
            for key in &keys {
                map.remove_mut(key);
            }
        }
        Op::DeleteRange { .. } => {}
    }
}
