//! What a command leads to.

use std::time::Duration;

use base::{RunId, Timestamp};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::State;

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

/// See the core's own file for the kinds.
#[derive(Clone, PartialEq, Debug)]
pub enum Note {
    Placeholder,
}

/// See the core's own file for the kinds.
#[derive(Clone, PartialEq, Debug)]
pub enum Soft {
    Placeholder,
}

/// Done after commit, at least once. `State::tasks` yields the same set again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    Workflow(WorkflowTaskRef),
    Activity(ActivityTaskRef),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkflowTaskRef {
    /// The queue to offer it on: sticky when `normal_queue` is set, else the normal one.
    pub task_queue: String,
    pub normal_queue: Option<String>,
    pub scheduled_event_id: i64,
    /// Changes with each attempt or re-schedule; a reference with an old one is stale.
    pub stamp: i64,
    pub scheduled_time: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActivityTaskRef {
    pub task_queue: String,
    pub scheduled_event_id: i64,
    pub stamp: i64,
    pub scheduled_time: Timestamp,
}

/// The answer, given once the changes are committed.
#[derive(Clone, Debug, Default)]
pub enum Reply {
    #[default]
    Empty,
    WorkflowStarted { run_id: RunId },
    WorkflowTaskStarted(Box<WorkflowTaskStarted>),
    WorkflowTaskCompleted {
        /// For `return_new_workflow_task`.
        new_task: Option<Box<WorkflowTaskStarted>>,
        /// Eagerly dispatched activities.
        activity_tasks: Vec<ActivityTaskStarted>,
        reset_history_event_id: i64,
    },
    ActivityTaskStarted(Box<ActivityTaskStarted>),
    Heartbeat { cancel_requested: bool, activity_paused: bool, activity_reset: bool },
    /// The task reference is stale; matching drops it.
    TaskGone,
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
