//! The run that follows one that ends: by retry policy, by cron, or because the workflow
//! continued as new.
//!
//! ```text
//!  failed, timed out ──retry policy allows──▶ initiator RETRY, attempt + 1
//!                    ──else cron schedule──▶ initiator CRON_SCHEDULE, attempt 1
//!  completed ────────── cron schedule ─────▶ initiator CRON_SCHEDULE, attempt 1
//!  continued as new ───────────────────────▶ initiator of the command, attempt 1
//! ```

use std::time::Duration;

use temporalio_protos::temporal::api::command::v1::ContinueAsNewWorkflowExecutionCommandAttributes;
use temporalio_protos::temporal::api::common::v1::Payloads;
use temporalio_protos::temporal::api::enums::v1::{ContinueAsNewInitiator as Initiator, RetryState};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::WorkflowExecutionStartedEventAttributes;

use super::close_command::lifetime;
use super::command::FreshIds;
use super::start::{self, Beginning, FirstTask};
use super::state::normal_queue;
use super::step::Step;
use super::{State, callback, reset_point, stored, upsert};
use crate::policy::retry::{Attempt, RetryDecision, after_workflow_run};
use crate::policy::versioning_override::has_target;
use crate::policy::{cron, duration};

/// That another run follows, and when its first task may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Successor {
    pub(crate) initiator: Initiator,
    pub(crate) backoff: Duration,
}

/// What a retry or cron run starts with.
pub(crate) struct Next {
    pub(crate) initiator: Initiator,
    pub(crate) backoff: Duration,
    pub(crate) failure: Option<Failure>,
    pub(crate) last_completion_result: Option<Payloads>,
}

/// What follows a failed run, and the retry state of its closing event.
pub(crate) fn after_failure(step: &Step<'_>, failure: &Failure) -> (RetryState, Option<Successor>) {
    let start = step.state.start();
    let attempt = Attempt {
        policy: start.retry_policy.as_ref(),
        number: start.attempt,
        now: step.now,
        expiration: step.state.execution_expiration(),
    };
    match after_workflow_run(&attempt, failure) {
        RetryDecision::Retry { delay } => {
            (RetryState::InProgress, Some(Successor { initiator: Initiator::Retry, backoff: delay }))
        }
        RetryDecision::Stop(state) => {
            let cron = cron_backoff(step);
            (state, cron.map(|backoff| Successor { initiator: Initiator::CronSchedule, backoff }))
        }
    }
}

/// How long until the next run of a cron; none without a schedule.
pub(crate) fn cron_backoff(step: &Step<'_>) -> Option<Duration> {
    let schedule = &step.state.start().cron_schedule;
    if schedule.is_empty() {
        return None;
    }
    cron::next_backoff(schedule, step.state.execution_time(), step.now)
}

/// Starts over with what `before`, the run that ends, was started with.
pub(crate) fn retry_or_cron(step: &mut Step<'_>, before: &State, next: Next, fresh: &FreshIds) {
    let start = before.start();
    let retry = next.initiator == Initiator::Retry;
    let attributes = WorkflowExecutionStartedEventAttributes {
        workflow_type: start.workflow_type.clone(),
        task_queue: Some(normal_queue(before.normal_queue())),
        input: start.input.clone(),
        header: start.header.clone(),
        workflow_run_timeout: start.workflow_run_timeout,
        workflow_task_timeout: start.workflow_task_timeout,
        retry_policy: start.retry_policy.clone(),
        cron_schedule: start.cron_schedule.clone(),
        memo: start.memo.clone(),
        search_attributes: start.search_attributes.clone(),
        completion_callbacks: if retry { callback::all(before) } else { Vec::new() },
        priority: before.priority().cloned(),
        versioning_override: before.versioning_override().filter(|over| has_target(over)).cloned(),
        attempt: if retry { start.attempt + 1 } else { 1 },
        initiator: next.initiator.into(),
        continued_failure: next.failure,
        last_completion_result: next.last_completion_result,
        first_workflow_task_backoff: Some(duration::proto(interval(step, before, next.backoff))),
        ..WorkflowExecutionStartedEventAttributes::default()
    };
    follow(step, before, attributes, fresh);
}

