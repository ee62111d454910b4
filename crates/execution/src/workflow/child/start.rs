//! The command that starts a child workflow.

use prost::Message;
use temporalio_protos::temporal::api::command::v1::StartChildWorkflowExecutionCommandAttributes as Command;
use temporalio_protos::temporal::api::enums::v1::{
    ParentClosePolicy, WorkflowIdReusePolicy, WorkflowTaskFailedCause as Cause,
};
use temporalio_protos::temporal::api::history::v1::StartChildWorkflowExecutionInitiatedEventAttributes;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;

use crate::policy::{cron, duration, retry, timeouts, versioning_override};
use crate::workflow::commands::{Fail, Turn};
use crate::workflow::{external, upsert};

const NAME: &str = "StartChildWorkflowExecutionCommand";
const CAUSE: Cause = Cause::BadStartChildExecutionAttributes;

pub(crate) fn start(turn: &mut Turn<'_, '_>, mut command: Command) -> Result<(), Fail> {
    let run = turn.step.state.run.clone();
    if command.namespace.is_empty() {
        command.namespace.clone_from(&run.namespace_name);
    }
    external::check_namespace(turn, &command.namespace).map_err(|message| Fail::task(CAUSE, message))?;
    normalize(turn, &mut command).map_err(|message| Fail::task(CAUSE, message))?;
    if let Some(attributes) = &mut command.search_attributes {
        let kind = command.workflow_type.as_ref().map_or("", |kind| &kind.name);
        let of = format!("WorkflowId={} WorkflowType={kind} Namespace={}", command.workflow_id, command.namespace);
        upsert::check(attributes, turn.step).map_err(|problem| {
            Fail::task(Cause::BadSearchAttributes, problem.on("StartChildWorkflowCommand", &of)) //
        })?;
    }
    let queue = command.task_queue.as_ref().map_or("", |queue| &queue.name);
    if command.inherit_build_id && queue != turn.step.state.normal_queue() {
        let message = "StartChildWorkflowExecution with UseCompatibleVersion cannot run on different task queue.";
        return Err(Fail::task(CAUSE, message));
    }
    check_size(turn, &command)?;
    if command.parent_close_policy() == ParentClosePolicy::Unspecified {
        command.set_parent_close_policy(ParentClosePolicy::Terminate);
    }
    if command.workflow_id_reuse_policy() == WorkflowIdReusePolicy::Unspecified {
        command.set_workflow_id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate);
    }
    turn.initiated_children.insert(command.workflow_id.clone());
    turn.event(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(
        StartChildWorkflowExecutionInitiatedEventAttributes {
            namespace: command.namespace,
            namespace_id: run.namespace_id.clone(),
            workflow_id: command.workflow_id,
            workflow_type: command.workflow_type,
            task_queue: command.task_queue,
            input: command.input,
            workflow_execution_timeout: command.workflow_execution_timeout,
            workflow_run_timeout: command.workflow_run_timeout,
            workflow_task_timeout: command.workflow_task_timeout,
            parent_close_policy: command.parent_close_policy,
            control: command.control,
            workflow_task_completed_event_id: turn.completed_event_id,
            workflow_id_reuse_policy: command.workflow_id_reuse_policy,
            retry_policy: command.retry_policy,
            cron_schedule: command.cron_schedule,
            header: command.header,
            memo: upsert::without_nil_memo(command.memo),
            search_attributes: upsert::without_nil_search_attributes(command.search_attributes),
            inherit_build_id: command.inherit_build_id,
            priority: command.priority,
            versioning_override: command.versioning_override,
            ..StartChildWorkflowExecutionInitiatedEventAttributes::default()
        },
    ));
    Ok(())
}

