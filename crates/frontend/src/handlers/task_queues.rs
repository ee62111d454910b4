//! Long polls, the description of task queues, and workers that go away.

use std::collections::HashMap;
use std::sync::Arc;

use api::Error;
use api::internal::{CancelPolls, MatchingRequest, PartitionKey, TaskKind, matching_request};
use bytes::Bytes;
use cluster::Namespace;
use futures_util::future::join_all;
use prost::Message as _;
use temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentOptions;
use temporalio_protos::temporal::api::enums::v1::{
    BuildIdTaskReachability, DescribeTaskQueueMode, TaskQueueKind, TaskQueueType, WorkerVersioningMode,
};
use temporalio_protos::temporal::api::taskqueue::v1::{
    TaskQueue, TaskQueueStats, TaskQueueTypeInfo, TaskQueueVersionInfo,
};
use temporalio_protos::temporal::api::workflowservice::v1::{
    DescribeTaskQueueRequest, DescribeTaskQueueResponse, ShutdownWorkerRequest, ShutdownWorkerResponse,
};

use super::workers::record_last_heartbeat;
use crate::call::{Call, encoded};
use crate::{Limits, validate};

/// Build ids whose reachability is told in one answer.
const REACHABILITY_BUILD_IDS_MAX: usize = 5;

/// A worker that may wait forever, or only for an instant, is told so at once.
pub(super) fn long_poll_timeout(call: &Call) -> Result<(), Error> {
    match call.timeout {
        None => Err(validate::invalid("Context timeout is not set.")),
        Some(timeout) if timeout < call.state.config.poll_timeout_min => {
            Err(Error::FailedPrecondition("Context timeout is too short.".to_owned()))
        }
        Some(_) => Ok(()),
    }
}

/// Parks at matching. Matching ends the poll before the caller's deadline; a node that
/// drains ends it at once, so that the worker asks another one. Empty bytes are an empty
/// response: a poll without a task is no error.
pub(super) async fn long_poll(
    call: &Call,
    namespace: &Namespace,
    partition: PartitionKey,
    request: matching_request::Request,
) -> Result<Bytes, Error> {
    let answer = tokio::select! {
        biased;
        answer = call.matching(namespace, partition, request) => answer,
        () = call.state.draining.cancelled() => Ok(Bytes::new()),
    };
    match answer {
        Err(Error::DeadlineExceeded | Error::Canceled) => Ok(Bytes::new()),
        answer => answer,
    }
}

/// Workers may name their build, but routing by it is not built: a worker that relies on
/// it must not get tasks of other builds.
pub(super) fn versioning(
    stamp: Option<(bool, &str)>,
    deployment: Option<&WorkerDeploymentOptions>,
    queue: Option<&TaskQueue>,
    limits: &Limits,
) -> Result<(), Error> {
    let (use_versioning, build_id) = stamp.unwrap_or_default();
    if use_versioning {
        return Err(Error::PermissionDenied(
            "Worker versioning in workflow progress APIs is disabled on this namespace.".to_owned(),
        ));
    }
    if let Some(queue) = queue
        && queue.kind() == TaskQueueKind::Sticky
        && queue.normal_name.is_empty()
        && deployment.is_some()
    {
        return Err(validate::invalid(
            "NormalName must be set on sticky queue when UseVersioning is true or DeploymentOptions are set.",
        ));
    }
    validate::not_longer(
        build_id,
        limits.build_id_bytes_max,
        "Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID.",
    )?;
    let Some(deployment) = deployment else { return Ok(()) };
    if deployment.worker_versioning_mode() != WorkerVersioningMode::Versioned {
        return Ok(());
    }
    if deployment.deployment_name.is_empty() || deployment.build_id.is_empty() {
        return Err(validate::invalid("Deployment name and build id must be set together."));
    }
    Err(no_deployments())
}

pub(super) fn no_deployments() -> Error {
    Error::PermissionDenied("Worker Deployment Versions are disabled on this namespace.".to_owned())
}

#[expect(deprecated, reason = "older tools ask for what the newer form does without")]
pub(super) async fn describe(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: DescribeTaskQueueRequest,
) -> Result<Bytes, Error> {
    let bytes_max = call.limits().id_bytes_max;
    let enhanced = request.api_mode() == DescribeTaskQueueMode::Enhanced;
    let mut queue = if enhanced {
        validate::poll_queue(request.task_queue.as_mut(), bytes_max)?.clone()
    } else {
        validate::partition_name(request.task_queue.as_mut(), bytes_max)?.clone()
    };
    let build_ids = request.versions.as_ref().map_or(0, |versions| versions.build_ids.len());
    if request.report_task_reachability && build_ids > REACHABILITY_BUILD_IDS_MAX {
        return Err(validate::invalid(format!(
            "Too many build ids queried at once with ReportTaskReachability==true, limit: {REACHABILITY_BUILD_IDS_MAX}"
        )));
    }
    if enhanced {
        if queue.kind() == TaskQueueKind::Sticky {
            return Err(validate::invalid(
                "Enhanced DescribeTaskQueue is not valid for a sticky queue, use api_mode=UNSPECIFIED or a normal queue.",
            ));
        }
        return describe_enhanced(&call, &namespace, &queue.name, request).await;
    }
    let number = validate::partition_number(&mut queue)?;
    if request.report_stats && (number > 0 || queue.kind() == TaskQueueKind::Sticky) {
        return Err(validate::invalid("DescribeTaskQueue stats are only supported for the root partition"));
    }
    let kind = match request.task_queue_type() {
        TaskQueueType::Activity => TaskKind::Activity,
        TaskQueueType::Unspecified | TaskQueueType::Workflow => TaskKind::Workflow,
        // Nobody polls for other kinds of tasks here: only settings can be told.
        TaskQueueType::Nexus => TaskKind::Unspecified,
    };
    let partition = PartitionKey {
        namespace_id: namespace.id.as_str().to_owned(),
        task_queue: queue.name.clone(),
        kind: kind as i32,
        partition: number,
        sticky: queue.kind() == TaskQueueKind::Sticky,
    };
    call.matching(&namespace, partition, matching_request::Request::Describe(request)).await
}

