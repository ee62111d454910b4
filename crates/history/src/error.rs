//! What callers are told. The messages are the incumbent's: clients match on some of them.

use api::Error;
use execution::Rejection;
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};

use crate::run::{RunKey, WorkflowKey};

pub(crate) fn rejected(rejection: Rejection) -> Error {
    match rejection {
        Rejection::NotFound(message) => Error::NotFound(message),
        Rejection::InvalidArgument(message) => Error::InvalidArgument(message),
        Rejection::AlreadyStarted { message, start_request_id, run_id, first_execution_run_id } => {
            Error::AlreadyStarted { message, start_request_id, run_id, first_execution_run_id }
        }
        Rejection::FailedPrecondition(message) => Error::FailedPrecondition(message),
        Rejection::WorkflowNotReady(message) => Error::WorkflowNotReady(message),
        Rejection::PermissionDenied(message) => Error::PermissionDenied(message),
        Rejection::ResourceExhausted { message, cause, scope } => Error::ResourceExhausted { message, cause, scope },
        Rejection::Unimplemented(message) => Error::Unimplemented(message),
    }
}

pub(crate) fn no_current_run(workflow: &WorkflowKey) -> Error {
    Error::NotFound(format!("workflow not found for ID: {}", workflow.workflow_id))
}

pub(crate) fn no_such_run(run: &RunKey) -> Error {
    Error::NotFound(format!(
        "workflow execution not found for workflow ID {:?} and run ID {:?}",
        run.workflow.workflow_id.as_str(),
        run.run_id.as_str(),
    ))
}

pub(crate) fn execution_completed() -> Error {
    Error::NotFound("workflow execution already completed".into())
}

pub(crate) fn workflow_task_not_found() -> Error {
    Error::NotFound("Workflow task not found.".into())
}

pub(crate) fn activity_not_found() -> Error {
    Error::NotFound("invalid activityID or activity already timed out or invoking workflow is completed".into())
}

pub(crate) fn invalid_page_token() -> Error {
    Error::InvalidArgument("Invalid NextPageToken.".into())
}

pub(crate) fn page_token_of_another_run() -> Error {
    Error::InvalidArgument("RunId in the request does not match the NextPageToken.".into())
}

pub(crate) fn closed_before_first_task() -> Error {
    Error::WorkflowNotReady("Workflow execution closed before WorkflowTaskStarted event".into())
}

pub(crate) fn no_workflow_task_yet() -> Error {
    Error::WorkflowNotReady("Workflow task is not scheduled yet.".into())
}

pub(crate) fn workflow_task_keeps_failing() -> Error {
    Error::WorkflowNotReady("Unable to query workflow due to Workflow Task in failed state.".into())
}

pub(crate) fn no_poller() -> Error {
    Error::FailedPrecondition("no poller seen for task queue recently, worker may be down".into())
}

pub(crate) fn query_buffer_full() -> Error {
    let message = "consistent query buffer is full, this may be caused by too many queries and workflow not able to process query fast enough";
    Error::ResourceExhausted {
        message: message.into(),
        cause: ResourceExhaustedCause::BusyWorkflow.into(),
        scope: ResourceExhaustedScope::Namespace.into(),
    }
}

pub(crate) fn shard_busy() -> Error {
    Error::ResourceExhausted {
        message: "shard has too many requests in flight".into(),
        cause: ResourceExhaustedCause::SystemOverloaded.into(),
        scope: ResourceExhaustedScope::System.into(),
    }
}

/// The request may have been carried out.
pub(crate) fn outcome_unknown() -> Error {
    Error::Unavailable("shard leadership changed, the outcome is not known".into())
}

pub(crate) fn quarantined() -> Error {
    Error::Internal("the execution is quarantined after an internal error".into())
}

pub(crate) fn no_such_update(id: &str) -> Error {
    Error::NotFound(format!("update {id:?} not found"))
}

pub(crate) fn aborted_by_closing() -> Error {
    rejected(execution::workflow::aborted_by_closing())
}

/// Of the two operations of an update-with-start, none is one that succeeded.
pub(crate) fn multi_operation(start: Option<Error>, update: Option<Error>) -> Error {
    Error::MultiOperation {
        message: "Update-with-Start could not be executed.".into(),
        operations: vec![start, update],
    }
}

pub(crate) fn malformed(what: &str) -> Error {
    Error::InvalidArgument(format!("{what} is not set on request."))
}
