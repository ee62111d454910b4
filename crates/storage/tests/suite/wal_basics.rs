//! The log as one caller sees it.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use storage::{Completion, GroupId, GroupLog, LogEntry, MemoryDisk, MetaKey, Wal, WalConfig, WalError};

/// A log whose writer runs only when told to.
pub(crate) struct Bench {
    pub(crate) disk: MemoryDisk,
    pub(crate) wal: Wal,
    results: Arc<Mutex<Vec<Result<(), WalError>>>>,
}

impl Bench {
    pub(crate) fn new(config: &WalConfig) -> Self {
        Self::open(MemoryDisk::new(), config)
    }

    pub(crate) fn open(disk: MemoryDisk, config: &WalConfig) -> Self {
        let wal = Wal::open(Arc::new(disk.clone()), config.clone()).unwrap();
        Self { disk, wal, results: Arc::default() }
    }

    pub(crate) fn done(&self) -> Completion {
        let results = self.results.clone();
        Box::new(move |result| results.lock().unwrap().push(result))
    }

    pub(crate) fn results(&self) -> Vec<Result<(), WalError>> {
        std::mem::take(&mut *self.results.lock().unwrap())
    }

    /// Runs the writer until everything is durable, and closes the log.
    pub(crate) fn finish(self) -> MemoryDisk {
        self.wal.shutdown();
        block_on(self.wal.run_writer());
        assert!(self.results().iter().all(Result::is_ok));
        self.disk
    }

    pub(crate) fn reopen(self, config: &WalConfig) -> Self {
        Self::open(self.finish(), config)
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// Runs the writer and the script side by side, then closes the log.
pub(crate) fn with_writer(bench: Bench, script: impl AsyncFnOnce(&Bench)) -> MemoryDisk {
    let wal = bench.wal.clone();
    block_on(async {
        let script = async {
            script(&bench).await;
            wal.shutdown();
        };
        tokio::join!(wal.run_writer(), script);
    });
    bench.disk
}

pub(crate) fn entries(range: Range<u64>, len: usize) -> Vec<LogEntry> {
    range.map(|index| LogEntry { index, payload: payload(index, len) }).collect()
}

pub(crate) fn payload(index: u64, len: usize) -> Bytes {
    let byte = (index % 255) as u8 + 1;
    vec![byte; len].into()
}

pub(crate) fn check_entries(log: &GroupLog, range: Range<u64>, len: usize) {
    assert_eq!(log.bounds(), Some((range.start, range.end - 1)));
    assert_eq!(log.read(range.clone(), usize::MAX).unwrap(), entries(range, len));
}

fn config() -> WalConfig {
    WalConfig { segment_bytes: 1 << 20, ..WalConfig::default() }
}

#[test]
fn entries_are_readable_before_they_are_durable_and_after_reopening() {
    let bench = Bench::new(&config());
    let log = bench.wal.group(3);
    assert_eq!((log.bounds(), log.read(1..9, 99).unwrap()), (None, vec![]));
    log.append(entries(1..6, 10), bench.done());
    check_entries(&log, 1..6, 10);
    assert_eq!(bench.results(), [], "nothing is durable yet");
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(3), 1..6, 10);
    bench.wal.group(3).append(entries(6..8, 10), bench.done());
    check_entries(&bench.wal.group(3), 1..8, 10);
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(3), 1..8, 10);
    assert_eq!(bench.wal.groups(), [3]);
}

#[test]
fn reads_stop_at_the_limit_but_return_one() {
    for from_disk in [false, true] {
        let mut bench = Bench::new(&config());
        bench.wal.group(1).append(entries(1..50, 100), bench.done());
        bench.wal.group(1).append(entries(50..100, 100), bench.done());
        if from_disk {
            bench = bench.reopen(&config());
        }
        let log = bench.wal.group(1);
        let read = |range, bytes_max| log.read(range, bytes_max).unwrap();
        assert_eq!(read(1..100, 0), entries(1..2, 100));
        assert_eq!(read(40..100, 1000), entries(40..50, 100));
        assert_eq!(read(45..55, 100_000), entries(45..55, 100));
        assert_eq!(read(49..52, 100_000), entries(49..52, 100));
        assert_eq!(read(98..u64::MAX, 100_000), entries(98..100, 100));
        assert_eq!(read(100..200, 100_000), []);
        assert_eq!(read(7..7, 100_000), []);
        assert!(matches!(log.read(0..5, 99), Err(WalError::OutOfRange { index: 0, first: 1, last: 99, .. })));
    }
}

