//! Child workflows, as their parent sees them.
//!
//! ```text
//!  none ──StartChild──▶ initiated ──it exists──▶ started ──it ended──▶ none
//!                          │                        └ completed, failed, cancelled, timed out, terminated
//!                          └──refused──▶ none
//! ```
//! After a reset it is the child of the new run, which asks it for its end: while no run of the
//! parent was open, the child may have ended and told nobody.
//!
//! The child is created without a workflow task; the parent asks for the first one once its
//! own history knows of the child. What has to be sent is in `errand`.

mod start;

pub(crate) use start::start;

use temporalio_protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{RetryState, StartChildWorkflowExecutionFailedCause as Cause};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::history::v1::{
    ChildWorkflowExecutionCanceledEventAttributes, ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionFailedEventAttributes, ChildWorkflowExecutionStartedEventAttributes,
    ChildWorkflowExecutionTerminatedEventAttributes, ChildWorkflowExecutionTimedOutEventAttributes, HistoryEvent,
    StartChildWorkflowExecutionFailedEventAttributes,
};

use super::command::ChildClosed;
use super::draft::draft;
use super::outgoing::Child;
use super::step::Step;
use super::{Reply, close, workflow_task};
use crate::Rejection;
use crate::policy::failure;

/// Why a child is terminated by its parent close policy.
pub(crate) const PARENT_CLOSED: &str = "by parent close policy";
/// What a parent is told of a child that was removed before the parent was reset.
const END_UNKNOWN: &str = "the child workflow has ended, and it was removed before this run could learn how";

/// The child exists.
pub(crate) fn started(step: &mut Step<'_>, initiated_event_id: i64, run_id: &str) {
    write_started(step, initiated_event_id, run_id);
    workflow_task::schedule(step);
}

fn write_started(step: &mut Step<'_>, initiated_event_id: i64, run_id: &str) {
    let input = pending(step, initiated_event_id).input;
    let attributes = ChildWorkflowExecutionStartedEventAttributes {
        namespace: input.namespace.clone(),
        namespace_id: input.namespace_id.clone(),
        initiated_event_id,
        workflow_execution: Some(WorkflowExecution {
            workflow_id: input.workflow_id.clone(),
            run_id: run_id.to_owned(),
        }),
        workflow_type: input.workflow_type.clone(),
        header: input.header.clone(),
    };
    step.happened(draft(step.now, A::ChildWorkflowExecutionStartedEventAttributes(attributes)));
}

/// The child was not started.
pub(crate) fn refused(step: &mut Step<'_>, initiated_event_id: i64, cause: Cause) {
    let input = pending(step, initiated_event_id).input;
    let attributes = StartChildWorkflowExecutionFailedEventAttributes {
        namespace: input.namespace.clone(),
        namespace_id: input.namespace_id.clone(),
        workflow_id: input.workflow_id.clone(),
        workflow_type: input.workflow_type.clone(),
        cause: cause.into(),
        control: input.control.clone(),
        initiated_event_id,
        workflow_task_completed_event_id: 0,
    };
    step.happened(draft(step.now, A::StartChildWorkflowExecutionFailedEventAttributes(attributes)));
    workflow_task::schedule(step);
}

/// A child tells how it, or the chain of runs that it began, ended.
pub(crate) fn closed(step: &mut Step<'_>, command: &ChildClosed) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Err(close::completed());
    }
    let unknown = || Rejection::NotFound("Pending child execution not found.".into());
    let id = command.initiated_event_id;
    let child = step.state.outgoing.children.get(&id).cloned().ok_or_else(unknown)?;
    let first = &command.first_execution_run_id;
    let is_same = child.input.workflow_id == command.child.workflow_id;
    if !is_same || (!child.row.started_run_id.is_empty() && child.row.started_run_id != *first) {
        return Err(unknown());
    }
    if child.row.started_run_id.is_empty() && step.state.run.reset_time != 0 && !child.row.copied {
        // It is the child that an old run started with the same command.
        return Err(unknown());
    }
    if child.row.started_run_id.is_empty() {
        // The answer that told of its start is still under way.
        write_started(step, id, first);
    }
    let started_event_id = pending(step, id).row.started_event_id;
    let Some(attributes) = closing(command, &child, started_event_id) else {
        return Err(Rejection::InvalidArgument("a child reports an end that is none".into()));
    };
    step.happened(draft(step.now, attributes));
    workflow_task::schedule(step);
    Ok(Reply::Empty)
}

