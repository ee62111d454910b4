//! The beginning of a run.
//!
//! ```text
//!  Start ─▶ Started, WorkflowTaskScheduled
//!        ─▶ Started, Signaled, WorkflowTaskScheduled   (signal-with-start)
//!        ─▶ Started                                     (start delay, cron: the task comes later)
//! ```

use std::time::Duration;

use base::Timestamp;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::Link;
use temporalio_protos::temporal::api::enums::v1::ContinueAsNewInitiator as Initiator;
use temporalio_protos::temporal::api::history::v1::WorkflowExecutionStartedEventAttributes;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::sdk::v1::UserMetadata;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::command::{Parent, Start};
use super::draft::draft;
use super::state::normal_queue;
use super::step::Step;
use super::{Note, Reply, predefined, signal, stored, upsert, workflow_task};
use crate::Rejection;
use crate::policy::timeouts::{self, WorkflowTimeouts};
use crate::policy::{self, cron, duration, retry, versioning_override};

/// Everything that a new run is made of.
pub(crate) struct Beginning {
    pub(crate) run: stored::Run,
    pub(crate) attributes: WorkflowExecutionStartedEventAttributes,
    pub(crate) user_metadata: Option<UserMetadata>,
    pub(crate) links: Vec<Link>,
    pub(crate) signal: Option<wf::SignalWorkflowExecutionRequest>,
    pub(crate) first_task: FirstTask,
}

/// Who schedules the first workflow task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstTask {
    Here,
    /// The parent asks for it once it knows of the run.
    ByParent,
}

/// `StartWorkflowExecution` and the start of `SignalWithStart`.
pub(crate) fn start(step: &mut Step<'_>, command: Start) -> Result<Reply, Rejection> {
    assert_eq!(step.state.core.next_event_id, 1, "a run is started once");
    let Start {
        namespace_id,
        workflow_id,
        run_id,
        namespace_name,
        mut request,
        signal,
        previous_run_id,
        retention,
        parent,
    } = command;
    normalize(step, &mut request)?;
    if let Some(signal) = &signal {
        signal::validate(step, signal)?;
    }
    if let (Some(attributes), Some(custom)) = (&mut request.search_attributes, &step.limits.search_attributes) {
        let checked = policy::search_attributes::check(attributes, custom, &namespace_name);
        checked.map_err(|problem| Rejection::InvalidArgument(problem.to_string()))?;
    }
    let run = stored::Run {
        namespace_id: namespace_id.as_str().to_owned(),
        namespace_name,
        workflow_id: workflow_id.as_str().to_owned(),
        run_id: run_id.as_str().to_owned(),
        request_id: request.request_id.clone(),
        previous_run_id: previous_run_id.map_or_else(String::new, |id| id.as_str().to_owned()),
        retention: Some(duration::proto(retention)),
        start_event: None,
        reset_time: 0,
        reset_request_id: String::new(),
    };
    let (links, user_metadata) = (std::mem::take(&mut request.links), request.user_metadata.take());
    let first_task = if parent.is_some() { FirstTask::ByParent } else { FirstTask::Here };
    let attributes = of_child(attributes(step, &run, request), parent);
    begin(step, Beginning { run, attributes, user_metadata, links, signal, first_task });
    Ok(Reply::WorkflowStarted { run_id })
}

/// Writes the first events of a run.
pub(crate) fn begin(step: &mut Step<'_>, beginning: Beginning) {
    let Beginning { run, attributes, user_metadata, links, signal, first_task } = beginning;
    step.note(Note::Created(Box::new(run)));
    let mut event = draft(step.now, Attributes::WorkflowExecutionStartedEventAttributes(attributes));
    event.user_metadata = user_metadata;
    event.links = links;
    step.write(event);
    predefined::override_changed(step);
    if let Some(signal) = signal {
        signal::record(step, signal, None);
    }
    if first_task == FirstTask::Here && !step.state.in_first_task_backoff() {
        workflow_task::schedule(step);
    }
}

