//! Snapshots cost nothing to build: the state *is* the snapshot.
//!
//! For the log, "there is a snapshot at index i" only has to mean that i is durable in
//! the key-value store, so a build is the metadata of the last checkpoint. For a follower
//! that is too far behind, a view of the store is opened when the transfer begins.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::RaftSnapshotBuilder;
use storage::{KvSnapshot, Pairs, Scan};
use tokio::sync::OwnedMutexGuard;

use crate::handler::Incoming;
use crate::keys;
use crate::machine::{Record, Store, blocking};
use crate::types::{Snapshot, SnapshotMeta, TypeConfig};

/// Pairs read at once while a page is filled.
const SCAN_PAIRS: usize = 256;

/// The content of a snapshot.
pub(crate) enum SnapshotData {
    /// The sending side.
    View(SnapshotView),
    /// The receiving side: all pairs wait in the staging table of the store, which
    /// belongs to the holder of the guard.
    Staged(Record, OwnedMutexGuard<Incoming>),
    /// Metadata only, enough to purge the log.
    Nothing,
}

/// The group's state at one moment.
pub(crate) struct SnapshotView {
    pub(crate) record: Record,
    ranges: Vec<(Bytes, Bytes)>,
    kv: Arc<dyn KvSnapshot>,
}

impl SnapshotView {
    /// `None` when nothing is applied yet.
    pub(crate) fn open(store: &Store) -> Result<Option<Self>, io::Error> {
        let kv = store.kv.snapshot().map_err(io::Error::other)?;
        let record = Record::from_bytes(kv.get(&keys::applied(store.group)).map_err(io::Error::other)?)?;
        let view = Self { record, ranges: store.ranges.clone(), kv };
        Ok(view.record.log_id.is_some().then_some(view))
    }

    /// The pairs behind `after`, until they hold `bytes_max` bytes (but at least one).
    pub(crate) fn page(&self, after: &mut Cursor, bytes_max: usize) -> Result<Pairs, io::Error> {
        let mut page = Pairs::new();
        let mut bytes = 0;
        while let Some((start, end)) = self.ranges.get(after.range) {
            let mut scan = Scan::range(start.clone(), end.clone(), SCAN_PAIRS);
            if let Some(key) = &after.key {
                scan.start = std::ops::Bound::Excluded(key.clone());
            }
            let pairs = self.kv.scan(&scan).map_err(io::Error::other)?;
            if pairs.is_empty() {
                *after = Cursor { range: after.range + 1, key: None };
                continue;
            }
            for (key, value) in pairs {
                bytes += key.len() + value.len();
                after.key = Some(key.clone());
                page.push((key, value));
                if bytes >= bytes_max {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }
}

/// A place in a view: a range, and the last key taken of it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Cursor {
    range: usize,
    key: Option<Bytes>,
}

/// Builds the metadata by which the log may be purged.
pub(crate) struct SnapshotBuilder {
    meta: SnapshotMeta,
    checkpoint: Option<Arc<Store>>,
}

impl SnapshotBuilder {
    /// `meta` is already durable.
    pub(crate) fn durable(meta: SnapshotMeta) -> Self {
        Self { meta, checkpoint: None }
    }

    /// `meta` is applied and has to be made durable first.
    pub(crate) fn after_checkpoint(store: Arc<Store>, meta: SnapshotMeta) -> Self {
        Self { meta, checkpoint: Some(store) }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        if let Some(store) = self.checkpoint.take() {
            blocking(|| store.kv.checkpoint()).map_err(io::Error::other)?;
        }
        Ok(Snapshot { meta: self.meta.clone(), snapshot: SnapshotData::Nothing })
    }
}
