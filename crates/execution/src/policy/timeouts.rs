//! The timeouts of activities and of workflows: which must be given, what fills the gaps,
//! what caps what (`reference/protocol.md` 2.5, rows "Duration validity", "Workflow timeouts",
//! "Activity timeouts").

use std::time::Duration;

use prost_types::Duration as Proto;
use temporalio_protos::temporal::api::command::v1::ScheduleActivityTaskCommandAttributes;
use temporalio_protos::temporal::api::common::v1::Priority;
use temporalio_protos::temporal::api::enums::v1::TaskQueueKind;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1::{
    SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest,
};

use super::{duration, retry};
use crate::{Limits, Rejection};

const RESERVED_QUEUE_PREFIX: &str = "/_sys/";
const INTERNAL_QUEUE_PREFIX: &str = "temporal-sys-per-ns-";
const FAIRNESS_KEY_BYTES_MAX: usize = 64;

/// Checks a `SCHEDULE_ACTIVITY_TASK` command and writes in what it leaves open: queue kind,
/// retry policy, timeouts. The error is the text of the workflow task failure
/// (cause `BAD_SCHEDULE_ACTIVITY_ATTRIBUTES`).
///
/// `run_timeout` is the run timeout of the workflow; `workflow_queue` its normal task queue.
pub fn normalize_activity(
    command: &mut ScheduleActivityTaskCommandAttributes,
    run_timeout: Option<Duration>,
    workflow_queue: &str,
    limits: &Limits,
) -> Result<(), Rejection> {
    normalize_queue(command.task_queue.as_mut(), workflow_queue, limits)?;
    let activity_type = command.activity_type.as_ref().map_or("", |kind| kind.name.as_str());
    if command.activity_id.is_empty() {
        return Err(invalid("activityId is not set"));
    }
    if activity_type.is_empty() {
        return Err(invalid("activityType is not set"));
    }
    let policy = command.retry_policy.get_or_insert_default();
    retry::fill_defaults(policy);
    retry::validate(policy)?;
    check_length("activityId", &command.activity_id, limits)?;
    check_length("activityType", activity_type, limits)?;
    if let Some(problem) = priority_problem(command.priority.as_ref()) {
        return Err(invalid(format!("invalid priorities: {problem}")));
    }
    let activity = format!("ActivityId={} ActivityType={activity_type}", command.activity_id);
    normalize_activity_timeouts(command, run_timeout, &activity)
}

fn normalize_activity_timeouts(
    command: &mut ScheduleActivityTaskCommandAttributes,
    run_timeout: Option<Duration>,
    activity: &str,
) -> Result<(), Rejection> {
    for (name, timeout) in [
        ("ScheduleToCloseTimeout", &mut command.schedule_to_close_timeout),
        ("ScheduleToStartTimeout", &mut command.schedule_to_start_timeout),
        ("StartToCloseTimeout", &mut command.start_to_close_timeout),
        ("HeartbeatTimeout", &mut command.heartbeat_timeout),
    ] {
        duration::normalize(timeout).map_err(|error| invalid(format!("invalid {name}: {error}")))?;
    }
    let schedule_to_close = duration::timeout(command.schedule_to_close_timeout.as_ref());
    let schedule_to_start = duration::timeout(command.schedule_to_start_timeout.as_ref());
    let start_to_close = duration::timeout(command.start_to_close_timeout.as_ref());
    let heartbeat = duration::value(command.heartbeat_timeout.as_ref());
    // Zero stands for "none" from here on.
    let run = run_timeout.unwrap_or_default();
    let (schedule_to_close, schedule_to_start, start_to_close) = match (schedule_to_close, start_to_close) {
        (Some(whole), _) => (
            whole,
            schedule_to_start.map_or(whole, |part| part.min(whole)),
            start_to_close.map_or(whole, |part| part.min(whole)),
        ),
        (None, Some(start_to_close)) => (run, schedule_to_start.unwrap_or(run), start_to_close),
        (None, None) => {
            return Err(invalid(format!(
                "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. {activity}"
            )));
        }
    };
    let cap = |timeout: Duration| if run.is_zero() { timeout } else { timeout.min(run) };
    let start_to_close = cap(start_to_close);
    command.schedule_to_close_timeout = Some(duration::proto(cap(schedule_to_close)));
    command.schedule_to_start_timeout = Some(duration::proto(cap(schedule_to_start)));
    command.start_to_close_timeout = Some(duration::proto(start_to_close));
    command.heartbeat_timeout = Some(duration::proto(cap(heartbeat).min(start_to_close)));
    Ok(())
}

/// The three timeouts of a request that starts a workflow.
#[derive(Debug)]
pub struct WorkflowTimeouts<'a> {
    pub execution: &'a mut Option<Proto>,
    pub run: &'a mut Option<Proto>,
    pub task: &'a mut Option<Proto>,
}

impl<'a> From<&'a mut StartWorkflowExecutionRequest> for WorkflowTimeouts<'a> {
    fn from(request: &'a mut StartWorkflowExecutionRequest) -> Self {
        Self {
            execution: &mut request.workflow_execution_timeout,
            run: &mut request.workflow_run_timeout,
            task: &mut request.workflow_task_timeout,
        }
    }
}

