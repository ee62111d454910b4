//! What a command leads to.

use std::sync::Arc;
use std::time::Duration;

use base::{RunId, Timestamp};
use temporalio_protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads, Priority};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionOptions;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::State;
use super::errand::Errand;
use super::state::{Admitted, Started};
use super::stored;
use crate::Rejection;

/// The outcome of a command: the changes to replicate, what to do after they are
/// committed, and the answer to give then.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub tasks: Vec<Task>,
    pub reply: Reply,
    /// A run that begins in the same batch (continue-as-new, retry, cron).
    pub new_run: Option<Box<NewRun>>,
}

#[derive(Clone, Debug)]
pub struct NewRun {
    pub run_id: RunId,
    /// The state before `changes`.
    pub initial: Box<State>,
    pub changes: Vec<Change>,
    pub tasks: Vec<Task>,
}

/// One step of the state. The delta is the value: there are no dirty flags.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "events are the common case and are not moved around")]
pub enum Change {
    /// Appended to history. Never edited.
    Event(HistoryEvent),
    /// Replicated state that history does not show (attempts, heartbeats, sticky queue,
    /// buffered events, request ids).
    Note(Note),
    /// State of the leader only: lost with it, never written (workflow task start).
    Soft(Soft),
}

/// Replicated state that history does not show.
#[derive(Clone, PartialEq, Debug)]
pub enum Note {
    /// Who the run is. The first change of every run; the start event follows.
    Created(Box<stored::Run>),
    /// An event that waits for the workflow task in progress to end. What it does to the
    /// state, it does now.
    Buffered {
        sequence: u64,
        event: Box<HistoryEvent>,
    },
    /// A buffered event that a command made void (the firing of a timer that was cancelled).
    Unbuffered {
        sequence: u64,
    },
    /// All buffered events are gone: written next, or void because the run is closed.
    Flushed {
        first: u64,
        next: u64,
    },
    SignalRequested {
        request_id: String,
    },
    /// A search attribute that the server keeps on its own; none removes it.
    SearchAttribute {
        name: String,
        value: Option<Box<Payload>>,
    },
    /// The retry of a failed workflow task: it has no event until it completes.
    TransientTaskScheduled(stored::WorkflowTask),
    /// A heartbeat's new task inherits when the first one was scheduled.
    TaskHeartbeat {
        original_scheduled_time: u64,
    },
    /// An attempt after the first failed or timed out: history shows only the first.
    TransientTaskFailed {
        closing: bool,
    },
    StickySet {
        queue: String,
        schedule_to_start_timeout: Option<prost_types::Duration>,
    },
    StickyCleared,
    /// The run closed: how long it is kept from now on.
    Retained {
        retention: prost_types::Duration,
    },
    /// The task was started in time; should its start be lost, it waits until then again.
    StickyDeferred {
        deadline: u64,
    },
    ActivityStarted(Box<ActivityStarted>),
    /// An attempt failed; another follows at `scheduled_time`.
    ActivityRetried {
        scheduled_event_id: i64,
        failed_time: u64,
        scheduled_time: u64,
        failure: Option<Box<Failure>>,
    },
    /// The poller it was started for never got it: as if it had not been started.
    ActivityReturned {
        scheduled_event_id: i64,
    },
    /// The time of the next attempt has come.
    ActivityReady {
        scheduled_event_id: i64,
    },
    ActivityHeartbeat {
        scheduled_event_id: i64,
        time: u64,
        identity: String,
        details: Option<Payloads>,
    },
    /// A step that has no event and counts for the users who watch the count of transitions.
    Transition,
    /// Someone other than its worker changed the activity; a paused attempt ended.
    ActivitySet {
        scheduled_event_id: i64,
        row: Box<stored::Activity>,
    },
    /// It waits since `time`, as if it had just been scheduled.
    ActivityRescheduled {
        scheduled_event_id: i64,
        time: u64,
    },
    /// The run that a reset made out of this one.
    ResetTo {
        run_id: String,
    },
    /// All that a reset does to the new run is one transition.
    ResetFinished,
    /// The run is paused, or goes on.
    PauseSet(Option<Box<stored::Pause>>),
    /// The run may be removed from this time on.
    DeleteRequested {
        time: u64,
    },
    /// A reset copied the initiation of the child.
    ChildCopied {
        initiated_event_id: i64,
    },
    /// Something was done at another run that no event tells of.
    ErrandDone {
        errand: Errand,
    },
    /// Follows on the `Scheduled` of a workflow task that was not meant to be written.
    SpeculativeWritten {
        /// When it gives up on its queue; 0 when it ends now.
        deadline: u64,
        /// Its `Started` is written with it, or will be when it ends.
        started: bool,
    },
    /// A worker has held the workflow task for a while: from now on the next leader knows it, too.
    StartKept(Arc<Started>),
    /// An update that history admitted was rejected.
    UpdateForgotten {
        id: String,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub struct ActivityStarted {
    pub scheduled_event_id: i64,
    pub time: u64,
    pub request_id: String,
    pub identity: String,
}

/// State of the leader only.
#[derive(Clone, PartialEq, Debug)]
pub enum Soft {
    /// A worker took the workflow task.
    TaskStarted(Arc<Started>),
    /// A workflow task that is written only when there is a reason.
    SpeculativeScheduled(stored::WorkflowTask),
    /// It ended, and history need not know.
    SpeculativeDropped,
    UpdateAdmitted(Arc<Admitted>),
    /// All admitted updates are with the worker that holds the workflow task.
    UpdatesSent,
    UpdateEnded {
        id: String,
        end: UpdateEnd,
    },
}

/// How an update ends that was never accepted.
#[derive(Clone, PartialEq, Debug)]
pub enum UpdateEnd {
    Rejected(Box<Failure>),
    /// The caller gets an error.
    Refused(Rejection),
    /// It did not reach the workflow; the caller's request is made again.
    Lost,
}

/// Done after commit, at least once. `State::tasks` yields the same set again.
#[derive(Clone, PartialEq, Debug)]
pub enum Task {
    Workflow(WorkflowTaskRef),
    Activity(ActivityTaskRef),
    Errand(Errand),
}

#[derive(Clone, PartialEq, Debug)]
pub struct WorkflowTaskRef {
    /// The queue to offer it on: sticky when `normal_queue` is set, else the normal one.
    pub task_queue: String,
    pub normal_queue: Option<String>,
    pub scheduled_event_id: i64,
    /// Changes with each attempt or re-schedule; a reference with an old one is stale.
    pub stamp: i64,
    pub scheduled_time: Timestamp,
    /// Orders the tasks of a queue.
    pub priority: Option<Priority>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ActivityTaskRef {
    pub task_queue: String,
    pub scheduled_event_id: i64,
    pub stamp: i64,
    pub scheduled_time: Timestamp,
    /// Orders the tasks of a queue.
    pub priority: Option<Priority>,
}

/// The answer, given once the changes are committed.
#[derive(Clone, Debug, Default)]
pub enum Reply {
    #[default]
    Empty,
    WorkflowStarted {
        run_id: RunId,
    },
    WorkflowTaskStarted(Box<WorkflowTaskStarted>),
    WorkflowTaskCompleted {
        /// For `return_new_workflow_task`.
        new_task: Option<Box<WorkflowTaskStarted>>,
        /// Eagerly dispatched activities.
        activity_tasks: Vec<ActivityTaskStarted>,
        reset_history_event_id: i64,
    },
    /// The update with the id of the request is known now.
    Update(UpdateStage),
    ActivityTaskStarted(Box<ActivityTaskStarted>),
    Heartbeat {
        cancel_requested: bool,
        activity_paused: bool,
        activity_reset: bool,
    },
    /// The options of the last activity that was changed.
    ActivityOptions(Box<ActivityOptions>),
    /// The options of the run after their change.
    Options(Box<WorkflowExecutionOptions>),
    /// The task reference is stale; matching drops it.
    TaskGone,
    /// The changes are committed, and still the caller gets this error: a refused workflow
    /// task completion fails the task, an exceeded limit ends the run.
    Refused(Rejection),
}

/// How far an update is.
#[derive(Clone, PartialEq, Debug)]
pub enum UpdateStage {
    Unknown,
    Admitted,
    Accepted,
    /// The event that holds the outcome.
    Completed {
        event_id: i64,
    },
    /// Accepted, and then the run was closed.
    Failed(Box<Failure>),
}

/// A started workflow task, less its history and its token, which the runtime adds.
#[derive(Clone, Debug)]
pub struct WorkflowTaskStarted {
    pub response: wf::PollWorkflowTaskQueueResponse,
    /// First event to send: 1, or what a sticky worker has not seen.
    pub history_first_event_id: i64,
    /// Events before this id are written; what follows is in `tail`.
    pub history_next_event_id: i64,
    /// Events of this task that are not written yet.
    pub tail: Vec<HistoryEvent>,
    /// What the completion's token must carry.
    pub token: super::WorkflowTaskToken,
}

/// A started activity task, less its token.
#[derive(Clone, Debug)]
pub struct ActivityTaskStarted {
    pub response: wf::PollActivityTaskQueueResponse,
    pub scheduled_event_id: i64,
    pub started_event_id: i64,
    pub attempt: i32,
    pub start_to_close: Duration,
}
