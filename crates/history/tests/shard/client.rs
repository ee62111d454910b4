//! What clients and workers do, in one line each.

use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::history_request::Request;
use api::internal::{
    ActivityAddress, ActivityTaskToken, HistoryRequest, HistoryResponse, RespondActivityTaskCompleted,
    RespondWorkflowTaskCompleted, RespondWorkflowTaskFailed, StartActivityTask, StartWorkflowTask, TaskKind, TaskRef,
    WorkflowTaskToken,
};
use base::Entropy;
use cluster::Router;
use prost::Message;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::{ActivityType, WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType, TaskQueueKind};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::time::Instant;

use crate::matching::FakeMatching;

pub(crate) const QUEUE: &str = "queue";

pub(crate) struct Client {
    router: Router,
    matching: Arc<FakeMatching>,
    pub(crate) namespace_id: String,
    entropy: Arc<dyn Entropy>,
}

impl Client {
    pub(crate) fn new(
        router: Router,
        matching: Arc<FakeMatching>,
        namespace_id: String,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { router, matching, namespace_id, entropy }
    }

    pub(crate) async fn raw(&self, workflow_id: &str, request: Request) -> Result<HistoryResponse, Error> {
        self.send(workflow_id, request, false).await
    }

    /// As the router of another node sends it.
    pub(crate) async fn bindable(&self, workflow_id: &str, request: Request) -> HistoryResponse {
        self.send(workflow_id, request, true).await.unwrap()
    }

    async fn send(&self, workflow_id: &str, request: Request, can_bind: bool) -> Result<HistoryResponse, Error> {
        let request = HistoryRequest {
            namespace_id: self.namespace_id.clone(),
            namespace: "default".into(),
            cell: base::cell_of(&self.namespace_id, workflow_id).index().into(),
            request: Some(request),
            can_bind,
            ..HistoryRequest::default()
        };
        self.router.history(Box::new(request), Instant::now() + Duration::from_secs(60)).await
    }

    pub(crate) async fn call<T: Message + Default>(&self, workflow_id: &str, request: Request) -> Result<T, Error> {
        let response = self.raw(workflow_id, request).await?;
        Ok(T::decode(response.body).expect("the body decodes"))
    }

