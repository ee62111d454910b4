//! Whose disk it is: empty ones, old copies and copies in use are refused, on both sides.

use std::sync::atomic::Ordering;

use cluster::NodeError;
use tokio::time::timeout_at;

use crate::harness::{Cluster, deadline, until};

#[tokio::test]
async fn a_node_with_an_empty_disk_is_not_taken_for_the_old_one() {
    let mut cluster = Cluster::start(3).await;
    cluster.everyone_sees(&[1, 2, 3]).await;
    // Of the lower and of the higher id alike: the one dials, the other is dialled.
    for wiped in [3, 1] {
        let others: Vec<u64> = (1..=3).filter(|&id| id != wiped).collect();
        cluster.kill(wiped);
        let mine = cluster.storage.insert(wiped, Default::default()).unwrap();
        let refused = cluster.start_node(wiped).await;
        assert!(
            matches!(&refused, Err(NodeError::Refused(why)) if why.contains(&format!("node {wiped} is known with"))),
            "{:?}",
            refused.err()
        );
        cluster.everyone_sees(&others).await;
        cluster.storage.insert(wiped, mine);
        cluster.start_node(wiped).await.unwrap();
        cluster.everyone_sees(&[1, 2, 3]).await;
    }
}

#[tokio::test]
async fn an_old_copy_of_a_disk_is_told_that_it_is_one() {
    let mut cluster = Cluster::start(3).await;
    cluster.everyone_sees(&[1, 2, 3]).await;
    for id in [3, 1] {
        cluster.kill(id);
        let backup = cluster.storage[&id].copy();
        for _ in 0..2 {
            cluster.start_node(id).await.unwrap();
            cluster.everyone_sees(&[1, 2, 3]).await;
            cluster.kill(id);
        }
        let mine = cluster.storage.insert(id, backup).unwrap();
        cluster.start_node(id).await.unwrap();
        let refused = timeout_at(deadline(), cluster.at(id).node.refused()).await.unwrap();
        assert!(refused.contains("an old copy of its data directory"), "{refused}");
        cluster.kill(id);
        cluster.storage.insert(id, mine);
        cluster.start_node(id).await.unwrap();
        cluster.everyone_sees(&[1, 2, 3]).await;
    }
}

#[tokio::test]
async fn a_copy_of_a_disk_in_use_stays_out_while_the_node_lives() {
    let mut cluster = Cluster::start(2).await;
    cluster.everyone_sees(&[1, 2]).await;
    let copy = cluster.storage[&1].copy();
    let mine = cluster.storage.insert(1, copy).unwrap();
    // The lower id dials, so that the copy is the one that knocks.
    let twin = cluster.launch(cluster::Config { listen: Some("twin".to_owned()), ..cluster.config(1) });
    let twin = twin.await.unwrap();
    let connects = cluster.net.connects.load(Ordering::SeqCst);
    until("some attempts", || cluster.net.connects.load(Ordering::SeqCst) >= connects + 4).await;
    assert_eq!(twin.node.router().live_nodes().len(), 1);
    cluster.everyone_sees(&[1, 2]).await;
    cluster.storage.insert(1, mine);
}