/// Starts the run that the workflow asked for.
pub(crate) fn continue_as_new(
    step: &mut Step<'_>,
    before: &State,
    command: ContinueAsNewWorkflowExecutionCommandAttributes,
    fresh: &FreshIds,
) {
    let start = before.start();
    let retry = command.initiator() == Initiator::Retry;
    let asked = duration::value(command.backoff_start_interval.as_ref());
    let backoff = interval(step, before, asked);
    let given = command.backoff_start_interval.is_some() || !backoff.is_zero();
    let queue = command.task_queue.map_or_else(|| before.normal_queue().to_owned(), |queue| queue.name);
    let attributes = WorkflowExecutionStartedEventAttributes {
        workflow_type: command.workflow_type,
        task_queue: Some(normal_queue(&queue)),
        input: command.input,
        header: command.header,
        workflow_run_timeout: command.workflow_run_timeout,
        workflow_task_timeout: command.workflow_task_timeout,
        retry_policy: command.retry_policy,
        cron_schedule: command.cron_schedule,
        memo: upsert::without_nil_memo(command.memo),
        search_attributes: upsert::without_nil_search_attributes(command.search_attributes),
        completion_callbacks: callback::all(before),
        priority: before.priority().cloned(),
        attempt: if retry { start.attempt + 1 } else { 1 },
        initiator: command.initiator,
        continued_failure: command.failure,
        last_completion_result: command.last_completion_result,
        first_workflow_task_backoff: given.then(|| duration::proto(backoff)),
        ..WorkflowExecutionStartedEventAttributes::default()
    };
    follow(step, before, attributes, fresh);
}

/// Adds what every run of a chain inherits, and starts it in the same batch.
fn follow(step: &mut Step<'_>, before: &State, attributes: WorkflowExecutionStartedEventAttributes, fresh: &FreshIds) {
    let start = before.start();
    let run_id = fresh.run_id.as_str().to_owned();
    let attributes = WorkflowExecutionStartedEventAttributes {
        workflow_id: before.run.workflow_id.clone(),
        workflow_execution_timeout: start.workflow_execution_timeout,
        workflow_execution_expiration_time: start.workflow_execution_expiration_time,
        parent_workflow_namespace: start.parent_workflow_namespace.clone(),
        parent_workflow_namespace_id: start.parent_workflow_namespace_id.clone(),
        parent_workflow_execution: start.parent_workflow_execution.clone(),
        parent_initiated_event_id: start.parent_initiated_event_id,
        parent_initiated_event_version: start.parent_initiated_event_version,
        root_workflow_execution: start.root_workflow_execution.clone(),
        continued_execution_run_id: before.run.run_id.clone(),
        first_execution_run_id: before.first_execution_run_id().to_owned(),
        original_execution_run_id: run_id.clone(),
        prev_auto_reset_points: Some(reset_point::rolled_over(&step.state, step.now, step.limits)),
        ..attributes
    };
    let run = stored::Run {
        run_id: run_id.clone(),
        // Unique, and never sent by a client.
        request_id: run_id,
        previous_run_id: before.run.run_id.clone(),
        start_event: None,
        reset_time: 0,
        reset_request_id: String::new(),
        ..(*before.run).clone()
    };
    let links = before.run.start_event.as_ref().map(|event| event.links.clone()).unwrap_or_default();
    let mut next = Step::new(&State::new(), step.now, step.limits);
    let first_task = FirstTask::Here;
    start::begin(&mut next, Beginning { run, attributes, user_metadata: None, links, signal: None, first_task });
    step.new_run = Some(Box::new(next.into_new_run()));
}

/// Runs of a chain do not follow each other faster than the least interval.
fn interval(step: &Step<'_>, before: &State, backoff: Duration) -> Duration {
    let lifetime = lifetime(before, step.now);
    let least = step.limits.continue_as_new_interval_min;
    if lifetime + backoff < least { least.saturating_sub(lifetime) } else { backoff }
}
