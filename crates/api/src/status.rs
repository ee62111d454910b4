//! The one table from [`Error`] to gRPC codes and Temporal's error details
//! (`protocol.md` 2.6). SDKs and the CLI decide by the details, people read the message.

use bytes::Bytes;
use prost::{Message, Name};
use temporalio_protos::google::rpc;
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use temporalio_protos::temporal::api::errordetails::v1::multi_operation_execution_failure::OperationStatus;
use temporalio_protos::temporal::api::errordetails::v1::{
    ClientVersionNotSupportedFailure, MultiOperationExecutionFailure, NamespaceAlreadyExistsFailure,
    NamespaceInvalidStateFailure, NamespaceNotFoundFailure, NotFoundFailure, PermissionDeniedFailure,
    QueryFailedFailure, ResourceExhaustedFailure, ServerVersionNotSupportedFailure,
    WorkflowExecutionAlreadyStartedFailure, WorkflowNotReadyFailure,
};
use temporalio_protos::temporal::api::failure::v1::{Failure, MultiOperationExecutionAborted};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::Error;

/// Longer messages are cut: they travel in headers, which clients limit.
pub const MESSAGE_BYTES_MAX: usize = 4000;

/// Response header that names the limit that was hit.
pub const RESOURCE_EXHAUSTED_CAUSE_HEADER: &str = "x-resource-exhausted-cause";
/// Response header that says whose limit it was.
pub const RESOURCE_EXHAUSTED_SCOPE_HEADER: &str = "x-resource-exhausted-scope";

const TRUNCATED_SUFFIX: &str = "... <truncated>";
/// What clients see in place of the text of an internal error.
const MASK: &str = "something went wrong, please retry";

impl Error {
    /// The gRPC code a client sees.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound(_) | Self::NamespaceNotFound(_) => Code::NotFound,
            Self::NamespaceAlreadyExists(_) | Self::AlreadyStarted { .. } => Code::AlreadyExists,
            Self::InvalidArgument(_) | Self::QueryFailed { .. } => Code::InvalidArgument,
            Self::FailedPrecondition(_)
            | Self::NamespaceInvalidState { .. }
            | Self::WorkflowNotReady(_)
            | Self::ClientVersionNotSupported { .. }
            | Self::ServerVersionNotSupported { .. } => Code::FailedPrecondition,
            Self::MultiOperation { operations, .. } => {
                let failed = operations.iter().flatten().find(|error| **error != Self::OperationAborted);
                failed.map_or(Code::Aborted, Self::code)
            }
            Self::OperationAborted | Self::Aborted(_) => Code::Aborted,
            Self::PermissionDenied(_) => Code::PermissionDenied,
            Self::ResourceExhausted { .. } => Code::ResourceExhausted,
            Self::Unimplemented(_) => Code::Unimplemented,
            // A client that meets a lost leader does what it does about any broken server.
            Self::Unavailable(_) | Self::NotLeader { .. } => Code::Unavailable,
            Self::DeadlineExceeded | Self::TimedOut(_) => Code::DeadlineExceeded,
            Self::Canceled => Code::Cancelled,
            Self::Malformed(_) | Self::Internal(_) => Code::Internal,
        }
    }

    /// Temporal's detail message, or `None` where a client learns enough from the code.
    fn detail(&self) -> Option<prost_types::Any> {
        Some(match self.clone() {
            Self::NotFound(_) => any(&NotFoundFailure::default()),
            Self::NamespaceNotFound(namespace) => any(&NamespaceNotFoundFailure { namespace }),
            Self::NamespaceAlreadyExists(_) => any(&NamespaceAlreadyExistsFailure {}),
            Self::NamespaceInvalidState { namespace, state, allowed } => {
                any(&NamespaceInvalidStateFailure { namespace, state, allowed_states: allowed })
            }
            Self::AlreadyStarted { start_request_id, run_id, first_execution_run_id, .. } => {
                any(&WorkflowExecutionAlreadyStartedFailure { start_request_id, run_id, first_execution_run_id })
            }
            Self::WorkflowNotReady(_) => any(&WorkflowNotReadyFailure {}),
            Self::ClientVersionNotSupported { client_version, client_name, supported_versions } => {
                any(&ClientVersionNotSupportedFailure { client_version, client_name, supported_versions })
            }
            Self::ServerVersionNotSupported { server_version, supported_versions } => {
                any(&ServerVersionNotSupportedFailure {
                    server_version,
                    client_supported_server_versions: supported_versions,
                })
            }
            Self::QueryFailed { failure, .. } => any(&QueryFailedFailure { failure: decoded_failure(&failure) }),
            Self::MultiOperation { operations, .. } => any(&MultiOperationExecutionFailure {
                statuses: operations.iter().map(|error| operation_status(error.as_ref())).collect(),
            }),
            Self::OperationAborted => any(&MultiOperationExecutionAborted {}),
            Self::PermissionDenied(_) => any(&PermissionDeniedFailure::default()),
            Self::ResourceExhausted { cause, scope, .. } => any(&ResourceExhaustedFailure { cause, scope }),
            Self::InvalidArgument(_)
            | Self::FailedPrecondition(_)
            | Self::Aborted(_)
            | Self::Unimplemented(_)
            | Self::Unavailable(_)
            | Self::NotLeader { .. }
            | Self::DeadlineExceeded
            | Self::TimedOut(_)
            | Self::Canceled
            | Self::Malformed(_)
            | Self::Internal(_) => return None,
        })
    }

    /// The message a client sees. Internal errors show only a hash, by which the log line
    /// with the text is found.
    #[must_use]
    pub fn public_message(&self) -> String {
        match self {
            Self::NotLeader { .. } => "shard unavailable, please backoff and retry".to_owned(),
            Self::Internal(text) => format!("{MASK} ({})", message_hash(text)),
            other => truncated(other.to_string()),
        }
    }
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        let code = error.code();
        let message = error.public_message();
        let details = error.detail().map_or_else(Bytes::new, |detail| {
            rpc::Status { code: code as i32, message: message.clone(), details: vec![detail] }.encode_to_vec().into()
        });
        Self::with_details_and_metadata(code, message, details, headers(error))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

