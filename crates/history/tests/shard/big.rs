//! Big workflows on a shard: what a request costs does not depend on the history before it.
//! Bytes that reach the store and looks at stored events are counted, not time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use storage::{Batch, Kv, KvError, KvSnapshot, MemoryKv, Op, Pairs, Scan};

use crate::world::World;

const SIGNALS: usize = 600;
const WINDOW: usize = 100;
/// What ids, counters and times may grow by, in one request.
const GROWTH_BYTES_MAX: usize = 64;
/// The table of events, in the third byte of a key.
const HISTORY_TABLE: u8 = 3;

#[derive(Default)]
pub(crate) struct Counts {
    written_bytes: AtomicUsize,
    event_reads: AtomicUsize,
}

/// Counts what goes through.
pub(crate) struct CountingKv {
    pub(crate) inner: MemoryKv,
    pub(crate) counts: Arc<Counts>,
}

impl CountingKv {
    fn note_read(&self, key: &[u8]) {
        // Keys of executions begin with their cell; others may have any byte in that place.
        let is_execution = key.first_chunk().is_some_and(|cell| u16::from_be_bytes(*cell) < base::CELLS);
        if is_execution && key.get(2) == Some(&HISTORY_TABLE) {
            self.counts.event_reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Kv for CountingKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.note_read(key);
        self.inner.get(key)
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        if let std::ops::Bound::Included(key) | std::ops::Bound::Excluded(key) = &scan.start {
            self.note_read(key);
        }
        self.inner.scan(scan)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        let bytes = |op: &Op| match op {
            Op::Put { key, value } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
            Op::DeleteRange { start, end } => start.len() + end.len(),
        };
        let written: usize = batch.ops.iter().map(bytes).sum();
        self.counts.written_bytes.fetch_add(written, Ordering::Relaxed);
        self.inner.write(batch)
    }

    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError> {
        self.inner.snapshot()
    }

    fn checkpoint(&self) -> Result<(), KvError> {
        self.inner.checkpoint()
    }
}

#[test]
fn a_signal_to_a_long_history_costs_what_the_first_ones_cost() {
    let mut world = World::new();
    world.config.verify_rows = false;
    let counts = Arc::clone(&world.counts);
    let windows = world.live(async |life| {
        life.client.start("w").await;
        let mut windows = Vec::new();
        let mut before = 0;
        for number in 1..=SIGNALS {
            life.client.signal("w", "s").await.unwrap();
            if number % WINDOW == 0 {
                let now = counts.written_bytes.load(Ordering::Relaxed);
                windows.push(now - before);
                before = now;
            }
        }
        windows
    });
    // The first window holds the start of the node as well.
    let (second, last) = (windows[1], windows[windows.len() - 1]);
    assert!(last <= second + WINDOW * GROWTH_BYTES_MAX, "{windows:?}");
    assert_eq!(world.counts.event_reads.load(Ordering::Relaxed), 0, "no stored event is looked at");
}
