//! What the services of a node offer to the others, local or one hop away.

use api::Error;
use api::internal::{
    HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse, PartitionKey, VisibilityRequest,
    VisibilityResponse,
};
use async_trait::async_trait;
use bytes::Bytes;
use temporalio_protos::temporal::api::workflowservice::v1::PollActivityTaskQueueRequest;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The shards of a node. Requests are as large as the largest of their kinds and pass through
/// several futures: boxed, they are not copied on their way.
#[async_trait]
pub trait HistoryService: Send + Sync + 'static {
    /// Answers [`Error::NotLeader`] when another node leads the shard of the cell.
    async fn call(&self, request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error>;
}

/// A parked activity poller, taken out of its queue for one task that is being committed.
/// Dropping it puts the poller back.
pub struct ActivityReservation {
    pub poll: PollActivityTaskQueueRequest,
    /// The encoded `PollActivityTaskQueueResponse`.
    pub deliver: oneshot::Sender<Bytes>,
}

/// The task-queue partitions of a node.
#[async_trait]
pub trait MatchingService: Send + Sync + 'static {
    /// Dropping the future ends a poll: the poller leaves its queue.
    async fn call(&self, request: Box<MatchingRequest>, deadline: Instant) -> Result<MatchingResponse, Error>;

    /// A poller for fused dispatch, if one is parked here and no older task waits.
    fn reserve_activity_poller(&self, partition: &PartitionKey) -> Option<ActivityReservation>;
}

/// Lists and counts over the executions whose rows a node has.
#[async_trait]
pub trait VisibilityService: Send + Sync + 'static {
    async fn call(&self, request: VisibilityRequest, deadline: Instant) -> Result<VisibilityResponse, Error>;
}
