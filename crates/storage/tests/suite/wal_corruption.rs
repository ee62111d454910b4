//! Damage that no crash explains is reported with file and offset, and never skipped.

use std::sync::Arc;

use bytes::Bytes;
use storage::{Disk, DiskFile, MemoryDisk, MetaKey, OpenMode, Wal, WalConfig, WalError};

use crate::wal_basics::{Bench, check_entries, entries, with_writer};

const HEADER: u64 = 44;
const DATA_START: u64 = 512;
/// The record that the last shutdown wrote: losing it loses nothing.
const LAST_RECORD: u64 = 40;

fn config() -> WalConfig {
    WalConfig { segment_bytes: 4096, batch_bytes_max: 1024, tail_bytes_max: 0, sync: true }
}

/// A log of several segments, each with several batches, from two sessions.
fn build() -> MemoryDisk {
    let session = |disk: MemoryDisk, start: u64| {
        with_writer(Bench::open(disk, &config()), async |bench| {
            for index in start..start + 25 {
                bench.wal.group(1).append(entries(index..index + 1, 150), bench.done());
                bench.wal.group(2).save_meta(MetaKey::Vote, Bytes::from(vec![7; 20]), bench.done());
                while bench.wal.stats().queue_bytes > 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    session(session(MemoryDisk::new(), 1), 26)
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(".wal")).collect()
}

fn open(disk: &MemoryDisk) -> Result<Wal, WalError> {
    Wal::open(Arc::new(disk.clone()), config())
}

/// Behind the last byte that is not zero.
fn used(file: &dyn DiskFile) -> u64 {
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut content).unwrap();
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

#[test]
fn a_flipped_bit_is_found() {
    let disk = build();
    let names = segments(&disk);
    assert!(names.len() >= 4, "{names:?}");
    let mut flips = 0;
    for name in &names {
        let used = used(&*disk.open(name, OpenMode::Existing).unwrap());
        let end = if name == names.last().unwrap() { used - LAST_RECORD } else { used };
        for offset in (0..HEADER).chain((DATA_START..end).step_by(7)) {
            disk.corrupt(name, offset, 1 << (offset % 8)).unwrap();
            match open(&disk) {
                Err(WalError::Corrupt { file, offset: reported, .. }) => {
                    assert_eq!(&*file, name.as_str());
                    assert!(reported <= offset && offset - reported < 250, "{offset} reported as {reported}");
                }
                Err(error) => panic!("{name} at {offset}: {error}"),
                Ok(_) => panic!("{name} at {offset}: not found"),
            }
            disk.corrupt(name, offset, 1 << (offset % 8)).unwrap();
            flips += 1;
        }
    }
    assert!(flips > 1000);
    check_entries(&open(&disk).unwrap().group(1), 1..51, 150);
}

#[test]
fn a_missing_or_short_segment_is_found() {
    let disk = build();
    let names = segments(&disk);
    disk.rename(&names[1], "elsewhere").unwrap();
    assert!(matches!(open(&disk).unwrap_err(), WalError::Corrupt { file, .. } if *file == *names[0]));
    disk.rename("elsewhere", &names[1]).unwrap();
    open(&disk).unwrap();

    disk.open(&names[2], OpenMode::Existing).unwrap().set_len(2000).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, WalError::Corrupt { file, offset: 2000, .. } if *file == *names[2]));
}

#[test]
fn a_missing_segment_at_either_end_is_found() {
    for at in [0, segments(&build()).len() - 1] {
        let disk = build();
        let name = segments(&disk).remove(at);
        disk.remove(&name).unwrap();
        let error = open(&disk).unwrap_err();
        assert!(matches!(&error, WalError::Missing(what) if what.contains(&name)), "{error}");
    }
}

#[test]
fn one_damaged_half_of_the_manifest_does_no_harm() {
    for offset in (0..60).chain(4096..4156) {
        let disk = build();
        disk.corrupt("manifest", offset, 1 << (offset % 8)).unwrap();
        check_entries(&open(&disk).unwrap().group(1), 1..51, 150);
    }
}

#[test]
fn a_torn_tail_is_cut_and_overwritten() {
    for torn in [1, 39, 41, 100, 190, 230] {
        let disk = with_writer(Bench::new(&config()), async |bench| {
            bench.wal.group(1).append(entries(1..3, 100), bench.done());
        });
        let name = disk.list().unwrap().remove(0);
        let file = disk.open(&name, OpenMode::Existing).unwrap();
        let end = used(&*file).next_multiple_of(8);
        let bench = Bench::open(disk.clone(), &config());
        bench.wal.group(1).append(entries(3..4, 100), bench.done());
        bench.wal.group(1).append(entries(4..5, 100), bench.done());
        bench.finish();
        // As if only this much of the last session had reached the disk.
        file.write_at(end + torn, &vec![0; 4096 - (end + torn) as usize]).unwrap();
        let bench = Bench::open(disk, &config());
        let (first, last) = bench.wal.group(1).bounds().unwrap();
        assert!(first == 1 && (2..=4).contains(&last));
        bench.wal.group(1).append(entries(last + 1..20, 100), bench.done());
        let bench = bench.reopen(&config());
        check_entries(&bench.wal.group(1), 1..20, 100);
    }
}

#[test]
fn remains_of_an_earlier_life_are_not_resurrected() {
    let disk = MemoryDisk::new();
    let crash = |entries: Vec<Vec<storage::LogEntry>>| {
        let bench = Bench::open(disk.clone(), &config());
        for entries in entries {
            bench.wal.group(1).append(entries, bench.done());
        }
        // The process dies after the writes: nobody closes the log.
        crate::wal_basics::block_on(async {
            tokio::select! {
                () = bench.wal.run_writer() => {}
                () = async { while bench.wal.stats().queue_bytes > 0 { tokio::task::yield_now().await } } => {}
            }
        });
    };
    // One batch of two records, of which the power cut keeps only the second one.
    crash(vec![entries(1..2, 468), entries(2..3, 468)]);
    let name = disk.list().unwrap().remove(0);
    let file = disk.open(&name, OpenMode::Existing).unwrap();
    file.write_at(DATA_START, &[0; 512]).unwrap();
    assert_eq!(open(&disk).unwrap().group(1).bounds(), None);
    file.write_at(DATA_START, &[0; 512]).unwrap();
    // The next life writes, behind its epoch, just up to where the old record lies.
    crash(vec![entries(1..2, 512 - 40 - 40 - 4)]);
    check_entries(&open(&disk).unwrap().group(1), 1..2, 512 - 40 - 40 - 4);
}

#[test]
fn damage_that_comes_later_is_found_when_reading() {
    let bench = Bench::new(&WalConfig { segment_bytes: 1 << 20, ..config() });
    bench.wal.group(1).append(entries(1..2, 300), bench.done());
    bench.wal.group(1).append(entries(2..3, 300), bench.done());
    let bench = bench.reopen(&WalConfig { segment_bytes: 1 << 20, ..config() });
    let name = bench.disk.list().unwrap().remove(0);
    bench.disk.corrupt(&name, DATA_START + 400, 1).unwrap();
    let log = bench.wal.group(1);
    assert_eq!(log.read(1..2, 9999).unwrap(), entries(1..2, 300));
    assert!(matches!(log.read(1..3, 9999), Err(WalError::Corrupt { offset: 856, .. })));
}

#[test]
fn spares_are_not_taken_for_segments() {
    let disk = MemoryDisk::new();
    drop(disk.open("spare-00000007", OpenMode::CreateNew).unwrap());
    drop(disk.open("README", OpenMode::CreateNew).unwrap());
    let bench = Bench::open(disk, &config());
    bench.wal.group(1).append(entries(1..200, 100), bench.done());
    let bench = bench.reopen(&config());
    check_entries(&bench.wal.group(1), 1..200, 100);
    assert!(bench.disk.list().unwrap().contains(&"README".to_owned()));
}