/// The older form: all types of the queue in one answer, by build id. Workers without a
/// version are the only ones there are; their build id is the empty one.
#[expect(deprecated, reason = "older tools ask in this way")]
async fn describe_enhanced(
    call: &Call,
    namespace: &Namespace,
    queue: &str,
    request: DescribeTaskQueueRequest,
) -> Result<Bytes, Error> {
    let mut types: Vec<TaskQueueType> = request.task_queue_types().collect();
    if types.is_empty() {
        types = vec![TaskQueueType::Workflow, TaskQueueType::Activity];
    }
    let build_ids = match &request.versions {
        None => vec![String::new()],
        Some(versions) => {
            let unversioned = versions.unversioned.then(String::new);
            versions.build_ids.iter().cloned().chain(unversioned).collect()
        }
    };
    let mut versions_info = HashMap::new();
    for build_id in build_ids {
        let mut types_info = HashMap::new();
        for &task_queue_type in &types {
            let info = if build_id.is_empty() {
                describe_type(call, namespace, queue, task_queue_type, &request).await?
            } else {
                let nothing =
                    TaskQueueStats { approximate_backlog_age: Some(Default::default()), ..Default::default() };
                TaskQueueTypeInfo { pollers: Vec::new(), stats: request.report_stats.then_some(nothing) }
            };
            types_info.insert(task_queue_type as i32, info);
        }
        let reachability = match (request.report_task_reachability, build_id.is_empty()) {
            (false, _) => BuildIdTaskReachability::Unspecified,
            (true, true) => BuildIdTaskReachability::Reachable,
            (true, false) => BuildIdTaskReachability::Unreachable,
        };
        versions_info.insert(build_id, TaskQueueVersionInfo { types_info, task_reachability: reachability.into() });
    }
    encoded(&DescribeTaskQueueResponse { versions_info, ..DescribeTaskQueueResponse::default() })
}

#[expect(deprecated, reason = "older tools ask in this way")]
async fn describe_type(
    call: &Call,
    namespace: &Namespace,
    queue: &str,
    task_queue_type: TaskQueueType,
    request: &DescribeTaskQueueRequest,
) -> Result<TaskQueueTypeInfo, Error> {
    let kind = match task_queue_type {
        TaskQueueType::Activity => TaskKind::Activity,
        TaskQueueType::Workflow => TaskKind::Workflow,
        TaskQueueType::Unspecified | TaskQueueType::Nexus => TaskKind::Unspecified,
    };
    let partition = PartitionKey {
        namespace_id: namespace.id.as_str().to_owned(),
        task_queue: queue.to_owned(),
        kind: kind as i32,
        ..PartitionKey::default()
    };
    let request = DescribeTaskQueueRequest {
        task_queue: request.task_queue.clone(),
        task_queue_type: task_queue_type as i32,
        report_stats: request.report_stats,
        report_pollers: request.report_pollers,
        ..DescribeTaskQueueRequest::default()
    };
    let report_pollers = request.report_pollers;
    let body = call.matching(namespace, partition, matching_request::Request::Describe(request)).await?;
    let described = DescribeTaskQueueResponse::decode(body)
        .map_err(|error| Error::Internal(format!("matching describes a queue in bytes that do not decode: {error}")))?;
    let pollers = if report_pollers { described.pollers } else { Vec::new() };
    Ok(TaskQueueTypeInfo { pollers, stats: described.stats })
}

/// The worker's polls end on every node, and its sticky queue is given up. The polls are
/// a courtesy; the sticky queue is not, because tasks would wait there for nobody.
pub(super) async fn shutdown_worker(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: ShutdownWorkerRequest,
) -> Result<Bytes, Error> {
    if let Some(heartbeat) = request.worker_heartbeat.take() {
        record_last_heartbeat(&call, &namespace, heartbeat).await;
    }
    let sticky = PartitionKey {
        namespace_id: namespace.id.as_str().to_owned(),
        task_queue: request.sticky_task_queue.clone(),
        kind: TaskKind::Workflow as i32,
        partition: 0,
        sticky: true,
    };
    let cancel = |sticky_queue: &str, partition: Option<PartitionKey>| MatchingRequest {
        namespace_id: namespace.id.as_str().to_owned(),
        namespace: namespace.name.clone(),
        partition,
        request: Some(matching_request::Request::CancelPolls(CancelPolls {
            worker_instance_key: request.worker_instance_key.clone(),
            sticky_queue: sticky_queue.to_owned(),
        })),
    };
    if !request.worker_instance_key.is_empty() {
        let everywhere = call.backend().live_nodes().into_iter().map(|node| {
            let ended = call.backend().matching_at(node, Box::new(cancel("", None)), call.deadline);
            async move {
                if let Err(error) = ended.await {
                    tracing::debug!(%node, %error, "a worker's polls were not ended");
                }
            }
        });
        join_all(everywhere).await;
    }
    if !request.sticky_task_queue.is_empty() {
        let cancel = cancel(&request.sticky_task_queue, Some(sticky));
        call.backend().matching(Box::new(cancel), call.deadline).await?;
    }
    encoded(&ShutdownWorkerResponse::default())
}
