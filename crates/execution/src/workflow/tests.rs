//! One small workflow from start to end, through rows and back after every step.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{RunId, Timestamp};
use temporalio_protos::temporal::api::command::v1::command::Attributes as C;
use temporalio_protos::temporal::api::command::v1::{
    Command as WorkflowCommand, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::{ActivityType, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::*;

struct Driver {
    state: State,
    now: Timestamp,
    events: Vec<EventType>,
    tasks: Vec<Task>,
    rows: BTreeMap<RowKey, bytes::Bytes>,
}

impl Driver {
    fn new() -> Self {
        Self {
            state: State::new(),
            now: Timestamp::from_millis(1_000_000),
            events: Vec::new(),
            tasks: Vec::new(),
            rows: BTreeMap::new(),
        }
    }

    fn send(&mut self, command: Command) -> Reply {
        let decision = decide(&self.state, command, self.now, &Limits::default()).unwrap();
        for change in &decision.changes {
            apply(&mut self.state, change);
            if let Change::Event(event) = change {
                self.events.push(event.event_type());
            }
        }
        for key in decision.changes.iter().flat_map(|change| self.state.touched(change)) {
            assert_eq!(RowKey::from_bytes(&key.to_bytes()), Some(key.clone()));
            match self.state.encode_row(&key) {
                Some(bytes) => self.rows.insert(key, bytes),
                None => self.rows.remove(&key),
            };
        }
        let stored: Vec<_> = self.rows.clone().into_iter().collect();
        assert_eq!(State::decode(&stored).unwrap(), self.state.durable());
        self.tasks.extend(decision.tasks);
        self.now = self.now + Duration::from_millis(10);
        decision.reply
    }

    fn workflow_task(&mut self) -> Box<WorkflowTaskStarted> {
        let Some(Task::Workflow(task)) = self.tasks.pop() else { panic!("no workflow task") };
        let command = StartWorkflowTask {
            scheduled_event_id: task.scheduled_event_id,
            stamp: task.stamp,
            request_id: "poll".into(),
            poll: wf::PollWorkflowTaskQueueRequest {
                task_queue: Some(TaskQueue { name: task.task_queue, ..TaskQueue::default() }),
                ..Default::default()
            },
        };
        match self.send(Command::StartWorkflowTask(Box::new(command))) {
            Reply::WorkflowTaskStarted(started) => started,
            other => panic!("{other:?}"),
        }
    }

    fn complete(&mut self, token: WorkflowTaskToken, commands: Vec<WorkflowCommand>) -> Reply {
        let request = wf::RespondWorkflowTaskCompletedRequest { commands, ..Default::default() };
        self.send(Command::CompleteWorkflowTask(Box::new(CompleteWorkflowTask { token, request, fresh: fresh() })))
    }
}

fn fresh() -> FreshIds {
    FreshIds { run_id: RunId::from("next"), jitter: 7 }
}

fn start() -> Command {
    let request = wf::StartWorkflowExecutionRequest {
        workflow_id: "wf".into(),
        request_id: "create".into(),
        workflow_type: Some(WorkflowType { name: "Hello".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..TaskQueue::default() }),
        ..Default::default()
    };
    Command::Start(Box::new(Start {
        namespace_id: "ns".into(),
        workflow_id: "wf".into(),
        run_id: "run".into(),
        namespace_name: "default".into(),
        request,
        signal: None,
        previous_run_id: None,
        retention: Duration::from_secs(3600),
        parent: None,
    }))
}

fn command(kind: CommandType, attributes: C) -> WorkflowCommand {
    WorkflowCommand { command_type: kind.into(), attributes: Some(attributes), ..Default::default() }
}

#[test]
fn hello() {
    let mut driver = Driver::new();
    driver.send(start());
    let task = driver.workflow_task();
    assert_eq!(task.tail.len(), 1);
    assert_eq!(task.token.started_event_id, 3);
    let activity = ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "A".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..TaskQueue::default() }),
        start_to_close_timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        ..Default::default()
    };
    let timer = StartTimerCommandAttributes {
        timer_id: "t".into(),
        start_to_fire_timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
    };
    driver.complete(
        task.token,
        vec![
            command(CommandType::ScheduleActivityTask, C::ScheduleActivityTaskCommandAttributes(activity)),
            command(CommandType::StartTimer, C::StartTimerCommandAttributes(timer)),
        ],
    );
    let Some(Task::Activity(task)) = driver.tasks.pop() else { panic!("no activity task") };
    driver.send(Command::StartActivityTask(Box::new(StartActivityTask {
        scheduled_event_id: task.scheduled_event_id,
        stamp: task.stamp,
        request_id: "poll".into(),
        poll: wf::PollActivityTaskQueueRequest::default(),
    })));
    driver.send(Command::CompleteActivity(Box::new(CompleteActivity {
        target: ActivityTarget::Token { scheduled_event_id: 5, attempt: 1, started_event_id: 0 },
        request: wf::RespondActivityTaskCompletedRequest::default(),
    })));
    let task = driver.workflow_task();
    let signal = wf::SignalWorkflowExecutionRequest { request_id: "s".into(), ..Default::default() };
    driver.send(Command::Signal(Box::new(signal.clone())));
    driver.send(Command::Signal(Box::new(signal)));
    driver.now = driver.state.deadline().unwrap();
    driver.send(Command::FireTimers(fresh()));
    let done = || {
        let attributes = CompleteWorkflowExecutionCommandAttributes::default();
        vec![command(CommandType::CompleteWorkflowExecution, C::CompleteWorkflowExecutionCommandAttributes(attributes))]
    };
    let reply = driver.complete(task.token, done());
    assert!(matches!(reply, Reply::Refused(Rejection::InvalidArgument(message)) if message == "UnhandledCommand"));
    let task = driver.workflow_task();
    driver.complete(task.token, done());
    assert_eq!(driver.state.status().as_str_name(), "WORKFLOW_EXECUTION_STATUS_COMPLETED");
    assert_eq!(driver.events, HELLO);
}

use EventType as E;
const HELLO: [E; 17] = [
    E::WorkflowExecutionStarted,
    E::WorkflowTaskScheduled,
    E::WorkflowTaskStarted,
    E::WorkflowTaskCompleted,
    E::ActivityTaskScheduled,
    E::TimerStarted,
    E::ActivityTaskStarted,
    E::ActivityTaskCompleted,
    E::WorkflowTaskScheduled,
    E::WorkflowTaskStarted,
    E::WorkflowTaskFailed,
    E::WorkflowExecutionSignaled,
    E::TimerFired,
    E::WorkflowTaskScheduled,
    E::WorkflowTaskStarted,
    E::WorkflowTaskCompleted,
    E::WorkflowExecutionCompleted,
];
