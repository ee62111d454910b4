//! key -> local service or the node that has it.

use std::sync::Arc;

use api::Error;
use api::internal::{HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse, PartitionKey};
use base::{Cell, CellRange, NodeId, ShardId};
use tokio::time::Instant;

use crate::{HistoryService, MatchingService};

/// Where a task-queue partition lives now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionOwner {
    Local,
    Remote(NodeId),
}

/// Cheap to clone. Services register themselves once at start.
#[derive(Clone)]
pub struct Router {
    _private: (),
}

impl Router {
    pub fn serve_history(&self, _service: Arc<dyn HistoryService>) {
        unimplemented!("cluster owner")
    }

    pub fn serve_matching(&self, _service: Arc<dyn MatchingService>) {
        unimplemented!("cluster owner")
    }

    /// Sends to the leader of the shard of `request.cell`. While there is no leader, or
    /// the hint was stale, tries again until `deadline`; then [`Error::Unavailable`]. A
    /// request whose outcome is unknown is not repeated here.
    pub async fn history(&self, _request: HistoryRequest, _deadline: Instant) -> Result<HistoryResponse, Error> {
        unimplemented!("cluster owner")
    }

    /// Sends to the owner of `request.partition`.
    pub async fn matching(&self, _request: MatchingRequest, _deadline: Instant) -> Result<MatchingResponse, Error> {
        unimplemented!("cluster owner")
    }

    /// Sends to one node, whoever owns what (answers of queries, cancelling polls).
    pub async fn matching_at(&self, _node: NodeId, _request: MatchingRequest, _deadline: Instant) -> Result<MatchingResponse, Error> {
        unimplemented!("cluster owner")
    }

    /// Rendezvous hash over the live nodes.
    #[must_use]
    pub fn partition_owner(&self, _partition: &PartitionKey) -> PartitionOwner {
        unimplemented!("cluster owner")
    }

    #[must_use]
    pub fn local_matching(&self) -> Option<Arc<dyn MatchingService>> {
        unimplemented!("cluster owner")
    }

    /// Changes whenever a node joins, dies or returns: partitions may have moved.
    #[must_use]
    pub fn membership_version(&self) -> tokio::sync::watch::Receiver<u64> {
        unimplemented!("cluster owner")
    }

    #[must_use]
    pub fn live_nodes(&self) -> Vec<NodeId> {
        unimplemented!("cluster owner")
    }

    #[must_use]
    pub fn this_node(&self) -> NodeId {
        unimplemented!("cluster owner")
    }

    /// The shard of a cell, and the cells of all shards (fixed at bootstrap for now).
    #[must_use]
    pub fn shard_of(&self, _cell: Cell) -> ShardId {
        unimplemented!("cluster owner")
    }

    #[must_use]
    pub fn shards(&self) -> Vec<(ShardId, CellRange)> {
        unimplemented!("cluster owner")
    }
}
