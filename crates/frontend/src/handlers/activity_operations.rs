//! What operators ask of the pending activities of a workflow, in both generations of the
//! API: the older names a workflow and a set of its activities, the newer one activity that
//! may also stand alone (which is not built).

use std::sync::Arc;

use api::Error;
use api::internal::history_request::Request;
use base::Entropy;
use bytes::Bytes;
use cluster::Namespace;
use prost_types::FieldMask;
use temporalio_protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PauseActivityExecutionRequest, PauseActivityRequest, ResetActivityExecutionRequest, ResetActivityRequest,
    UnpauseActivityExecutionRequest, UnpauseActivityRequest, UpdateActivityExecutionOptionsRequest,
    UpdateActivityOptionsRequest, pause_activity_request, reset_activity_request, unpause_activity_request,
    update_activity_options_request,
};

use crate::call::Call;
use crate::validate;

/// What can be changed, as paths of a field mask.
const UPDATE_PATHS: [&str; 15] = [
    "task_queue.name",
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
    "priority",
    "priority.priority_key",
    "priority.fairness_key",
    "priority.fairness_weight",
    "retry_policy",
    "retry_policy.initial_interval",
    "retry_policy.backoff_coefficient",
    "retry_policy.maximum_interval",
    "retry_policy.maximum_attempts",
    "start_delay",
];

pub(super) async fn pause(
    call: Call,
    namespace: Arc<Namespace>,
    request: PauseActivityRequest,
) -> Result<Bytes, Error> {
    let workflow_id = older(request.execution.as_ref(), request.activity.is_some())?;
    call.history(&namespace, &workflow_id, Request::PauseActivity(request)).await
}

pub(super) async fn unpause(
    call: Call,
    namespace: Arc<Namespace>,
    request: UnpauseActivityRequest,
) -> Result<Bytes, Error> {
    let workflow_id = older(request.execution.as_ref(), request.activity.is_some())?;
    call.history(&namespace, &workflow_id, Request::UnpauseActivity(request)).await
}

pub(super) async fn reset(
    call: Call,
    namespace: Arc<Namespace>,
    request: ResetActivityRequest,
) -> Result<Bytes, Error> {
    let workflow_id = older(request.execution.as_ref(), request.activity.is_some())?;
    call.history(&namespace, &workflow_id, Request::ResetActivity(request)).await
}

pub(super) async fn update_options(
    call: Call,
    namespace: Arc<Namespace>,
    request: UpdateActivityOptionsRequest,
) -> Result<Bytes, Error> {
    let workflow_id = older(request.execution.as_ref(), request.activity.is_some())?;
    validate::priority(request.activity_options.as_ref().and_then(|options| options.priority.as_ref()))?;
    call.history(&namespace, &workflow_id, Request::UpdateActivityOptions(request)).await
}

/// The workflow that an older request names.
fn older(execution: Option<&WorkflowExecution>, names_activity: bool) -> Result<String, Error> {
    let execution = execution.filter(|execution| !execution.workflow_id.is_empty());
    let execution = execution.ok_or_else(|| validate::invalid("WorkflowId is not set on request."))?;
    if !names_activity {
        return Err(validate::invalid("Either Activity.Id or Activity.Type should be set on request."));
    }
    if !execution.run_id.is_empty() && uuid::Uuid::try_parse(&execution.run_id).is_err() {
        return Err(validate::invalid("RunId is not valid UUID."));
    }
    Ok(execution.workflow_id.clone())
}

/// The answers to the newer requests have the same fields under the same numbers, so the
/// shard's bytes serve for both.
pub(super) async fn pause_execution(
    call: Call,
    namespace: Arc<Namespace>,
    request: PauseActivityExecutionRequest,
) -> Result<Bytes, Error> {
    not_standalone(&request.workflow_id)?;
    let request_id = newer(&call, request.request_id, &request.activity_id, &request.identity, &request.run_id)?;
    if request.reason.len() > call.limits().blob_bytes_max {
        return Err(validate::invalid("reason exceeds length limit"));
    }
    let workflow_id = request.workflow_id.clone();
    let request = PauseActivityRequest {
        namespace: request.namespace,
        execution: execution(request.workflow_id, request.run_id),
        identity: request.identity,
        reason: request.reason,
        request_id,
        activity: Some(pause_activity_request::Activity::Id(request.activity_id)),
    };
    call.history(&namespace, &workflow_id, Request::PauseActivity(request)).await
}

