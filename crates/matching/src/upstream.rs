//! What matching needs of the rest of the cluster, so that its tests need no cluster.

use api::Error;
use api::internal::{HistoryRequest, HistoryResponse, PartitionKey};
use async_trait::async_trait;
use base::NodeId;
use cluster::{PartitionOwner, Router};
use tokio::sync::watch;
use tokio::time::Instant;

/// The shards, and who owns which partition. [`Router`] is the one used in a server.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Asks the leader of a shard; see [`Router::history`].
    async fn history(&self, request: HistoryRequest, deadline: Instant) -> Result<HistoryResponse, Error>;

    /// Whether this node owns the partition now.
    fn owns(&self, partition: &PartitionKey) -> bool;

    fn this_node(&self) -> NodeId;

    /// Changes when partitions may have moved.
    fn membership(&self) -> watch::Receiver<u64>;
}

#[async_trait]
impl Upstream for Router {
    async fn history(&self, request: HistoryRequest, deadline: Instant) -> Result<HistoryResponse, Error> {
        Router::history(self, request, deadline).await
    }

    fn owns(&self, partition: &PartitionKey) -> bool {
        self.partition_owner(partition) == PartitionOwner::Local
    }

    fn this_node(&self) -> NodeId {
        Router::this_node(self)
    }

    fn membership(&self) -> watch::Receiver<u64> {
        self.membership_version()
    }
}
