//! What operators do to a run: reset it, delete it, pause it, change its options. Requests are
//! checked here and answered by the shard of the workflow id.

use std::sync::Arc;

use api::Error;
use api::internal::history_request::Request;
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::enums::v1::ResetReapplyType;
use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionOptions;
use temporalio_protos::temporal::api::workflow::v1::post_reset_operation::Variant;
use temporalio_protos::temporal::api::workflowservice::v1::{
    DeleteWorkflowExecutionRequest, PauseWorkflowExecutionRequest, ResetWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest, UpdateWorkflowExecutionOptionsRequest,
};

use super::workflows::workflow_id;
use crate::call::Call;
use crate::validate;

pub(super) async fn reset(
    call: Call,
    namespace: Arc<Namespace>,
    request: ResetWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    if request.request_id.is_empty() {
        return Err(validate::invalid("RequestId is not set on request."));
    }
    validate::not_longer(&request.request_id, call.limits().id_bytes_max, "RequestId length exceeds limit.")?;
    let workflow_id = workflow_id(request.workflow_execution.as_ref())?;
    #[expect(deprecated, reason = "old clients still send it")]
    let reapply = request.reset_reapply_type;
    if ResetReapplyType::try_from(reapply).is_err() {
        return Err(Error::Internal(format!("unknown reset reapply type: {reapply}")));
    }
    for operation in &request.post_reset_operations {
        if let Some(Variant::UpdateWorkflowOptions(update)) = &operation.variant {
            no_time_skipping(update.workflow_execution_options.as_ref())?;
        }
    }
    call.history(&namespace, &workflow_id, Request::Reset(request)).await
}

pub(super) async fn delete(
    call: Call,
    namespace: Arc<Namespace>,
    request: DeleteWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.workflow_execution.as_ref())?;
    call.history(&namespace, &workflow_id, Request::Delete(request)).await
}

pub(super) async fn update_options(
    call: Call,
    namespace: Arc<Namespace>,
    request: UpdateWorkflowExecutionOptionsRequest,
) -> Result<Bytes, Error> {
    let execution = request.workflow_execution.clone().unwrap_or_default();
    if execution.workflow_id.is_empty() {
        return Err(validate::invalid("WorkflowId is not set on request."));
    }
    if request.update_mask.is_none() {
        return Err(validate::invalid("UpdateMask is required"));
    }
    let Some(options) = &request.workflow_execution_options else {
        return Err(validate::invalid("WorkflowExecutionOptions is required"));
    };
    no_time_skipping(Some(options))?;
    call.history(&namespace, &execution.workflow_id, Request::UpdateOptions(request)).await
}

pub(super) async fn pause(
    call: Call,
    namespace: Arc<Namespace>,
    request: PauseWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    texts(&call, &request.reason, &request.request_id, &request.identity)?;
    run(&request.workflow_id, &request.run_id)?;
    let workflow_id = request.workflow_id.clone();
    call.history(&namespace, &workflow_id, Request::Pause(request)).await
}

pub(super) async fn unpause(
    call: Call,
    namespace: Arc<Namespace>,
    request: UnpauseWorkflowExecutionRequest,
) -> Result<Bytes, Error> {
    texts(&call, &request.reason, &request.request_id, &request.identity)?;
    run(&request.workflow_id, &request.run_id)?;
    let workflow_id = request.workflow_id.clone();
    call.history(&namespace, &workflow_id, Request::Unpause(request)).await
}

fn texts(call: &Call, reason: &str, request_id: &str, identity: &str) -> Result<(), Error> {
    let most = call.limits().id_bytes_max;
    validate::not_longer(reason, most, "reason is too long.")?;
    validate::not_longer(request_id, most, "request id is too long.")?;
    validate::not_longer(identity, most, "identity is too long.")
}

/// These requests are looked at where runs are loaded, in other words than most.
fn run(workflow_id: &str, run_id: &str) -> Result<(), Error> {
    if workflow_id.is_empty() {
        return Err(validate::invalid("Can't load workflow execution.  WorkflowId not set."));
    }
    is_run_id(run_id)
}

pub(super) fn is_run_id(run_id: &str) -> Result<(), Error> {
    if !run_id.is_empty() && uuid::Uuid::try_parse(run_id).is_err() {
        return Err(validate::invalid("RunId is not valid UUID."));
    }
    Ok(())
}

fn no_time_skipping(options: Option<&WorkflowExecutionOptions>) -> Result<(), Error> {
    if options.is_some_and(|options| options.time_skipping_config.is_some()) {
        return Err(Error::Unimplemented("The Time-Skipping feature is not enabled for namespace.".to_owned()));
    }
    Ok(())
}
