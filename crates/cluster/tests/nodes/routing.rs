//! Requests find their way from any node, in one hop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use api::Error;
use base::{NodeId, ShardId};
use cluster::PartitionOwner;
use tokio::time::{Instant, timeout};

use crate::harness::{Cluster, deadline, describe, node_of, number, partition, poll, start, until};

#[tokio::test]
async fn any_node_reaches_the_leader_in_one_hop() {
    let cluster = Cluster::start(3).await;
    cluster.everyone_sees(&[1, 2, 3]).await;
    for shard in (1..=4).map(ShardId) {
        let leader = cluster.leader(shard).await;
        for node in cluster.nodes.values() {
            let response = node.node.router().history(start(shard, ""), deadline()).await.unwrap();
            assert_eq!(number(&response.body), leader);
            let refused = node.node.router().history(start(shard, "refuses"), deadline()).await;
            assert_eq!(refused, Err(Error::FailedPrecondition("because".to_owned())));
        }
    }
    // All agree on who owns what, and requests end there.
    for queue in 0..20 {
        let owners: Vec<u64> = cluster
            .nodes
            .iter()
            .map(|(&id, node)| match node.node.router().partition_owner(&partition(queue)) {
                PartitionOwner::Local => id,
                PartitionOwner::Remote(owner) => owner.0,
            })
            .collect();
        assert!(owners.iter().all(|&owner| owner == owners[0]), "{owners:?}");
        for node in cluster.nodes.values() {
            let response = node.node.router().matching(poll(queue, ""), deadline()).await.unwrap();
            assert_eq!(node_of(&response), owners[0]);
            let response = node.node.router().matching_at(NodeId(2), poll(queue, ""), deadline()).await.unwrap();
            assert_eq!(node_of(&response), 2);
        }
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_other_node() {
    let cluster = Cluster::start(2).await;
    cluster.everyone_sees(&[1, 2]).await;
    let router = cluster.at(1).node.router();
    let queue = (0..).find(|&queue| router.partition_owner(&partition(queue)) != PartitionOwner::Local).unwrap();
    let parked = &cluster.at(2).matching.parked;
    let mut poll = Box::pin(router.matching(poll(queue, "parks"), deadline()));
    tokio::select! {
        result = &mut poll => panic!("{result:?}"),
        () = until("the poll to park", || parked.load(Ordering::SeqCst) == 1) => {}
    }
    drop(poll);
    until("the poll to leave", || parked.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let cluster = Cluster::start(2).await;
    let leader = cluster.leader(ShardId(1)).await;
    let router = cluster.at(3 - leader).node.router();
    // Reaches the leader, which never answers: nobody knows, not even for a read.
    let soon = || Instant::now() + Duration::from_millis(300);
    for request in [start(ShardId(1), "silent"), describe(ShardId(1), "silent")] {
        let result = timeout(Duration::from_secs(20), router.history(request, soon())).await.unwrap();
        assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    }
}

#[tokio::test]
async fn a_strangers_peer_is_refused() {
    let mut cluster = Cluster::start(2).await;
    cluster.everyone_sees(&[1, 2]).await;
    cluster.kill(2);
    let mine = cluster.storage.insert(2, Default::default()).unwrap();
    let stranger = cluster.launch(cluster::Config { cluster_id: "other".to_owned(), ..cluster.config(2) });
    // Both stay alone, however often they try.
    let connects = cluster.net.connects.load(Ordering::SeqCst);
    tokio::select! {
        _ = stranger => panic!("the stranger has founded a cluster"),
        () = until("some attempts", || cluster.net.connects.load(Ordering::SeqCst) >= connects + 4) => {}
    }
    cluster.everyone_sees(&[1]).await;
    cluster.storage.insert(2, mine);
    cluster.start_node(2).await.unwrap();
    cluster.everyone_sees(&[1, 2]).await;
}

#[tokio::test]
async fn a_node_must_have_a_certificate_for_its_own_host() {
    let mut cluster = Cluster::start(2).await;
    cluster.everyone_sees(&[1, 2]).await;
    for (host, is_let_in) in [("node-9", false), ("node-1", true)] {
        *cluster.net.certified.lock().unwrap() = Some(host);
        cluster.kill(2);
        cluster.everyone_sees(&[1]).await;
        let connects = cluster.net.connects.load(Ordering::SeqCst);
        cluster.start_node(2).await.unwrap();
        if is_let_in {
            cluster.everyone_sees(&[1, 2]).await;
        } else {
            until("some attempts", || cluster.net.connects.load(Ordering::SeqCst) >= connects + 4).await;
            assert_eq!(cluster.at(1).node.router().live_nodes(), [NodeId(1)]);
        }
    }
}