    pub(crate) fn start_request(&self, workflow_id: &str) -> wf::StartWorkflowExecutionRequest {
        wf::StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: workflow_id.into(),
            workflow_type: Some(WorkflowType { name: "type".into() }),
            task_queue: Some(TaskQueue { name: QUEUE.into(), ..TaskQueue::default() }),
            request_id: self.entropy.uuid(),
            identity: "client".into(),
            ..Default::default()
        }
    }

    pub(crate) async fn start_with(
        &self,
        request: wf::StartWorkflowExecutionRequest,
    ) -> Result<wf::StartWorkflowExecutionResponse, Error> {
        self.call(&request.workflow_id.clone(), Request::Start(request)).await
    }

    pub(crate) async fn start(&self, workflow_id: &str) -> String {
        self.start_with(self.start_request(workflow_id)).await.unwrap().run_id
    }

    pub(crate) async fn signal(&self, workflow_id: &str, name: &str) -> Result<(), Error> {
        let request = wf::SignalWorkflowExecutionRequest {
            workflow_execution: Some(execution(workflow_id, "")),
            signal_name: name.into(),
            request_id: self.entropy.uuid(),
            ..Default::default()
        };
        self.raw(workflow_id, Request::Signal(request)).await.map(|_| ())
    }

    pub(crate) async fn terminate(&self, workflow_id: &str) -> Result<(), Error> {
        let request = wf::TerminateWorkflowExecutionRequest {
            workflow_execution: Some(execution(workflow_id, "")),
            ..Default::default()
        };
        self.raw(workflow_id, Request::Terminate(request)).await.map(|_| ())
    }

    pub(crate) async fn describe(&self, workflow_id: &str) -> Result<wf::DescribeWorkflowExecutionResponse, Error> {
        let request =
            wf::DescribeWorkflowExecutionRequest { execution: Some(execution(workflow_id, "")), ..Default::default() };
        self.call(workflow_id, Request::Describe(request)).await
    }

    pub(crate) async fn history_page(
        &self,
        workflow_id: &str,
        request: wf::GetWorkflowExecutionHistoryRequest,
    ) -> Result<wf::GetWorkflowExecutionHistoryResponse, Error> {
        let execution = request.execution.clone().unwrap_or_else(|| execution(workflow_id, ""));
        let request = wf::GetWorkflowExecutionHistoryRequest { execution: Some(execution), ..request };
        self.call(workflow_id, Request::GetHistory(request)).await
    }

    pub(crate) async fn events_of_run(&self, workflow_id: &str, run_id: &str) -> Vec<HistoryEvent> {
        let request = wf::GetWorkflowExecutionHistoryRequest {
            execution: Some(execution(workflow_id, run_id)),
            ..Default::default()
        };
        let page = self.history_page(workflow_id, request).await.unwrap();
        assert!(page.next_page_token.is_empty());
        page.history.unwrap().events
    }

    /// The types of all events, in order and without a gap.
    pub(crate) async fn history(&self, workflow_id: &str) -> Vec<EventType> {
        types(&self.events_of_run(workflow_id, "").await)
    }

    pub(crate) async fn poll_workflow(&self, queue: &str) -> wf::PollWorkflowTaskQueueResponse {
        loop {
            let task = self.matching.take(queue, TaskKind::Workflow.into()).await;
            if let Some(started) = self.start_workflow_task(queue, task).await {
                return started;
            }
        }
    }

    /// A poll that may fail while a shard has no leader; its task comes again.
    pub(crate) async fn try_poll_workflow(&self, queue: &str) -> Result<wf::PollWorkflowTaskQueueResponse, Error> {
        loop {
            let task = self.matching.take(queue, TaskKind::Workflow.into()).await;
            if let Some(started) = self.try_start_workflow_task(queue, task).await? {
                return Ok(started);
            }
        }
    }

    pub(crate) async fn start_workflow_task(
        &self,
        queue: &str,
        task: TaskRef,
    ) -> Option<wf::PollWorkflowTaskQueueResponse> {
        self.try_start_workflow_task(queue, task).await.unwrap()
    }

    async fn try_start_workflow_task(
        &self,
        queue: &str,
        task: TaskRef,
    ) -> Result<Option<wf::PollWorkflowTaskQueueResponse>, Error> {
        let workflow_id = task.workflow_id.clone();
        let kind = if task.normal_queue.is_empty() { TaskQueueKind::Normal } else { TaskQueueKind::Sticky };
        let poll = wf::PollWorkflowTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(TaskQueue {
                name: queue.into(),
                kind: kind.into(),
                normal_name: task.normal_queue.clone(),
            }),
            identity: "worker".into(),
            ..Default::default()
        };
        let request = StartWorkflowTask { task: Some(task), request_id: self.entropy.uuid(), poll: Some(poll) };
        let response = self.raw(&workflow_id, Request::StartWorkflowTask(request)).await?;
        Ok((!response.task_gone).then(|| wf::PollWorkflowTaskQueueResponse::decode(response.body).unwrap()))
    }

    pub(crate) async fn complete(
        &self,
        task: &wf::PollWorkflowTaskQueueResponse,
        commands: Vec<Command>,
    ) -> Result<wf::RespondWorkflowTaskCompletedResponse, Error> {
        self.complete_with(task, wf::RespondWorkflowTaskCompletedRequest { commands, ..Default::default() }).await
    }

    pub(crate) async fn fail(&self, task: &wf::PollWorkflowTaskQueueResponse) -> Result<(), Error> {
        let token = WorkflowTaskToken::decode(&task.task_token[..]).unwrap();
        let workflow_id = token.workflow_id.clone();
        let request = RespondWorkflowTaskFailed { token: Some(token), request: Some(Default::default()) };
        self.raw(&workflow_id, Request::FailWorkflowTask(request)).await.map(drop)
    }

    pub(crate) async fn complete_with(
        &self,
        task: &wf::PollWorkflowTaskQueueResponse,
        request: wf::RespondWorkflowTaskCompletedRequest,
    ) -> Result<wf::RespondWorkflowTaskCompletedResponse, Error> {
        let token = WorkflowTaskToken::decode(&task.task_token[..]).unwrap();
        let workflow_id = token.workflow_id.clone();
        let request = RespondWorkflowTaskCompleted { token: Some(token), request: Some(request) };
        self.call(&workflow_id, Request::CompleteWorkflowTask(request)).await
    }

    pub(crate) fn activity_poll() -> wf::PollActivityTaskQueueRequest {
        wf::PollActivityTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(TaskQueue { name: QUEUE.into(), ..TaskQueue::default() }),
            identity: "worker".into(),
            ..Default::default()
        }
    }

    pub(crate) async fn poll_activity(&self) -> wf::PollActivityTaskQueueResponse {
        loop {
            let task = self.matching.take(QUEUE, TaskKind::Activity.into()).await;
            let workflow_id = task.workflow_id.clone();
            let poll = Some(Self::activity_poll());
            let request = StartActivityTask { task: Some(task), request_id: self.entropy.uuid(), poll };
            let response = self.raw(&workflow_id, Request::StartActivityTask(request)).await.unwrap();
            if !response.task_gone {
                return wf::PollActivityTaskQueueResponse::decode(response.body).unwrap();
            }
        }
    }

    pub(crate) async fn complete_activity(&self, task: &wf::PollActivityTaskQueueResponse) -> Result<(), Error> {
        let token = ActivityTaskToken::decode(&task.task_token[..]).unwrap();
        let workflow_id = token.workflow_id.clone();
        let address = Some(ActivityAddress { token: Some(token), ..Default::default() });
        let request = RespondActivityTaskCompleted { address, request: Some(Default::default()) };
        self.raw(&workflow_id, Request::CompleteActivity(request)).await.map(|_| ())
    }
}