impl<'a> From<&'a mut SignalWithStartWorkflowExecutionRequest> for WorkflowTimeouts<'a> {
    fn from(request: &'a mut SignalWithStartWorkflowExecutionRequest) -> Self {
        Self {
            execution: &mut request.workflow_execution_timeout,
            run: &mut request.workflow_run_timeout,
            task: &mut request.workflow_task_timeout,
        }
    }
}

/// Checks the timeouts of a start and writes the effective ones in: the run timeout is
/// within the execution timeout, the task timeout within the run timeout.
///
/// An execution timeout of zero stays: there is none.
pub fn normalize_workflow(timeouts: WorkflowTimeouts<'_>, limits: &Limits) -> Result<(), Rejection> {
    let WorkflowTimeouts { execution, run, task } = timeouts;
    for (name, timeout) in [
        ("WorkflowExecutionTimeoutSeconds", &mut *execution),
        ("WorkflowRunTimeoutSeconds", &mut *run),
        ("WorkflowTaskTimeoutSeconds", &mut *task),
    ] {
        duration::normalize(timeout)
            .map_err(|error| invalid(format!("An invalid {name} is set on request. cause: {error}")))?;
    }
    let given_run = duration::value(run.as_ref());
    let effective_run = run_timeout(given_run, duration::value(execution.as_ref()));
    if effective_run != given_run {
        *run = Some(duration::proto(effective_run));
    }
    let given_task = duration::value(task.as_ref());
    let effective_task = task_timeout(given_task, effective_run, limits);
    if effective_task != given_task {
        *task = Some(duration::proto(effective_task));
    }
    Ok(())
}

/// Checks the delay of the first workflow task.
pub fn normalize_start_delay(cron_schedule: &str, start_delay: &mut Option<Proto>) -> Result<(), Rejection> {
    if !cron_schedule.is_empty() && start_delay.is_some() {
        return Err(invalid("CronSchedule and WorkflowStartDelay may not be used together."));
    }
    duration::normalize(start_delay)
        .map_err(|error| invalid(format!("An invalid WorkflowStartDelaySeconds is set on request. cause: {error}")))
}

/// Zero is "none", for both.
#[must_use]
pub fn run_timeout(run: Duration, execution: Duration) -> Duration {
    match (run.is_zero(), execution.is_zero()) {
        (_, true) => run,
        (true, false) => execution,
        (false, false) => run.min(execution),
    }
}

/// A task timeout of zero is the default one; a run timeout of zero caps nothing.
#[must_use]
pub fn task_timeout(task: Duration, run: Duration, limits: &Limits) -> Duration {
    let task = if task.is_zero() { limits.workflow_task_timeout_default } else { task };
    let task = task.min(limits.workflow_task_timeout_max);
    if run.is_zero() { task } else { task.min(run) }
}

/// `parent_queue` is the queue of the workflow whose command names this queue.
pub fn normalize_queue(queue: Option<&mut TaskQueue>, parent_queue: &str, limits: &Limits) -> Result<(), Rejection> {
    let Some(queue) = queue else { return Err(invalid("taskQueue is not set")) };
    if queue.kind() == TaskQueueKind::Unspecified {
        queue.set_kind(TaskQueueKind::Normal);
    }
    if queue.name.is_empty() {
        return Err(invalid("missing task queue name"));
    }
    if queue.name.len() > limits.id_bytes_max
        || (queue.kind() == TaskQueueKind::Sticky && queue.normal_name.len() > limits.id_bytes_max)
    {
        return Err(invalid("taskQueue length exceeds limit"));
    }
    if queue.name.starts_with(RESERVED_QUEUE_PREFIX) {
        return Err(invalid(format!("task queue name cannot start with reserved prefix {RESERVED_QUEUE_PREFIX}")));
    }
    if queue.name.starts_with(INTERNAL_QUEUE_PREFIX) && !parent_queue.starts_with(INTERNAL_QUEUE_PREFIX) {
        let name = &queue.name;
        return Err(invalid(format!(
            "cannot use internal per-namespace task queue:{name} (in parent component task queue: {parent_queue})"
        )));
    }
    Ok(())
}

fn check_length(name: &str, value: &str, limits: &Limits) -> Result<(), Rejection> {
    if value.len() > limits.id_bytes_max {
        let (length, limit) = (value.len(), limits.id_bytes_max);
        return Err(invalid(format!("{name} exceeds length limit. Length={length} Limit={limit}")));
    }
    Ok(())
}

/// What is wrong with a priority, if anything.
#[must_use]
pub fn priority_problem(priority: Option<&Priority>) -> Option<&'static str> {
    let priority = priority?;
    if priority.priority_key < 0 {
        Some("priority key can't be negative")
    } else if priority.fairness_key.len() > FAIRNESS_KEY_BYTES_MAX {
        Some("fairness key length exceeds limit")
    } else if priority.fairness_weight < 0.0 {
        Some("must be greater than zero")
    } else {
        None
    }
}

fn invalid(message: impl Into<String>) -> Rejection {
    Rejection::InvalidArgument(message.into())
}

#[cfg(test)]
mod tests;
