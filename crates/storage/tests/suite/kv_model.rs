//! Random batches on each engine against a map of the standard library.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use storage::{Batch, Engine, Op, Pairs, Scan};

use crate::engines::{ENGINES, Store};

type Model = BTreeMap<Bytes, Bytes>;

#[derive(Clone, Debug)]
enum Step {
    Write(Batch),
    Scan(Scan),
    Snapshot,
    CheckpointAndReopen,
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 255]), 1..4).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    let value = prop::collection::vec(any::<u8>(), 0..6).prop_map(Bytes::from);
    prop_oneof![
        4 => (key(), value).prop_map(|(key, value)| Op::Put { key, value }),
        2 => key().prop_map(|key| Op::Delete { key }),
        1 => (key(), key()).prop_map(|(start, end)| Op::DeleteRange { start, end }),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Bytes>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded),]
}

fn step() -> impl Strategy<Value = Step> {
    let scan = (bound(), bound(), any::<bool>(), 0..8usize)
        .prop_map(|(start, end, reverse, limit)| Step::Scan(Scan { start, end, reverse, limit }));
    prop_oneof![
        8 => prop::collection::vec(op(), 0..6).prop_map(|ops| Step::Write(Batch { ops })),
        6 => scan,
        2 => Just(Step::Snapshot),
        1 => Just(Step::CheckpointAndReopen),
    ]
}

fn write(model: &mut Model, batch: &Batch) {
    for op in &batch.ops {
        match op.clone() {
            Op::Put { key, value } => drop(model.insert(key, value)),
            Op::Delete { key } => drop(model.remove(&key)),
            Op::DeleteRange { start, end } => model.retain(|key, _| !(start <= *key && *key < end)),
        }
    }
}

fn scan(model: &Model, scan: &Scan) -> Pairs {
    let inside = |key: &Bytes| {
        (match &scan.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
        }) && (match &scan.end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
        })
    };
    let mut pairs: Pairs =
        model.iter().filter(|(key, _)| inside(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    if scan.reverse {
        pairs.reverse();
    }
    pairs.truncate(scan.limit);
    pairs
}

fn check(engine: Engine, steps: &[Step]) {
    let mut store = Store::new(engine);
    let mut model = Model::new();
    let mut snapshots = Vec::new();
    for step in steps {
        match step {
            Step::Write(batch) => {
                store.kv().write(batch.clone()).unwrap();
                write(&mut model, batch);
            }
            Step::Scan(range) => {
                assert_eq!(store.kv().scan(range).unwrap(), scan(&model, range));
                for (snapshot, model) in &snapshots {
                    let snapshot: &std::sync::Arc<dyn storage::KvSnapshot> = snapshot;
                    assert_eq!(snapshot.scan(range).unwrap(), scan(model, range));
                }
            }
            Step::Snapshot => snapshots.push((store.kv().snapshot().unwrap(), model.clone())),
            Step::CheckpointAndReopen => {
                snapshots.clear();
                store.kv().checkpoint().unwrap();
                store.reopen();
            }
        }
    }
    let everything = Scan { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false, limit: usize::MAX };
    assert_eq!(store.kv().scan(&everything).unwrap(), scan(&model, &everything));
}

#[test]
fn engines_behave_like_a_map() {
    for engine in ENGINES {
        let cases = if engine == Engine::Memory { 256 } else { 16 };
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
        let seed = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
        let mut runner = TestRunner::new_with_rng(config, seed);
        let steps = prop::collection::vec(step(), 1..40);
        let outcome = runner.run(&steps, |steps| {
            check(engine, &steps);
            Ok(())
        });
        outcome.unwrap();
    }
}
