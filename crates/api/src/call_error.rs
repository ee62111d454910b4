//! [`Error`] as it crosses from node to node. The names are part of the protocol: a node
//! of another version reads them, so they are never renamed or reused.

use base::NodeId;
use bytes::Bytes;
use prost::Message;

use crate::Error;
use crate::internal::{CallError, CallErrors};

/// `number` of a `not_leader` without a hint; node ids start at 0, so it cannot be 0.
const NO_HINT: i64 = -1;

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(message) => text("not_found", message),
            Error::NamespaceNotFound(message) => text("namespace_not_found", message),
            Error::NamespaceAlreadyExists(message) => text("namespace_already_exists", message),
            Error::NamespaceInvalidState { namespace, state, allowed } => Self {
                fields: allowed.iter().map(ToString::to_string).collect(),
                number: state.into(),
                ..text("namespace_invalid_state", namespace)
            },
            Error::InvalidArgument(message) => text("invalid_argument", message),
            Error::AlreadyStarted { message, start_request_id, run_id, first_execution_run_id } => Self {
                fields: vec![start_request_id, run_id, first_execution_run_id],
                ..text("already_started", message)
            },
            Error::FailedPrecondition(message) => text("failed_precondition", message),
            Error::WorkflowNotReady(message) => text("workflow_not_ready", message),
            Error::ClientVersionNotSupported { client_version, client_name, supported_versions } => Self {
                fields: vec![client_version, client_name, supported_versions],
                ..text("client_version_not_supported", String::new())
            },
            Error::ServerVersionNotSupported { server_version, supported_versions } => Self {
                fields: vec![server_version, supported_versions],
                ..text("server_version_not_supported", String::new())
            },
            Error::QueryFailed { message, failure } => {
                Self { detail: Bytes::from(failure), ..text("query_failed", message) }
            }
            Error::PermissionDenied(message) => text("permission_denied", message),
            Error::ResourceExhausted { message, cause, scope } => {
                Self { number: cause.into(), number2: scope.into(), ..text("resource_exhausted", message) }
            }
            Error::MultiOperation { message, operations } => {
                let errors = operations.into_iter().map(|error| error.map_or_else(Self::default, Self::from)).collect();
                Self { detail: CallErrors { errors }.encode_to_vec().into(), ..text("multi_operation", message) }
            }
            Error::OperationAborted => text("operation_aborted", String::new()),
            Error::Aborted(message) => text("aborted", message),
            Error::Unimplemented(message) => text("unimplemented", message),
            Error::Unavailable(message) => text("unavailable", message),
            Error::NotLeader { hint } => {
                // Node ids keep their bits; all ones is the one id that cannot be hinted.
                let number = hint.map_or(NO_HINT, |node| node.0.cast_signed());
                Self { number, ..text("not_leader", String::new()) }
            }
            Error::DeadlineExceeded => text("deadline_exceeded", String::new()),
            Error::TimedOut(message) => text("timed_out", message),
            Error::Canceled => text("canceled", String::new()),
            Error::Malformed(message) => text("malformed", message),
            Error::Internal(message) => text("internal", message),
        }
    }
}