/// A child that a reset took along has ended: nobody was there to be told.
pub(crate) fn ended(
    step: &mut Step<'_>,
    initiated_event_id: i64,
    child: WorkflowExecution,
    closing_event: HistoryEvent,
) {
    let pending = pending(step, initiated_event_id);
    let first_execution_run_id = pending.row.started_run_id.clone();
    let parent = step.state.execution();
    let told = ChildClosed { parent, initiated_event_id, child, first_execution_run_id, closing_event };
    match closing(&told, &pending, pending.row.started_event_id) {
        Some(attributes) => {
            step.happened(draft(step.now, attributes));
            workflow_task::schedule(step);
        }
        None => gone(step, initiated_event_id),
    }
}

/// Only what has ended is removed; how it ended went with it.
pub(crate) fn gone(step: &mut Step<'_>, initiated_event_id: i64) {
    let Child { input, row, .. } = pending(step, initiated_event_id);
    let attributes = ChildWorkflowExecutionFailedEventAttributes {
        failure: Some(failure::server(END_UNKNOWN, failure::Retryable::No)),
        namespace: input.namespace.clone(),
        namespace_id: input.namespace_id.clone(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: input.workflow_id.clone(),
            run_id: row.started_run_id.clone(),
        }),
        workflow_type: input.workflow_type.clone(),
        initiated_event_id,
        started_event_id: row.started_event_id,
        retry_state: RetryState::NonRetryableFailure.into(),
    };
    step.happened(draft(step.now, A::ChildWorkflowExecutionFailedEventAttributes(attributes)));
    workflow_task::schedule(step);
}

/// The event that tells of the child's closing event. A started event id of 0 is filled in
/// when the start, which is buffered, is written.
fn closing(command: &ChildClosed, child: &Child, started_event_id: i64) -> Option<A> {
    let (namespace, namespace_id) = (child.input.namespace.clone(), child.input.namespace_id.clone());
    let workflow_execution = Some(command.child.clone());
    let name = child.input.workflow_type.as_ref().map_or("", |kind| &kind.name).to_owned();
    let workflow_type = Some(WorkflowType { name });
    let initiated_event_id = command.initiated_event_id;
    // What the five events have in common, behind what each has of its own.
    macro_rules! told {
        ($event:ident { $($field:ident: $value:expr),* }) => {
            A::$event($event {
                $($field: $value,)*
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        };
    }
    let attributes = match command.closing_event.attributes.clone()? {
        A::WorkflowExecutionCompletedEventAttributes(a) => {
            told!(ChildWorkflowExecutionCompletedEventAttributes { result: a.result })
        }
        A::WorkflowExecutionFailedEventAttributes(a) => {
            told!(ChildWorkflowExecutionFailedEventAttributes { failure: a.failure, retry_state: a.retry_state })
        }
        A::WorkflowExecutionCanceledEventAttributes(a) => {
            told!(ChildWorkflowExecutionCanceledEventAttributes { details: a.details })
        }
        A::WorkflowExecutionTimedOutEventAttributes(a) => {
            told!(ChildWorkflowExecutionTimedOutEventAttributes { retry_state: a.retry_state })
        }
        A::WorkflowExecutionTerminatedEventAttributes(_) => told!(ChildWorkflowExecutionTerminatedEventAttributes {}),
        _ => return None,
    };
    Some(attributes)
}

/// The same for every try of the same request, and with no other.
///
/// Run ids are UUIDs, and so is this: the run's with the event's id mixed into its node part.
pub(crate) fn request_id(run_id: &str, initiated_event_id: i64) -> String {
    let node = run_id.rsplit_once('-').and_then(|(_, node)| u64::from_str_radix(node, 16).ok());
    match node {
        Some(node) if run_id.len() == 36 => {
            let mixed = node ^ initiated_event_id.unsigned_abs();
            format!("{}{mixed:012x}", &run_id[..24])
        }
        _ => format!("{run_id}:{initiated_event_id}"),
    }
}

fn pending(step: &Step<'_>, initiated_event_id: i64) -> Child {
    step.state.outgoing.children.get(&initiated_event_id).expect("callers saw the child").clone()
}
