//! What operators do to a run: reset it, delete it, pause it, change its options. Requests are
//! checked here and answered by the shard of the workflow id.

use std::sync::Arc;

use api::Error;
use api::internal::history_request::Request;
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::enums::v1::ResetReapplyType;
use temporalio_protos::temporal::api::workflowservice::v1::{
    DeleteWorkflowExecutionRequest, ResetWorkflowExecutionRequest,
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
    if !request.post_reset_operations.is_empty() {
        return Err(Error::Unimplemented("post reset operations are not built".to_owned()));
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
