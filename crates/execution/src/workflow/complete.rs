//! `RespondWorkflowTaskCompleted`: the task ends, its commands are carried out, and the next
//! task is scheduled when there is a reason.
//!
//! ```text
//!  completed ─▶ [Started][Completed, events of commands, what was buffered, Scheduled]
//!  speculative, only rejections ─▶ nothing, caller is told where the worker goes on from
//!  refused, attempt 1 ─▶ [Started][Failed, what was buffered, Scheduled], caller gets an error
//!  refused, later attempt ─▶ nothing; the task is left to time out, caller gets an error
//!  heartbeat for too long ─▶ [Started][TimedOut, Scheduled], caller gets NotFound
//! ```

use std::time::Duration;

use base::Timestamp;
use temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentVersion;
use temporalio_protos::temporal::api::enums::v1::{
    VersioningBehavior, WorkerVersioningMode, WorkflowTaskFailedCause as Cause,
};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    WorkflowTaskCompletedEventAttributes, WorkflowTaskFailedEventAttributes,
};
use temporalio_protos::temporal::api::workflowservice::v1::RespondWorkflowTaskCompletedRequest as Request;

use super::command::{CompleteWorkflowTask, FreshIds};
use super::commands::{Fail, Turn, check_sequence};
use super::decision::ActivityTaskStarted;
use super::step::Step;
use super::workflow_task::{self, Author, Resend, check_token, ids, is_transient, speculative};
use super::{Note, Reply, Soft, State, activity, buffer, close, predefined, update};
use crate::Rejection;

/// `before` is the state without any of this step's changes.
pub(crate) fn complete(step: &mut Step<'_>, before: &State, command: CompleteWorkflowTask) -> Result<Reply, Rejection> {
    let CompleteWorkflowTask { token, mut request, fresh } = command;
    check_token(&step.state, &token)?;
    check_versioning(&request)?;
    let heartbeats =
        request.force_create_new_workflow_task && request.commands.is_empty() && request.messages.is_empty();
    let original_scheduled_time = original_scheduled_time(&step.state);
    if heartbeats && is_too_long(step, original_scheduled_time) {
        workflow_task::write_timed_out(step);
        step.note(Note::StickyCleared);
        workflow_task::schedule(step);
        return Ok(Reply::Refused(Rejection::NotFound("workflow task heartbeat timeout".into())));
    }
    check_sequence(&request.commands)?;
    let leaves_no_trace = speculative::leaves_no_trace(&step.state, &request, step.limits.speculative_events_max);
    let (commands, messages) = (std::mem::take(&mut request.commands), std::mem::take(&mut request.messages));
    let completed_event_id = if leaves_no_trace {
        step.soft(Soft::SpeculativeDropped);
        0
    } else {
        write_completed(step, &request)
    };
    set_sticky(step, &request);

    let mut turn = Turn::new(step, completed_event_id, request.identity.clone(), fresh.clone(), messages);
    let outcome = turn.run(commands);
    let (has_buffered, cancelled) = (turn.has_buffered, turn.cancelled_unstarted);
    let eager = std::mem::take(&mut turn.eager_activities);
    if let Err(fail) = outcome {
        return refuse(step, before, &request, fail);
    }
    if !request.force_create_new_workflow_task && step.state.is_running() {
        update::reject_unanswered(step);
    }
    let reset_history_event_id = if leaves_no_trace { step.state.core.last_completed_task_started_event_id } else { 0 };
    let activity_tasks = start_eagerly(step, &eager, &request.identity, &fresh);
    if !step.state.is_running() {
        // What nobody will ever see any more.
        buffer::flush(step);
        return Ok(Reply::WorkflowTaskCompleted { new_task: None, activity_tasks, reset_history_event_id });
    }
    let mut new_task = None;
    let has_updates = update::has_unsent(&step.state);
    let must_be_written = request.force_create_new_workflow_task || has_buffered || cancelled;
    if must_be_written || has_updates {
        if heartbeats {
            workflow_task::schedule_heartbeat(step, original_scheduled_time.as_nanos());
        } else if !must_be_written && request.return_new_workflow_task {
            speculative::schedule_unwritten(step);
        } else {
            workflow_task::schedule(step);
        }
        if request.return_new_workflow_task && !step.state.is_paused() {
            let resend = if request.force_create_new_workflow_task { Resend::No } else { Resend::Yes };
            new_task = Some(Box::new(workflow_task::start_inline(step, author(&request), resend)));
        }
    }
    Ok(Reply::WorkflowTaskCompleted { new_task, activity_tasks, reset_history_event_id })
}