/// Adds whose child the run is.
fn of_child(
    attributes: WorkflowExecutionStartedEventAttributes,
    parent: Option<Parent>,
) -> WorkflowExecutionStartedEventAttributes {
    let Some(parent) = parent else { return attributes };
    WorkflowExecutionStartedEventAttributes {
        parent_workflow_namespace: parent.namespace,
        parent_workflow_namespace_id: parent.namespace_id,
        parent_workflow_execution: Some(parent.execution),
        parent_initiated_event_id: parent.initiated_event_id,
        root_workflow_execution: Some(parent.root),
        source_version_stamp: parent.source_version_stamp,
        ..attributes
    }
}

/// The first task's delay is over.
pub(crate) fn first_task_due(step: &mut Step<'_>) {
    // An update was faster: its task is the first one, and must not vanish now.
    workflow_task::speculative::settle(step);
    workflow_task::schedule(step);
}

fn normalize(step: &Step<'_>, request: &mut wf::StartWorkflowExecutionRequest) -> Result<(), Rejection> {
    let limits = step.limits;
    timeouts::normalize_workflow(
        WorkflowTimeouts {
            execution: &mut request.workflow_execution_timeout,
            run: &mut request.workflow_run_timeout,
            task: &mut request.workflow_task_timeout,
        },
        limits,
    )?;
    timeouts::normalize_start_delay(&request.cron_schedule, &mut request.workflow_start_delay)?;
    cron::validate(&request.cron_schedule, step.now)?;
    if let Some(policy) = &mut request.retry_policy {
        retry::fill_defaults(policy);
        retry::validate(policy)?;
    }
    if let Some(asked) = &mut request.versioning_override {
        let queue = request.task_queue.as_ref().map_or("", |queue| &queue.name);
        *asked = versioning_override::checked(asked, queue)?;
    }
    if request.input.as_ref().map_or(0, Message::encoded_len) > limits.blob_bytes_max {
        return Err(Rejection::InvalidArgument("Blob data size exceeds limit.".into()));
    }
    if request.memo.as_ref().map_or(0, Message::encoded_len) > limits.memo_bytes_max {
        return Err(Rejection::InvalidArgument("Memo size exceeds limit.".into()));
    }
    Ok(())
}

fn attributes(
    step: &Step<'_>,
    run: &stored::Run,
    request: wf::StartWorkflowExecutionRequest,
) -> WorkflowExecutionStartedEventAttributes {
    let cron = !request.cron_schedule.is_empty();
    let cron_backoff = if cron { cron::next_backoff(&request.cron_schedule, step.now, step.now) } else { None };
    let delay = duration::timeout(request.workflow_start_delay.as_ref());
    let backoff = delay.or(cron_backoff).unwrap_or(Duration::ZERO);
    let expiration = duration::timeout(request.workflow_execution_timeout.as_ref())
        .map(|timeout| rounded_to_millis(step.now + timeout).to_proto());
    WorkflowExecutionStartedEventAttributes {
        workflow_id: run.workflow_id.clone(),
        workflow_type: request.workflow_type,
        task_queue: Some(normal_queue(&request.task_queue.unwrap_or_default().name)),
        input: request.input,
        header: request.header,
        workflow_execution_timeout: request.workflow_execution_timeout,
        workflow_run_timeout: request.workflow_run_timeout,
        workflow_task_timeout: request.workflow_task_timeout,
        workflow_execution_expiration_time: expiration,
        identity: request.identity,
        retry_policy: request.retry_policy,
        cron_schedule: request.cron_schedule,
        first_workflow_task_backoff: Some(duration::proto(backoff)),
        attempt: 1,
        initiator: if cron { Initiator::CronSchedule.into() } else { Initiator::Unspecified.into() },
        continued_failure: request.continued_failure,
        last_completion_result: request.last_completion_result,
        first_execution_run_id: run.run_id.clone(),
        original_execution_run_id: run.run_id.clone(),
        memo: upsert::without_nil_memo(request.memo),
        search_attributes: upsert::without_nil_search_attributes(request.search_attributes),
        completion_callbacks: request.completion_callbacks,
        // Nothing to hand out yet when the first task waits.
        eager_execution_accepted: request.request_eager_execution && backoff.is_zero(),
        versioning_override: request.versioning_override,
        priority: request.priority,
        time_skipping_config: request.time_skipping_config,
        ..WorkflowExecutionStartedEventAttributes::default()
    }
}

fn rounded_to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos(time.as_nanos().saturating_add(500_000) / 1_000_000 * 1_000_000)
}
