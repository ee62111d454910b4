//! What can be asked of a run. Requests arrive as the public API's own messages, already
//! checked by the frontend for form; rules of the workflow are checked in `decide`.

use base::{NamespaceId, RunId, Timestamp, WorkflowId};
use temporalio_protos::temporal::api::common::v1::{WorkerVersionStamp, WorkflowExecution};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::errand::Errand;
use super::errand_request::ErrandOutcome;
use super::options::UpdateOptions;
use super::reset::Reset;
use crate::policy::start_policy::Attach;

/// Randomness the decision may need; the leader draws it before it calls `decide`.
#[derive(Clone, Debug)]
pub struct FreshIds {
    /// The run id of a successor (continue-as-new, retry, cron, reset).
    pub run_id: RunId,
    /// Uniform in `0..=u64::MAX`, for jitter.
    pub jitter: u64,
}

/// The first command of a run: the state is `State::new(..)`.
#[derive(Clone, Debug)]
pub struct Start {
    pub namespace_id: NamespaceId,
    pub workflow_id: WorkflowId,
    pub run_id: RunId,
    pub namespace_name: String,
    /// Also built from a `SignalWithStart` request.
    pub request: wf::StartWorkflowExecutionRequest,
    /// The signal of a `SignalWithStart`: its event comes before the first workflow task.
    pub signal: Option<wf::SignalWorkflowExecutionRequest>,
    /// The closed run this one follows on the same workflow id, if any.
    pub previous_run_id: Option<RunId>,
    /// Closed runs are removed this long after they closed.
    pub retention: std::time::Duration,
    /// A child waits for its parent to ask for its first workflow task.
    pub parent: Option<Parent>,
}

/// Whose child a run is.
#[derive(Clone, PartialEq, Debug)]
pub struct Parent {
    pub namespace_id: String,
    pub namespace: String,
    pub execution: WorkflowExecution,
    pub initiated_event_id: i64,
    /// The workflow that has no parent itself.
    pub root: WorkflowExecution,
    pub source_version_stamp: Option<WorkerVersionStamp>,
}

/// What a workflow asks of another one.
#[derive(Clone, Debug)]
pub struct ByWorkflow<R> {
    pub source: WorkflowExecution,
    /// The event of the source that initiated it; 0 for a parent close policy.
    pub source_event_id: i64,
    /// Only if the source is the parent.
    pub child_only: bool,
    pub request: R,
}

/// What a child that ended tells its parent.
#[derive(Clone, Debug)]
pub struct ChildClosed {
    pub parent: WorkflowExecution,
    pub initiated_event_id: i64,
    /// The last run of the chain.
    pub child: WorkflowExecution,
    pub first_execution_run_id: String,
    pub closing_event: HistoryEvent,
}

#[derive(Clone, Debug)]
pub struct FinishErrand {
    pub errand: Errand,
    pub outcome: ErrandOutcome,
}

/// The parts of a workflow task token that the core checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkflowTaskToken {
    pub scheduled_event_id: i64,
    pub started_event_id: i64,
    pub attempt: i32,
    pub started_time: Timestamp,
}

/// A worker answers a task that an earlier leader handed out and did not write.
#[derive(Clone, Debug)]
pub struct AdoptWorkflowTask {
    pub token: WorkflowTaskToken,
    /// What the start said of itself and of the worker.
    pub request_id: String,
    pub identity: String,
    pub worker_version: Option<WorkerVersionStamp>,
}

#[derive(Clone, Debug)]
pub struct StartWorkflowTask {
    pub scheduled_event_id: i64,
    /// From the task reference: a reference to an older attempt is stale.
    pub stamp: i64,
    pub request_id: String,
    /// Who polled, on which queue, with which versions and capabilities.
    pub poll: wf::PollWorkflowTaskQueueRequest,
}

#[derive(Clone, Debug)]
pub struct CompleteWorkflowTask {
    pub token: WorkflowTaskToken,
    pub request: wf::RespondWorkflowTaskCompletedRequest,
    pub fresh: FreshIds,
}

#[derive(Clone, Debug)]
pub struct FailWorkflowTask {
    pub token: WorkflowTaskToken,
    pub request: wf::RespondWorkflowTaskFailedRequest,
}

#[derive(Clone, Debug)]
pub struct StartActivityTask {
    pub scheduled_event_id: i64,
    pub stamp: i64,
    pub request_id: String,
    pub poll: wf::PollActivityTaskQueueRequest,
}

