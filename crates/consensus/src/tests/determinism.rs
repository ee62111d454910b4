//! A seed fixes everything: which elections happen when, and what every index holds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Term;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::harness::*;

/// Crashes and partitions, recorded to the nanosecond of simulated time.
fn run(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let start = Instant::now();
        let trace = Arc::new(Mutex::new(Vec::new()));
        let mut watchers = JoinSet::new();
        let mut watch = |id: u64, cluster: &Cluster| {
            let (mut role, trace) = (cluster.group(id).role(), trace.clone());
            watchers.spawn(async move {
                loop {
                    let line = format!("{:?} node {id} {:?}", start.elapsed(), *role.borrow_and_update());
                    trace.lock().unwrap().push(line);
                    if role.changed().await.is_err() {
                        return;
                    }
                }
            });
        };
        let mut cluster = Cluster::seeded(3, config(), seed);
        for id in 1..=3 {
            cluster.restart(id).await;
            watch(id, &cluster);
        }
        let mut after = Term(0);
        for round in 0..4 {
            let (leader, term) = cluster.leader_among(&cluster.up(), after).await;
            let group = cluster.group(leader);
            let pending: Vec<_> =
                (1..=20).map(|seq| group.propose(proposal(term, seq, put("key", &seq.to_string())))).collect();
            cluster.crash(leader).await;
            for reply in pending {
                let reply = timeout(PATIENCE, reply).await.unwrap();
                trace.lock().unwrap().push(format!("{:?} round {round} {reply:?}", start.elapsed()));
            }
            after = term;
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.restart(leader).await;
            watch(leader, &cluster);
        }
        cluster.leader_among(&cluster.up(), after).await;
        trace.lock().unwrap().clone()
    })
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = run(1);
    assert!(first.len() > 80);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}
