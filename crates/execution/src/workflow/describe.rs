//! What a client sees of a run, besides its history.

use base::{CustomAttributes, Timestamp};
use temporalio_protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{
    EventType, PendingActivityState, PendingWorkflowTaskState, WorkflowExecutionStatus,
};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflow::v1::pending_activity_info::PauseInfo;
use temporalio_protos::temporal::api::workflow::v1::pending_activity_info::pause_info::{Manual, PausedBy};
use temporalio_protos::temporal::api::workflow::v1::{
    PendingActivityInfo, PendingChildExecutionInfo, PendingWorkflowTaskInfo, RequestIdInfo, WorkflowExecutionConfig,
    WorkflowExecutionExtendedInfo, WorkflowExecutionInfo, WorkflowExecutionPauseInfo,
};
use temporalio_protos::temporal::api::workflowservice::v1::DescribeWorkflowExecutionResponse;

use super::outgoing::Child;
use super::state::{Activity, normal_queue, time};
use super::{State, callback, reset_point, stored};
use crate::policy::{self, duration};

/// How a run without a deadline says so: the first second of year 1.
const NEVER: prost_types::Timestamp = prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 };

impl State {
    /// `custom` is what the namespace has registered, by which search attributes are shown;
    /// without it they are shown as they are.
    #[must_use]
    pub fn describe(&self, custom: Option<&CustomAttributes>) -> DescribeWorkflowExecutionResponse {
        let mut info = self.info_with_started();
        if let (Some(attributes), Some(custom)) = (&mut info.search_attributes, custom) {
            policy::search_attributes::shown(attributes, custom);
        }
        let start = self.start();
        let user_metadata = self.run.start_event.as_ref().and_then(|event| event.user_metadata.clone());
        DescribeWorkflowExecutionResponse {
            execution_config: Some(WorkflowExecutionConfig {
                task_queue: Some(normal_queue(self.normal_queue())),
                workflow_execution_timeout: start.workflow_execution_timeout,
                workflow_run_timeout: start.workflow_run_timeout,
                default_workflow_task_timeout: start.workflow_task_timeout,
                user_metadata,
            }),
            workflow_execution_info: Some(info),
            pending_activities: self.activities.values().map(pending_activity).collect(),
            pending_children: self.outgoing.children.iter().map(|(id, child)| pending_child(*id, child)).collect(),
            pending_workflow_task: self.pending_task(),
            workflow_extended_info: Some(self.extended_info()),
            callbacks: callback::describe(self),
            ..DescribeWorkflowExecutionResponse::default()
        }
    }

    /// Counts the start of a workflow task, which is an event though not yet written. That of
    /// a later attempt is none before it completes, nor is that of a speculative one.
    fn info_with_started(&self) -> WorkflowExecutionInfo {
        let mut info = self.info();
        self.first_execution_run_id().clone_into(&mut info.first_run_id);
        if self.started.is_some() && self.speculative.is_none() && self.core.workflow_task_attempt == 1 {
            info.history_length += 1;
        }
        info
    }

    /// What visibility knows of this run.
    #[must_use]
    pub fn info(&self) -> WorkflowExecutionInfo {
        let start = self.start();
        let closed = time(self.core.close_time);
        let root = start.root_workflow_execution.clone().unwrap_or_else(|| self.execution());
        let parent = start.parent_workflow_execution.clone();
        WorkflowExecutionInfo {
            execution: Some(self.execution()),
            r#type: Some(WorkflowType { name: self.workflow_type().to_owned() }),
            start_time: Some(self.start_time().to_proto()),
            close_time: closed.map(Timestamp::to_proto),
            status: self.shown_status().into(),
            history_length: self.core.next_event_id - 1,
            parent_namespace_id: start.parent_workflow_namespace_id.clone(),
            parent_execution: parent.filter(|parent: &WorkflowExecution| !parent.run_id.is_empty()),
            execution_time: Some(self.execution_time().to_proto()),
            memo: Some(self.memo().cloned().unwrap_or_default()),
            search_attributes: Some(self.search_attributes().cloned().unwrap_or_default()),
            auto_reset_points: Some(reset_point::shown(self)),
            task_queue: self.normal_queue().to_owned(),
            state_transition_count: self.core.state_transition_count,
            history_size_bytes: i64::try_from(self.core.history_size_bytes).unwrap_or(i64::MAX),
            most_recent_worker_version_stamp: self.core.most_recent_worker_version_stamp.clone(),
            execution_duration: closed.map(|closed| duration::proto(closed.since(self.execution_time()))),
            root_execution: Some(root),
            worker_deployment_name: self.core.worker_deployment_name.clone(),
            priority: self.priority().cloned(),
            versioning_info: self.versioning_info(),
            ..WorkflowExecutionInfo::default()
        }
    }

    /// A paused run is open, and shown as paused.
    fn shown_status(&self) -> WorkflowExecutionStatus {
        if self.is_paused() { WorkflowExecutionStatus::Paused } else { self.status() }
    }