/// Nothing of the completion counts; the task fails instead.
fn refuse(step: &mut Step<'_>, before: &State, request: &Request, fail: Fail) -> Result<Reply, Rejection> {
    if let Some(rejection) = fail.request {
        if before.speculative.is_none() {
            return Err(*rejection);
        }
        // Nothing holds a task that is not written: its updates are offered again.
        *step = Step::new(before, step.now, step.limits);
        update::lose_all(step);
        step.soft(Soft::SpeculativeDropped);
        return Ok(Reply::Refused(*rejection));
    }
    let message = fail.message();
    let error = Rejection::InvalidArgument(message.clone());
    *step = Step::new(before, step.now, step.limits);
    update::abort_for_failed_task(step);
    if before.core.workflow_task_attempt > 1 && fail.cause != Cause::UnhandledCommand {
        return Ok(Reply::Refused(error));
    }
    let binary_checksum = request.binary_checksum.clone();
    workflow_task::fail(
        step,
        WorkflowTaskFailedEventAttributes {
            cause: fail.cause.into(),
            failure: Some(workflow_task::refusal(&message)),
            identity: request.identity.clone(),
            binary_checksum,
            ..WorkflowTaskFailedEventAttributes::default()
        },
    );
    if fail.terminates {
        buffer::flush(step);
        close::write_terminated(step, message);
    } else {
        workflow_task::schedule(step);
    }
    Ok(Reply::Refused(error))
}

fn write_completed(step: &mut Step<'_>, request: &Request) -> i64 {
    let (scheduled_event_id, started_event_id) = ids(&step.state);
    let is_unwritten = is_transient(&step.state) || step.state.speculative.is_some();
    workflow_task::write_start(step, is_unwritten.then(|| author(request)));
    let options = request.deployment_options.as_ref();
    let versioned = options.is_none_or(|o| o.worker_versioning_mode() == WorkerVersioningMode::Versioned);
    let deployment_version = options.filter(|_| versioned).map(|options| WorkerDeploymentVersion {
        build_id: options.build_id.clone(),
        deployment_name: options.deployment_name.clone(),
    });
    let completed = WorkflowTaskCompletedEventAttributes {
        scheduled_event_id,
        started_event_id,
        identity: request.identity.clone(),
        binary_checksum: request.binary_checksum.clone(),
        worker_version: request.worker_version_stamp.clone(),
        sdk_metadata: request.sdk_metadata.clone(),
        metering_metadata: request.metering_metadata,
        worker_deployment_name: options.map_or_else(String::new, |options| options.deployment_name.clone()),
        deployment_version,
        versioning_behavior: if versioned { request.versioning_behavior } else { 0 },
        ..WorkflowTaskCompletedEventAttributes::default()
    };
    let id = step.event(Attributes::WorkflowTaskCompletedEventAttributes(completed.clone()));
    predefined::task_completed(step, &completed);
    id
}

fn set_sticky(step: &mut Step<'_>, request: &Request) {
    let sticky = request.sticky_attributes.as_ref();
    let queue = sticky.and_then(|sticky| sticky.worker_task_queue.as_ref());
    let (name, timeout) = match (sticky, queue) {
        (Some(sticky), Some(queue)) => (queue.name.as_str(), sticky.schedule_to_start_timeout),
        _ => ("", None),
    };
    let core = &step.state.core;
    if name == core.sticky_queue && timeout == core.sticky_schedule_to_start_timeout {
        return;
    }
    if name.is_empty() {
        step.note(Note::StickyCleared);
    } else {
        step.note(Note::StickySet { queue: name.to_owned(), schedule_to_start_timeout: timeout });
    }
}

/// The activities that the worker takes with the answer.
fn start_eagerly(step: &mut Step<'_>, ids: &[i64], identity: &str, fresh: &FreshIds) -> Vec<ActivityTaskStarted> {
    if !step.state.is_running() || step.state.is_paused() {
        return Vec::new();
    }
    let pending: Vec<_> = ids.iter().filter(|id| step.state.activities.contains_key(id)).copied().collect();
    let request_id = fresh.run_id.as_str();
    pending.into_iter().map(|id| activity::start_eagerly(step, id, request_id, identity)).collect()
}

fn check_versioning(request: &Request) -> Result<(), Rejection> {
    let mode = request.deployment_options.as_ref().map(|options| options.worker_versioning_mode());
    let has_deployment = request.deployment.is_some();
    let unspecified = request.versioning_behavior() == VersioningBehavior::Unspecified;
    if unspecified || has_deployment || mode == Some(WorkerVersioningMode::Versioned) {
        return Ok(());
    }
    let message = "versioning behavior cannot be specified without deployment options being set with versioned mode";
    Err(Rejection::InvalidArgument(message.into()))
}

/// When the first task of this chain of heartbeats was scheduled.
fn original_scheduled_time(state: &State) -> Timestamp {
    state.task().map_or(Timestamp::ZERO, |task| Timestamp::from_nanos(task.original_scheduled_time))
}

fn is_too_long(step: &Step<'_>, original_scheduled_time: Timestamp) -> bool {
    let allowed: Duration = step.limits.workflow_task_heartbeat_max;
    step.now > original_scheduled_time + allowed
}

/// The worker as it is written in the start of a task that it did not poll for.
fn author(request: &Request) -> Author {
    let stamp = request.worker_version_stamp.clone();
    Author { identity: request.identity.clone(), version: stamp.filter(|stamp| !stamp.use_versioning) }
}
