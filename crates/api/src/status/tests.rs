//! One line per row of the table: code, detail and message as a client gets them.

use base::NodeId;
use prost::Message;
use temporalio_protos::google::rpc;
use temporalio_protos::temporal::api::enums::v1::{NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope};
use temporalio_protos::temporal::api::errordetails::v1 as details;
use temporalio_protos::temporal::api::failure::v1::Failure;
use tonic::{Code, Status};

use super::{MESSAGE_BYTES_MAX, message_hash, short_name};
use crate::Error;
use crate::internal::CallError;

fn text(value: &str) -> String {
    value.to_owned()
}

/// One of each variant.
fn all() -> Vec<Error> {
    vec![
        Error::NotFound(text("workflow not found")),
        Error::NamespaceNotFound(text("shop")),
        Error::NamespaceAlreadyExists(text("Namespace \"shop\" already exists")),
        Error::NamespaceInvalidState {
            namespace: text("shop"),
            state: NamespaceState::Deprecated as i32,
            allowed: vec![NamespaceState::Registered as i32, 77],
        },
        Error::InvalidArgument(text("WorkflowId is not set on request.")),
        Error::AlreadyStarted {
            message: text("Workflow execution is already running."),
            start_request_id: text("request"),
            run_id: text("run"),
            first_execution_run_id: text("first"),
        },
        Error::FailedPrecondition(text("no")),
        Error::WorkflowNotReady(text("not yet")),
        Error::ClientVersionNotSupported {
            client_version: text("2.0.0"),
            client_name: text("temporal-go"),
            supported_versions: text("<2.0.0"),
        },
        Error::ServerVersionNotSupported { server_version: text("1.30.0"), supported_versions: text(">=2.0.0") },
        Error::QueryFailed {
            message: text("boom"),
            failure: Failure { message: text("inner"), ..Failure::default() }.encode_to_vec(),
        },
        Error::PermissionDenied(text("Request unauthorized.")),
        Error::ResourceExhausted {
            message: text("slow down"),
            cause: ResourceExhaustedCause::RpsLimit as i32,
            scope: ResourceExhaustedScope::Namespace as i32,
        },
        Error::Unimplemented(text("later")),
        Error::Unavailable(text("no leader")),
        Error::NotLeader { hint: Some(NodeId(7)) },
        Error::NotLeader { hint: None },
        Error::DeadlineExceeded,
        Error::TimedOut(text("query timed out before a worker could process it")),
        Error::Canceled,
        Error::Malformed(text("proto: truncated")),
        Error::Internal(text("index 7 out of range")),
    ]
}

/// The type and the bytes of the detail.
fn detail_of(status: &Status) -> Option<(String, Vec<u8>)> {
    if status.details().is_empty() {
        return None;
    }
    let inner = rpc::Status::decode(status.details()).expect("a google.rpc.Status");
    assert_eq!(inner.code, status.code() as i32);
    assert_eq!(inner.message, status.message());
    let [detail] = inner.details.as_slice() else { panic!("one detail") };
    let name = detail.type_url.strip_prefix("type.googleapis.com/temporal.api.errordetails.v1.").expect("the prefix");
    Some((name.to_owned(), detail.value.clone()))
}

