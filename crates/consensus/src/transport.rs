//! How replicas reach each other. Whoever owns the sockets implements [`Transport`] and
//! feeds incoming requests to the [`RaftHandler`].

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use base::NodeId;
use bytes::Bytes;
use storage::GroupId;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// Surely not delivered: no connection, or the peer does not host the group.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// May have been delivered.
    #[error("no answer: {0}")]
    Timeout(String),
}

/// Sends one encoded Raft request to a node and awaits its encoded answer. Requests to
/// one node are delivered in the order of the calls as far as the connection lasts.
pub trait Transport: Send + Sync + 'static {
    fn call(
        &self,
        node: NodeId,
        group: GroupId,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Answers Raft requests that arrived for a group on this node.
pub trait RaftHandler: Send + Sync + 'static {
    fn handle(&self, group: GroupId, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}
