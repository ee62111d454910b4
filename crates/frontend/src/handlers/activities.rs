//! Activity tasks: polled from matching, answered to the shard by token or by id. What is
//! too large does not fail the call, which the worker would repeat, but the activity.

use std::sync::Arc;

use api::Error;
use api::internal::history_request::Request;
use api::internal::{
    ActivityAddress, ActivityTaskToken, PartitionKey, RecordActivityTaskHeartbeat, RespondActivityTaskCanceled,
    RespondActivityTaskCompleted, RespondActivityTaskFailed, TaskKind, matching_request,
};
use bytes::{Bytes, BytesMut};
use cluster::Namespace;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::Payloads;
use temporalio_protos::temporal::api::enums::v1::TaskQueueKind;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, RecordActivityTaskHeartbeatByIdRequest, RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse, RespondActivityTaskCanceledByIdRequest, RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse, RespondActivityTaskCompletedByIdRequest, RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse, RespondActivityTaskFailedByIdRequest, RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
};

use super::task_queues::{long_poll, long_poll_timeout, versioning};
use crate::call::{Call, encoded};
use crate::request::Task;
use crate::validate;

const RESULT_TOO_LARGE: &str = "Complete result exceeds size limit.";
const DETAILS_TOO_LARGE: &str = "Cancel details exceed size limit.";
const HEARTBEAT_TOO_LARGE: &str = "Heartbeat details exceed size limit.";

pub(super) async fn poll(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: PollActivityTaskQueueRequest,
) -> Result<Bytes, Error> {
    long_poll_timeout(&call)?;
    let limits = call.limits();
    let queue = validate::poll_queue(request.task_queue.as_mut(), limits.id_bytes_max)?;
    let partition = PartitionKey {
        namespace_id: namespace.id.as_str().to_owned(),
        task_queue: queue.name.clone(),
        kind: TaskKind::Activity as i32,
        partition: 0,
        sticky: queue.kind() == TaskQueueKind::Sticky,
    };
    validate::identity(&request.identity, limits.id_bytes_max)?;
    #[expect(deprecated, reason = "old workers still say it")]
    let stamp = request.worker_version_capabilities.as_ref().map(|stamp| (stamp.use_versioning, &*stamp.build_id));
    versioning(stamp, request.deployment_options.as_ref(), request.task_queue.as_ref(), limits)?;
    long_poll(&call, &namespace, partition, matching_request::Request::PollActivity(request)).await
}

/// An activity, and where it is.
struct Target {
    namespace: Arc<Namespace>,
    address: ActivityAddress,
}

impl Target {
    fn by_token(task: Task<ActivityTaskToken>) -> Result<Self, Error> {
        let token = task.token;
        if token.workflow_id.is_empty() {
            return Err(validate::invalid("WorkflowId is not set on request."));
        }
        let workflow_id = token.workflow_id.clone();
        let address = ActivityAddress { token: Some(token), workflow_id, ..ActivityAddress::default() };
        Ok(Self { namespace: task.namespace, address })
    }

    /// Without a workflow id it would be an activity of its own, which is not built.
    fn by_id(
        namespace: Arc<Namespace>,
        workflow_id: String,
        run_id: String,
        activity_id: String,
    ) -> Result<Self, Error> {
        if workflow_id.is_empty() {
            return Err(validate::invalid("WorkflowId is not set on request."));
        }
        Ok(Self { namespace, address: ActivityAddress { token: None, workflow_id, run_id, activity_id } })
    }

    async fn send(self, call: &Call, request: impl FnOnce(ActivityAddress) -> Request) -> Result<Bytes, Error> {
        let workflow_id = self.address.workflow_id.clone();
        call.history(&self.namespace, &workflow_id, request(self.address)).await
    }

    /// Fails the activity because what its worker sent is too large.
    async fn fail(self, call: &Call, message: &str, identity: String) -> Result<(), Error> {
        let failure = Some(validate::server_failure(message));
        let request = RespondActivityTaskFailedRequest { failure, identity, ..Default::default() };
        self.send(call, |address| {
            Request::FailActivity(RespondActivityTaskFailed { address: Some(address), request: Some(request) })
        })
        .await?;
        Ok(())
    }
}

fn too_large(payloads: Option<&Payloads>, call: &Call) -> bool {
    payloads.is_some_and(|payloads| payloads.encoded_len() > call.limits().blob_bytes_max)
}

fn activity_id(id: &str) -> Result<(), Error> {
    if id.is_empty() { Err(validate::invalid("ActivityId is not set on request.")) } else { Ok(()) }
}

pub(super) async fn complete(
    call: Call,
    task: Task<ActivityTaskToken>,
    request: RespondActivityTaskCompletedRequest,
) -> Result<Bytes, Error> {
    validate::identity(&request.identity, call.limits().id_bytes_max)?;
    complete_at(&call, Target::by_token(task)?, request).await
}

pub(super) async fn complete_by_id(
    call: Call,
    namespace: Arc<Namespace>,
    request: RespondActivityTaskCompletedByIdRequest,
) -> Result<Bytes, Error> {
    activity_id(&request.activity_id)?;
    validate::identity(&request.identity, call.limits().id_bytes_max)?;
    let target = Target::by_id(namespace, request.workflow_id, request.run_id, request.activity_id)?;
    let request = RespondActivityTaskCompletedRequest {
        result: request.result,
        identity: request.identity,
        namespace: request.namespace,
        ..Default::default()
    };
    complete_at(&call, target, request).await
}

