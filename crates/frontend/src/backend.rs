//! What the frontend needs of the cluster, and nothing more.

use std::sync::Arc;

use api::Error;
use api::internal::{
    HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse, PartitionKey, VisibilityRequest,
    VisibilityResponse,
};
use async_trait::async_trait;
use base::NodeId;
use cluster::{DiskShortage, Namespace, NamespaceChange, Namespaces, Router, TaskQueueSettings};
use tokio::time::Instant;

/// The cluster as the handlers see it.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// To the leader of the shard of `request.cell`.
    async fn history(&self, request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error>;
    /// To the owner of `request.partition`.
    async fn matching(&self, request: Box<MatchingRequest>, deadline: Instant) -> Result<MatchingResponse, Error>;
    /// To one node, whoever owns what.
    async fn matching_at(
        &self,
        node: NodeId,
        request: Box<MatchingRequest>,
        deadline: Instant,
    ) -> Result<MatchingResponse, Error>;
    /// To whoever has the rows of executions.
    async fn visibility(&self, request: VisibilityRequest, deadline: Instant) -> Result<VisibilityResponse, Error>;
    fn live_nodes(&self) -> Vec<NodeId>;
    /// Why there is no room for new work, if there is none.
    fn disk_shortage(&self) -> Option<Arc<DiskShortage>> {
        None
    }
    /// Of the node that owns the partition.
    fn partition_address(&self, partition: &PartitionKey) -> String;
    /// How many history shards the cluster has.
    fn shard_count(&self) -> usize;

    fn namespace_by_name(&self, name: &str) -> Option<Arc<Namespace>>;
    fn namespace_by_id(&self, id: &str) -> Option<Arc<Namespace>>;
    /// All namespaces, ordered by id.
    fn namespaces(&self) -> Vec<Arc<Namespace>>;
    async fn change_namespace(&self, change: NamespaceChange, deadline: Instant) -> Result<(), Error>;

    /// What operators set for a queue.
    fn task_queue(&self, namespace_id: &str, name: &str) -> Option<Arc<TaskQueueSettings>>;
    /// Fails with [`Error::FailedPrecondition`] when the version is another one by now.
    async fn update_task_queue(
        &self,
        settings: &TaskQueueSettings,
        version: u64,
        deadline: Instant,
    ) -> Result<(), Error>;
}

/// The real one.
#[derive(Clone)]
pub struct ClusterBackend {
    router: Router,
    namespaces: Namespaces,
}

impl ClusterBackend {
    #[must_use]
    pub fn new(router: Router, namespaces: Namespaces) -> Self {
        Self { router, namespaces }
    }
}

#[async_trait]
impl Backend for ClusterBackend {
    async fn history(&self, request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error> {
        self.router.history(request, deadline).await
    }

    async fn matching(&self, request: Box<MatchingRequest>, deadline: Instant) -> Result<MatchingResponse, Error> {
        self.router.matching(request, deadline).await
    }

    async fn matching_at(
        &self,
        node: NodeId,
        request: Box<MatchingRequest>,
        deadline: Instant,
    ) -> Result<MatchingResponse, Error> {
        self.router.matching_at(node, request, deadline).await
    }

    async fn visibility(&self, request: VisibilityRequest, deadline: Instant) -> Result<VisibilityResponse, Error> {
        self.router.visibility(request, deadline).await
    }

    fn live_nodes(&self) -> Vec<NodeId> {
        self.router.live_nodes()
    }

    fn disk_shortage(&self) -> Option<Arc<DiskShortage>> {
        self.router.disk_shortage()
    }

    fn partition_address(&self, partition: &PartitionKey) -> String {
        self.router.partition_address(partition)
    }

    fn shard_count(&self) -> usize {
        self.router.shards().len()
    }

    fn namespace_by_name(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.by_name(name)
    }

    fn namespace_by_id(&self, id: &str) -> Option<Arc<Namespace>> {
        self.namespaces.by_id(id)
    }

    fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.namespaces.list()
    }

    async fn change_namespace(&self, change: NamespaceChange, deadline: Instant) -> Result<(), Error> {
        self.namespaces.change(change, deadline).await
    }
    fn task_queue(&self, namespace_id: &str, name: &str) -> Option<Arc<TaskQueueSettings>> {
        self.namespaces.task_queue(namespace_id, name)
    }

    async fn update_task_queue(
        &self,
        settings: &TaskQueueSettings,
        version: u64,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.namespaces.update_task_queue(settings, version, deadline).await
    }
}