#[test]
fn a_part_from_the_disk_and_a_part_from_memory_make_one_read() {
    let disk = with_writer(Bench::new(&WalConfig { tail_bytes_max: 2_000, ..config() }), async |bench| {
        let log = bench.wal.group(1);
        for index in 1..100 {
            log.append(entries(index..index + 1, 100), bench.done());
            while bench.results().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        let stats = bench.wal.stats();
        assert!((1..=2_000).contains(&stats.tail_bytes), "{stats:?}");
        check_entries(&log, 1..100, 100);
        for start in [5, 85] {
            let page = log.read(start..95, 550).unwrap();
            let count = page.len() as u64;
            // Records on disk count with their headers.
            assert!((4..=5).contains(&count));
            assert_eq!(page, entries(start..start + count, 100));
        }
    });
    let bench = Bench::open(disk, &config());
    check_entries(&bench.wal.group(1), 1..100, 100);
    assert_eq!(bench.wal.stats().tail_bytes, 0);
}

#[test]
fn what_is_not_durable_stays_in_memory() {
    let bench = Bench::new(&WalConfig { tail_bytes_max: 0, ..config() });
    let log = bench.wal.group(1);
    log.append(entries(1..20, 1000), bench.done());
    assert!(bench.wal.stats().tail_bytes > 19_000);
    check_entries(&log, 1..20, 1000);
    let wal = bench.wal.clone();
    bench.finish();
    assert_eq!(wal.stats().tail_bytes, 0);
    check_entries(&wal.group(1), 1..20, 1000);
}

#[test]
fn truncation_and_new_entries_in_their_place() {
    let bench = Bench::new(&config());
    let log = bench.wal.group(1);
    log.append(entries(1..10, 10), bench.done());
    log.truncate(5, bench.done());
    check_entries(&log, 1..5, 10);
    log.truncate(77, bench.done());
    log.append(entries(5..7, 20), bench.done());
    let expected = [entries(1..5, 10), entries(5..7, 20)].concat();
    assert_eq!(log.read(1..9, 9999).unwrap(), expected);
    let bench = bench.reopen(&config());
    let log = bench.wal.group(1);
    assert_eq!(log.read(1..9, 9999).unwrap(), expected);
    // Pending truncation: the old entries are still on disk, and not to be seen.
    log.truncate(3, bench.done());
    log.append(entries(3..4, 30), bench.done());
    let expected = [entries(1..3, 10), entries(3..4, 30)].concat();
    assert_eq!(log.read(1..9, 9999).unwrap(), expected);
    log.truncate(1, bench.done());
    assert_eq!(log.bounds(), None);
    log.append(entries(1..2, 5), bench.done());
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(1), 1..2, 5);
}

#[test]
fn purging_also_past_the_end() {
    let bench = Bench::new(&config());
    let log = bench.wal.group(1);
    log.append(entries(1..10, 10), bench.done());
    log.purge(4, Bytes::from("four"), bench.done());
    check_entries(&log, 5..10, 10);
    log.purge(3, Bytes::from("three"), bench.done());
    assert_eq!(log.meta(MetaKey::Purged), Some(Bytes::from("four")), "already purged further");
    assert!(matches!(log.read(4..6, 99), Err(WalError::OutOfRange { index: 4, first: 5, last: 9, .. })));
    let bench = bench.reopen(&config());
    let log = bench.wal.group(1);
    check_entries(&log, 5..10, 10);
    log.purge(20, Bytes::from("twenty"), bench.done());
    assert_eq!(log.bounds(), None);
    assert_eq!(log.meta(MetaKey::Purged), Some(Bytes::from("twenty")));
    let bench = bench.reopen(&config());
    let log = bench.wal.group(1);
    assert_eq!(log.bounds(), None);
    log.append(entries(21..23, 10), bench.done());
    check_entries(&log, 21..23, 10);
    // A log that never was may begin behind a snapshot.
    bench.wal.group(2).purge(100, Bytes::from("m"), bench.done());
    bench.wal.group(2).append(entries(101..103, 1), bench.done());
    // Purging everything without going past it.
    log.purge(22, Bytes::from("all"), bench.done());
    let bench = bench.reopen(&config());
    assert_eq!(bench.wal.group(1).bounds(), None);
    check_entries(&bench.wal.group(2), 101..103, 1);
}

#[test]
fn a_gap_is_refused() {
    let bench = Bench::new(&config());
    let refused = |group: GroupId, range: Range<u64>| {
        bench.wal.group(group).append(entries(range, 1), bench.done());
        matches!(bench.results()[..], [Err(WalError::OutOfRange { .. })])
    };
    bench.wal.group(1).append(entries(5..8, 1), bench.done());
    bench.wal.group(2).purge(9, Bytes::new(), bench.done());
    assert!(refused(1, 9..10) && refused(1, 7..9) && refused(2, 11..12));
    let gap = [entries(8..9, 1), entries(10..11, 1)].concat();
    bench.wal.group(1).append(gap, bench.done());
    bench.wal.group(1).truncate(4, bench.done());
    assert!(matches!(bench.results()[..], [Err(WalError::OutOfRange { .. }), Err(WalError::OutOfRange { .. })]));
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(1), 5..8, 1);
    bench.wal.group(2).append(entries(10..12, 1), bench.done());
    check_entries(&bench.wal.group(2), 10..12, 1);
}

