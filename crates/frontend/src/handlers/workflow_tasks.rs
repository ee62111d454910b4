//! Workflow tasks: polled from matching, answered to the shard.

use std::sync::Arc;

use api::Error;
use api::internal::{
    PartitionKey, RespondWorkflowTaskCompleted, RespondWorkflowTaskFailed, TaskKind, WorkflowTaskToken,
    history_request, matching_request,
};
use bytes::Bytes;
use cluster::Namespace;
use prost::Message as _;
use temporalio_protos::temporal::api::enums::v1::TaskQueueKind;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest,
};

use super::task_queues::{long_poll, long_poll_timeout, versioning};
use crate::call::Call;
use crate::request::Task;
use crate::{Limits, validate};

pub(super) const FAILURE_TOO_LARGE: &str = "Failure exceeds size limit.";

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
    #[expect(deprecated, reason = "old workers still say it")]
    let stamp = request.worker_version_stamp.as_ref().map(|stamp| (stamp.use_versioning, &*stamp.build_id));
    let sticky = request.sticky_attributes.as_ref().and_then(|sticky| sticky.worker_task_queue.as_ref());
    versioning(stamp, request.deployment_options.as_ref(), sticky, limits)?;
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
    cap_failure(&mut request.failure, call.limits());
    let workflow_id = task.token.workflow_id.clone();
    let request = RespondWorkflowTaskFailed { token: Some(task.token), request: Some(request) };
    call.history(&task.namespace, &workflow_id, history_request::Request::FailWorkflowTask(request)).await
}

/// A failure that is too large becomes the server's own, with what fits of the original
/// as its cause. Returns a copy of the replacement, if there was one.
pub(super) fn cap_failure(
    failure: &mut Option<temporalio_protos::temporal::api::failure::v1::Failure>,
    limits: &Limits,
) -> Option<temporalio_protos::temporal::api::failure::v1::Failure> {
    let too_large = failure.as_ref().is_some_and(|failure| failure.encoded_len() > limits.blob_bytes_max);
    if !too_large {
        return None;
    }
    let mut replacement = super::activities::server_failure(FAILURE_TOO_LARGE);
    let mut bytes_left = limits.failure_bytes_kept;
    replacement.cause = failure.take().map(|original| Box::new(cut(original, &mut bytes_left, CUT_DEPTH_MAX)));
    *failure = Some(replacement.clone());
    Some(replacement)
}

/// Causes of causes that are kept of a failure that is too large.
const CUT_DEPTH_MAX: usize = 20;

/// Keeps the type and, as far as they fit, source, message, stack trace and causes.
fn cut(
    failure: temporalio_protos::temporal::api::failure::v1::Failure,
    bytes_left: &mut usize,
    depth: usize,
) -> temporalio_protos::temporal::api::failure::v1::Failure {
    use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
    use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
    let info = match failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
                r#type: cut_text(info.r#type, bytes_left),
                non_retryable: info.non_retryable,
                ..ApplicationFailureInfo::default()
            }))
        }
        Some(FailureInfo::ServerFailureInfo(info)) => Some(FailureInfo::ServerFailureInfo(info)),
        _ => None,
    };
    let source = cut_text(failure.source, bytes_left);
    let message = cut_text(failure.message, bytes_left);
    let stack_trace = cut_text(failure.stack_trace, bytes_left);
    let cause = match failure.cause {
        Some(cause) if *bytes_left > 0 && depth > 0 => Some(Box::new(cut(*cause, bytes_left, depth - 1))),
        _ => None,
    };
    Failure { source, message, stack_trace, cause, failure_info: info, ..Failure::default() }
}

fn cut_text(mut text: String, bytes_left: &mut usize) -> String {
    let mut end = text.len().min(*bytes_left);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    *bytes_left -= end;
    text
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::failure::v1::Failure;

    use super::*;

    #[test]
    fn large_failures_are_cut_to_what_fits() {
        let limits = Limits { blob_bytes_max: 100, failure_bytes_kept: 21, ..Limits::default() };
        let small = Failure { message: "small".into(), ..Failure::default() };
        let mut failure = Some(small.clone());
        assert_eq!(cap_failure(&mut failure, &limits), None);
        assert_eq!(failure, Some(small));

        let inner = Failure { message: "ü".repeat(90), ..Failure::default() };
        let mut failure = Some(Failure { message: "outer".into(), cause: Some(Box::new(inner)), ..Failure::default() });
        let replacement = cap_failure(&mut failure, &limits).expect("replaced");
        assert_eq!(failure.as_ref(), Some(&replacement));
        assert_eq!(replacement.message, FAILURE_TOO_LARGE);
        let outer = replacement.cause.expect("what fits");
        assert_eq!((outer.message.as_str(), outer.cause.expect("too").message), ("outer", "ü".repeat(8)));
    }
}
