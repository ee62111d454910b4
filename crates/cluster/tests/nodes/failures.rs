//! A node dies or leaves: it is noticed, its groups get new leaders, and requests go on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use api::Error;
use base::{NodeId, ShardId};
use cluster::{NamespaceChange, PartitionOwner};

use tokio::time::Instant;

use crate::harness::{Cluster, deadline, describe, number, partition, poll, start, the_end, until};

#[tokio::test]
async fn the_others_go_on_without_a_dead_node() {
    let mut cluster = Cluster::start(3).await;
    cluster.everyone_sees(&[1, 2, 3]).await;
    let dead = cluster.leader(ShardId(1)).await;
    let survivors: Vec<u64> = (1..=3).filter(|&id| id != dead).collect();
    let asked = survivors[0];
    cluster.at(asked).node.router().history(start(ShardId(1), ""), deadline()).await.unwrap();
    // One read and one write are with the leader when it dies.
    let router = cluster.at(asked).node.router();
    let calls = cluster.at(dead).history.calls.load(Ordering::SeqCst);
    let in_flight = tokio::join!(
        async {
            until("the requests to arrive", || cluster.at(dead).history.calls.load(Ordering::SeqCst) >= calls + 2)
                .await;
        },
        poll_once(router.history(start(ShardId(1), "silent"), deadline())),
        poll_once(router.history(describe(ShardId(1), "silent"), deadline())),
    );
    let mut versions = cluster.at(asked).node.router().membership_version();
    versions.mark_unchanged();
    cluster.kill(dead);
    let ((), write, read) = in_flight;
    let lost = write.await;
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    cluster.everyone_sees(&survivors).await;
    assert!(versions.has_changed().unwrap());
    // The read is repeated at the new leader, which is as silent: just give it up.
    drop(read);
    for shard in (1..=4).map(ShardId) {
        let leader = cluster.leader(shard).await;
        for node in cluster.nodes.values() {
            let response = node.node.router().history(start(shard, ""), deadline()).await.unwrap();
            assert_eq!(number(&response.body), leader);
        }
    }
    for queue in 0..20 {
        assert_ne!(
            cluster.at(asked).node.router().partition_owner(&partition(queue)),
            PartitionOwner::Remote(NodeId(dead))
        );
    }
    let default = cluster.at(asked).node.namespaces().by_name("default").unwrap();
    let update = NamespaceChange::Update { namespace: (*default).clone(), version: default.version };
    cluster.at(asked).node.namespaces().change(update, deadline()).await.unwrap();
    // It comes back and learns what it has missed.
    cluster.start_node(dead).await.unwrap();
    cluster.everyone_sees(&[1, 2, 3]).await;
    let namespaces = cluster.at(dead).node.namespaces();
    until("the node to catch up", || {
        namespaces.by_name("default").is_some_and(|namespace| namespace.version == default.version + 1)
    })
    .await;
}

#[tokio::test]
async fn a_wait_stays_with_its_run_when_the_leader_dies() {
    let mut cluster = Cluster::start(3).await;
    cluster.everyone_sees(&[1, 2, 3]).await;
    let dead = cluster.leader(ShardId(1)).await;
    let asked = (1..=3).find(|&id| id != dead).unwrap();
    let router = cluster.at(asked).node.router();
    let mut wait = Box::pin(router.history(the_end(ShardId(1), "binds"), deadline()));
    let bound = &cluster.at(dead).history.bound;
    tokio::select! {
        result = &mut wait => panic!("{result:?}"),
        () = until("the wait to begin", || bound.load(Ordering::SeqCst) == 1) => {}
    }
    cluster.kill(dead);
    // The next leader, which has a run of its own, is asked for that of the dead one.
    let response = wait.await.unwrap();
    assert_eq!(response.body, format!("run-of-{dead}"));
    // At a leader that is not a hop away it is the same.
    let leader = cluster.leader(ShardId(1)).await;
    let router = cluster.at(leader).node.router();
    let bound = &cluster.at(leader).history.bound;
    let mut wait = Box::pin(router.history(the_end(ShardId(1), "binds"), deadline()));
    tokio::select! {
        result = &mut wait => panic!("{result:?}"),
        () = until("the wait to begin", || bound.load(Ordering::SeqCst) == 1) => {}
    }
}

#[tokio::test]
async fn a_node_that_leaves_hands_everything_over_first() {
    let mut cluster = Cluster::start(3).await;
    cluster.everyone_sees(&[1, 2, 3]).await;
    let leaver = cluster.leader(ShardId(1)).await;
    let asked = leaver % 3 + 1;
    cluster.at(leaver).node.drain();
    let router = cluster.at(asked).node.router();
    until("partitions to move", || {
        (0..20).all(|queue| router.partition_owner(&partition(queue)) != PartitionOwner::Remote(NodeId(leaver)))
    })
    .await;
    // It still serves what it leads.
    let response = router.history(start(ShardId(1), ""), deadline()).await.unwrap();
    assert_eq!(number(&response.body), leaver);
    cluster.stop(leaver).await;
    for shard in (1..=4).map(ShardId) {
        let response = router.history(start(shard, ""), deadline()).await.unwrap();
        assert_ne!(number(&response.body), leaver);
    }
}

#[tokio::test]
async fn a_link_that_falls_silent_is_given_up_and_made_again() {
    let cluster = Cluster::start(2).await;
    cluster.everyone_sees(&[1, 2]).await;
    cluster.net.freeze(true);
    until("both to be alone", || cluster.nodes.values().all(|node| node.node.router().live_nodes().len() == 1)).await;
    // Nothing says that the link is gone: a call to the other side is just not possible.
    let soon = Instant::now() + Duration::from_millis(100);
    let result = cluster.at(1).node.router().matching_at(NodeId(2), poll(1, ""), soon).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    cluster.net.freeze(false);
    cluster.everyone_sees(&[1, 2]).await;
    for node in cluster.nodes.values() {
        node.node.router().history(start(ShardId(1), ""), deadline()).await.unwrap();
    }
}

/// Starts a call, and returns it to be awaited later.
async fn poll_once<F: Future>(call: F) -> std::pin::Pin<Box<F>> {
    let mut call = Box::pin(call);
    let pending =
        std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context).is_pending())).await;
    assert!(pending);
    call
}

#[tokio::test]
async fn leaders_spread_after_a_start_a_failure_and_a_return() {
    let mut cluster = Cluster::new(3);
    cluster.balance_interval = Some(Duration::from_millis(50));
    let mut cluster = cluster.started().await;
    cluster.leaders_are_even(&[1, 2, 3]).await;
    cluster.kill(1);
    cluster.leaders_are_even(&[2, 3]).await;
    cluster.start_node(1).await.unwrap();
    cluster.leaders_are_even(&[1, 2, 3]).await;
}
