//! Starts and signal-with-starts: defaults are filled in, the rest is checked in the order
//! of the official server. The two differ in wording and order, which clients can see.
//!
//! The form of cron schedules is checked where they are evaluated, in the shard.

use api::Error;
use base::Entropy;
use prost_types::Duration;
use temporalio_protos::temporal::api::common::v1::{RetryPolicy, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{TimeoutType, WorkflowIdConflictPolicy, WorkflowIdReusePolicy};
use temporalio_protos::temporal::api::workflow::v1::OnConflictOptions;
use temporalio_protos::temporal::api::workflowservice::v1::{
    SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest,
};

use super::duration::{cap, nanos};
use super::{blob, callbacks, deduplicate, invalid, links, not_longer, priority, search_attributes, start_queue};
use crate::{Config, Limits};

const INITIAL_INTERVAL_SECONDS_DEFAULT: i64 = 1;
const BACKOFF_COEFFICIENT_DEFAULT: f64 = 2.0;
/// The longest interval between attempts, in initial intervals.
const MAXIMUM_INTERVAL_FACTOR_DEFAULT: i128 = 100;

/// Names a timeout in a retry policy's list of errors that are not retried.
const TIMEOUT_ERROR_PREFIX: &str = "TemporalTimeout:";

pub(crate) fn start(
    request: &mut StartWorkflowExecutionRequest,
    config: &Config,
    entropy: &dyn Entropy,
) -> Result<(), Error> {
    let limits = &config.limits;
    let id_bytes_max = limits.id_bytes_max;
    default_id_policies(
        &mut request.workflow_id_reuse_policy,
        &mut request.workflow_id_conflict_policy,
        WorkflowIdConflictPolicy::Fail,
    );
    workflow_id(&request.workflow_id, id_bytes_max)?;
    retry_policy(request.retry_policy.as_mut())?;
    start_delay(&request.cron_schedule, &mut request.workflow_start_delay)?;
    let workflow_type = type_name(request.workflow_type.as_ref());
    if workflow_type.is_empty() {
        return Err(invalid("WorkflowType is not set on request."));
    }
    not_longer(workflow_type, id_bytes_max, "WorkflowType length exceeds limit.")?;
    start_queue(request.task_queue.as_mut(), id_bytes_max)?;
    timeouts(
        &mut request.workflow_execution_timeout,
        &mut request.workflow_run_timeout,
        &mut request.workflow_task_timeout,
    )?;
    default_request_id(&mut request.request_id, entropy);
    not_longer(&request.request_id, id_bytes_max, "RequestId length exceeds limit.")?;
    id_policies(request.workflow_id_reuse_policy, request.workflow_id_conflict_policy)?;
    on_conflict(request.on_conflict_options.as_ref())?;
    search_attributes(request.search_attributes.as_ref(), limits)?;
    priority(request.priority.as_ref())?;
    callbacks(&mut request.completion_callbacks, config)?;
    deduplicate(&mut request.links, &request.completion_callbacks);
    let of_callbacks = request.completion_callbacks.iter().flat_map(|callback| &callback.links);
    let all: Vec<_> = request.links.iter().chain(of_callbacks).collect();
    links(all.into_iter(), limits)?;
    no_time_skipping(request.time_skipping_config.is_some())?;
    sizes(encoded(request.input.as_ref()), encoded(request.memo.as_ref()), limits)
}

pub(crate) fn signal_with_start(
    request: &mut SignalWithStartWorkflowExecutionRequest,
    limits: &Limits,
    entropy: &dyn Entropy,
) -> Result<(), Error> {
    let id_bytes_max = limits.id_bytes_max;
    workflow_id(&request.workflow_id, id_bytes_max)?;
    named(&request.signal_name, "signal not set", "signal name", id_bytes_max)?;
    let workflow_type = type_name(request.workflow_type.as_ref());
    named(workflow_type, "workflow type not set", "workflow type name", id_bytes_max)?;
    start_queue(request.task_queue.as_mut(), id_bytes_max)?;
    default_request_id(&mut request.request_id, entropy);
    named(&request.request_id, "", "Request ID", id_bytes_max)?;
    timeouts(
        &mut request.workflow_execution_timeout,
        &mut request.workflow_run_timeout,
        &mut request.workflow_task_timeout,
    )?;
    retry_policy(request.retry_policy.as_mut())?;
    start_delay(&request.cron_schedule, &mut request.workflow_start_delay)?;
    id_policies(request.workflow_id_reuse_policy, request.workflow_id_conflict_policy)?;
    if request.workflow_id_conflict_policy() == WorkflowIdConflictPolicy::Fail {
        return Err(invalid(
            "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.",
        ));
    }
    default_id_policies(
        &mut request.workflow_id_reuse_policy,
        &mut request.workflow_id_conflict_policy,
        WorkflowIdConflictPolicy::UseExisting,
    );
    search_attributes(request.search_attributes.as_ref(), limits)?;
    priority(request.priority.as_ref())?;
    links(request.links.iter(), limits)?;
    no_time_skipping(request.time_skipping_config.is_some())?;
    sizes(encoded(request.input.as_ref()), encoded(request.memo.as_ref()), limits)?;
    blob(encoded(request.signal_input.as_ref()), limits.blob_bytes_max)
}

/// The one deprecated reuse policy becomes the conflict policy that replaced it.
fn default_id_policies(reuse: &mut i32, conflict: &mut i32, default: WorkflowIdConflictPolicy) {
    #[expect(deprecated, reason = "old clients still send it")]
    const TERMINATE_IF_RUNNING: i32 = WorkflowIdReusePolicy::TerminateIfRunning as i32;
    if *conflict == WorkflowIdConflictPolicy::Unspecified as i32 {
        if *reuse == TERMINATE_IF_RUNNING {
            *conflict = WorkflowIdConflictPolicy::TerminateExisting as i32;
            *reuse = WorkflowIdReusePolicy::AllowDuplicate as i32;
        } else {
            *conflict = default as i32;
        }
    }
    if *reuse == WorkflowIdReusePolicy::Unspecified as i32 {
        *reuse = WorkflowIdReusePolicy::AllowDuplicate as i32;
    }
}

fn id_policies(reuse: i32, conflict: i32) -> Result<(), Error> {
    #[expect(deprecated, reason = "old clients still send it")]
    let terminate_if_running = WorkflowIdReusePolicy::TerminateIfRunning as i32;
    if conflict != WorkflowIdConflictPolicy::Unspecified as i32 && reuse == terminate_if_running {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together \
             with a WorkflowIDConflictPolicy",
        ));
    }
    if conflict == WorkflowIdConflictPolicy::TerminateExisting as i32
        && reuse == WorkflowIdReusePolicy::RejectDuplicate as i32
    {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together \
             with WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
        ));
    }
    Ok(())
}

