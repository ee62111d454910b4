//! What every engine has to do.

use std::ops::Bound;

use bytes::Bytes;
use storage::{Batch, Engine, Kv, Scan};

use crate::engines::{ENGINES, Store};

fn on_each_engine(check: impl Fn(&mut Store)) {
    for engine in ENGINES {
        eprintln!("{engine:?}");
        check(&mut Store::new(engine));
    }
}

fn put(kv: &dyn Kv, pairs: &[(&'static str, &'static str)]) {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(*key, *value);
    }
    kv.write(batch).unwrap();
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn keys(pairs: &[(Bytes, Bytes)]) -> String {
    pairs.iter().map(|(key, _)| text(key)).collect::<Vec<_>>().join(" ")
}

fn all() -> Scan {
    Scan { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false, limit: usize::MAX }
}

fn dump(kv: &dyn Kv) -> String {
    let pairs = kv.scan(&all()).unwrap();
    pairs.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect::<Vec<_>>().join(" ")
}

#[test]
fn scans_are_ordered_both_ways_and_respect_bounds_and_limits() {
    on_each_engine(|store| {
        let kv = &**store.kv();
        assert_eq!(kv.scan(&all()).unwrap(), []);
        put(kv, &[("d", "4"), ("a", "1"), ("c", "3"), ("b", "2"), ("aa", "1b")]);
        assert_eq!(keys(&kv.scan(&all()).unwrap()), "a aa b c d");
        assert_eq!(keys(&kv.scan(&all().reversed()).unwrap()), "d c b aa a");
        let scan = |start: Bound<&'static str>, end: Bound<&'static str>, limit| {
            let scan = Scan { start: start.map(Bytes::from), end: end.map(Bytes::from), reverse: false, limit };
            let forward = keys(&kv.scan(&scan).unwrap());
            (forward, keys(&kv.scan(&scan.reversed()).unwrap()))
        };
        let expect = |forward: &str, backward: &str| (forward.to_owned(), backward.to_owned());
        use Bound::{Excluded, Included, Unbounded};
        assert_eq!(scan(Included("aa"), Excluded("c"), 9), expect("aa b", "b aa"));
        assert_eq!(scan(Excluded("aa"), Included("c"), 9), expect("b c", "c b"));
        assert_eq!(scan(Included("ab"), Unbounded, 2), expect("b c", "d c"));
        assert_eq!(scan(Unbounded, Excluded("c"), 1), expect("a", "b"));
        assert_eq!(scan(Included("b"), Included("b"), 9), expect("b", "b"));
        for (start, end) in [
            (Included("b"), Excluded("b")),
            (Excluded("b"), Included("b")),
            (Excluded("b"), Excluded("b")),
            (Included("c"), Included("b")),
        ] {
            assert_eq!(scan(start, end, 9), expect("", ""));
        }
        assert_eq!(scan(Unbounded, Unbounded, 0), expect("", ""));
    });
}

#[test]
fn prefixes_end_where_they_should() {
    on_each_engine(|store| {
        let kv = &**store.kv();
        let mut batch = Batch::default();
        for key in [vec![1], vec![1, 255], vec![1, 255, 255], vec![2], vec![255], vec![255, 255, 1]] {
            batch.put(key.clone(), key);
        }
        kv.write(batch).unwrap();
        let count = |prefix: &'static [u8]| kv.scan(&Scan::prefix(prefix, 99)).unwrap().len();
        let counts = [count(&[]), count(&[1]), count(&[1, 255]), count(&[255]), count(&[255, 255]), count(&[3])];
        assert_eq!(counts, [6, 3, 2, 2, 1, 0]);
        assert_eq!(kv.get(&[]).unwrap(), None);
    });
}

#[test]
fn a_batch_is_applied_in_order_and_overwrites_itself() {
    on_each_engine(|store| {
        let kv = &**store.kv();
        put(kv, &[("a", "0"), ("b", "0"), ("z", "0")]);
        let mut batch = Batch::default();
        batch.put("a", "1");
        batch.put("a", "2");
        batch.put("c", "1");
        batch.delete("c");
        batch.delete("b");
        batch.put("b", "1");
        batch.delete("never");
        kv.write(batch).unwrap();
        assert_eq!(dump(kv), "a=2 b=1 z=0");
        assert_eq!(kv.get(b"a").unwrap(), Some(Bytes::from("2")));
        assert_eq!(kv.get(b"c").unwrap(), None);
        kv.write(Batch::default()).unwrap();
        assert_eq!(dump(kv), "a=2 b=1 z=0");
    });
}

#[test]
fn a_range_delete_takes_what_is_stored_and_what_came_before_in_the_batch() {
    on_each_engine(|store| {
        let kv = &**store.kv();
        put(kv, &[("a", "0"), ("b", "0"), ("c", "0"), ("d", "0")]);
        let mut batch = Batch::default();
        batch.put("bb", "1");
        batch.delete_range("b", "d");
        batch.put("c", "2");
        batch.delete_range("x", "x");
        batch.delete_range("z", "a");
        kv.write(batch).unwrap();
        assert_eq!(dump(kv), "a=0 c=2 d=0");
    });
}