    fn extended_info(&self) -> WorkflowExecutionExtendedInfo {
        let mut info = WorkflowExecutionExtendedInfo {
            execution_expiration_time: self.execution_expiration().map(Timestamp::to_proto),
            run_expiration_time: Some(self.run_expiration().map_or(NEVER, Timestamp::to_proto)),
            cancel_requested: self.core.cancel_requested,
            original_start_time: Some(self.original_start_time().to_proto()),
            last_reset_time: time(self.run.reset_time).map(Timestamp::to_proto),
            reset_run_id: self.core.reset_run_id.clone(),
            pause_info: self.core.pause.as_ref().map(|pause| WorkflowExecutionPauseInfo {
                identity: pause.identity.clone(),
                paused_time: time(pause.time).map(Timestamp::to_proto),
                reason: pause.reason.clone(),
            }),
            ..WorkflowExecutionExtendedInfo::default()
        };
        let created =
            RequestIdInfo { event_type: EventType::WorkflowExecutionStarted.into(), event_id: 1, buffered: false };
        info.request_id_infos.insert(self.run.request_id.clone(), created);
        for (id, event_id) in &self.request_ids {
            let is_update = self.updates.values().any(|update| update.accepted_event_id == *event_id);
            let event_type = if *event_id != 0 && is_update {
                EventType::WorkflowExecutionUpdateAccepted
            } else {
                EventType::WorkflowExecutionOptionsUpdated
            };
            let joined = RequestIdInfo { event_type: event_type.into(), event_id: *event_id, buffered: *event_id == 0 };
            info.request_id_infos.insert(id.to_string(), joined);
        }
        info
    }

    fn pending_task(&self) -> Option<PendingWorkflowTaskInfo> {
        let task = self.task()?;
        let state = match self.started {
            Some(_) => PendingWorkflowTaskState::Started,
            None => PendingWorkflowTaskState::Scheduled,
        };
        Some(PendingWorkflowTaskInfo {
            state: state.into(),
            scheduled_time: time(task.scheduled_time).map(Timestamp::to_proto),
            original_scheduled_time: time(task.original_scheduled_time).map(Timestamp::to_proto),
            started_time: self.started.as_ref().map(|started| started.time.to_proto()),
            attempt: self.core.workflow_task_attempt,
        })
    }
}

fn pending_child(initiated_id: i64, child: &Child) -> PendingChildExecutionInfo {
    PendingChildExecutionInfo {
        workflow_id: child.input.workflow_id.clone(),
        run_id: child.row.started_run_id.clone(),
        workflow_type_name: child.input.workflow_type.as_ref().map_or("", |kind| &kind.name).to_owned(),
        initiated_id,
        parent_close_policy: child.input.parent_close_policy,
    }
}

fn pending_activity(activity: &Activity) -> PendingActivityInfo {
    let Activity { input, row } = activity;
    let at = |nanos| time(nanos).map(Timestamp::to_proto);
    let state = match (row.pause.is_some(), row.started_time != 0) {
        _ if row.cancel_requested_event_id != 0 => PendingActivityState::CancelRequested,
        (true, true) => PendingActivityState::PauseRequested,
        (true, false) => PendingActivityState::Paused,
        (false, true) => PendingActivityState::Started,
        (false, false) => PendingActivityState::Scheduled,
    };
    let waits = state == PendingActivityState::Scheduled && !row.ready;
    let queue = activity.task_queue();
    let options = activity.options();
    let maximum_attempts = options.retry_policy.as_ref().map_or(0, |policy| policy.maximum_attempts);
    let expiration = duration::timeout(input.schedule_to_close_timeout.as_ref())
        .map(|timeout| Timestamp::from_nanos(row.first_scheduled_time) + timeout);
    let interval =
        Timestamp::from_nanos(row.scheduled_time).since(Timestamp::from_nanos(row.last_attempt_complete_time));
    let last_worker = if row.started_identity.is_empty() { &row.last_worker_identity } else { &row.started_identity };
    PendingActivityInfo {
        activity_id: input.activity_id.clone(),
        activity_type: input.activity_type.clone(),
        state: state.into(),
        heartbeat_details: time(row.last_heartbeat_time).and(row.last_heartbeat_details.clone()),
        last_heartbeat_time: at(row.last_heartbeat_time),
        last_started_time: at(row.started_time),
        attempt: row.attempt,
        maximum_attempts,
        scheduled_time: at(row.scheduled_time),
        expiration_time: expiration.map(Timestamp::to_proto),
        last_failure: row.last_failure.clone(),
        last_worker_identity: last_worker.clone(),
        current_retry_interval: (waits && row.last_attempt_complete_time != 0).then(|| duration::proto(interval)),
        last_attempt_complete_time: at(row.last_attempt_complete_time),
        next_attempt_schedule_time: waits.then(|| at(row.scheduled_time)).flatten(),
        priority: activity.priority().cloned(),
        paused: row.pause.is_some(),
        pause_info: row.pause.as_ref().map(pause_info),
        activity_options: Some(ActivityOptions {
            task_queue: Some(TaskQueue {
                name: queue.to_owned(),
                normal_name: queue.to_owned(),
                ..TaskQueue::default()
            }),
            ..options
        }),
        ..PendingActivityInfo::default()
    }
}

fn pause_info(pause: &stored::Pause) -> PauseInfo {
    let manual = Manual { identity: pause.identity.clone(), reason: pause.reason.clone() };
    PauseInfo { pause_time: time(pause.time).map(Timestamp::to_proto), paused_by: Some(PausedBy::Manual(manual)) }
}