fn operation_status(error: Option<&Error>) -> OperationStatus {
    let Some(error) = error else { return OperationStatus::default() };
    OperationStatus {
        code: error.code() as i32,
        message: error.public_message(),
        details: error.detail().into_iter().collect(),
    }
}

/// Eight hexadecimal digits that are equal for equal messages (32-bit FNV-1a).
#[must_use]
pub fn message_hash(message: &str) -> String {
    let hash = message.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// `RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT` without its prefix, as `RpsLimit`: how clients
/// and people know the values of Temporal's enums.
#[must_use]
pub(crate) fn short_name(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix)
        .split('_')
        .flat_map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            [first.to_owned(), rest.to_ascii_lowercase()]
        })
        .collect()
}

fn headers(error: &Error) -> MetadataMap {
    let mut headers = MetadataMap::new();
    if let Error::ResourceExhausted { cause, scope, .. } = error {
        let cause = ResourceExhaustedCause::try_from(*cause).unwrap_or_default();
        let scope = ResourceExhaustedScope::try_from(*scope).unwrap_or_default();
        let pairs = [
            (RESOURCE_EXHAUSTED_CAUSE_HEADER, short_name(cause.as_str_name(), "RESOURCE_EXHAUSTED_CAUSE_")),
            (RESOURCE_EXHAUSTED_SCOPE_HEADER, short_name(scope.as_str_name(), "RESOURCE_EXHAUSTED_SCOPE_")),
        ];
        for (key, value) in pairs {
            headers.insert(key, MetadataValue::try_from(value).expect("letters only"));
        }
    }
    headers
}

fn any<M: Message + Name>(message: &M) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

fn decoded_failure(failure: &[u8]) -> Option<Failure> {
    if failure.is_empty() { None } else { Failure::decode(failure).ok() }
}

fn truncated(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX - TRUNCATED_SUFFIX.len();
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(TRUNCATED_SUFFIX);
    }
    message
}

#[cfg(test)]
mod tests;
