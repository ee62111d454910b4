//! A worker over the public API: it knows the histories, asks the workflows' code what to
//! answer, and does activities, which fail as their program says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::enums::v1::{EventType, TaskQueueKind};
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, pages};
use crate::program::{NAMESPACE, Program, Script, TASK_QUEUE};
use crate::record::{Event, Record};
use crate::workflow::{self, proto};

const POLL_TIMEOUT: Duration = Duration::from_secs(6);
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const STICKY_TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// A worker process: it keeps the histories of its workflows, so that it can be sent only
/// what is new, on a queue of its own.
#[derive(Clone)]
pub(crate) struct Worker {
    script: Rc<Script>,
    /// What is known of each run, up to the start of its last task here.
    histories: Rc<RefCell<BTreeMap<String, Vec<HistoryEvent>>>>,
    sticky_queue: TaskQueue,
    /// Some workers of the world cache nothing.
    is_sticky: bool,
    /// Makes results that were never given before.
    results: Rc<Cell<u64>>,
    index: u64,
    record: Record,
}

impl Worker {
    pub(crate) fn new(seed: u64, index: u64, script: Rc<Script>, record: Record) -> Self {
        let sticky_queue = TaskQueue {
            name: format!("sticky-{index}"),
            kind: TaskQueueKind::Sticky.into(),
            normal_name: TASK_QUEUE.to_owned(),
        };
        let is_sticky = !seed.is_multiple_of(4);
        Self { script, histories: Rc::default(), sticky_queue, is_sticky, results: Rc::default(), index, record }
    }