async fn complete_at(
    call: &Call,
    target: Target,
    request: RespondActivityTaskCompletedRequest,
) -> Result<Bytes, Error> {
    if too_large(request.result.as_ref(), call) {
        target.fail(call, RESULT_TOO_LARGE, request.identity).await?;
        return encoded(&RespondActivityTaskCompletedResponse::default());
    }
    target
        .send(call, |address| {
            Request::CompleteActivity(RespondActivityTaskCompleted { address: Some(address), request: Some(request) })
        })
        .await
}

pub(super) async fn fail(
    call: Call,
    task: Task<ActivityTaskToken>,
    request: RespondActivityTaskFailedRequest,
) -> Result<Bytes, Error> {
    let of_application =
        |failure: &Failure| matches!(failure.failure_info, Some(FailureInfo::ApplicationFailureInfo(_)));
    if !request.failure.as_ref().is_none_or(of_application) {
        return Err(validate::invalid("Failure must have ApplicationFailureInfo."));
    }
    validate::identity(&request.identity, call.limits().id_bytes_max)?;
    fail_at(&call, Target::by_token(task)?, request).await
}

pub(super) async fn fail_by_id(
    call: Call,
    namespace: Arc<Namespace>,
    request: RespondActivityTaskFailedByIdRequest,
) -> Result<Bytes, Error> {
    activity_id(&request.activity_id)?;
    validate::identity(&request.identity, call.limits().id_bytes_max)?;
    let target = Target::by_id(namespace, request.workflow_id, request.run_id, request.activity_id)?;
    let request = RespondActivityTaskFailedRequest {
        failure: request.failure,
        identity: request.identity,
        namespace: request.namespace,
        last_heartbeat_details: request.last_heartbeat_details,
        cause: request.cause,
        ..Default::default()
    };
    fail_at(&call, target, request).await
}

async fn fail_at(call: &Call, target: Target, mut request: RespondActivityTaskFailedRequest) -> Result<Bytes, Error> {
    let mut failures = Vec::new();
    if too_large(request.last_heartbeat_details.as_ref(), call) {
        request.last_heartbeat_details = None;
        failures.push(validate::server_failure(HEARTBEAT_TOO_LARGE));
    }
    failures.extend(validate::cap_failure(&mut request.failure, call.limits()));
    let body = target
        .send(call, |address| {
            Request::FailActivity(RespondActivityTaskFailed { address: Some(address), request: Some(request) })
        })
        .await?;
    if failures.is_empty() {
        return Ok(body);
    }
    // Encoded messages merge by being joined: the failures are added to the shard's answer.
    let mut joined = BytesMut::from(&body[..]);
    joined.extend_from_slice(&RespondActivityTaskFailedResponse { failures }.encode_to_vec());
    Ok(joined.freeze())
}

pub(super) async fn cancel(
    call: Call,
    task: Task<ActivityTaskToken>,
    request: RespondActivityTaskCanceledRequest,
) -> Result<Bytes, Error> {
    validate::identity(&request.identity, call.limits().id_bytes_max)?;
    cancel_at(&call, Target::by_token(task)?, request).await
}

pub(super) async fn cancel_by_id(
    call: Call,
    namespace: Arc<Namespace>,
    request: RespondActivityTaskCanceledByIdRequest,
) -> Result<Bytes, Error> {
    activity_id(&request.activity_id)?;
    validate::identity(&request.identity, call.limits().id_bytes_max)?;
    let target = Target::by_id(namespace, request.workflow_id, request.run_id, request.activity_id)?;
    let request = RespondActivityTaskCanceledRequest {
        details: request.details,
        identity: request.identity,
        namespace: request.namespace,
        ..Default::default()
    };
    cancel_at(&call, target, request).await
}

async fn cancel_at(call: &Call, target: Target, request: RespondActivityTaskCanceledRequest) -> Result<Bytes, Error> {
    if too_large(request.details.as_ref(), call) {
        target.fail(call, DETAILS_TOO_LARGE, request.identity).await?;
        return encoded(&RespondActivityTaskCanceledResponse::default());
    }
    target
        .send(call, |address| {
            Request::CancelActivity(RespondActivityTaskCanceled { address: Some(address), request: Some(request) })
        })
        .await
}

pub(super) async fn heartbeat(
    call: Call,
    task: Task<ActivityTaskToken>,
    request: RecordActivityTaskHeartbeatRequest,
) -> Result<Bytes, Error> {
    heartbeat_at(&call, Target::by_token(task)?, request).await
}

/// Answers with the same fields under the same numbers, so the shard's bytes serve for both.
pub(super) async fn heartbeat_by_id(
    call: Call,
    namespace: Arc<Namespace>,
    request: RecordActivityTaskHeartbeatByIdRequest,
) -> Result<Bytes, Error> {
    activity_id(&request.activity_id)?;
    let target = Target::by_id(namespace, request.workflow_id, request.run_id, request.activity_id)?;
    let request = RecordActivityTaskHeartbeatRequest {
        details: request.details,
        identity: request.identity,
        namespace: request.namespace,
        ..Default::default()
    };
    heartbeat_at(&call, target, request).await
}

async fn heartbeat_at(
    call: &Call,
    target: Target,
    request: RecordActivityTaskHeartbeatRequest,
) -> Result<Bytes, Error> {
    if too_large(request.details.as_ref(), call) {
        target.fail(call, HEARTBEAT_TOO_LARGE, request.identity).await?;
        return encoded(&RecordActivityTaskHeartbeatResponse { cancel_requested: true, ..Default::default() });
    }
    target
        .send(call, |address| {
            Request::Heartbeat(RecordActivityTaskHeartbeat { address: Some(address), request: Some(request) })
        })
        .await
}