impl From<CallError> for Error {
    /// A kind that this version does not know becomes [`Error::Internal`].
    fn from(error: CallError) -> Self {
        let CallError { kind, message, fields, detail, number, number2 } = error;
        match kind.as_str() {
            "not_found" => Self::NotFound(message),
            "namespace_not_found" => Self::NamespaceNotFound(message),
            "namespace_already_exists" => Self::NamespaceAlreadyExists(message),
            "namespace_invalid_state" => Self::NamespaceInvalidState {
                namespace: message,
                state: enum_value(number),
                allowed: fields.iter().filter_map(|state| state.parse().ok()).collect(),
            },
            "invalid_argument" => Self::InvalidArgument(message),
            "already_started" => {
                let mut fields = fields.into_iter();
                let mut next = || fields.next().unwrap_or_default();
                Self::AlreadyStarted {
                    message,
                    start_request_id: next(),
                    run_id: next(),
                    first_execution_run_id: next(),
                }
            }
            "failed_precondition" => Self::FailedPrecondition(message),
            "workflow_not_ready" => Self::WorkflowNotReady(message),
            "client_version_not_supported" => {
                let mut fields = fields.into_iter();
                let mut next = || fields.next().unwrap_or_default();
                Self::ClientVersionNotSupported {
                    client_version: next(),
                    client_name: next(),
                    supported_versions: next(),
                }
            }
            "server_version_not_supported" => {
                let mut fields = fields.into_iter();
                let mut next = || fields.next().unwrap_or_default();
                Self::ServerVersionNotSupported { server_version: next(), supported_versions: next() }
            }
            "query_failed" => Self::QueryFailed { message, failure: detail.into() },
            "permission_denied" => Self::PermissionDenied(message),
            "resource_exhausted" => {
                Self::ResourceExhausted { message, cause: enum_value(number), scope: enum_value(number2) }
            }
            "multi_operation" => {
                let errors = CallErrors::decode(detail).unwrap_or_default().errors.into_iter();
                let operations = errors.map(|error| (!error.kind.is_empty()).then(|| Self::from(error))).collect();
                Self::MultiOperation { message, operations }
            }
            "operation_aborted" => Self::OperationAborted,
            "aborted" => Self::Aborted(message),
            "unimplemented" => Self::Unimplemented(message),
            "unavailable" => Self::Unavailable(message),
            "not_leader" => Self::NotLeader { hint: (number != NO_HINT).then_some(NodeId(number.cast_unsigned())) },
            "deadline_exceeded" => Self::DeadlineExceeded,
            "timed_out" => Self::TimedOut(message),
            "canceled" => Self::Canceled,
            "malformed" => Self::Malformed(message),
            "internal" => Self::Internal(message),
            unknown => Self::Internal(format!("error of unknown kind {unknown:?} from another node: {message}")),
        }
    }
}

fn text(kind: &str, message: String) -> CallError {
    CallError { kind: kind.to_owned(), message, ..CallError::default() }
}

/// Out of range is "unspecified", as for any enum value that is not known.
fn enum_value(number: i64) -> i32 {
    i32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_hop() {
        let text = || "some text".to_owned();
        let errors = [
            Error::NotFound(text()),
            Error::NamespaceNotFound(text()),
            Error::NamespaceAlreadyExists(text()),
            Error::InvalidArgument(text()),
            Error::AlreadyStarted {
                message: text(),
                start_request_id: "a".into(),
                run_id: "b".into(),
                first_execution_run_id: "c".into(),
            },
            Error::FailedPrecondition(text()),
            Error::WorkflowNotReady(text()),
            Error::QueryFailed { message: text(), failure: vec![1, 2, 3] },
            Error::PermissionDenied(text()),
            Error::ResourceExhausted { message: text(), cause: 3, scope: 2 },
            Error::MultiOperation {
                message: text(),
                operations: vec![None, Some(Error::OperationAborted), Some(Error::NotFound(text()))],
            },
            Error::Aborted(text()),
            Error::Unimplemented(text()),
            Error::Unavailable(text()),
            Error::NotLeader { hint: None },
            Error::NotLeader { hint: Some(NodeId(0)) },
            Error::NotLeader { hint: Some(NodeId(u64::MAX - 1)) },
            Error::DeadlineExceeded,
            Error::Canceled,
            Error::Internal(text()),
        ];
        for error in errors {
            assert_eq!(Error::from(CallError::from(error.clone())), error);
        }
    }

    #[test]
    fn unknown_kinds_and_missing_fields_are_tolerated() {
        let error = CallError { kind: "from_the_future".into(), message: "hm".into(), ..CallError::default() };
        assert!(matches!(Error::from(error), Error::Internal(message) if message.contains("from_the_future")));
        let error = CallError { kind: "already_started".into(), ..CallError::default() };
        assert!(matches!(Error::from(error), Error::AlreadyStarted { run_id, .. } if run_id.is_empty()));
    }
}
