//! A group of one voter: a development server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Term;
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::harness::*;
use crate::{HostError, ProposeError, Proposed, Role};

#[tokio::test(start_paused = true)]
async fn proposes_commits_applies_and_restarts() {
    let mut cluster = Cluster::start(1, config()).await;
    let start = Instant::now();
    let (_, term) = cluster.leader().await;
    assert!(start.elapsed() < Duration::from_millis(50), "elects without waiting, took {:?}", start.elapsed());
    let group = cluster.group(1);
    for seq in 1..=100 {
        let proposed = group.propose(proposal(term, seq, put(&format!("key{seq}"), "value"))).await.unwrap();
        group.applied(proposed.index).await;
        assert_eq!(cluster.get(1, &format!("key{seq}")).as_deref(), Some("value"));
    }
    group.read_barrier(term).await.unwrap();
    let index = group.status().applied_index;

    cluster.crash(1).await;
    cluster.restart(1).await;
    let (_, next) = cluster.leader().await;
    assert!(next > term, "a restarted leader wins a new term");
    assert!(cluster.group(1).status().applied_index > index);
    for seq in 1..=100 {
        assert_eq!(cluster.get(1, &format!("key{seq}")).as_deref(), Some("value"));
    }
    assert_eq!(cluster.group(1).status().fenced, 0);
    cluster.group(1).propose(proposal(next, 1, put("more", "1"))).await.unwrap();
    assert!(matches!(
        cluster.group(1).propose(proposal(term, 101, put("stale", "1"))).await,
        Err(ProposeError::NotLeader(..))
    ));
}

#[tokio::test(start_paused = true)]
async fn pipelined_proposals_keep_their_order() {
    let cluster = Cluster::start(1, config()).await;
    let (_, term) = cluster.leader().await;
    let group = cluster.group(1);
    let pending: Vec<_> =
        (1..=500).map(|seq| group.propose(proposal(term, seq, put("last", &seq.to_string())))).collect();
    let mut last = 0;
    for reply in pending {
        let Proposed { index } = reply.await.unwrap();
        assert!(index > last);
        last = index;
    }
    group.applied(last).await;
    assert_eq!(cluster.get(1, "last").as_deref(), Some("500"));
    assert_eq!(group.status().fenced, 0);
}