fn workflow_id(id: &str, bytes_max: usize) -> Result<(), Error> {
    named(id, "WorkflowId is not set on request.", "WorkflowId", bytes_max)
}

/// Something that must be there and not too long.
fn named(value: &str, missing: &str, what: &str, bytes_max: usize) -> Result<(), Error> {
    if value.is_empty() {
        return Err(invalid(missing));
    }
    if value.len() > bytes_max {
        return Err(invalid(format!("{what} exceeds maximum allowed length ({}/{bytes_max})", value.len())));
    }
    Ok(())
}

/// SDKs set it and so may repeat their request; for others it is made up.
fn default_request_id(id: &mut String, entropy: &dyn Entropy) {
    if id.is_empty() {
        *id = entropy.uuid();
    }
}

fn timeouts(
    execution: &mut Option<Duration>,
    run: &mut Option<Duration>,
    task: &mut Option<Duration>,
) -> Result<(), Error> {
    for (timeout, name) in [(execution, "Execution"), (run, "Run"), (task, "Task")] {
        cap(timeout).map_err(|cause| {
            invalid(format!("An invalid Workflow{name}TimeoutSeconds is set on request. cause: {cause}"))
        })?;
    }
    Ok(())
}

fn start_delay(cron: &str, delay: &mut Option<Duration>) -> Result<(), Error> {
    if !cron.is_empty() && delay.is_some() {
        return Err(invalid("CronSchedule and WorkflowStartDelay may not be used together."));
    }
    cap(delay)
        .map_err(|cause| invalid(format!("An invalid WorkflowStartDelaySeconds is set on request. cause: {cause}")))
}

