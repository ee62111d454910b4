//! A follower for whom the log is purged gets the state itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{NodeId, Term};
use bytes::Bytes;
use storage::{Kv, Scan};
use tokio::time::timeout;

use super::harness::*;
use crate::{Group, TransportError, keys};

/// Everything that node `id` stores of the group's state.
fn state(cluster: &Cluster, id: u64) -> Vec<(Bytes, Bytes)> {
    let (start, end) = range();
    cluster.nodes[&id].kv.scan(&Scan::range(start, end, usize::MAX)).unwrap()
}

fn staged(cluster: &Cluster, id: u64) -> usize {
    let (start, end) = keys::staging_range(GROUP);
    cluster.nodes[&id].kv.scan(&Scan::range(start, end, usize::MAX)).unwrap().len()
}

async fn put_many(group: &Group, term: Term, seqs: std::ops::RangeInclusive<u64>, bytes: usize) -> u64 {
    let mut last = 0;
    for seq in seqs {
        let value = "x".repeat(bytes);
        last = group.propose(proposal(term, seq, put(&format!("key{seq:05}"), &value))).await.unwrap().index;
    }
    group.applied(last).await;
    last
}

/// A cluster whose third node missed `entries` proposals, which are purged by now.
async fn with_a_laggard(entries: u64, bytes: usize) -> (Cluster, u64, Term) {
    let mut cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    let mut early = put("early", "1");
    early.put(cell_key("gone"), "1".as_bytes().to_vec());
    let index = group.propose(proposal(term, 1, early)).await.unwrap().index;
    cluster.applied_everywhere(index).await;
    let laggard = (1..=3).find(|id| *id != leader).unwrap();
    cluster.crash(laggard).await;
    let mut deletion = put("early", "2");
    deletion.delete(cell_key("gone"));
    group.propose(proposal(term, 2, deletion)).await.unwrap();
    let last = put_many(&group, term, 3..=entries + 2, bytes).await;
    for id in cluster.up() {
        cluster.group(id).applied(last).await;
        cluster.host(id).checkpoint().await;
        let keep = cluster.config.log_keep_entries;
        let purged = cluster.group(id).shared.raft.wait(Some(PATIENCE));
        purged.metrics(|m| m.purged.is_some_and(|id| id.index + 2 * keep >= last), "purged").await.unwrap();
    }
    (cluster, laggard, term)
}

#[tokio::test(start_paused = true)]
async fn a_laggard_gets_the_state_and_goes_on() {
    let (mut cluster, laggard, term) = with_a_laggard(300, 10).await;
    cluster.restart(laggard).await;
    let (leader, term) = cluster.leader_among(&cluster.up(), Term(term.0 - 1)).await;
    let group = cluster.group(leader);
    let seq = group.next_seq(term).await.unwrap();
    let last = put_many(&group, term, seq..=seq + 5, 10).await;
    cluster.applied_everywhere(last).await;
    assert!(
        cluster.group(laggard).shared.raft.with_raft_state(|st| st.snapshot_meta.last_log_id).await.unwrap().is_some()
    );
    assert_eq!(state(&cluster, laggard), state(&cluster, leader));
    assert_eq!(cluster.get(laggard, "gone"), None);
    assert_eq!(cluster.get(laggard, "early").as_deref(), Some("2"));
    assert_eq!(staged(&cluster, laggard), 0);

    // The installed state survives, and the log goes on behind it.
    cluster.crash(laggard).await;
    cluster.restart(laggard).await;
    let last = put_many(&group, term, seq + 6..=seq + 9, 10).await;
    cluster.applied_everywhere(last).await;
    assert_eq!(state(&cluster, laggard), state(&cluster, leader));
    assert_eq!(cluster.group(laggard).status().fenced, 0);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_do_not_stop_a_transfer() {
    let (mut cluster, laggard, _) = with_a_laggard(600, 10_000).await;
    cluster.restart(laggard).await;
    let others: Vec<u64> = cluster.up().into_iter().filter(|id| *id != laggard).collect();
    // Every now and then the answers of the laggard are lost for a while.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        for other in &others {
            cluster.net.cut(laggard, *other);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.net.heal();
    }
    let (leader, term) = cluster.leader_among(&cluster.up(), Term(0)).await;
    let group = cluster.group(leader);
    let last =
        put_many(&group, term, group.next_seq(term).await.unwrap()..=group.next_seq(term).await.unwrap(), 10).await;
    cluster.applied_everywhere(last).await;
    assert_eq!(state(&cluster, laggard), state(&cluster, leader));
    assert_eq!(staged(&cluster, laggard), 0);
}

#[tokio::test(start_paused = true)]
async fn a_laggard_that_crashes_while_it_receives_starts_over() {
    let (mut cluster, laggard, _) = with_a_laggard(600, 10_000).await;
    let mut caught_half_way = 0;
    for _ in 0..5 {
        cluster.restart(laggard).await;
        let partly = async {
            while staged(&cluster, laggard) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        caught_half_way += u32::from(timeout(Duration::from_secs(5), partly).await.is_ok());
        cluster.crash(laggard).await;
    }
    assert!(caught_half_way > 0);
    cluster.restart(laggard).await;
    let (leader, term) = cluster.leader_among(&cluster.up(), Term(0)).await;
    let group = cluster.group(leader);
    let seq = group.next_seq(term).await.unwrap();
    let last = put_many(&group, term, seq..=seq, 10).await;
    cluster.applied_everywhere(last).await;
    assert_eq!(state(&cluster, laggard), state(&cluster, leader));
    assert_eq!(staged(&cluster, laggard), 0);
}

#[tokio::test(start_paused = true)]
async fn observers_see_an_installed_state() {
    let (mut cluster, laggard, _) = with_a_laggard(300, 10).await;
    static PUTS: AtomicUsize = AtomicUsize::new(0);
    static RANGES: Mutex<Vec<(Bytes, Bytes)>> = Mutex::new(Vec::new());
    let observer: crate::ApplyObserver = std::sync::Arc::new(|_, _, batch| {
        for op in &batch.ops {
            match op {
                storage::Op::Put { .. } => drop(PUTS.fetch_add(1, Ordering::Relaxed)),
                storage::Op::DeleteRange { start, end } => RANGES.lock().unwrap().push((start.clone(), end.clone())),
                storage::Op::Delete { .. } => {}
            }
        }
    });
    cluster.restart_observed(laggard, Some(observer)).await;
    let (leader, term) = cluster.leader_among(&cluster.up(), Term(0)).await;
    let group = cluster.group(leader);
    let seq = group.next_seq(term).await.unwrap();
    let last = put_many(&group, term, seq..=seq, 10).await;
    cluster.applied_everywhere(last).await;
    assert_eq!(*RANGES.lock().unwrap(), [(Bytes::from(range().0), Bytes::from(range().1))]);
    assert!(PUTS.load(Ordering::Relaxed) >= state(&cluster, laggard).len());
}

#[tokio::test(start_paused = true)]
async fn groups_of_other_nodes_are_unreachable_here() {
    let cluster = Cluster::start(1, config()).await;
    let answer = cluster.host(1).handler().handle(GROUP + 1, Bytes::new()).await;
    assert!(matches!(answer, Err(TransportError::Unreachable(_))), "{answer:?}");
    // A request that cannot be read is refused, and harms nobody.
    let answer = cluster.host(1).handler().handle(GROUP, Bytes::from_static(b"\xff\xff")).await;
    assert!(matches!(answer, Err(TransportError::Unreachable(_))), "{answer:?}");
    assert_eq!(cluster.leader().await.0, NodeId(1).0);
}