/// A task that was started for a poller which left before it got it: nobody runs it.
#[derive(Clone, Debug)]
pub struct ReturnActivityTask {
    pub scheduled_event_id: i64,
    /// Of the start that is undone.
    pub request_id: String,
}

/// Which activity a worker's answer is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ActivityTarget {
    Token {
        scheduled_event_id: i64,
        attempt: i32,
        started_event_id: i64,
    },
    /// The `...ById` calls.
    Id(String),
}

#[derive(Clone, Debug)]
pub struct CompleteActivity {
    pub target: ActivityTarget,
    pub request: wf::RespondActivityTaskCompletedRequest,
}

#[derive(Clone, Debug)]
pub struct FailActivity {
    pub target: ActivityTarget,
    pub request: wf::RespondActivityTaskFailedRequest,
}

#[derive(Clone, Debug)]
pub struct CancelActivity {
    pub target: ActivityTarget,
    pub request: wf::RespondActivityTaskCanceledRequest,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub target: ActivityTarget,
    pub request: wf::RecordActivityTaskHeartbeatRequest,
}

/// Everything that can happen to a run.
#[derive(Clone, Debug)]
pub enum Command {
    Start(Box<Start>),
    StartWorkflowTask(Box<StartWorkflowTask>),
    AdoptWorkflowTask(Box<AdoptWorkflowTask>),
    CompleteWorkflowTask(Box<CompleteWorkflowTask>),
    FailWorkflowTask(Box<FailWorkflowTask>),
    StartActivityTask(Box<StartActivityTask>),
    ReturnActivityTask(Box<ReturnActivityTask>),
    CompleteActivity(Box<CompleteActivity>),
    FailActivity(Box<FailActivity>),
    CancelActivity(Box<CancelActivity>),
    Heartbeat(Box<Heartbeat>),
    Signal(Box<wf::SignalWorkflowExecutionRequest>),
    /// The signal of a `SignalWithStart` that found the workflow running: a delay of its
    /// first workflow task ends.
    SignalSkippingDelay(Box<wf::SignalWorkflowExecutionRequest>),
    /// A start request joins the running run.
    Attach(Box<Attach>),
    RequestCancel(Box<wf::RequestCancelWorkflowExecutionRequest>),
    Terminate(Box<wf::TerminateWorkflowExecutionRequest>),
    PauseActivity(Box<wf::PauseActivityRequest>),
    /// With randomness for its jitter, as the next.
    UnpauseActivity(Box<wf::UnpauseActivityRequest>, u64),
    ResetActivity(Box<wf::ResetActivityRequest>, u64),
    UpdateActivityOptions(Box<wf::UpdateActivityOptionsRequest>),
    /// Lets an update in, or joins the one with its id.
    AdmitUpdate(Box<wf::UpdateWorkflowExecutionRequest>),
    /// A wake-up: does everything whose time has come at `now`, or nothing.
    FireTimers(FreshIds),
    /// A sticky queue has no worker behind it: go back to the normal queue.
    ClearSticky,
    UpdateOptions(Box<UpdateOptions>),
    Pause(Box<wf::PauseWorkflowExecutionRequest>),
    Unpause(Box<wf::UnpauseWorkflowExecutionRequest>),
    /// Ends the run if it is open, and lets it be removed soon.
    Delete,
    /// The first step of a run that a reset made, on top of the rebuilt state.
    Reset(Box<Reset>),
    /// What happened to old runs happens to the one that a reset made.
    Reapply(Vec<HistoryEvent>),
    /// The last step of a run that a reset made.
    FinishReset,
    /// A reset made this run out of the one it is sent to.
    ResetTo(String),
    SignalByWorkflow(Box<ByWorkflow<wf::SignalWorkflowExecutionRequest>>),
    CancelByWorkflow(Box<ByWorkflow<wf::RequestCancelWorkflowExecutionRequest>>),
    TerminateByWorkflow(Box<ByWorkflow<wf::TerminateWorkflowExecutionRequest>>),
    /// The parent of this run knows that it exists.
    ScheduleFirstTask,
    /// A child of this run ended.
    ChildClosed(Box<ChildClosed>),
    /// What came of an errand of this run.
    FinishErrand(Box<FinishErrand>),
}
