//! Workflow tasks: polled from matching, answered to the shard.

use std::sync::Arc;

use api::Error;
use api::internal::{
    PartitionKey, RespondWorkflowTaskCompleted, RespondWorkflowTaskFailed, TaskKind, WorkflowTaskToken,
    history_request, matching_request,
};
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::enums::v1::{TaskQueueKind, VersioningBehavior};
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest,
};

use super::task_queues::{long_poll, long_poll_timeout, no_deployments, versioning};
use crate::call::Call;
use crate::request::Task;
use crate::validate;

pub(super) async fn poll(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: PollWorkflowTaskQueueRequest,
) -> Result<Bytes, Error> {
    long_poll_timeout(&call)?;
    let limits = call.limits();
    validate::identity(&request.identity, limits.id_bytes_max)?;
    #[expect(deprecated, reason = "old workers still say it")]
    let stamp = request.worker_version_capabilities.as_ref().map(|stamp| (stamp.use_versioning, &*stamp.build_id));
    versioning(stamp, request.deployment_options.as_ref(), request.task_queue.as_ref(), limits)?;
    let queue = validate::poll_queue(request.task_queue.as_mut(), limits.id_bytes_max)?;
    let partition = PartitionKey {
        namespace_id: namespace.id.as_str().to_owned(),
        task_queue: queue.name.clone(),
        kind: TaskKind::Workflow as i32,
        partition: 0,
        sticky: queue.kind() == TaskQueueKind::Sticky,
    };
    #[expect(deprecated, reason = "old workers still say it")]
    let checksum = request.binary_checksum.as_str();
    if !checksum.is_empty()
        && namespace.config.bad_binaries.as_ref().is_some_and(|bad| bad.binaries.contains_key(checksum))
    {
        return Err(validate::invalid(format!("Binary {checksum} already marked as bad deployment.")));
    }
    long_poll(&call, &namespace, partition, matching_request::Request::PollWorkflow(request)).await
}

pub(super) async fn complete(
    call: Call,
    task: Task<WorkflowTaskToken>,
    request: RespondWorkflowTaskCompletedRequest,
) -> Result<Bytes, Error> {
    let limits = call.limits();
    validate::identity(&request.identity, limits.id_bytes_max)?;
    if request.intermediate_page || request.page_number > 0 {
        return Err(Error::FailedPrecondition(format!(
            "workflow task completion pagination is disabled for this namespace {}",
            task.namespace.name
        )));
    }
    #[expect(deprecated, reason = "old workers still say it")]
    let stamp = request.worker_version_stamp.as_ref().map(|stamp| (stamp.use_versioning, &*stamp.build_id));
    let sticky = request.sticky_attributes.as_ref().and_then(|sticky| sticky.worker_task_queue.as_ref());
    versioning(stamp, request.deployment_options.as_ref(), sticky, limits)?;
    #[expect(deprecated, reason = "old workers still say it")]
    if request.deployment.is_some() && request.versioning_behavior() != VersioningBehavior::Unspecified {
        return Err(no_deployments());
    }
    let workflow_id = task.token.workflow_id.clone();
    let request = RespondWorkflowTaskCompleted { token: Some(task.token), request: Some(request) };
    call.history(&task.namespace, &workflow_id, history_request::Request::CompleteWorkflowTask(request)).await
}

pub(super) async fn fail(
    call: Call,
    task: Task<WorkflowTaskToken>,
    mut request: RespondWorkflowTaskFailedRequest,
) -> Result<Bytes, Error> {
    validate::identity(&request.identity, call.limits().id_bytes_max)?;
    validate::cap_failure(&mut request.failure, call.limits());
    let workflow_id = task.token.workflow_id.clone();
    let request = RespondWorkflowTaskFailed { token: Some(task.token), request: Some(request) };
    call.history(&task.namespace, &workflow_id, history_request::Request::FailWorkflowTask(request)).await
}
