//! Replacing a group's state by a snapshot, so that a crash at any point is harmless.
//!
//! ```text
//! receive: pairs ─▶ staging table            crash: thrown away, the leader sends again
//! install: marker + checkpoint               from here the snapshot is complete on disk
//!          delete state, copy staging ─▶ state       crash: recover() starts this over
//!          applied record, no marker; checkpoint     (copying twice changes nothing)
//! clean:   delete staging                    crash: recover() deletes it
//! ```
//! Every step works in bounded batches.

use std::io;

use bytes::Bytes;
use storage::{Batch, Pairs, Scan};

use crate::keys;
use crate::machine::{Record, Store};
use crate::snapshot::{Cursor, SnapshotView};

/// Pairs moved or deleted by one batch.
const BATCH_PAIRS: usize = 256;
/// Bytes staged by one batch.
pub(crate) const STAGE_BYTES: usize = 1 << 20;

/// Ends what a crash interrupted. Runs before Raft reads the state.
pub(crate) fn recover(store: &Store) -> Result<(), io::Error> {
    match store.kv.get(&keys::installing(store.group)).map_err(io::Error::other)? {
        Some(marker) => {
            let record = Record::from_bytes(Some(marker))?;
            tracing::info!(group = store.group, "finishing an interrupted snapshot installation");
            replace(store, &record)
        }
        None => clear_staging(store),
    }
}

/// Puts pairs of an incoming snapshot aside.
pub(crate) fn stage(store: &Store, pairs: Pairs) -> Result<(), io::Error> {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(keys::staging(store.group, &key), value);
    }
    store.kv.write(batch).map_err(io::Error::other)
}

pub(crate) fn stage_view(store: &Store, view: &SnapshotView) -> Result<(), io::Error> {
    clear_staging(store)?;
    let mut cursor = Cursor::default();
    loop {
        let page = view.page(&mut cursor, STAGE_BYTES)?;
        if page.is_empty() {
            return Ok(());
        }
        stage(store, page)?;
    }
}

/// Makes the staged pairs the group's state, durably.
pub(crate) fn install(store: &Store, record: &Record) -> Result<(), io::Error> {
    let mut batch = Batch::default();
    batch.put(keys::installing(store.group), record.to_bytes());
    store.kv.write(batch).map_err(io::Error::other)?;
    // Writes become durable in order, so this covers the staged pairs, too.
    store.kv.checkpoint().map_err(io::Error::other)?;
    replace(store, record)
}

fn replace(store: &Store, record: &Record) -> Result<(), io::Error> {
    let index = record.log_id.map_or(0, |id| id.index);
    let mut gone = Batch::default();
    for (start, end) in &store.ranges {
        delete_range(store, start, end)?;
        gone.delete_range(start.clone(), end.clone());
    }
    store.observe(index, &gone);
    copy_staging(store, index)?;
    let mut batch = Batch::default();
    batch.put(keys::applied(store.group), record.to_bytes());
    batch.delete(keys::installing(store.group));
    store.kv.write(batch).map_err(io::Error::other)?;
    // The log is purged below this index next.
    store.kv.checkpoint().map_err(io::Error::other)?;
    clear_staging(store)
}

fn copy_staging(store: &Store, index: u64) -> Result<(), io::Error> {
    let (start, end) = keys::staging_range(store.group);
    let mut scan = Scan::range(start, end, BATCH_PAIRS);
    loop {
        let pairs = store.kv.scan(&scan).map_err(io::Error::other)?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        scan.start = std::ops::Bound::Excluded(last.clone());
        let mut batch = Batch::default();
        for (key, value) in pairs {
            batch.put(keys::unstaged(&key), value);
        }
        store.kv.write(batch.clone()).map_err(io::Error::other)?;
        store.observe(index, &batch);
    }
}

pub(crate) fn clear_staging(store: &Store) -> Result<(), io::Error> {
    let (start, end) = keys::staging_range(store.group);
    delete_range(store, &start, &end)
}

/// Deletes page by page: an engine may have to turn a range into single deletes.
fn delete_range(store: &Store, start: &Bytes, end: &Bytes) -> Result<(), io::Error> {
    let mut scan = Scan::range(start.clone(), end.clone(), BATCH_PAIRS);
    loop {
        let pairs = store.kv.scan(&scan).map_err(io::Error::other)?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        scan.start = std::ops::Bound::Excluded(last.clone());
        let mut batch = Batch::default();
        for (key, _) in pairs {
            batch.delete(key);
        }
        store.kv.write(batch).map_err(io::Error::other)?;
    }
}

#[cfg(test)]
mod tests;