/// Checks the command and writes in what it leaves open.
fn normalize(turn: &Turn<'_, '_>, command: &mut Command) -> Result<(), String> {
    let limits = turn.step.limits;
    let (id, namespace) = (command.workflow_id.clone(), command.namespace.clone());
    let kind = command.workflow_type.as_ref().map_or("", |kind| &kind.name).to_owned();
    if id.is_empty() {
        return Err(format!(
            "Required field WorkflowId is not set on {NAME}. WorkflowType={kind} Namespace={namespace}"
        ));
    }
    if kind.is_empty() {
        return Err(format!("Required field WorkflowType is not set on {NAME}. WorkflowId={id} Namespace={namespace}"));
    }
    let limit = limits.id_bytes_max;
    if id.len() > limit {
        let length = id.len();
        return Err(format!(
            "WorkflowId on {NAME} exceeds length limit. WorkflowId={id} Length={length} Limit={limit} WorkflowType={kind} Namespace={namespace}"
        ));
    }
    if kind.len() > limit {
        let length = kind.len();
        return Err(format!(
            "WorkflowType on {NAME} exceeds length limit. WorkflowId={id} WorkflowType={kind} Length={length} Limit={limit} Namespace={namespace}"
        ));
    }
    let whose = format!("WorkflowId={id} WorkflowType={kind} Namespace={namespace}");
    for (field, value) in [
        ("WorkflowExecutionTimeout", &mut command.workflow_execution_timeout),
        ("WorkflowRunTimeout", &mut command.workflow_run_timeout),
        ("WorkflowTaskTimeout", &mut command.workflow_task_timeout),
    ] {
        duration::normalize(value).map_err(|error| format!("Invalid {field} on {NAME}: {error}. {whose}"))?;
    }
    if let Some(policy) = &mut command.retry_policy {
        retry::fill_defaults(policy);
        retry::validate(policy).map_err(|error| format!("invalid WorkflowRetryPolicy on {NAME}: {error}. {whose}"))?;
    }
    cron::validate(&command.cron_schedule, turn.step.now)
        .map_err(|error| format!("invalid CronSchedule on {NAME}: {error}. {whose}"))?;
    if let Some(asked) = &mut command.versioning_override {
        let queue = command.task_queue.as_ref().map_or("", |queue| &queue.name);
        *asked = versioning_override::checked(asked, queue).map_err(|problem| problem.to_string())?;
    }
    if let Some(problem) = timeouts::priority_problem(command.priority.as_ref()) {
        return Err(problem.to_owned());
    }
    let parent_queue = turn.step.state.normal_queue();
    let queue = command.task_queue.get_or_insert_default();
    if queue.name.is_empty() {
        parent_queue.clone_into(&mut queue.name);
    }
    timeouts::normalize_queue(Some(queue), parent_queue, limits)
        .map_err(|error| format!("invalid TaskQueue on {NAME}: {error}. {whose} TaskQueue={}", printed(queue)))?;
    let execution = duration::value(command.workflow_execution_timeout.as_ref());
    let run = timeouts::run_timeout(duration::value(command.workflow_run_timeout.as_ref()), execution);
    let task = timeouts::task_timeout(duration::value(command.workflow_task_timeout.as_ref()), run, limits);
    command.workflow_run_timeout = Some(duration::proto(run));
    command.workflow_task_timeout = Some(duration::proto(task));
    Ok(())
}

/// A queue as the incumbent prints it.
fn printed(queue: &TaskQueue) -> String {
    format!("name:{:?} kind:{}", queue.name, queue.kind().as_str_name())
}

fn check_size(turn: &Turn<'_, '_>, command: &Command) -> Result<(), Fail> {
    let limits = turn.step.limits;
    if command.input.as_ref().map_or(0, Message::encoded_len) > limits.blob_bytes_max {
        return Err(Fail::run(CAUSE, "StartChildWorkflowExecutionCommandAttributes. Input exceeds size limit."));
    }
    if command.memo.as_ref().map_or(0, Message::encoded_len) > limits.memo_bytes_max {
        return Err(Fail::run(CAUSE, "StartChildWorkflowExecutionCommandAttributes.Memo exceeds size limit."));
    }
    let pending = turn.step.state.outgoing.children.size();
    if pending >= limits.pending_children_max {
        return Err(Fail::too_many_pending(
            Cause::PendingChildWorkflowsLimitExceeded,
            "pending child workflow executions",
            pending,
            limits.pending_children_max,
        ));
    }
    Ok(())
}
