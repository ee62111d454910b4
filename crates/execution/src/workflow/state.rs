//! The state of one run: a fold over its changes.
//!
//! Cloning is cheap: collections are persistent and large values are shared, so that a
//! decision can work on a scratch copy. Only `apply` mutates it.

use std::sync::Arc;

use base::Timestamp;
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use temporalio_protos::temporal::api::common::v1::{Memo, SearchAttributes, WorkerVersionStamp, WorkflowExecution};
use temporalio_protos::temporal::api::enums::v1::{TaskQueueKind, WorkflowExecutionStatus};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    ActivityTaskScheduledEventAttributes, HistoryEvent, WorkflowExecutionStartedEventAttributes,
};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::update::v1 as update;
use temporalio_protos::temporal::api::workflow::v1::ResetPoints;

use super::deadlines::Due;
use super::decision::{ActivityTaskRef, Task, WorkflowTaskRef};
use super::outgoing::Outgoing;
use super::stored;
use crate::policy::duration;

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    pub(crate) core: stored::Core,
    pub(crate) run: Arc<stored::Run>,
    /// None: as the run was started.
    pub(crate) memo: Option<Arc<Memo>>,
    /// None: as the run was started.
    pub(crate) search_attributes: Option<Arc<SearchAttributes>>,
    pub(crate) reset_points: Arc<ResetPoints>,
    /// By the id of the scheduled event.
    pub(crate) activities: RedBlackTreeMapSync<i64, Activity>,
    pub(crate) activity_ids: RedBlackTreeMapSync<Arc<str>, i64>,
    /// Those that wait for a worker, so that finding them costs nothing where thousands run.
    pub(crate) activities_offered: RedBlackTreeSetSync<i64>,
    /// By the id of the started event.
    pub(crate) timers: RedBlackTreeMapSync<i64, Arc<stored::Timer>>,
    pub(crate) timer_ids: RedBlackTreeMapSync<Arc<str>, i64>,
    /// See `size`.
    pub(crate) items_bytes: usize,
    pub(crate) buffered: RedBlackTreeMapSync<u64, Arc<HistoryEvent>>,
    pub(crate) signal_requests: RedBlackTreeSetSync<Arc<str>>,
    /// The start requests that joined, and the event that tells of each; 0 while it is buffered.
    pub(crate) request_ids: RedBlackTreeMapSync<Arc<str>, i64>,
    /// What start requests that joined want to be told, by their request id.
    pub(crate) callbacks: RedBlackTreeMapSync<Arc<str>, Arc<stored::Callbacks>>,
    /// What is under way at other runs.
    pub(crate) outgoing: Outgoing,
    /// When timers and activities want to be woken.
    pub(crate) deadlines: RedBlackTreeSetSync<(Timestamp, Due)>,
    /// The workflow task is with a worker. Lost with the leader.
    pub(crate) started: Option<Arc<Started>>,
    /// Updates that history tells of, by id.
    pub(crate) updates: RedBlackTreeMapSync<Arc<str>, stored::Update>,
    /// Those of them that are accepted and not completed.
    pub(crate) open_updates: RedBlackTreeSetSync<Arc<str>>,
    /// Updates that no worker accepted yet, oldest first. All but those that history tells of
    /// are lost with the leader.
    pub(crate) admitted: Arc<Vec<Arc<Admitted>>>,
    /// A workflow task that is not written. Lost with the leader.
    pub(crate) speculative: Option<stored::WorkflowTask>,
    /// How many there were under this leader. Their stamps are negative.
    pub(crate) speculations: i64,
}

/// An update on its way to a worker.
#[derive(Clone, PartialEq, Debug)]
pub struct Admitted {
    pub(crate) id: Arc<str>,
    /// None: the `UpdateAdmitted` event with this id has it.
    pub(crate) request: Option<Arc<update::Request>>,
    pub(crate) admitted_event_id: i64,
    pub(crate) sent: bool,
}

/// A pending activity.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Activity {
    pub(crate) input: Arc<ActivityTaskScheduledEventAttributes>,
    pub(crate) row: Arc<stored::Activity>,
}

