//! The writer as a thread, on a real directory, under many submitters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use storage::{RealDisk, Wal, WalConfig};

use crate::wal_basics::{check_entries, entries};

fn config() -> WalConfig {
    WalConfig { segment_bytes: 256 << 10, batch_bytes_max: 64 << 10, tail_bytes_max: 32 << 10, sync: true }
}

#[test]
fn submitters_on_many_threads() {
    const GROUPS: u64 = 8;
    const ENTRIES: u64 = 300;
    const KEPT: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let open = || Wal::open(Arc::new(RealDisk::open(directory.path()).unwrap()), config()).unwrap();
    let wal = open();
    let writer = wal.spawn_writer_thread().unwrap();
    let start = Barrier::new(GROUPS as usize);
    std::thread::scope(|scope| {
        for group in 0..GROUPS {
            let (wal, start) = (&wal, &start);
            scope.spawn(move || {
                start.wait();
                let log = wal.group(group);
                let durable = Arc::new(AtomicU64::new(0));
                let (all, wait) = sync_channel(1);
                for index in 1..=ENTRIES {
                    let (durable, all) = (durable.clone(), all.clone());
                    let done = Box::new(move |result: Result<(), _>| {
                        result.unwrap();
                        assert_eq!(durable.fetch_add(1, Ordering::Relaxed) + 1, index);
                        if index == ENTRIES {
                            all.send(()).unwrap();
                        }
                    });
                    log.append(entries(index..index + 1, 400), done);
                    if index > KEPT && index % 10 == 0 {
                        log.purge(index - KEPT, Bytes::new(), Box::new(|result| result.unwrap()));
                        let (first, last) = log.bounds().unwrap();
                        assert_eq!((first, last), (index - KEPT + 1, index));
                        assert_eq!(log.read(first..last + 1, usize::MAX).unwrap(), entries(first..last + 1, 400));
                    }
                }
                wait.recv().unwrap();
            });
        }
    });
    let stats = wal.stats();
    assert!(stats.syncs < stats.records, "{stats:?}");
    wal.shutdown();
    writer.join().unwrap();
    assert!(wal.stats().tail_bytes <= 32 << 10);
    drop(wal);
    let wal = open();
    for group in 0..GROUPS {
        check_entries(&wal.group(group), ENTRIES - KEPT + 1..ENTRIES + 1, 400);
    }
}

#[test]
fn an_idle_writer_wakes_up_for_each_submission() {
    let directory = tempfile::tempdir().unwrap();
    let wal = Wal::open(Arc::new(RealDisk::open(directory.path()).unwrap()), config()).unwrap();
    let writer = wal.spawn_writer_thread().unwrap();
    let (sender, receiver) = sync_channel(1);
    for index in 1..200 {
        let sender = sender.clone();
        wal.group(1).append(entries(index..index + 1, 10), Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv().unwrap().unwrap();
    }
    assert_eq!(wal.stats().syncs, 199);
    wal.shutdown();
    writer.join().unwrap();
}