pub(super) async fn unpause_execution(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: UnpauseActivityExecutionRequest,
) -> Result<Bytes, Error> {
    not_standalone(&request.workflow_id)?;
    newer(&call, request.request_id, &request.activity_id, &request.identity, &request.run_id)?;
    jitter(&mut request.jitter)?;
    let workflow_id = request.workflow_id.clone();
    let request = UnpauseActivityRequest {
        namespace: request.namespace,
        execution: execution(request.workflow_id, request.run_id),
        identity: request.identity,
        jitter: request.jitter,
        activity: Some(unpause_activity_request::Activity::Id(request.activity_id)),
        ..UnpauseActivityRequest::default()
    };
    call.history(&namespace, &workflow_id, Request::UnpauseActivity(request)).await
}

pub(super) async fn reset_execution(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: ResetActivityExecutionRequest,
) -> Result<Bytes, Error> {
    not_standalone(&request.workflow_id)?;
    newer(&call, request.request_id, &request.activity_id, &request.identity, &request.run_id)?;
    jitter(&mut request.jitter)?;
    let workflow_id = request.workflow_id.clone();
    let request = ResetActivityRequest {
        namespace: request.namespace,
        execution: execution(request.workflow_id, request.run_id),
        identity: request.identity,
        reset_heartbeat: request.reset_heartbeat,
        keep_paused: request.keep_paused,
        jitter: request.jitter,
        restore_original_options: request.restore_original_options,
        activity: Some(reset_activity_request::Activity::Id(request.activity_id)),
    };
    call.history(&namespace, &workflow_id, Request::ResetActivity(request)).await
}

pub(super) async fn update_execution_options(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: UpdateActivityExecutionOptionsRequest,
) -> Result<Bytes, Error> {
    not_standalone(&request.workflow_id)?;
    newer(&call, request.request_id, &request.activity_id, &request.identity, &request.run_id)?;
    let mask = request.update_mask.as_ref();
    if mask.is_some_and(|mask| !mask.paths.is_empty()) && request.restore_original {
        return Err(validate::invalid("Both UpdateMask and RestoreOriginal are provided"));
    }
    if !request.restore_original {
        let options = request.activity_options.as_mut();
        let options = options.ok_or_else(|| validate::invalid("ActivityOptions are not provided"))?;
        let mask = mask.ok_or_else(|| validate::invalid("UpdateMask is not provided"))?;
        check_options(&call, options, mask)?;
    }
    let workflow_id = request.workflow_id.clone();
    let request = UpdateActivityOptionsRequest {
        namespace: request.namespace,
        execution: execution(request.workflow_id, request.run_id),
        identity: request.identity,
        activity_options: request.activity_options,
        update_mask: request.update_mask,
        restore_original: request.restore_original,
        activity: Some(update_activity_options_request::Activity::Id(request.activity_id)),
    };
    call.history(&namespace, &workflow_id, Request::UpdateActivityOptions(request)).await
}

#[expect(clippy::unnecessary_wraps, reason = "the form that the request wants")]
fn execution(workflow_id: String, run_id: String) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id, run_id })
}

fn not_standalone(workflow_id: &str) -> Result<(), Error> {
    if workflow_id.is_empty() {
        return Err(Error::Unimplemented("Standalone activity operator commands are disabled".to_owned()));
    }
    Ok(())
}

/// What all newer requests have in common. Returns the request id, made up when absent.
fn newer(call: &Call, request_id: String, activity_id: &str, identity: &str, run_id: &str) -> Result<String, Error> {
    let entropy: &dyn Entropy = call.state.entropy.as_ref();
    let request_id = if request_id.is_empty() { entropy.uuid() } else { request_id };
    let bytes_max = call.limits().id_bytes_max;
    let fits = |name: &str, value: &str| {
        if value.len() <= bytes_max {
            return Ok(());
        }
        let length = value.len();
        Err(validate::invalid(format!("{name} exceeds length limit. Length={length} Limit={bytes_max}")))
    };
    fits("request ID", &request_id)?;
    if activity_id.is_empty() {
        return Err(validate::invalid("activity ID is required"));
    }
    fits("activity ID", activity_id)?;
    fits("identity", identity)?;
    if !run_id.is_empty() && uuid::Uuid::try_parse(run_id).is_err() {
        return Err(validate::invalid("invalid run id: must be a valid UUID"));
    }
    Ok(request_id)
}

