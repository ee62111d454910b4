//! A single node: no sockets, no detours, and a data directory that knows its owner.

use std::sync::atomic::Ordering;

use api::Error;
use base::{NodeId, ShardId};
use cluster::{NodeError, PartitionOwner};

use crate::harness::{Cluster, deadline, node_of, number, partition, poll, start};

#[tokio::test]
async fn one_node_serves_everything_itself() {
    let cluster = Cluster::start(1).await;
    let node = cluster.at(1);
    let router = node.node.router();
    for shard in 1..=4 {
        for _ in 0..3 {
            let response = router.history(start(ShardId(shard), ""), deadline()).await.unwrap();
            assert_eq!(number(&response.body), 1);
        }
    }
    let refused = router.history(start(ShardId(1), "refuses"), deadline()).await;
    assert_eq!(refused, Err(Error::FailedPrecondition("because".to_owned())));
    assert_eq!(router.partition_owner(&partition(1)), PartitionOwner::Local);
    assert_eq!(node_of(&router.matching(poll(1, ""), deadline()).await.unwrap()), 1);
    assert_eq!(router.live_nodes(), [NodeId(1)]);
    assert!(node.history.calls.load(Ordering::SeqCst) >= 13);
    let system = node.node.namespaces().by_name("temporal-system").unwrap();
    assert_eq!(system.id.as_str(), "32049b68-7872-4094-8e63-d0dd59896a83");
    assert_eq!(node.node.namespaces().list().len(), 2);
    node.node.shutdown().await;
}

#[tokio::test]
async fn a_data_directory_of_someone_else_is_refused() {
    let mut cluster = Cluster::start(1).await;
    let born = cluster.at(1).node.namespaces().by_name("default").unwrap();
    cluster.stop(1).await;
    let config = cluster.config(1);
    for wrong in [
        cluster::Config { cluster_id: "other".to_owned(), ..config.clone() },
        cluster::Config { shards: 8, ..config.clone() },
        cluster::Config { shards: 0, ..config.clone() },
        cluster::Config { members: vec![], ..config.clone() },
    ] {
        assert!(matches!(cluster.start_with(wrong).await, Err(NodeError::Mismatch(_))));
    }
    cluster.start_node(1).await.unwrap();
    let node = &cluster.at(1).node;
    node.ready().await;
    // Not born a second time: ids are as they were.
    assert_eq!(node.namespaces().by_name("default"), Some(born));
}
