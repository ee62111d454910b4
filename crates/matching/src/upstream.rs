//! What matching needs of the rest of the cluster, so that its tests need no cluster.

use api::Error;
use api::internal::{HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse, PartitionKey};
use async_trait::async_trait;
use base::NodeId;
use cluster::{Namespaces, PartitionOwner, Router};
use temporalio_protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueueConfig;
use tokio::sync::watch;
use tokio::time::Instant;

/// The shards, who owns which partition, and what operators set.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Asks the leader of a shard; see [`Router::history`].
    async fn history(&self, request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error>;

    /// Whether this node owns the partition now.
    fn owns(&self, partition: &PartitionKey) -> bool;

    fn this_node(&self) -> NodeId;

    fn live_nodes(&self) -> Vec<NodeId>;

    /// Asks one node, see [`Router::matching_at`].
    async fn matching_at(
        &self,
        node: NodeId,
        request: MatchingRequest,
        deadline: Instant,
    ) -> Result<MatchingResponse, Error>;

    /// Changes when partitions may have moved.
    fn membership(&self) -> watch::Receiver<u64>;

    /// What operators set for a queue.
    fn queue_config(&self, namespace_id: &str, task_queue: &str, kind: TaskQueueType) -> Option<TaskQueueConfig>;

    /// Changes when operators may have set something.
    fn settings(&self) -> watch::Receiver<u64>;
}

/// The real one.
#[derive(Clone)]
pub struct ClusterUpstream {
    router: Router,
    namespaces: Namespaces,
}

impl ClusterUpstream {
    #[must_use]
    pub fn new(router: Router, namespaces: Namespaces) -> Self {
        Self { router, namespaces }
    }
}

#[async_trait]
impl Upstream for ClusterUpstream {
    async fn history(&self, request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error> {
        self.router.history(request, deadline).await
    }

    fn owns(&self, partition: &PartitionKey) -> bool {
        self.router.partition_owner(partition) == PartitionOwner::Local
    }

    fn this_node(&self) -> NodeId {
        self.router.this_node()
    }

    fn live_nodes(&self) -> Vec<NodeId> {
        self.router.live_nodes()
    }

    async fn matching_at(
        &self,
        node: NodeId,
        request: MatchingRequest,
        deadline: Instant,
    ) -> Result<MatchingResponse, Error> {
        self.router.matching_at(node, Box::new(request), deadline).await
    }

    fn membership(&self) -> watch::Receiver<u64> {
        self.router.membership_version()
    }

    fn queue_config(&self, namespace_id: &str, task_queue: &str, kind: TaskQueueType) -> Option<TaskQueueConfig> {
        let settings = self.namespaces.task_queue(namespace_id, task_queue)?;
        settings.config_by_type.get(&(kind as i32)).cloned()
    }

    fn settings(&self) -> watch::Receiver<u64> {
        self.namespaces.version()
    }
}
