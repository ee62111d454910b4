//! Workflow updates, alone or with the start of their workflow.

use std::sync::Arc;

use api::Error;
use api::internal::UpdateWithStart;
use api::internal::history_request::Request;
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::workflowservice::v1::execute_multi_operation_request::operation::Operation;
use temporalio_protos::temporal::api::workflowservice::v1::{
    ExecuteMultiOperationRequest, PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest,
};

use super::run_control::is_run_id;
use crate::call::Call;
use crate::validate;

pub(super) async fn update(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: UpdateWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    validate::update(&mut request, call.limits(), call.state.entropy.as_ref())?;
    let workflow_id = validate::execution(request.workflow_execution.as_ref())?.workflow_id.clone();
    waiting(&call, call.history(&namespace, &workflow_id, Request::Update(request))).await
}

pub(super) async fn poll(
    call: Call,
    namespace: Arc<Namespace>,
    request: PollWorkflowExecutionUpdateRequest,
) -> Result<Bytes, Error> {
    let Some(reference) = &request.update_ref else {
        return Err(validate::invalid("UpdateRef is not set on request."));
    };
    let execution = reference.workflow_execution.as_ref().filter(|execution| !execution.workflow_id.is_empty());
    let Some(execution) = execution else {
        return Err(validate::invalid("Can't load workflow execution.  WorkflowId not set."));
    };
    is_run_id(&execution.run_id)?;
    let workflow_id = execution.workflow_id.clone();
    waiting(&call, call.history(&namespace, &workflow_id, Request::PollUpdate(request))).await
}

/// Only `[start, update]` so far, as on the official server.
pub(super) async fn execute_multi_operation(
    call: Call,
    namespace: Arc<Namespace>,
    request: ExecuteMultiOperationRequest,
) -> Result<Bytes, Error> {
    let operations: Vec<_> = request.operations.into_iter().map(|operation| operation.operation).collect();
    let Ok([Some(Operation::StartWorkflow(mut start)), Some(Operation::UpdateWorkflow(mut update))]) =
        <[_; 2]>::try_from(operations)
    else {
        return Err(validate::invalid("Operations have to be exactly [Start, Update]."));
    };
    let entropy = call.state.entropy.as_ref();
    validate::update_with_start(&mut start, &mut update, &namespace.name, &call.state.config, entropy)?;
    let workflow_id = start.workflow_id.clone();
    let request = UpdateWithStart { start: Some(start), update: Some(update) };
    waiting(&call, call.history(&namespace, &workflow_id, Request::UpdateWithStart(request))).await
}

/// An update that waits does not hold up a node that wants to stop: its caller asks another
/// node with the same id and joins.
async fn waiting(call: &Call, answer: impl Future<Output = Result<Bytes, Error>>) -> Result<Bytes, Error> {
    tokio::select! {
        answer = answer => answer,
        () = call.state.draining.cancelled() => Err(Error::Unavailable("the server is shutting down".to_owned())),
    }
}
