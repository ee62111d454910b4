//! Why a command was refused. Nothing changed. The frontend's table turns each kind into
//! a gRPC code and Temporal's error detail.

/// The caller's fault, or a limit of his.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Rejection {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{message}")]
    AlreadyStarted { message: String, start_request_id: String, run_id: String, first_execution_run_id: String },
    #[error("{0}")]
    FailedPrecondition(String),
    /// Queries and updates that cannot be served yet.
    #[error("{0}")]
    WorkflowNotReady(String),
    #[error("{0}")]
    PermissionDenied(String),
    /// `cause` is a `ResourceExhaustedCause`, `scope` a `ResourceExhaustedScope`.
    #[error("{message}")]
    ResourceExhausted { message: String, cause: i32, scope: i32 },
    #[error("{0}")]
    Unimplemented(String),
}
