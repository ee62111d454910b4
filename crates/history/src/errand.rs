//! Errands between runs as messages: what is sent, and what an answer means.

use api::Error;
use api::internal::history_request::Request;
use api::internal::{
    AskChild, CancelByWorkflow, ChildClosed, ChildEnd, DropChild, HistoryResponse, ScheduleFirstTask, SignalByWorkflow,
    Source, StartChild, TerminateByWorkflow,
};
use base::cell_of;
use execution::workflow::{ByWorkflow, Errand, ErrandOutcome, ErrandRequest};
use prost::Message;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause as CancelCause,
    SignalExternalWorkflowExecutionFailedCause as SignalCause, StartChildWorkflowExecutionFailedCause as ChildCause,
};
use temporalio_protos::temporal::api::workflowservice::v1::StartWorkflowExecutionResponse;

/// What follows from an answer.
pub(crate) enum Verdict {
    Outcome(ErrandOutcome),
    /// The world's fault: try again later.
    Again,
}

/// The request and the cell it goes to.
pub(crate) fn wire(namespace_id: &str, request: ErrandRequest, repeated: bool) -> (u32, Request) {
    let (workflow_id, request) = match request {
        ErrandRequest::StartChild(start) => {
            let execution::workflow::StartChild { request, parent, copied } = *start;
            let source = Source {
                execution: Some(parent.execution),
                event_id: parent.initiated_event_id,
                child_only: false,
                repeated,
            };
            let id = request.workflow_id.clone();
            let message = StartChild {
                request: Some(Box::new(request)),
                parent: Some(source),
                root: Some(parent.root),
                source_version_stamp: parent.source_version_stamp,
                copied,
            };
            (id, Request::StartChild(message))
        }
        ErrandRequest::ScheduleFirstTask(execution) => {
            let id = execution.workflow_id.clone();
            (id, Request::ScheduleFirstTask(ScheduleFirstTask { execution: Some(execution) }))
        }
        ErrandRequest::AskChild { workflow_id, first_execution_run_id } => {
            (workflow_id.clone(), Request::AskChild(AskChild { workflow_id, first_execution_run_id }))
        }
        ErrandRequest::Terminate(by) => {
            let (request, source) = split(*by, repeated);
            let id = id_of(request.workflow_execution.as_ref());
            (id, Request::TerminateByWorkflow(TerminateByWorkflow { request: Some(request), source: Some(source) }))
        }
        ErrandRequest::RequestCancel(by) => {
            let (request, source) = split(*by, repeated);
            let id = id_of(request.workflow_execution.as_ref());
            (id, Request::CancelByWorkflow(CancelByWorkflow { request: Some(request), source: Some(source) }))
        }
        ErrandRequest::Signal(by) => {
            let (request, source) = split(*by, repeated);
            let id = id_of(request.workflow_execution.as_ref());
            (id, Request::SignalByWorkflow(SignalByWorkflow { request: Some(request), source: Some(source) }))
        }
        ErrandRequest::DropChild { workflow_id, request_id } => {
            (workflow_id.clone(), Request::DropChild(DropChild { workflow_id, request_id }))
        }
        ErrandRequest::Report(closed) => {
            let execution::workflow::ChildClosed {
                parent,
                initiated_event_id,
                child,
                first_execution_run_id,
                closing_event,
            } = *closed;
            let id = parent.workflow_id.clone();
            let message = ChildClosed {
                parent: Some(parent),
                initiated_event_id,
                child: Some(child),
                first_execution_run_id,
                closing_event: Some(Box::new(closing_event)),
            };
            (id, Request::ChildClosed(message))
        }
        ErrandRequest::Itself => unreachable!("a request to itself is never sent"),
    };
    (cell_of(namespace_id, &workflow_id).index().into(), request)
}

/// A workflow that means itself does not find what it means.
pub(crate) fn to_itself(errand: Errand) -> ErrandOutcome {
    match errand {
        Errand::SignalExternal(_) => ErrandOutcome::SignalRefused(SignalCause::ExternalWorkflowExecutionNotFound),
        Errand::CancelExternal(_) => ErrandOutcome::CancelRefused(CancelCause::ExternalWorkflowExecutionNotFound),
        errand => unreachable!("{errand:?} goes to itself"),
    }
}

pub(crate) fn verdict(errand: Errand, result: &Result<HistoryResponse, Error>) -> Verdict {
    let outcome = match (errand, result) {
        (Errand::StartChild(_), Ok(response)) => {
            let Ok(started) = StartWorkflowExecutionResponse::decode(response.body.clone()) else {
                return Verdict::Again;
            };
            ErrandOutcome::ChildStarted { run_id: started.run_id }
        }
        (Errand::StartChild(_), Err(Error::AlreadyStarted { .. })) => {
            ErrandOutcome::ChildRefused(ChildCause::WorkflowAlreadyExists)
        }
        (Errand::StartChild(_), Err(Error::NamespaceNotFound { .. })) => {
            ErrandOutcome::ChildRefused(ChildCause::NamespaceNotFound)
        }
        (Errand::AskChild(_), Ok(response)) => {
            let Ok(ChildEnd { child, closing_event }) = ChildEnd::decode(response.body.clone()) else {
                return Verdict::Again;
            };
            let ended = child.zip(closing_event);
            ended.map_or(ErrandOutcome::Done, |(child, closing_event)| ErrandOutcome::ChildEnded {
                child,
                closing_event: Box::new(closing_event),
            })
        }
        (Errand::AskChild(_), Err(Error::NotFound(_) | Error::NamespaceNotFound { .. })) => ErrandOutcome::ChildGone,
        (Errand::SignalExternal(_), Err(Error::NotFound(_))) => {
            ErrandOutcome::SignalRefused(SignalCause::ExternalWorkflowExecutionNotFound)
        }
        (Errand::SignalExternal(_), Err(Error::NamespaceNotFound { .. })) => {
            ErrandOutcome::SignalRefused(SignalCause::NamespaceNotFound)
        }
        // The only argument that is looked at there is the number of signals.
        (Errand::SignalExternal(_), Err(Error::InvalidArgument(_))) => {
            ErrandOutcome::SignalRefused(SignalCause::SignalCountLimitExceeded)
        }
        (Errand::CancelExternal(_), Err(Error::NotFound(_))) => {
            ErrandOutcome::CancelRefused(CancelCause::ExternalWorkflowExecutionNotFound)
        }
        (Errand::CancelExternal(_), Err(Error::NamespaceNotFound { .. })) => {
            ErrandOutcome::CancelRefused(CancelCause::NamespaceNotFound)
        }
        (Errand::SignalExternal(_) | Errand::CancelExternal(_), Ok(_)) => ErrandOutcome::Done,
        (Errand::StartChild(_) | Errand::SignalExternal(_) | Errand::CancelExternal(_), Err(_)) => {
            return Verdict::Again;
        }
        // Whoever was meant is gone or closed: nothing is left to do.
        (_, Ok(_) | Err(Error::NotFound(_) | Error::NamespaceNotFound { .. })) => ErrandOutcome::Done,
        (_, Err(_)) => return Verdict::Again,
    };
    Verdict::Outcome(outcome)
}

fn split<R>(by: ByWorkflow<R>, repeated: bool) -> (R, Source) {
    let ByWorkflow { source, source_event_id, child_only, request } = by;
    (request, Source { execution: Some(source), event_id: source_event_id, child_only, repeated })
}

fn id_of(execution: Option<&WorkflowExecution>) -> String {
    execution.map_or_else(String::new, |execution| execution.workflow_id.clone())
}