#[tokio::test(start_paused = true)]
async fn a_sequence_with_a_hole_is_refused_and_can_go_on() {
    let cluster = Cluster::start(1, config()).await;
    let (_, term) = cluster.leader().await;
    let group = cluster.group(1);
    group.propose(proposal(term, 1, put("a", "1"))).await.unwrap();
    let skipped = group.propose(proposal(term, 3, put("c", "1"))).await;
    assert!(matches!(skipped, Err(ProposeError::NotLeader(..))));
    group.propose(proposal(term, 2, put("b", "1"))).await.unwrap();
    group.propose(proposal(term, 3, put("c", "1"))).await.unwrap();
    let mut other_epoch = proposal(term, 4, put("d", "1"));
    other_epoch.fence.shard_epoch = 2;
    assert!(matches!(group.propose(other_epoch).await, Err(ProposeError::NotLeader(..))));
    assert_eq!(group.status().fenced, 0);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_purged_below_a_checkpoint_and_still_restarts() {
    let mut cluster = Cluster::start(1, config()).await;
    let (_, term) = cluster.leader().await;
    let group = cluster.group(1);
    for seq in 1..=50 {
        let proposed = group.propose(proposal(term, seq, put(&format!("key{seq}"), "value"))).await.unwrap();
        group.applied(proposed.index).await;
    }
    let index = group.status().applied_index;
    cluster.host(1).checkpoint().await;
    let metrics = group
        .shared
        .raft
        .wait(Some(PATIENCE))
        .purged(Some(crate::types::log_id(term.0, index - 4)), "purged")
        .await
        .unwrap();
    assert_eq!(metrics.last_applied.map(|id| id.index), Some(index));

    cluster.crash(1).await;
    cluster.restart(1).await;
    let (_, next) = cluster.leader().await;
    for seq in 1..=50 {
        assert_eq!(cluster.get(1, &format!("key{seq}")).as_deref(), Some("value"));
    }
    cluster.group(1).propose(proposal(next, 1, put("more", "1"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_older_than_the_log_is_refused() {
    let mut cluster = Cluster::start(1, config()).await;
    let (_, term) = cluster.leader().await;
    let group = cluster.group(1);
    for seq in 1..=50 {
        let proposed = group.propose(proposal(term, seq, put("key", "value"))).await.unwrap();
        group.applied(proposed.index).await;
    }
    let index = group.status().applied_index;
    cluster.host(1).checkpoint().await;
    let purged = Some(crate::types::log_id(term.0, index - 4));
    group.shared.raft.wait(Some(PATIENCE)).purged(purged, "purged").await.unwrap();
    cluster.crash(1).await;
    let kv = std::mem::take(&mut cluster.nodes.get_mut(&1).unwrap().kv);
    let refused = cluster.try_restart(1, None).await;
    let Err(HostError::StateBehindLog { group, applied: 0, purged }) = refused else { panic!("{refused:?}") };
    assert_eq!((group, purged), (GROUP, index - 4));
    cluster.nodes.get_mut(&1).unwrap().kv = kv;
    cluster.restart(1).await;
    cluster.leader().await;
}

/// A leader applies what a quorum has, even before its own log has it.
#[tokio::test(start_paused = true)]
async fn a_state_ahead_of_the_log_is_durable_before_the_log_says_so() {
    let mut cluster = Cluster::start(1, config()).await;
    let (_, term) = cluster.leader().await;
    let proposed = cluster.group(1).propose(proposal(term, 1, put("key", "value"))).await.unwrap();
    cluster.group(1).applied(proposed.index).await;
    // The process ends; the log was not written, the state is in the page cache only.
    let node = cluster.nodes.get_mut(&1).unwrap();
    node.running.take().unwrap().host.kill().await;
    node.disk = storage::MemoryDisk::new();
    cluster.restart(1).await;
    cluster.leader().await;
    let node = cluster.nodes.get_mut(&1).unwrap();
    node.running.take().unwrap().host.kill().await;
    node.kv.power_cut(0);
    cluster.restart(1).await;
    cluster.leader().await;
    assert_eq!(cluster.get(1, "key").as_deref(), Some("value"));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_nothing_to_replay() {
    let mut cluster = Cluster::start(1, config()).await;
    let (_, term) = cluster.leader().await;
    let group = cluster.group(1);
    for seq in 1..=20 {
        let proposed = group.propose(proposal(term, seq, put("key", &seq.to_string()))).await.unwrap();
        group.applied(proposed.index).await;
    }
    let failed = cluster.host(1).failed();
    cluster.stop(1).await;
    assert_eq!(*group.role().borrow(), Role::Stopped);
    assert!(failed.now_or_never().is_none(), "it was asked to stop");
    // Only what was checkpointed is left, and that is all.
    cluster.nodes[&1].kv.power_cut(0);
    assert_eq!(cluster.get(1, "key").as_deref(), Some("20"));
    cluster.restart(1).await;
    let (_, next) = cluster.leader().await;
    cluster.group(1).propose(proposal(next, 1, put("key", "21"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn observers_see_each_applied_batch_once_and_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut cluster = Cluster::stopped(1, config());
    let log = seen.clone();
    let observer: crate::ApplyObserver = Arc::new(move |group, index, batch| {
        assert_eq!(group, GROUP);
        log.lock().unwrap().push((index, batch.clone()));
    });
    cluster.restart_observed(1, Some(observer)).await;
    let (_, term) = cluster.leader().await;
    let group = cluster.group(1);
    let mut expected = Vec::new();
    for seq in 1..=20 {
        let batch = put("key", &seq.to_string());
        let proposed = group.propose(proposal(term, seq, batch.clone())).await.unwrap();
        expected.push((proposed.index, batch));
    }
    group.applied(group.status().committed_index).await;
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_group() {
    let cluster = Cluster::start(1, config()).await;
    let (_, term) = cluster.leader().await;
    let group = cluster.group(1);
    cluster.nodes[&1].disk.fail_sync(1);
    let failed = timeout(PATIENCE, group.propose(proposal(term, 1, put("a", "1")))).await.unwrap();
    assert!(matches!(failed, Err(ProposeError::Unknown(_))), "{failed:?}");
    timeout(PATIENCE, group.role().wait_for(|role| *role == Role::Stopped)).await.unwrap().unwrap();
    let reason = timeout(PATIENCE, cluster.host(1).failed()).await.unwrap();
    assert!(reason.contains("group 7 stopped") && reason.contains("sync"), "{reason}");
    assert!(matches!(group.propose(proposal(term, 2, put("b", "1"))).await, Err(ProposeError::Stopped)));
    assert!(matches!(group.read_barrier(term).await, Err(ProposeError::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_group_of_one_never_wakes() {
    let cluster = Cluster::start(1, config()).await;
    cluster.leader().await;
    let writes = cluster.nodes[&1].disk.writes();
    let metrics = tokio::runtime::Handle::current().metrics();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tasks = metrics.num_alive_tasks();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(cluster.nodes[&1].disk.writes(), writes);
    assert_eq!(metrics.num_alive_tasks(), tasks);
    assert_eq!(cluster.leader().await.1, Term(1), "no election happened meanwhile");
}
