//! Every way a call can fail. What becomes of each on the wire is the table in `status`.

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
    /// `state` and `allowed` are `NamespaceState`s.
    #[error("Namespace has invalid state: {}. Must be {}.", state_name(*state), state_names(allowed))]
    NamespaceInvalidState { namespace: String, state: i32, allowed: Vec<i32> },
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{message}")]
    AlreadyStarted { message: String, start_request_id: String, run_id: String, first_execution_run_id: String },
    #[error("{0}")]
    FailedPrecondition(String),
    #[error("{0}")]
    WorkflowNotReady(String),
    #[error(
        "Client version {client_version} is not supported. Server supports {client_name} versions: {supported_versions}"
    )]
    ClientVersionNotSupported { client_version: String, client_name: String, supported_versions: String },
    #[error("Server version {server_version} is not supported. Client supports server versions: {supported_versions}")]
    ServerVersionNotSupported { server_version: String, supported_versions: String },
    /// `failure` is an encoded `temporal.api.failure.v1.Failure`, or empty.
    #[error("{message}")]
    QueryFailed { message: String, failure: Vec<u8> },
    #[error("{0}")]
    PermissionDenied(String),
    /// `cause` is a `ResourceExhaustedCause`, `scope` a `ResourceExhaustedScope`.
    #[error("{message}")]
    ResourceExhausted { message: String, cause: i32, scope: i32 },
    /// One for each operation, none for one that succeeded.
    #[error("{message}")]
    MultiOperation { message: String, operations: Vec<Option<Error>> },
    /// An operation that would have been all right, but another was not.
    #[error("Operation was aborted.")]
    OperationAborted,
    /// Retryable by the client.
    #[error("{0}")]
    Aborted(String),
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
    /// A deadline of which more can be said than that it passed.
    #[error("{0}")]
    TimedOut(String),
    #[error("context canceled")]
    Canceled,
    /// The bytes of the request are no message of its type.
    #[error("grpc: error unmarshalling request: {0}")]
    Malformed(String),
    /// A defect of ours; the message is not shown to clients.
    #[error("{0}")]
    Internal(String),
}

/// `NAMESPACE_STATE_REGISTERED` is shown as `Registered`; a number nobody knows as itself.
fn state_name(state: i32) -> String {
    use temporalio_protos::temporal::api::enums::v1::NamespaceState;
    NamespaceState::try_from(state)
        .map_or_else(|_| state.to_string(), |state| crate::status::short_name(state.as_str_name(), "NAMESPACE_STATE_"))
}

fn state_names(states: &[i32]) -> String {
    states.iter().map(|state| state_name(*state)).collect::<Vec<_>>().join(" or ")
}
