//! An installation that is cut short at any of its writes leaves the old state or, after
//! a restart, the whole new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::{Kv, KvError, KvSnapshot, MemoryKv};

use super::*;
use crate::types::{Membership, StoredMembership, log_id};

const GROUP: u64 = 3;

/// A store that stops working after some calls that change it.
struct Dying {
    kv: MemoryKv,
    left: AtomicU64,
}

impl Dying {
    fn step(&self) -> Result<(), KvError> {
        let alive = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        alive.map(drop).map_err(|_| KvError::Engine("the power is gone".into()))
    }
}

impl Kv for Dying {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.kv.get(key)
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        self.kv.scan(scan)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        self.step()?;
        self.kv.write(batch)
    }

    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError> {
        self.kv.snapshot()
    }

    fn checkpoint(&self) -> Result<(), KvError> {
        self.step()?;
        self.kv.checkpoint()
    }
}

fn open(kv: &MemoryKv, left: u64) -> Result<Arc<Store>, io::Error> {
    let kv = Dying { kv: kv.clone(), left: AtomicU64::new(left) };
    Store::open(GROUP, Arc::new(kv), vec![(vec![0x00], vec![0x04]), (vec![0x08], vec![0x0c])], None)
}

/// Pairs inside and outside of the ranges, more than fit into one batch.
fn pairs(mark: &str) -> Pairs {
    let places = [0x01, 0x09].into_iter().flat_map(|cell| (0..BATCH_PAIRS as u16).map(move |n| (cell, n)));
    let key = |(cell, n): (u8, u16)| Bytes::from([&[cell], &n.to_be_bytes()[..], mark.as_bytes()].concat());
    places.map(|place| (key(place), Bytes::copy_from_slice(mark.as_bytes()))).collect()
}

fn record(index: u64) -> Record {
    let membership = Membership::new_with_defaults(vec![[1].into()], []);
    let membership = StoredMembership::new(Some(log_id(0, 0)), membership).into();
    Record { log_id: Some(log_id(2, index)), membership, fence: (2, index), shard_epoch: 1 }
}

fn before() -> MemoryKv {
    let kv = MemoryKv::new();
    let mut batch = Batch::default();
    for (key, value) in pairs("old") {
        batch.put(key, value);
    }
    batch.put(vec![0x05], "of another group");
    batch.put(keys::applied(GROUP), record(5).to_bytes());
    kv.write(batch).unwrap();
    kv.checkpoint().unwrap();
    kv
}

fn receive_and_install(kv: &MemoryKv, left: u64) -> Result<(), io::Error> {
    let store = open(kv, left)?;
    clear_staging(&store)?;
    for page in pairs("new").chunks(100) {
        stage(&store, page.to_vec())?;
    }
    install(&store, &record(9))
}

/// Which state the group is in; it must be a whole one.
fn found(kv: &MemoryKv) -> u64 {
    let store = open(kv, u64::MAX).unwrap();
    let index = store.record().log_id.unwrap().index;
    let expected = if index == 9 { pairs("new") } else { pairs("old") };
    let mut stored = Pairs::new();
    for (start, end) in &store.ranges {
        stored.extend(kv.scan(&Scan::range(start.clone(), end.clone(), usize::MAX)).unwrap());
    }
    assert_eq!(stored, expected);
    assert_eq!(store.record(), record(index));
    let (start, end) = keys::staging_range(GROUP);
    assert_eq!(kv.scan(&Scan::range(start, end, usize::MAX)).unwrap(), []);
    assert_eq!(kv.get(&keys::installing(GROUP)).unwrap(), None);
    assert_eq!(kv.get(&[0x05]).unwrap().as_deref(), Some(&b"of another group"[..]));
    index
}

#[test]
fn a_power_cut_at_any_write_leaves_a_whole_state() {
    let mut outcomes = Vec::new();
    for left in 0.. {
        let mut is_done = false;
        for choice in [0, 1, 7, u64::MAX] {
            let kv = before();
            is_done = receive_and_install(&kv, left).is_ok();
            kv.power_cut(choice);
            outcomes.push(found(&kv));
        }
        if is_done {
            break;
        }
    }
    assert!(outcomes.contains(&5) && outcomes.ends_with(&[9; 4]));
}

#[test]
fn a_second_power_cut_while_recovering_is_harmless_too() {
    for left in 0.. {
        let kv = before();
        // The marker is durable, and the replacement is half done.
        receive_and_install(&kv, 12).unwrap_err();
        kv.power_cut(u64::MAX);
        let is_done = open(&kv, left).is_ok();
        kv.power_cut(left);
        assert_eq!(found(&kv), 9);
        if is_done {
            break;
        }
    }
}
