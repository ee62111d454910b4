//! A worker over the public API: workflow code as a function of the history, activities
//! that fail as their program says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use temporalio_protos::temporal::api::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes, command::Attributes,
};
use temporalio_protos::temporal::api::common::v1::{ActivityType, RetryPolicy, WorkflowExecution};
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType, TaskQueueKind};
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, pages};
use crate::program::{ACTIVITY_START_TO_CLOSE, NAMESPACE, Program, TASK_QUEUE, programs};
use crate::record::{Event, Record};

const POLL_TIMEOUT: Duration = Duration::from_secs(6);
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const STICKY_TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// A worker process: it keeps the histories of its workflows, so that it can be sent only
/// what is new, on a queue of its own.
#[derive(Clone)]
pub(crate) struct Worker {
    programs: Rc<Vec<Program>>,
    /// What is known of each run, up to the start of its last task here.
    histories: Rc<RefCell<BTreeMap<String, Vec<HistoryEvent>>>>,
    sticky_queue: TaskQueue,
    /// Some workers of the world cache nothing.
    is_sticky: bool,
    record: Record,
}

impl Worker {
    pub(crate) fn new(seed: u64, index: u64, record: Record) -> Self {
        let sticky_queue = TaskQueue {
            name: format!("sticky-{index}"),
            kind: TaskQueueKind::Sticky.into(),
            normal_name: TASK_QUEUE.to_owned(),
        };
        let programs = Rc::new(programs(seed));
        Self { programs, histories: Rc::default(), sticky_queue, is_sticky: !seed.is_multiple_of(4), record }
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
        let Some(program) = self.programs.iter().find(|program| program.workflow_id == workflow_id) else { return };
        let (token, started_event_id) = (task.task_token.clone(), task.started_event_id);
        // Without all of it nothing can be decided; the task will time out.
        let Some(events) = self.history(client, execution, task).await else { return };
        let sticky = StickyExecutionAttributes {
            worker_task_queue: Some(self.sticky_queue.clone()),
            schedule_to_start_timeout: Some(proto(STICKY_TIMEOUT)),
        };
        let answer = wf::RespondWorkflowTaskCompletedRequest {
            namespace: NAMESPACE.to_owned(),
            task_token: token,
            commands: decide(program, &events),
            identity: "sim-worker".to_owned(),
            sticky_attributes: self.is_sticky.then_some(sticky),
            ..Default::default()
        };
        let answered: Result<wf::RespondWorkflowTaskCompletedResponse, _> =
            client.call("RespondWorkflowTaskCompleted", answer, CALL_TIMEOUT).await;
        // A task whose completion is lost may be given out again by another leader, with
        // another start: what is known of it holds only once it is answered.
        if answered.is_ok() {
            self.histories.borrow_mut().insert(run_id, events);
            self.record.push(Event::TaskAcknowledged { workflow_id, started_event_id });
        }
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

/// A function of the history alone.
fn decide(program: &Program, events: &[HistoryEvent]) -> Vec<Command> {
    let count = |kind: EventType| events.iter().filter(|event| event.event_type() == kind).count();
    let scheduled = count(EventType::ActivityTaskScheduled);
    let completed = count(EventType::ActivityTaskCompleted);
    let timers = count(EventType::TimerStarted);
    let fired = count(EventType::TimerFired);
    if completed > timers {
        return vec![timer(timers, program.timer)];
    }
    if fired == scheduled && scheduled < program.activities {
        return vec![activity(scheduled)];
    }
    if fired == program.activities && count(EventType::WorkflowExecutionSignaled) >= program.signals {
        let attributes = CompleteWorkflowExecutionCommandAttributes::default();
        return vec![command(
            CommandType::CompleteWorkflowExecution,
            Attributes::CompleteWorkflowExecutionCommandAttributes(attributes),
        )];
    }
    Vec::new()
}

fn activity(index: usize) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: format!("activity-{index}"),
        activity_type: Some(ActivityType { name: "work".to_owned() }),
        task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
        start_to_close_timeout: Some(proto(ACTIVITY_START_TO_CLOSE)),
        retry_policy: Some(RetryPolicy {
            initial_interval: Some(proto(Duration::from_millis(200))),
            backoff_coefficient: 1.0,
            ..Default::default()
        }),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(attributes))
}

fn timer(index: usize, duration: Duration) -> Command {
    let attributes = StartTimerCommandAttributes {
        timer_id: format!("timer-{index}"),
        start_to_fire_timeout: Some(proto(duration)),
    };
    command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(attributes))
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind.into(), attributes: Some(attributes), ..Default::default() }
}

fn proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(crate) async fn activity_tasks(mut client: Client, seed: u64, record: Record) {
    let programs = programs(seed);
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
        let Some(program) = programs.iter().find(|program| program.workflow_id == workflow_id) else { continue };
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