#[test]
fn metas_are_per_group_and_the_last_one_counts() {
    let bench = Bench::new(&config());
    for (group, value) in [(1, "a"), (2, "b"), (1, "c")] {
        bench.wal.group(group).save_meta(MetaKey::Vote, Bytes::from(value), bench.done());
    }
    bench.wal.group(2).save_meta(MetaKey::Committed, Bytes::from("d"), bench.done());
    bench.wal.group(2).save_meta(MetaKey::Purged, Bytes::from("e"), bench.done());
    let check = |bench: &Bench| {
        let meta = |group, key| bench.wal.group(group).meta(key).map(|value| value.to_vec());
        assert_eq!(meta(1, MetaKey::Vote), Some(b"c".to_vec()));
        assert_eq!(meta(2, MetaKey::Vote), Some(b"b".to_vec()));
        assert_eq!(meta(2, MetaKey::Committed), Some(b"d".to_vec()));
        assert_eq!(meta(2, MetaKey::Purged), Some(b"e".to_vec()));
        assert_eq!(meta(1, MetaKey::Committed), None);
    };
    check(&bench);
    let bench = bench.reopen(&config());
    check(&bench);
    assert_eq!(bench.wal.groups(), [1, 2]);
}

#[test]
fn a_removed_group_is_gone_and_may_come_back() {
    let bench = Bench::new(&config());
    for group in [1, 2] {
        bench.wal.group(group).append(entries(1..5, 10), bench.done());
        bench.wal.group(group).save_meta(MetaKey::Vote, Bytes::from("v"), bench.done());
    }
    let bench = bench.reopen(&config());
    bench.wal.remove_group(1, bench.done());
    assert_eq!(bench.wal.groups(), [2]);
    assert_eq!((bench.wal.group(1).bounds(), bench.wal.group(1).meta(MetaKey::Vote)), (None, None));
    let bench = bench.reopen(&config());
    assert_eq!(bench.wal.groups(), [2]);
    bench.wal.remove_group(2, bench.done());
    bench.wal.group(2).append(entries(7..9, 3), bench.done());
    check_entries(&bench.wal.group(2), 7..9, 3);
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(2), 7..9, 3);
    assert_eq!(bench.wal.group(2).meta(MetaKey::Vote), None);
}

#[test]
fn many_calls_share_one_sync() {
    let bench = Bench::new(&config());
    for group in 0..50 {
        bench.wal.group(group).append(entries(1..3, 10), bench.done());
    }
    assert_eq!(bench.wal.stats().syncs, 0);
    let wal = bench.wal.clone();
    bench.finish();
    let stats = wal.stats();
    assert_eq!((stats.syncs, stats.records, stats.queue_bytes), (1, 50, 0));
    assert_eq!(stats.sync_buckets.iter().sum::<u64>(), 1);
}

#[test]
fn calls_after_shutdown_are_refused() {
    let bench = Bench::new(&config());
    bench.wal.group(1).append(entries(1..2, 1), bench.done());
    bench.wal.shutdown();
    bench.wal.group(1).append(entries(2..3, 1), bench.done());
    assert!(matches!(bench.results()[..], [Err(WalError::Stopped(_))]));
    check_entries(&bench.wal.group(1), 1..2, 1);
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(1), 1..2, 1);
}

#[test]
fn the_failure_is_announced() {
    let bench = Bench::new(&config());
    let stopped = bench.wal.stopped();
    bench.wal.group(1).append(entries(1..2, 1), bench.done());
    bench.disk.fail_sync(1);
    block_on(bench.wal.run_writer());
    let error = block_on(stopped);
    assert!(matches!(&error, WalError::Io { operation: "sync", .. }), "{error}");
    assert_eq!(bench.results(), [Err(error)]);
    bench.wal.group(1).append(entries(2..3, 1), bench.done());
    bench.wal.group(1).save_meta(MetaKey::Vote, Bytes::new(), bench.done());
    assert!(matches!(bench.results()[..], [Err(WalError::Stopped(_)), Err(WalError::Stopped(_))]));
}

#[test]
fn a_full_disk_stops_the_log() {
    let bench = Bench::new(&config());
    bench.disk.set_full(true);
    bench.wal.group(1).append(entries(1..2, 1), bench.done());
    block_on(bench.wal.run_writer());
    assert!(matches!(bench.results()[..], [Err(WalError::Io { operation: "write", .. })]));
}

#[test]
fn a_simulated_device_takes_its_time() {
    let bench = Bench::new(&config());
    bench.disk.set_sync_latency(Duration::from_millis(1));
    bench.wal.group(1).append(entries(1..2, 1), bench.done());
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(1), 1..2, 1);
}

#[test]
fn without_sync_nothing_is_synced() {
    let bench = Bench::new(&WalConfig { sync: false, ..config() });
    bench.wal.group(1).append(entries(1..2, 1), bench.done());
    let disk = bench.finish();
    assert_eq!(disk.syncs(), 0);
    check_entries(&Bench::open(disk, &config()).wal.group(1), 1..2, 1);
}