/// A workflow task that a worker holds. Soft state, unless it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Started {
    pub(crate) started_event_id: i64,
    pub(crate) request_id: String,
    pub(crate) identity: String,
    pub(crate) time: Timestamp,
    /// `SuggestContinueAsNewReason`s.
    pub(crate) suggest_continue_as_new: Vec<i32>,
    pub(crate) history_size_bytes: i64,
    pub(crate) worker_version: Option<WorkerVersionStamp>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// The state of a run before its first change.
    #[must_use]
    pub fn new() -> Self {
        Self {
            core: stored::Core { next_event_id: 1, workflow_task_attempt: 1, ..stored::Core::default() },
            run: Arc::default(),
            memo: None,
            search_attributes: None,
            reset_points: Arc::default(),
            activities: RedBlackTreeMapSync::new_sync(),
            activity_ids: RedBlackTreeMapSync::new_sync(),
            activities_offered: RedBlackTreeSetSync::new_sync(),
            timers: RedBlackTreeMapSync::new_sync(),
            timer_ids: RedBlackTreeMapSync::new_sync(),
            items_bytes: 0,
            buffered: RedBlackTreeMapSync::new_sync(),
            signal_requests: RedBlackTreeSetSync::new_sync(),
            request_ids: RedBlackTreeMapSync::new_sync(),
            callbacks: RedBlackTreeMapSync::new_sync(),
            outgoing: Outgoing::default(),
            deadlines: RedBlackTreeSetSync::new_sync(),
            started: None,
            updates: RedBlackTreeMapSync::new_sync(),
            open_updates: RedBlackTreeSetSync::new_sync(),
            admitted: Arc::default(),
            speculative: None,
            speculations: 0,
        }
    }

    #[must_use]
    pub fn status(&self) -> WorkflowExecutionStatus {
        self.core.status()
    }

    #[must_use]
    pub fn execution(&self) -> WorkflowExecution {
        WorkflowExecution { workflow_id: self.run.workflow_id.clone(), run_id: self.run.run_id.clone() }
    }

    /// Events below this id are written.
    #[must_use]
    pub fn next_event_id(&self) -> i64 {
        self.core.next_event_id
    }

    #[must_use]
    pub fn first_execution_run_id(&self) -> &str {
        &self.start().first_execution_run_id
    }

    /// The request id that created this run.
    #[must_use]
    pub fn start_request_id(&self) -> &str {
        &self.run.request_id
    }

    /// The run that followed this one (continue-as-new, retry, cron), if any.
    #[must_use]
    pub fn new_execution_run_id(&self) -> Option<&str> {
        Some(self.core.new_execution_run_id.as_str()).filter(|id| !id.is_empty())
    }

    /// A closed run may be removed from this time on.
    #[must_use]
    pub fn delete_after(&self) -> Option<Timestamp> {
        let kept = self.kept_until()?;
        Some(time(self.core.delete_time).map_or(kept, |deleted| deleted.min(kept)))
    }

    /// A closed run is kept until then, unless a client deletes it.
    pub(crate) fn kept_until(&self) -> Option<Timestamp> {
        let closed = time(self.core.close_time)?;
        Some(closed + duration::value(self.core.retention.as_ref().or(self.run.retention.as_ref())))
    }

    /// Whether a workflow task is scheduled or started, and whether it is started.
    #[must_use]
    pub fn pending_workflow_task(&self) -> Option<bool> {
        self.task().filter(|_| self.is_running()).map(|_| self.started.is_some())
    }

    /// The sticky queue and its normal queue, for a query: `(sticky, normal)`.
    #[must_use]
    pub fn query_queues(&self) -> (Option<String>, String) {
        (self.is_sticky().then(|| self.core.sticky_queue.clone()), self.normal_queue().to_owned())
    }

    /// What still has to be done outside this run. Equal to what the decisions asked for.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        let workflow = self.workflow_task_ref().map(Task::Workflow);
        let offered = self.activities_offered.iter();
        let activities = offered.filter_map(|id| self.activity_task_ref(*id)).map(Task::Activity);
        let errands = self.outgoing.errands.iter().copied().map(Task::Errand);
        workflow.into_iter().chain(activities).chain(errands).collect()
    }

    /// A worker saw this run once, so that a query can be answered.
    #[must_use]
    pub fn completed_any_workflow_task(&self) -> bool {
        self.core.last_completed_task_started_event_id != 0
    }

    /// Attempt of the pending or of the next workflow task, from 1.
    #[must_use]
    pub fn workflow_task_attempt(&self) -> i32 {
        self.core.workflow_task_attempt
    }

    /// What a poll response for a query needs.
    #[must_use]
    pub fn workflow_type(&self) -> &str {
        self.start().workflow_type.as_ref().map_or("", |kind| &kind.name)
    }

    /// Id of the last event that a sticky worker has in its cache.
    #[must_use]
    pub fn previous_started_event_id(&self) -> i64 {
        self.core.last_completed_task_started_event_id
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.core.close_time != 0
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status() == WorkflowExecutionStatus::Running
    }

    pub(crate) fn start(&self) -> &WorkflowExecutionStartedEventAttributes {
        match self.run.start_event.as_ref().and_then(|event| event.attributes.as_ref()) {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(start)) => start,
            _ => panic!("a run has its start event before anything asks for it"),
        }
    }

    /// When this run began: with its first event, or with the reset that made it.
    pub(crate) fn start_time(&self) -> Timestamp {
        time(self.run.reset_time).unwrap_or_else(|| self.original_start_time())
    }

    /// When the first event was written, in this run or in the one it was reset from.
    pub(crate) fn original_start_time(&self) -> Timestamp {
        let event = self.run.start_event.as_ref().and_then(|event| event.event_time.as_ref());
        event.map_or(Timestamp::ZERO, Timestamp::from_proto)
    }

    /// When the first workflow task may run: later than the start with a delay or a cron.
    pub(crate) fn execution_time(&self) -> Timestamp {
        self.start_time() + duration::value(self.start().first_workflow_task_backoff.as_ref())
    }

    pub(crate) fn memo(&self) -> Option<&Memo> {
        self.memo.as_deref().or_else(|| self.start().memo.as_ref())
    }

    pub(crate) fn search_attributes(&self) -> Option<&SearchAttributes> {
        self.search_attributes.as_deref().or_else(|| self.start().search_attributes.as_ref())
    }

    pub(crate) fn is_sticky(&self) -> bool {
        !self.core.sticky_queue.is_empty()
    }

    pub(crate) fn normal_queue(&self) -> &str {
        self.start().task_queue.as_ref().map_or("", |queue| &queue.name)
    }

    /// The queue that the next workflow task is offered on.
    pub(crate) fn current_queue(&self) -> TaskQueue {
        if self.is_sticky() {
            TaskQueue {
                name: self.core.sticky_queue.clone(),
                kind: TaskQueueKind::Sticky.into(),
                normal_name: self.normal_queue().to_owned(),
            }
        } else {
            normal_queue(self.normal_queue())
        }
    }

    /// The first workflow task still waits for its time.
    pub(crate) fn in_first_task_backoff(&self) -> bool {
        self.core.first_task_time != 0 && !self.core.had_workflow_task
    }

    /// The pending workflow task, written or not.
    pub(crate) fn task(&self) -> Option<&stored::WorkflowTask> {
        self.core.workflow_task.as_ref().or(self.speculative.as_ref())
    }

    pub(crate) fn task_stamp(&self) -> i64 {
        if self.speculative.is_some() { -self.speculations } else { self.core.workflow_task_stamp }
    }

    /// The first attempt of a workflow task that this request started, while it is held: its
    /// scheduled event and its stamp.
    #[must_use]
    pub fn task_held_for(&self, request_id: &str) -> Option<(i64, i64)> {
        let is_same = self.is_running() && self.core.workflow_task_attempt == 1;
        self.started.as_ref().filter(|started| is_same && started.request_id == request_id)?;
        Some((self.task()?.scheduled_event_id, self.task_stamp()))
    }

    /// Whether the next leader has something to offer.
    #[must_use]
    pub fn has_durable_tasks(&self) -> bool {
        let mut offered = self.activities_offered.iter();
        let has_activities = offered.any(|id| self.activity_task_ref(*id).is_some());
        self.is_running() && (self.core.workflow_task.is_some() || has_activities)
    }

    /// The state as the next leader would find it.
    #[must_use]
    pub fn durable(&self) -> Self {
        let mut state = self.clone();
        if !self.is_start_kept() {
            state.started = None;
        }
        state.speculative = None;
        state.speculations = 0;
        let by_event = state.admitted.iter().filter(|update| update.admitted_event_id != 0);
        state.admitted =
            Arc::new(by_event.map(|update| Arc::new(Admitted { sent: false, ..(**update).clone() })).collect());
        state
    }

    /// Whether there is something that only this leader knows.
    #[must_use]
    pub fn is_soft(&self) -> bool {
        let is_held = self.started.is_some() && !self.is_start_kept();
        self.is_running() && (is_held || self.speculative.is_some() || !self.admitted.is_empty())
    }

    /// The request that started the workflow task which a worker holds, if a leader of another
    /// term may take the answer: not that of a task which was never written.
    #[must_use]
    pub fn held_request_id(&self) -> Option<&str> {
        self.started.as_ref().filter(|_| self.speculative.is_none()).map(|started| started.request_id.as_str())
    }

    /// Whether the start of the workflow task is written: the next leader knows who holds it.
    #[must_use]
    pub fn is_start_kept(&self) -> bool {
        !self.core.kept_start.is_empty()
    }

    pub(crate) fn workflow_task_ref(&self) -> Option<WorkflowTaskRef> {
        let is_offered = self.is_running() && !self.is_paused() && self.started.is_none();
        let task = self.task().filter(|_| is_offered)?;
        let queue = self.current_queue();
        Some(WorkflowTaskRef {
            task_queue: queue.name,
            normal_queue: Some(queue.normal_name).filter(|name| !name.is_empty()),
            scheduled_event_id: task.scheduled_event_id,
            stamp: self.task_stamp(),
            scheduled_time: Timestamp::from_nanos(task.scheduled_time),
            priority: self.priority().cloned(),
        })
    }

    pub(crate) fn activity_task_ref(&self, scheduled_event_id: i64) -> Option<ActivityTaskRef> {
        let is_offered = self.is_running() && !self.is_paused();
        let activity = self.activities.get(&scheduled_event_id).filter(|_| is_offered)?;
        if !activity.is_offered() {
            return None;
        }
        Some(ActivityTaskRef {
            task_queue: activity.task_queue().to_owned(),
            scheduled_event_id,
            stamp: activity.row.stamp,
            scheduled_time: Timestamp::from_nanos(activity.row.scheduled_time),
            priority: super::activity::merged_priority(self.priority(), activity.priority()),
        })
    }
}

pub(crate) fn normal_queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), kind: TaskQueueKind::Normal.into(), normal_name: String::new() }
}

/// A stored time; 0 is none.
pub(crate) fn time(nanos: u64) -> Option<Timestamp> {
    (nanos != 0).then(|| Timestamp::from_nanos(nanos))
}