#[test]
fn every_row() {
    let rows: Vec<String> = all()
        .iter()
        .map(|error| {
            let status = Status::from(error);
            let detail = detail_of(&status).map_or_else(String::new, |(name, _)| name);
            format!("{:?} | {detail} | {}", status.code(), status.message())
        })
        .collect();
    let expected = [
        "NotFound | NotFoundFailure | workflow not found",
        "NotFound | NamespaceNotFoundFailure | Namespace shop is not found.",
        "AlreadyExists | NamespaceAlreadyExistsFailure | Namespace \"shop\" already exists",
        "FailedPrecondition | NamespaceInvalidStateFailure | Namespace has invalid state: Deprecated. Must be Registered or 77.",
        "InvalidArgument |  | WorkflowId is not set on request.",
        "AlreadyExists | WorkflowExecutionAlreadyStartedFailure | Workflow execution is already running.",
        "FailedPrecondition |  | no",
        "FailedPrecondition | WorkflowNotReadyFailure | not yet",
        "FailedPrecondition | ClientVersionNotSupportedFailure | Client version 2.0.0 is not supported. Server supports temporal-go versions: <2.0.0",
        "FailedPrecondition | ServerVersionNotSupportedFailure | Server version 1.30.0 is not supported. Client supports server versions: >=2.0.0",
        "InvalidArgument | QueryFailedFailure | boom",
        "PermissionDenied | PermissionDeniedFailure | Request unauthorized.",
        "ResourceExhausted | ResourceExhaustedFailure | slow down",
        "Unimplemented |  | later",
        "Unavailable |  | no leader",
        "Unavailable |  | shard unavailable, please backoff and retry",
        "Unavailable |  | shard unavailable, please backoff and retry",
        "DeadlineExceeded |  | context deadline exceeded",
        "DeadlineExceeded |  | query timed out before a worker could process it",
        "Cancelled |  | context canceled",
        "Internal |  | grpc: error unmarshalling request: proto: truncated",
        "Internal |  | something went wrong, please retry (956ef86a)",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn details_carry_their_fields() {
    let statuses: Vec<(String, Vec<u8>)> = all().iter().filter_map(|error| detail_of(&Status::from(error))).collect();
    let value = |name: &str| statuses.iter().find(|(other, _)| other == name).expect("the detail").1.clone();

    let started = details::WorkflowExecutionAlreadyStartedFailure::decode(
        value("WorkflowExecutionAlreadyStartedFailure").as_slice(),
    )
    .expect("decodes");
    assert_eq!((started.start_request_id.as_str(), started.run_id.as_str()), ("request", "run"));
    assert_eq!(started.first_execution_run_id, "first");

    let query = details::QueryFailedFailure::decode(value("QueryFailedFailure").as_slice()).expect("decodes");
    assert_eq!(query.failure.expect("a failure").message, "inner");

    let state = details::NamespaceInvalidStateFailure::decode(value("NamespaceInvalidStateFailure").as_slice());
    assert_eq!(state.expect("decodes").allowed_states, [NamespaceState::Registered as i32, 77]);

    let missing = details::NamespaceNotFoundFailure::decode(value("NamespaceNotFoundFailure").as_slice());
    assert_eq!(missing.expect("decodes").namespace, "shop");
}

#[test]
fn exhausted_resources_are_named_in_headers() {
    let status = Status::from(Error::ResourceExhausted {
        message: text("slow down"),
        cause: ResourceExhaustedCause::BusyWorkflow as i32,
        scope: ResourceExhaustedScope::System as i32,
    });
    assert_eq!(status.metadata().get("X-Resource-Exhausted-Cause".to_lowercase()).expect("set"), "BusyWorkflow");
    assert_eq!(status.metadata().get("x-resource-exhausted-scope").expect("set"), "System");
}

#[test]
fn long_messages_are_cut_between_characters() {
    let status = Status::from(Error::InvalidArgument("ä".repeat(MESSAGE_BYTES_MAX)));
    assert!(status.message().len() <= MESSAGE_BYTES_MAX);
    assert!(status.message().ends_with("ä... <truncated>"));
    let fits = "a".repeat(MESSAGE_BYTES_MAX);
    assert_eq!(Status::from(Error::InvalidArgument(fits.clone())).message(), fits);
}

#[test]
fn internal_text_never_leaves() {
    let status = Status::from(Error::Internal(text("secret path")));
    assert!(!status.message().contains("secret"));
    assert!(status.message().ends_with(&format!("({})", message_hash("secret path"))));
}

#[test]
fn names_are_short() {
    assert_eq!(short_name("NAMESPACE_STATE_REGISTERED", "NAMESPACE_STATE_"), "Registered");
    assert_eq!(short_name("A_B__C", "X_"), "ABC");
}

#[test]
fn errors_survive_the_way_between_nodes() {
    for error in all() {
        let bytes = CallError::from(error.clone()).encode_to_vec();
        let back = Error::from(CallError::decode(bytes.as_slice()).expect("decodes"));
        assert_eq!(back, error);
    }
    let unknown = CallError { kind: text("from_the_future"), ..CallError::default() };
    assert_eq!(Error::from(unknown).code(), Code::Internal);
}
