//! Nodes that come later: let in once, known by all, never founders.

use std::sync::atomic::Ordering;

use base::{NodeId, ShardId};
use cluster::{Config, NodeError};
use consensus::Role;

use crate::harness::{Cluster, deadline, node_of, number, partition, poll, start, until};

/// Every group has a replica on the node, which follows and does not vote.
async fn follows(cluster: &Cluster, id: u64) {
    let node = &cluster.at(id).node;
    let mut groups: Vec<_> = node.groups().into_iter().map(|(_, group)| group).collect();
    groups.push(node.metadata_group());
    until("a replica of each group", || {
        groups.iter().all(|group| matches!(*group.role().borrow(), Role::Learner { leader: Some(_), .. }))
    })
    .await;
    for group in groups {
        until("the log to arrive", || group.replicas().contains(&NodeId(id))).await;
        assert!(!group.voters().contains(&NodeId(id)));
    }
}

#[tokio::test]
async fn a_node_joins_serves_and_comes_back() {
    let mut cluster = Cluster::start(3).await;
    cluster.join(4).await.unwrap();
    cluster.at(4).node.ready().await;
    assert_eq!(cluster.at(4).node.router().this_node(), NodeId(4));
    cluster.everyone_sees(&[1, 2, 3, 4]).await;
    follows(&cluster, 4).await;
    let born = cluster.at(1).node.namespaces().list();
    assert_eq!(cluster.at(4).node.namespaces().list(), born);
    for shard in (1..=4).map(ShardId) {
        let leader = cluster.leader(shard).await;
        let response = cluster.at(4).node.router().history(start(shard, ""), deadline()).await.unwrap();
        assert_eq!(number(&response.body), leader);
    }
    // It owns partitions as others do.
    let mut owners: Vec<u64> = Vec::new();
    for queue in 0..40 {
        let response = cluster.at(1).node.router().matching(poll(queue, ""), deadline()).await.unwrap();
        owners.push(node_of(&response));
        assert_eq!(
            cluster.at(2).node.router().partition_address(&partition(queue)),
            format!("node-{}", owners[queue as usize])
        );
    }
    assert!(owners.contains(&4), "{owners:?}");

    // Its id is its own, also after everybody was down; and the next one is another.
    for id in 1..=4 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.start_node(id).await.unwrap();
    }
    cluster.join(4).await.unwrap();
    cluster.join(5).await.unwrap();
    assert_eq!(cluster.at(4).node.router().this_node(), NodeId(4));
    assert_eq!(cluster.at(5).node.router().this_node(), NodeId(5));
    cluster.everyone_sees(&[1, 2, 3, 4, 5]).await;
    follows(&cluster, 5).await;
    // A founder dies: the founders that are left elect, and the new ones find the leaders.
    cluster.kill(1);
    for shard in (1..=4).map(ShardId) {
        let response = cluster.at(5).node.router().history(start(shard, ""), deadline()).await.unwrap();
        assert!([2, 3].contains(&number(&response.body)));
    }
}

#[tokio::test]
async fn who_does_not_belong_is_not_let_in() {
    let mut cluster = Cluster::start(2).await;
    let refused = async |cluster: &Cluster, id: u64, config: Config| match cluster.launch_on(id, config).await {
        Ok(_) => panic!("was let in"),
        Err(NodeError::Refused(reason) | NodeError::Mismatch(reason)) => reason,
        Err(error) => panic!("{error}"),
    };
    let config = cluster.joining(3);
    let wrong = Config { cluster_id: "other".to_owned(), ..config.clone() };
    assert!(refused(&cluster, 3, wrong).await.contains("this is cluster \"test\", not \"other\""));
    let mut taken = config.clone();
    taken.join.as_mut().unwrap().peer_address = "node-1".to_owned();
    assert!(refused(&cluster, 3, taken).await.contains("is the address of node 1"));
    // In the list of members by hand: it would vote in groups that it knows nothing of.
    let mut members = cluster.members.clone();
    members.push(cluster::Member { id: NodeId(3), peer_address: "node-3".to_owned() });
    let by_hand = Config { node: NodeId(3), members, ..cluster.config(1) };
    cluster.join(3).await.unwrap();
    cluster.kill(3);
    assert!(refused(&cluster, 3, by_hand).await.contains("has joined its cluster later"));
    // The node comes back with an empty disk.
    let mine = cluster.storage.insert(3, Default::default()).unwrap();
    assert!(refused(&cluster, 3, config).await.contains("remove that node first"));
    cluster.storage.insert(3, mine);
    cluster.join(3).await.unwrap();
    cluster.everyone_sees(&[1, 2, 3]).await;
    // A founder does not become somebody else by joining.
    cluster.kill(1);
    let config = cluster.joining(1);
    assert!(refused(&cluster, 1, config).await.contains("belongs to a founder"));
}

#[tokio::test]
async fn a_node_that_joins_founds_nothing() {
    let mut cluster = Cluster::new(2);
    let config = cluster.joining(3);
    let joining = cluster.launch_on(3, config);
    let founder = cluster.launch(cluster.config(2));
    let connects = cluster.net.connects.load(Ordering::SeqCst);
    // A member that waits for the others lets nobody in.
    tokio::select! {
        _ = joining => panic!("it has joined nothing"),
        _ = founder => panic!("there is no cluster yet"),
        () = until("some attempts", || cluster.net.connects.load(Ordering::SeqCst) >= connects + 4) => {}
    }
}
