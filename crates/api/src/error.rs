//! Every way a call can fail, and the only place that knows gRPC codes.

use base::NodeId;

/// `protocol.md` 2.6 in one enum. What a client can act on has a variant of its own.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    NotFound(String),
    #[error("Namespace {0} is not found.")]
    NamespaceNotFound(String),
    #[error("{0}")]
    NamespaceAlreadyExists(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{message}")]
    AlreadyStarted { message: String, start_request_id: String, run_id: String, first_execution_run_id: String },
    #[error("{0}")]
    FailedPrecondition(String),
    #[error("{0}")]
    WorkflowNotReady(String),
    /// `failure` is an encoded `temporal.api.failure.v1.Failure`, or empty.
    #[error("{message}")]
    QueryFailed { message: String, failure: Vec<u8> },
    #[error("{0}")]
    PermissionDenied(String),
    /// `cause` is a `ResourceExhaustedCause`, `scope` a `ResourceExhaustedScope`.
    #[error("{message}")]
    ResourceExhausted { message: String, cause: i32, scope: i32 },
    #[error("{0}")]
    Unimplemented(String),
    /// Retryable: no leader, shutting down, outcome unknown.
    #[error("{0}")]
    Unavailable(String),
    /// Between nodes only; the router follows the hint.
    #[error("not the leader of the shard")]
    NotLeader { hint: Option<NodeId> },
    #[error("context deadline exceeded")]
    DeadlineExceeded,
    #[error("context canceled")]
    Canceled,
    /// A defect of ours; the message is not shown to clients.
    #[error("{0}")]
    Internal(String),
}
