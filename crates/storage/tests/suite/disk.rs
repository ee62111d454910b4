//! The simulated disk loses exactly what was not synced, and the real one behaves alike
//! where they can be compared.

use std::io::ErrorKind;
use std::sync::Arc;

use storage::{Disk, MemoryDisk, OpenMode, RealDisk};

use crate::random::Random;

fn content(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let file = disk.open(name, OpenMode::Existing).unwrap();
    let mut bytes = vec![0xEE; file.len().unwrap() as usize + 10];
    let read = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

fn check_contract(disk: &dyn Disk) {
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    assert_eq!(disk.open("a", OpenMode::CreateNew).err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.open("b", OpenMode::Existing).err().unwrap().kind(), ErrorKind::NotFound);
    file.write_at(3, b"hello").unwrap();
    assert_eq!(content(disk, "a"), b"\0\0\0hello");
    file.set_len(5).unwrap();
    file.set_len(7).unwrap();
    assert_eq!(content(disk, "a"), b"\0\0\0he\0\0");
    assert_eq!(file.read_at(100, &mut [0; 4]).unwrap(), 0);
    file.set_len(10_000).unwrap();
    file.write_at(4090, &[7; 20]).unwrap();
    assert_eq!(content(disk, "a")[4088..4112], [[0; 2].as_slice(), &[7; 20], &[0; 2]].concat());
    file.sync_data().unwrap();
    disk.rename("a", "c").unwrap();
    drop(disk.open("b", OpenMode::CreateNew).unwrap());
    assert_eq!(disk.list().unwrap(), ["b", "c"]);
    disk.sync_dir().unwrap();
    disk.remove("c").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.remove("c").unwrap_err().kind(), ErrorKind::NotFound);
    // A handle outlives the name.
    let mut byte = [0];
    assert_eq!(file.read_at(4100, &mut byte).unwrap(), 1);
    assert_eq!(byte, [7]);
}

#[test]
fn both_disks_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    check_contract(&RealDisk::open(directory.path()).unwrap());
    check_contract(&MemoryDisk::new());
}

#[test]
fn a_directory_is_opened_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wal");
    let first = RealDisk::open(&path).unwrap();
    assert_eq!(RealDisk::open(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    RealDisk::open(&path).unwrap();
}

#[test]
fn a_power_cut_loses_only_what_was_not_synced() {
    let mut fates = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        let file = disk.open("a", OpenMode::CreateNew).unwrap();
        file.set_len(4096).unwrap();
        file.write_at(0, &[1; 1536]).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(512, &[2; 2048]).unwrap();
        drop(disk.open("b", OpenMode::CreateNew).unwrap());
        let restarted = disk.clone();
        disk.power_cut(&mut || random.next());
        assert!(file.read_at(0, &mut [0]).is_err(), "the process that held this is gone");
        let bytes = content(&restarted, "a");
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..512], [1; 512]);
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn");
        }
        for sector in 1..5 {
            assert!(bytes[sector * 512] == 2 || bytes[sector * 512] == u8::from(sector < 3));
        }
        let kept: Vec<bool> = (1..5).map(|sector| bytes[sector * 512] == 2).collect();
        fates.insert((kept, restarted.list().unwrap().len()));
    }
    assert!(fates.len() > 8, "the seeds should find many different outcomes: {fates:?}");
}

#[test]
fn an_unsynced_name_may_be_lost_with_its_synced_content() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..32 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        disk.open("a", OpenMode::CreateNew).unwrap().sync_data().unwrap();
        disk.rename("a", "b").unwrap();
        disk.power_cut(&mut || random.next());
        match disk.list().unwrap().as_slice() {
            [] => lost += 1,
            [name] if name == "a" || name == "b" => kept += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(lost > 0 && kept > 0);
}

#[test]
fn faults_are_injected() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    disk.sync_dir().unwrap();
    file.write_at(0, &[1; 8]).unwrap();
    disk.fail_sync(1);
    assert!(file.sync_data().is_err());
    file.write_at(512, &[2; 8]).unwrap();
    file.sync_data().unwrap();
    disk.set_full(true);
    assert_eq!(file.write_at(0, &[3]).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_full(false);
    disk.power_cut(&mut || 0);
    let bytes = content(&disk, "a");
    assert_eq!(bytes[..8], [0; 8], "what a failed sync was to cover stays lost");
    assert_eq!(bytes[512..], [2; 8]);

    disk.set_sync_skipped(true);
    let file = disk.open("a", OpenMode::Existing).unwrap();
    file.write_at(512, &[9; 8]).unwrap();
    file.sync_data().unwrap();
    disk.power_cut(&mut || 0);
    assert_eq!(content(&disk, "a")[512..], [2; 8], "the lying disk has lost it");

    let writes = disk.writes();
    disk.set_sync_skipped(false);
    disk.stop_after_writes(writes + 1);
    let file = disk.open("a", OpenMode::Existing).unwrap();
    file.write_at(0, &[1]).unwrap();
    assert!(file.sync_data().is_err());
    assert!(file.write_at(0, &[1]).is_err());
    assert!(disk.list().is_err());
    disk.power_cut(&mut || 0);
    assert_eq!(disk.list().unwrap(), ["a"]);
}

#[test]
fn a_removed_file_is_forgotten() {
    let disk = MemoryDisk::new();
    for _ in 0..3 {
        let file: Arc<_> = disk.open("a", OpenMode::CreateNew).unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        disk.remove("a").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(file.len().unwrap(), 4096);
    }
    assert!(!format!("{disk:?}").contains("FileState"));
}

#[test]
fn what_is_never_synced_is_written_back_in_the_end() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    for round in 0..100u8 {
        file.write_at(0, &[round; 65_536]).unwrap();
        drop(disk.open(&format!("b{round}"), OpenMode::CreateNew).unwrap());
        disk.remove(&format!("b{round}")).unwrap();
    }
    disk.power_cut(&mut || 0);
    let bytes = content(&disk, "a");
    assert!(bytes.iter().all(|byte| *byte == bytes[0]) && bytes[0] > 50, "{}", bytes[0]);
}