#[test]
fn a_big_range_is_deleted_in_one_batch() {
    on_each_engine(|store| {
        let kv = &**store.kv();
        let mut batch = Batch::default();
        for number in 0..10_000u32 {
            batch.put(number.to_be_bytes().to_vec(), "v");
        }
        kv.write(batch).unwrap();
        let mut batch = Batch::default();
        batch.delete_range(10u32.to_be_bytes().to_vec(), 9_990u32.to_be_bytes().to_vec());
        batch.put(5_000u32.to_be_bytes().to_vec(), "again");
        kv.write(batch).unwrap();
        assert_eq!(kv.scan(&all()).unwrap().len(), 21);
    });
}

#[test]
fn a_snapshot_does_not_change() {
    on_each_engine(|store| {
        let kv = &**store.kv();
        put(kv, &[("a", "1"), ("b", "1"), ("d", "1")]);
        let first = kv.snapshot().unwrap();
        let mut batch = Batch::default();
        batch.put("a", "2");
        batch.delete("b");
        batch.put("c", "2");
        kv.write(batch).unwrap();
        let second = kv.snapshot().unwrap();
        let mut batch = Batch::default();
        batch.delete_range("", "zz");
        batch.put("e", "3");
        kv.write(batch).unwrap();
        let view = |snapshot: &dyn storage::KvSnapshot| {
            let forward = snapshot.scan(&all()).unwrap();
            let mut backward = snapshot.scan(&all().reversed()).unwrap();
            backward.reverse();
            assert_eq!(forward, backward);
            for (key, value) in &forward {
                assert_eq!(snapshot.get(key).unwrap().as_ref(), Some(value));
            }
            forward.iter().map(|(key, value)| text(key) + &text(value)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(view(&*first), "a1 b1 d1");
        assert_eq!(view(&*second), "a2 c2 d1");
        assert_eq!(first.get(b"c").unwrap(), None);
        assert_eq!(first.get(b"e").unwrap(), None);
        let limited = Scan { limit: 2, ..all() };
        assert_eq!(keys(&first.scan(&limited).unwrap()), "a b");
        assert_eq!(keys(&first.scan(&limited.reversed()).unwrap()), "d b");
        drop(first);
        assert_eq!(dump(kv), "e=3");
        assert_eq!(view(&*second), "a2 c2 d1");
    });
}

#[test]
fn a_checkpoint_survives_reopening() {
    on_each_engine(|store| {
        put(&**store.kv(), &[("a", "1"), ("b", "1")]);
        // Large enough for sled to keep it outside of its log.
        let large = Bytes::from(vec![7; 400_000]);
        let mut batch = Batch::default();
        batch.put("large", large.clone());
        store.kv().write(batch).unwrap();
        store.kv().checkpoint().unwrap();
        store.kv().checkpoint().unwrap();
        store.reopen();
        assert_eq!(store.kv().get(b"b").unwrap(), Some(Bytes::from("1")));
        assert_eq!(store.kv().get(b"large").unwrap(), Some(large));
        put(&**store.kv(), &[("c", "2")]);
        store.kv().checkpoint().unwrap();
        store.reopen();
        assert_eq!(keys(&store.kv().scan(&all()).unwrap()), "a b c large");
    });
}

#[test]
fn readers_see_whole_batches_while_others_write() {
    on_each_engine(|store| {
        let kv = store.kv().clone();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2u8)
                .map(|writer| {
                    let kv = kv.clone();
                    scope.spawn(move || {
                        for round in 0..200u32 {
                            let mut batch = Batch::default();
                            for key in 0..4u8 {
                                batch.put(vec![writer, key], round.to_be_bytes().to_vec());
                            }
                            kv.write(batch).unwrap();
                        }
                    })
                })
                .collect();
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                let snapshot = kv.snapshot().unwrap();
                for writer in 0..2u8 {
                    for pairs in [
                        kv.scan(&Scan::prefix(vec![writer], 9)).unwrap(),
                        snapshot.scan(&Scan::prefix(vec![writer], 9).reversed()).unwrap(),
                    ] {
                        assert!(pairs.is_empty() || pairs.len() == 4);
                        assert!(pairs.iter().all(|(_, value)| *value == pairs[0].1), "half a batch: {pairs:?}");
                    }
                }
            }
        });
    });
}

#[test]
fn a_damaged_sled_store_asks_to_be_reinstalled() {
    let mut store = Store::new(Engine::Sled);
    for round in 0..50 {
        let mut batch = Batch::default();
        for key in 0..100u32 {
            batch.put(key.to_be_bytes().to_vec(), vec![round; 500]);
        }
        store.kv().write(batch).unwrap();
    }
    store.kv().checkpoint().unwrap();
    store.close();
    let db = std::fs::OpenOptions::new().write(true).open(store.path().join("db")).unwrap();
    db.set_len(0).unwrap();
    match storage::open_kv(Engine::Sled, store.path()) {
        Err(storage::KvError::Damaged(_)) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn memory_loses_a_suffix_of_the_writes_since_the_checkpoint() {
    let kv = storage::MemoryKv::new();
    put(&kv, &[("a", "1")]);
    kv.checkpoint().unwrap();
    for value in ["2", "3", "4"] {
        put(&kv, &[("a", value), (value, "x")]);
    }
    let restarted = kv.clone();
    kv.power_cut(4 + 2);
    assert_eq!(dump(&restarted), "2=x 3=x a=3");
    put(&kv, &[("a", "9")]);
    kv.power_cut(2);
    assert_eq!(dump(&restarted), "2=x 3=x a=3");
}
