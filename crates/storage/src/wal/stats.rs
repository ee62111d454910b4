//! Counters of the writer, for metrics. Plain atomics: one writer, many readers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Power-of-two buckets of microseconds: the last one takes everything from half a minute.
pub const SYNC_BUCKETS: usize = 26;

/// Totals since the log was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WalStats {
    pub syncs: u64,
    pub records: u64,
    /// Records with their headers and padding.
    pub bytes: u64,
    /// Records written a second time so that their segment could go.
    pub moved_bytes: u64,
    pub segments: u64,
    /// What is submitted and not durable yet.
    pub queue_bytes: u64,
    /// Entries kept in memory.
    pub tail_bytes: u64,
    pub sync_duration: Duration,
    /// Writes with their sync that took less than 2^i microseconds, and not less than half.
    pub sync_buckets: [u64; SYNC_BUCKETS],
}

#[derive(Default)]
pub(super) struct Counters {
    syncs: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    moved_bytes: AtomicU64,
    segments: AtomicU64,
    sync_micros: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS],
}

impl Counters {
    pub(super) fn add_sync(&self, records: usize, bytes: usize, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = ((u64::BITS - micros.leading_zeros()) as usize).min(SYNC_BUCKETS - 1);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
        self.sync_buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_moved(&self, bytes: usize) {
        self.moved_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn set_segments(&self, segments: usize) {
        self.segments.store(segments as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, queue_bytes: usize, tail_bytes: usize) -> WalStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WalStats {
            syncs: load(&self.syncs),
            records: load(&self.records),
            bytes: load(&self.bytes),
            moved_bytes: load(&self.moved_bytes),
            segments: load(&self.segments),
            queue_bytes: queue_bytes as u64,
            tail_bytes: tail_bytes as u64,
            sync_duration: Duration::from_micros(load(&self.sync_micros)),
            sync_buckets: std::array::from_fn(|bucket| load(&self.sync_buckets[bucket])),
        }
    }
}