    /// Polls for ever, either the common queue or the worker's own.
    pub(crate) async fn workflow_tasks(self, mut client: Client, sticky: bool) {
        let common = TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() };
        let queue = if sticky { self.sticky_queue.clone() } else { common };
        loop {
            let request = wf::PollWorkflowTaskQueueRequest {
                namespace: NAMESPACE.to_owned(),
                task_queue: Some(queue.clone()),
                identity: "sim-worker".to_owned(),
                ..Default::default()
            };
            let polled: Result<wf::PollWorkflowTaskQueueResponse, _> =
                client.call("PollWorkflowTaskQueue", request, POLL_TIMEOUT).await;
            match polled {
                Ok(task) if !task.task_token.is_empty() => self.workflow_task(&mut client, task).await,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn workflow_task(&self, client: &mut Client, task: wf::PollWorkflowTaskQueueResponse) {
        let execution = task.workflow_execution.clone().unwrap_or_default();
        let WorkflowExecution { workflow_id, run_id } = execution.clone();
        let (token, started_event_id) = (task.task_token.clone(), task.started_event_id);
        let workflow_type = task.workflow_type.clone().unwrap_or_default().name;
        let messages = task.messages.clone();
        // Without all of it nothing can be decided; the task will time out.
        let Some(mut events) = self.history(client, execution, task).await else { return };
        let mut fresh = || {
            self.results.set(self.results.get() + 1);
            format!("worker {} result {}", self.index, self.results.get())
        };
        let task = workflow::Task {
            workflow_id: &workflow_id,
            workflow_type: &workflow_type,
            events: &events,
            messages: &messages,
        };
        let Some(decided) = workflow::decide(&self.script, &task, &mut fresh) else { return };
        let sticky = StickyExecutionAttributes {
            worker_task_queue: Some(self.sticky_queue.clone()),
            schedule_to_start_timeout: Some(proto(STICKY_TIMEOUT)),
        };
        let answer = wf::RespondWorkflowTaskCompletedRequest {
            namespace: NAMESPACE.to_owned(),
            task_token: token,
            commands: decided.commands,
            messages: decided.messages,
            identity: "sim-worker".to_owned(),
            sticky_attributes: self.is_sticky.then_some(sticky),
            ..Default::default()
        };
        let answered: Result<wf::RespondWorkflowTaskCompletedResponse, _> =
            client.call("RespondWorkflowTaskCompleted", answer, CALL_TIMEOUT).await;
        // A task whose completion is lost may be given out again by another leader, with
        // another start: what is known of it holds only once it is answered.
        let Ok(answered) = answered else { return };
        match answered.reset_history_event_id {
            0 => self.record.push(Event::TaskAcknowledged { workflow_id, run_id: run_id.clone(), started_event_id }),
            // Nothing was written of a task that only refused updates.
            last => events.retain(|event| event.event_id <= last),
        }
        self.histories.borrow_mut().insert(run_id, events);
    }

    /// The whole history up to the start of the task: what came with it, behind what is
    /// known already.
    async fn history(
        &self,
        client: &mut Client,
        execution: WorkflowExecution,
        task: wf::PollWorkflowTaskQueueResponse,
    ) -> Option<Vec<HistoryEvent>> {
        let mut known = self.histories.borrow_mut().remove(&execution.run_id).unwrap_or_default();
        let mut events = task.history.unwrap_or_default().events;
        if !task.next_page_token.is_empty() {
            events.extend(pages(client, execution.clone(), task.next_page_token).await.ok()?);
        }
        self.observed(&execution, &events);
        let first = events.first().map_or(1, |event| event.event_id);
        if first > 1 {
            known.retain(|event| event.event_id < first);
            if known.last().is_none_or(|last| last.event_id + 1 != first) {
                // This worker does not know the beginning (any more).
                known = pages(client, execution.clone(), Vec::new()).await.ok()?;
                self.observed(&execution, &known);
                known.retain(|event| event.event_id < first);
            }
            known.extend(events);
            events = known;
        }
        events.last().is_some_and(|last| last.event_id == task.started_event_id).then_some(events)
    }

    /// Writes down what is certain of the events of one answer.
    fn observed(&self, execution: &WorkflowExecution, events: &[HistoryEvent]) {
        let WorkflowExecution { workflow_id, run_id } = execution.clone();
        self.record.push(Event::Observed { workflow_id, run_id, events: certain(events).to_vec() });
    }
}

/// All but the start of a task at the end, and its scheduling, which may not be written either.
fn certain(events: &[HistoryEvent]) -> &[HistoryEvent] {
    match events {
        [certain @ .., scheduled, started]
            if scheduled.event_type() == EventType::WorkflowTaskScheduled
                && started.event_type() == EventType::WorkflowTaskStarted =>
        {
            certain
        }
        [certain @ .., last]
            if matches!(last.event_type(), EventType::WorkflowTaskScheduled | EventType::WorkflowTaskStarted) =>
        {
            certain
        }
        all => all,
    }
}

pub(crate) async fn activity_tasks(mut client: Client, script: Rc<Script>, record: Record) {
    loop {
        let request = wf::PollActivityTaskQueueRequest {
            namespace: NAMESPACE.to_owned(),
            task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
            identity: "sim-worker".to_owned(),
            ..Default::default()
        };
        let polled: Result<wf::PollActivityTaskQueueResponse, _> =
            client.call("PollActivityTaskQueue", request, POLL_TIMEOUT).await;
        let Ok(task) = polled else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if task.task_token.is_empty() {
            continue;
        }
        let workflow_id = task.workflow_execution.clone().unwrap_or_default().workflow_id;
        let Some(program) = script.programs.iter().find(|program| program.workflow_id == workflow_id) else { continue };
        work(&mut client, program, task, &record).await;
    }
}

async fn work(client: &mut Client, program: &Program, task: wf::PollActivityTaskQueueResponse, record: &Record) {
    let (workflow_id, activity_id, attempt) = (program.workflow_id.clone(), task.activity_id, task.attempt);
    if task.workflow_namespace != NAMESPACE {
        let answer = format!("an activity of namespace {:?}", task.workflow_namespace);
        record.push(Event::Denied { workflow_id: workflow_id.clone(), answer });
    }
    record.push(Event::ActivityStarted { workflow_id: workflow_id.clone(), activity_id: activity_id.clone(), attempt });
    tokio::time::sleep(PAUSE).await;
    if attempt <= program.failures {
        let answer = wf::RespondActivityTaskFailedRequest {
            namespace: NAMESPACE.to_owned(),
            task_token: task.task_token,
            failure: Some(Failure {
                message: "as the program says".to_owned(),
                failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())),
                ..Default::default()
            }),
            identity: "sim-worker".to_owned(),
            ..Default::default()
        };
        let _: Result<wf::RespondActivityTaskFailedResponse, _> =
            client.call("RespondActivityTaskFailed", answer, CALL_TIMEOUT).await;
        return;
    }
    let answer = wf::RespondActivityTaskCompletedRequest {
        namespace: NAMESPACE.to_owned(),
        task_token: task.task_token,
        identity: "sim-worker".to_owned(),
        ..Default::default()
    };
    let answered: Result<wf::RespondActivityTaskCompletedResponse, _> =
        client.call("RespondActivityTaskCompleted", answer, CALL_TIMEOUT).await;
    if answered.is_ok() {
        record.push(Event::ActivityAcknowledged { workflow_id, activity_id, attempt });
    }
}