fn jitter(jitter: &mut Option<prost_types::Duration>) -> Result<(), Error> {
    validate::cap(jitter).map_err(|cause| validate::invalid(format!("invalid jitter: {cause}")))
}

/// Each field that the mask names, on its own; together they are checked in the shard.
fn check_options(call: &Call, options: &mut ActivityOptions, mask: &FieldMask) -> Result<(), Error> {
    if mask.paths.is_empty() {
        return Err(validate::invalid("UpdateMask must specify at least one path"));
    }
    for path in &mask.paths {
        if !UPDATE_PATHS.iter().any(|known| same_path(known, path)) {
            return Err(validate::invalid(format!("unsupported update_mask path: {path:?}")));
        }
    }
    let names = |known: &str| mask.paths.iter().any(|path| same_path(known, path));
    if names("task_queue.name") {
        validate::activity_queue(options.task_queue.as_mut(), call.limits().id_bytes_max)?;
    }
    for (path, name, timeout) in [
        ("schedule_to_close_timeout", "ScheduleToCloseTimeout", &mut options.schedule_to_close_timeout),
        ("schedule_to_start_timeout", "ScheduleToStartTimeout", &mut options.schedule_to_start_timeout),
        ("start_to_close_timeout", "StartToCloseTimeout", &mut options.start_to_close_timeout),
        ("heartbeat_timeout", "HeartbeatTimeout", &mut options.heartbeat_timeout),
    ] {
        if names(path) {
            validate::cap(timeout).map_err(|cause| validate::invalid(format!("invalid {name}: {cause}")))?;
        }
    }
    if names("priority")
        || ["priority_key", "fairness_key", "fairness_weight"].iter().any(|part| names(&format!("priority.{part}")))
    {
        validate::priority(options.priority.as_ref())?;
    }
    if names("retry_policy") {
        validate::retry_policy(Some(options.retry_policy.get_or_insert_default()))?;
    }
    check_parts_of_retry_policy(options, names)
}

fn check_parts_of_retry_policy(options: &mut ActivityOptions, names: impl Fn(&str) -> bool) -> Result<(), Error> {
    let Some(policy) = &mut options.retry_policy else {
        if names("retry_policy.backoff_coefficient") {
            return Err(validate::invalid("BackoffCoefficient cannot be less than 1 on retry policy."));
        }
        return Ok(());
    };
    if names("retry_policy.initial_interval") {
        validate::cap(&mut policy.initial_interval)
            .map_err(|cause| validate::invalid(format!("invalid InitialInterval set on retry policy: {cause}")))?;
    }
    if names("retry_policy.backoff_coefficient") && policy.backoff_coefficient < 1.0 {
        return Err(validate::invalid("BackoffCoefficient cannot be less than 1 on retry policy."));
    }
    if names("retry_policy.maximum_interval") {
        validate::cap(&mut policy.maximum_interval)
            .map_err(|cause| validate::invalid(format!("invalid MaximumInterval set on retry policy: {cause}")))?;
    }
    if names("retry_policy.maximum_attempts") && policy.maximum_attempts < 0 {
        return Err(validate::invalid("MaximumAttempts cannot be negative on retry policy."));
    }
    Ok(())
}

/// Clients write paths in snake case or in camel case.
fn same_path(known: &str, path: &str) -> bool {
    let letters = |path: &str| path.replace('_', "").to_lowercase();
    letters(known) == letters(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_may_be_written_in_any_case() {
        for path in ["task_queue.name", "taskQueue.name", "TaskQueue.Name"] {
            assert!(same_path("task_queue.name", path), "{path}");
        }
        assert!(!same_path("task_queue.name", "task_queue"));
    }
}
