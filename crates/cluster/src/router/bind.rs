//! A request that names no run and has to wait is about the run that was current when it came. It must
//! stay so when that run is replaced, also if a leader is lost meanwhile and the next one is asked.
//!
//! ```text
//!  names no run ─▶ leader ─▶ has to wait ─▶ "this run" ─▶ sent again, with the run ─▶ waits
//!                     └─▶ can be answered at once ─▶ answer         └──leader lost──▶ sent again as it is
//! ```
//! So the sender knows the run before it waits. What a request waits for, and which run it is about:
//!
//! | request | is bound when it |
//! |---|---|
//! | history | waits for the close event; while it reads events its page token names the run |
//! | query | waits for the workflow task in progress; a worker that is asked at once answers for the run as it is |
//! | update, looked up | is not as far as its caller wants |
//! | update | is accepted, not before: until then no run has it, and the current one may take it |
//! | update with start | never: to send it again is to start the workflow again, if that is allowed |
//!
//! What cannot be told this way: an update whose run accepts it and is replaced by the same answer of its worker, while
//! the leader is lost before it could say so. The next run takes it for a new one, as when a client repeats it.

use api::internal::HistoryRequest;
use api::internal::history_request::Request;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;

/// Whether this is one of these requests, and nothing in it says which run it is about.
#[must_use]
pub fn names_no_run(request: &HistoryRequest) -> bool {
    let execution = match &request.request {
        Some(Request::GetHistory(request)) if request.next_page_token.is_empty() => &request.execution,
        Some(Request::Query(request)) => &request.execution,
        Some(Request::Update(request)) => &request.workflow_execution,
        Some(Request::PollUpdate(request)) => match &request.update_ref {
            Some(reference) => &reference.workflow_execution,
            None => return false,
        },
        _ => return false,
    };
    execution.as_ref().is_some_and(|execution| execution.run_id.is_empty())
}

/// Names the run, if the request is one of these and names none.
pub fn to_run(request: &mut HistoryRequest, run_id: &str) {
    if !names_no_run(request) {
        return;
    }
    if let Some(execution) = execution(request) {
        run_id.clone_into(&mut execution.run_id);
    }
}

fn execution(request: &mut HistoryRequest) -> Option<&mut WorkflowExecution> {
    match request.request.as_mut()? {
        Request::GetHistory(request) => request.execution.as_mut(),
        Request::Query(request) => request.execution.as_mut(),
        Request::Update(request) => request.workflow_execution.as_mut(),
        Request::PollUpdate(request) => request.update_ref.as_mut()?.workflow_execution.as_mut(),
        _ => None,
    }
}
