//! Starting, steering and reading workflows. Requests are checked here and answered by
//! the shard of the workflow id.

use std::sync::Arc;

use api::Error;
use api::internal::history_request::Request;
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::enums::v1::HistoryEventFilterType;
use temporalio_protos::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryReverseRequest,
    RequestCancelWorkflowExecutionRequest, ResetStickyTaskQueueRequest, SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
};

use super::follow::as_continued;
use crate::call::Call;
use crate::validate;

/// Tells a user's termination from one by the server.
const TERMINATE_REASON_DEFAULT: &str = "terminated by user via frontend";
const TERMINATE_IDENTITY_DEFAULT: &str = "frontend-service";

pub(super) async fn start(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: StartWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    validate::start(&mut request, &call.state.config, call.state.entropy.as_ref())?;
    let workflow_id = request.workflow_id.clone();
    call.history(&namespace, &workflow_id, Request::Start(request)).await
}

pub(super) async fn signal_with_start(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: SignalWithStartWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    validate::signal_with_start(&mut request, call.limits(), call.state.entropy.as_ref())?;
    let workflow_id = request.workflow_id.clone();
    call.history(&namespace, &workflow_id, Request::SignalWithStart(request)).await
}

pub(super) async fn signal(
    call: Call,
    namespace: Arc<Namespace>,
    request: SignalWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    let limits = call.limits();
    let workflow_id = workflow_id(request.workflow_execution.as_ref())?;
    if request.signal_name.is_empty() {
        return Err(validate::invalid("SignalName is not set on request."));
    }
    validate::not_longer(&request.signal_name, limits.id_bytes_max, "SignalName length exceeds limit.")?;
    validate::not_longer(&request.request_id, limits.id_bytes_max, "RequestId length exceeds limit.")?;
    validate::links(request.links.iter(), limits)?;
    validate::blob(request.input.as_ref().map_or(0, prost::Message::encoded_len), limits.blob_bytes_max)?;
    call.history(&namespace, &workflow_id, Request::Signal(request)).await
}

pub(super) async fn request_cancel(
    call: Call,
    namespace: Arc<Namespace>,
    request: RequestCancelWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.workflow_execution.as_ref())?;
    validate::links(request.links.iter(), call.limits())?;
    call.history(&namespace, &workflow_id, Request::RequestCancel(request)).await
}

pub(super) async fn terminate(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: TerminateWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.workflow_execution.as_ref())?;
    validate::links(request.links.iter(), call.limits())?;
    if request.reason.is_empty() {
        TERMINATE_REASON_DEFAULT.clone_into(&mut request.reason);
    }
    if request.identity.is_empty() {
        TERMINATE_IDENTITY_DEFAULT.clone_into(&mut request.identity);
    }
    call.history(&namespace, &workflow_id, Request::Terminate(request)).await
}

pub(super) async fn describe(
    call: Call,
    namespace: Arc<Namespace>,
    request: DescribeWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.execution.as_ref())?;
    call.history(&namespace, &workflow_id, Request::Describe(request)).await
}

pub(super) async fn get_history(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: GetWorkflowExecutionHistoryRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.execution.as_ref())?;
    request.maximum_page_size = page_size(request.maximum_page_size, &call);
    if request.history_event_filter_type() == HistoryEventFilterType::Unspecified {
        request.set_history_event_filter_type(HistoryEventFilterType::AllEvent);
    }
    let close_event_only = request.history_event_filter_type() == HistoryEventFilterType::CloseEvent;
    let shown = |answer| if close_event_only && !call.follows_next_run { as_continued(answer) } else { Ok(answer) };
    if !request.wait_new_event {
        return shown(call.history(&namespace, &workflow_id, Request::GetHistory(request)).await?);
    }
    let draining = call.state.draining.clone();
    tokio::select! {
        answer = call.history(&namespace, &workflow_id, Request::GetHistory(request)) => shown(answer?),
        // Nothing was read yet, so the client asks another node for the same page.
        () = draining.cancelled() => Err(Error::Unavailable("the server is shutting down".to_owned())),
    }
}

pub(super) async fn get_history_reverse(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: GetWorkflowExecutionHistoryReverseRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.execution.as_ref())?;
    request.maximum_page_size = page_size(request.maximum_page_size, &call);
    call.history(&namespace, &workflow_id, Request::GetHistoryReverse(request)).await
}

pub(super) async fn reset_sticky(
    call: Call,
    namespace: Arc<Namespace>,
    request: ResetStickyTaskQueueRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.execution.as_ref())?;
    call.history(&namespace, &workflow_id, Request::ResetSticky(request)).await
}

pub(super) fn workflow_id(execution: Option<&WorkflowExecution>) -> Result<String, Error> {
    Ok(validate::execution(execution)?.workflow_id.clone())
}

/// Too many are not refused but given in pages.
fn page_size(asked: i32, call: &Call) -> i32 {
    let most = call.limits().history_page_events_max;
    if asked <= 0 { most } else { asked.min(most) }
}