pub(crate) fn retry_policy(policy: Option<&mut RetryPolicy>) -> Result<(), Error> {
    let Some(policy) = policy else { return Ok(()) };
    default_retry_policy(policy);
    // A single attempt is no retry at all, so the rest does not matter.
    if policy.maximum_attempts == 1 {
        return Ok(());
    }
    cap(&mut policy.initial_interval)
        .map_err(|cause| invalid(format!("invalid InitialInterval set on retry policy: {cause}")))?;
    if policy.backoff_coefficient < 1.0 {
        return Err(invalid("BackoffCoefficient cannot be less than 1 on retry policy."));
    }
    cap(&mut policy.maximum_interval)
        .map_err(|cause| invalid(format!("invalid MaximumInterval set on retry policy: {cause}")))?;
    let (initial, maximum) = (nanos(policy.initial_interval.as_ref()), nanos(policy.maximum_interval.as_ref()));
    if maximum > 0 && maximum < initial {
        return Err(invalid("MaximumInterval cannot be less than InitialInterval on retry policy."));
    }
    if policy.maximum_attempts < 0 {
        return Err(invalid("MaximumAttempts cannot be negative on retry policy."));
    }
    for error in &policy.non_retryable_error_types {
        if let Some(name) = error.strip_prefix(TIMEOUT_ERROR_PREFIX)
            && !is_timeout_type(name)
        {
            return Err(invalid(format!("Invalid timeout type value: {name}.")));
        }
    }
    Ok(())
}

fn default_retry_policy(policy: &mut RetryPolicy) {
    if nanos(policy.initial_interval.as_ref()) == 0 {
        policy.initial_interval = Some(Duration { seconds: INITIAL_INTERVAL_SECONDS_DEFAULT, nanos: 0 });
    }
    if nanos(policy.maximum_interval.as_ref()) == 0 {
        let maximum = nanos(policy.initial_interval.as_ref()) * MAXIMUM_INTERVAL_FACTOR_DEFAULT;
        policy.maximum_interval = Some(Duration {
            seconds: i64::try_from(maximum / 1_000_000_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(maximum % 1_000_000_000).expect("below a second"),
        });
    }
    if policy.backoff_coefficient == 0.0 {
        policy.backoff_coefficient = BACKOFF_COEFFICIENT_DEFAULT;
    }
}

/// `StartToClose` or `TIMEOUT_TYPE_START_TO_CLOSE`.
fn is_timeout_type(name: &str) -> bool {
    [TimeoutType::StartToClose, TimeoutType::ScheduleToStart, TimeoutType::ScheduleToClose, TimeoutType::Heartbeat]
        .iter()
        .any(|known| *known.as_str_name() == *name || format!("{known:?}") == name)
}

fn on_conflict(options: Option<&OnConflictOptions>) -> Result<(), Error> {
    match options {
        Some(options) if options.attach_completion_callbacks && !options.attach_request_id => {
            Err(invalid("attaching request ID is required for attaching completion callbacks"))
        }
        _ => Ok(()),
    }
}

fn no_time_skipping(asked: bool) -> Result<(), Error> {
    if asked {
        return Err(Error::Unimplemented("The Time-Skipping feature is not enabled for namespace.".to_owned()));
    }
    Ok(())
}

fn sizes(input_bytes: usize, memo_bytes: usize, limits: &Limits) -> Result<(), Error> {
    blob(input_bytes, limits.blob_bytes_max)?;
    if memo_bytes > limits.memo_bytes_max {
        return Err(invalid("Memo size exceeds limit."));
    }
    Ok(())
}

fn encoded<M: prost::Message>(message: Option<&M>) -> usize {
    message.map_or(0, M::encoded_len)
}

fn type_name(workflow_type: Option<&WorkflowType>) -> &str {
    workflow_type.map_or("", |workflow_type| &workflow_type.name)
}
