//! Segments come and go: rolling, recycling, cleaning, records of unusual size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use storage::{Disk, MemoryDisk, MetaKey, Wal, WalConfig, WalError};

use crate::wal_basics::{Bench, check_entries, entries, with_writer};

fn config() -> WalConfig {
    WalConfig { segment_bytes: 8192, batch_bytes_max: 4096, tail_bytes_max: 4096, sync: true }
}

fn segments(disk: &dyn Disk) -> usize {
    disk.list().unwrap().iter().filter(|name| name.ends_with(".wal")).count()
}

async fn settled(bench: &Bench) {
    while bench.wal.stats().queue_bytes > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn purged_segments_are_recycled() {
    let disk = with_writer(Bench::new(&config()), async |bench| {
        let log = bench.wal.group(1);
        let mut files = std::collections::BTreeSet::new();
        for index in 1..500 {
            log.append(entries(index..index + 1, 500), bench.done());
            log.purge(index.saturating_sub(5), Bytes::from("m"), bench.done());
            settled(bench).await;
            files.insert(bench.disk.list().unwrap().len());
        }
        assert!(files.last().is_some_and(|most| *most <= 4), "{files:?}");
        assert!(bench.results().iter().all(Result::is_ok));
    });
    assert!(disk.list().unwrap().iter().any(|name| name.starts_with("spare-")), "{:?}", disk.list());
    let bench = Bench::open(disk, &config());
    check_entries(&bench.wal.group(1), 495..500, 500);
    assert!(bench.wal.stats().segments <= 3);
}

/// Else what was begun and not finished would be what fills the disk.
#[test]
fn an_unfinished_spare_leaves_nothing_behind() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(4096));
    let opened = Wal::open(Arc::new(disk.clone()), config());
    assert!(matches!(opened, Err(WalError::Io { operation: "preallocate", .. })), "{opened:?}");
    let left = disk.list().unwrap();
    assert!(left.iter().all(|name| !name.starts_with("spare-")), "{left:?}");
    assert!(disk.used() < 4096, "{} bytes in {left:?}", disk.used());
    disk.set_capacity(Some(2 * 8192));
    Wal::open(Arc::new(disk), config()).unwrap();
}

#[test]
fn an_idle_group_does_not_pin_old_segments() {
    let disk = with_writer(Bench::new(&config()), async |bench| {
        bench.wal.group(7).append(entries(1..20, 200), bench.done());
        bench.wal.group(7).save_meta(MetaKey::Vote, Bytes::from("vote"), bench.done());
        bench.wal.group(7).purge(2, Bytes::from("two"), bench.done());
        bench.wal.group(8).save_meta(MetaKey::Vote, Bytes::from("only a vote"), bench.done());
        let log = bench.wal.group(1);
        let mut most = 0;
        for index in 1..600 {
            log.append(entries(index..index + 1, 500), bench.done());
            log.purge(index.saturating_sub(5), Bytes::from("m"), bench.done());
            settled(bench).await;
            most = most.max(segments(&bench.disk));
        }
        assert!(most <= 8, "{most} segments of 8 KiB for 5 KiB of live data");
        let stats = bench.wal.stats();
        assert!(stats.moved_bytes > 0 && stats.moved_bytes < stats.bytes, "{stats:?}");
        check_entries(&bench.wal.group(7), 3..20, 200);
    });
    let bench = Bench::open(disk, &config());
    check_entries(&bench.wal.group(7), 3..20, 200);
    assert_eq!(bench.wal.group(7).meta(MetaKey::Vote), Some(Bytes::from("vote")));
    assert_eq!(bench.wal.group(7).meta(MetaKey::Purged), Some(Bytes::from("two")));
    assert_eq!(bench.wal.group(8).meta(MetaKey::Vote), Some(Bytes::from("only a vote")));
    check_entries(&bench.wal.group(1), 595..600, 500);
    // Moved entries are as good as others.
    bench.wal.group(7).append(entries(20..25, 200), bench.done());
    bench.wal.group(7).truncate(22, bench.done());
    bench.wal.group(7).purge(10, Bytes::from("ten"), bench.done());
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(7), 11..22, 200);
}

/// Moving goes on between two writes, and what it moves may be cut off by a call that waits
/// for the next one.
#[test]
fn a_group_is_moved_while_it_is_truncated() {
    let moved = (30..130).map(moved_while_truncated).max();
    assert!(moved > Some(0), "nothing was moved");
}

fn moved_while_truncated(steps: u64) -> u64 {
    let bench = Bench::new(&config());
    bench.disk.set_sync_latency(Duration::from_millis(5));
    let wal = bench.wal.clone();
    let disk = with_writer(bench, async |bench| {
        let idle = bench.wal.group(7);
        idle.append(entries(1..30, 50), bench.done());
        let log = bench.wal.group(1);
        for step in 1..=steps {
            log.append(entries(step..step + 1, 700), bench.done());
            log.purge(step.saturating_sub(3), Bytes::from("m"), bench.done());
            tokio::time::sleep(Duration::from_millis(2)).await;
            if step + 3 == steps {
                idle.truncate(20, bench.done());
                idle.append(entries(20..22, 10), bench.done());
            }
        }
    });
    let bench = Bench::open(disk, &config());
    let log = bench.wal.group(7);
    let expected = [entries(1..20, 50), entries(20..22, 10)].concat();
    assert_eq!(log.read(1..99, usize::MAX).unwrap(), expected);
    wal.stats().moved_bytes
}

#[test]
fn a_record_bigger_than_a_segment_gets_one_of_its_own() {
    let bench = Bench::new(&config());
    let log = bench.wal.group(1);
    log.append(entries(1..2, 10), bench.done());
    log.append(entries(2..4, 30_000), bench.done());
    log.append(entries(4..5, 10), bench.done());
    log.truncate(99, bench.done());
    log.append(entries(5..6, 20_000), bench.done());
    let bench = bench.reopen(&config());
    let log = bench.wal.group(1);
    for (range, len) in [(1..2, 10), (2..4, 30_000), (4..5, 10), (5..6, 20_000)] {
        assert_eq!(log.read(range.clone(), usize::MAX).unwrap(), entries(range, len));
    }
    log.purge(5, Bytes::new(), bench.done());
    let bench = bench.reopen(&config());
    assert_eq!(bench.disk.list().unwrap().iter().filter(|name| name.ends_with(".wal")).count(), 1);
}

#[test]
fn a_big_append_is_split_into_records_that_can_be_read_one_by_one() {
    let config = WalConfig { segment_bytes: 4 << 20, ..config() };
    let bench = Bench::new(&config);
    bench.wal.group(1).append(entries(1..1001, 1000), bench.done());
    let wal = bench.wal.clone();
    let bench = bench.reopen(&config);
    assert_eq!(wal.stats().records, 4);
    check_entries(&bench.wal.group(1), 1..1001, 1000);
}

#[test]
fn segments_of_another_size_are_read() {
    let bench = Bench::new(&config());
    bench.wal.group(1).append(entries(1..20, 500), bench.done());
    let bench = bench.reopen(&WalConfig { segment_bytes: 16_384, ..config() });
    bench.wal.group(1).append(entries(20..60, 500), bench.done());
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(1), 1..60, 500);
}