pub(crate) fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() }
}

pub(crate) fn types(events: &[HistoryEvent]) -> Vec<EventType> {
    for (event, id) in events.iter().zip(1..) {
        assert_eq!(event.event_id, id, "history has a gap");
    }
    events.iter().map(HistoryEvent::event_type).collect()
}

pub(crate) fn sticky(queue: &str) -> Option<StickyExecutionAttributes> {
    Some(StickyExecutionAttributes {
        worker_task_queue: Some(TaskQueue {
            name: queue.into(),
            kind: TaskQueueKind::Sticky.into(),
            normal_name: QUEUE.into(),
        }),
        schedule_to_start_timeout: Some(Duration::from_secs(5).try_into().unwrap()),
    })
}

pub(crate) fn complete_workflow() -> Command {
    Command {
        command_type: CommandType::CompleteWorkflowExecution.into(),
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
            CompleteWorkflowExecutionCommandAttributes::default(),
        )),
        ..Default::default()
    }
}

pub(crate) fn schedule_activity(id: &str) -> Command {
    let seconds = |seconds| Some(Duration::from_secs(seconds).try_into().unwrap());
    Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
            activity_id: id.into(),
            activity_type: Some(ActivityType { name: "activity".into() }),
            task_queue: Some(TaskQueue { name: QUEUE.into(), ..TaskQueue::default() }),
            start_to_close_timeout: seconds(30),
            ..Default::default()
        })),
        ..Default::default()
    }
}

pub(crate) fn start_timer(id: &str, after: Duration) -> Command {
    Command {
        command_type: CommandType::StartTimer.into(),
        attributes: Some(Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
            timer_id: id.into(),
            start_to_fire_timeout: Some(after.try_into().unwrap()),
        })),
        ..Default::default()
    }
}
