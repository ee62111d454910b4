//! Big workflows: what a step costs depends on what it changes, not on how much there is.
//! Bytes are counted, not time: rows and events are all that a step writes.

use std::collections::BTreeMap;

use base::{RunId, Timestamp};
use bytes::Bytes;
use execution::Limits;
use execution::workflow::{
    ActivityTarget, Change, Command, CompleteActivity, CompleteWorkflowTask, FreshIds, Heartbeat, Reply, RowKey, Start,
    StartActivityTask, StartWorkflowTask, State, Task, WorkflowTaskToken, apply, decide,
};
use prost::Message;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::command::v1::{self as command, ScheduleActivityTaskCommandAttributes};
use temporalio_protos::temporal::api::common::v1::{ActivityType, Payload, Payloads, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{CommandType, WorkflowExecutionStatus};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

/// More than this and a step rewrites something that it did not change.
const STEP_BYTES_MAX: usize = 2048;
/// What ids, counters and times may grow by.
const GROWTH_BYTES_MAX: usize = 64;
const ACTIVITIES: usize = 2000;
const SIGNALS: usize = 10_000;

/// A run and the rows that would be stored.
struct Run {
    state: State,
    rows: BTreeMap<RowKey, Bytes>,
    now: Timestamp,
    limits: Limits,
}

/// What one step wrote.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    rows: usize,
    row_bytes: usize,
    events: usize,
    event_bytes: usize,
}

impl Cost {
    fn bytes(self) -> usize {
        self.row_bytes + self.event_bytes
    }
}

impl Run {
    fn started() -> Self {
        let mut run = Self {
            state: State::new(),
            rows: BTreeMap::new(),
            now: Timestamp::from_millis(1_767_225_600_000),
            limits: Limits::default(),
        };
        run.step(Command::Start(Box::new(Start {
            namespace_id: "namespace-id".into(),
            workflow_id: "big".into(),
            run_id: "run-1".into(),
            namespace_name: "default".into(),
            request: wf::StartWorkflowExecutionRequest {
                workflow_id: "big".into(),
                workflow_type: Some(WorkflowType { name: "greet".into() }),
                task_queue: queue(),
                request_id: "start".into(),
                ..Default::default()
            },
            signal: None,
            previous_run_id: None,
            retention: std::time::Duration::from_secs(60),
            parent: None,
        })));
        run
    }

    fn step(&mut self, command: Command) -> (Reply, Cost) {
        let decision = decide(&self.state, command, self.now, &self.limits).expect("accepted");
        let mut touched = std::collections::BTreeSet::new();
        let mut cost = Cost::default();
        for change in &decision.changes {
            apply(&mut self.state, change);
            touched.extend(self.state.touched(change));
            if let Change::Event(event) = change {
                cost.events += 1;
                cost.event_bytes += event.encoded_len();
            }
        }
        for key in touched {
            cost.rows += 1;
            let row = self.state.encode_row(&key);
            cost.row_bytes += key.to_bytes().len() + row.as_ref().map_or(0, Bytes::len);
            match row {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
        (decision.reply, cost)
    }

    fn complete_task(&mut self, commands: Vec<command::Command>) -> Cost {
        let Some(Task::Workflow(task)) = self.state.tasks().into_iter().next() else { panic!("no workflow task") };
        let poll = wf::PollWorkflowTaskQueueRequest { task_queue: queue(), ..Default::default() };
        let start = StartWorkflowTask {
            scheduled_event_id: task.scheduled_event_id,
            stamp: task.stamp,
            request_id: "poll".into(),
            poll,
        };
        let (reply, _) = self.step(Command::StartWorkflowTask(Box::new(start)));
        let Reply::WorkflowTaskStarted(started) = reply else { panic!("{reply:?}") };
        let token: WorkflowTaskToken = started.token;
        let request = wf::RespondWorkflowTaskCompletedRequest { commands, ..Default::default() };
        let fresh = FreshIds { run_id: RunId::from("next"), jitter: 0 };
        let complete = CompleteWorkflowTask { token, request, fresh };
        self.step(Command::CompleteWorkflowTask(Box::new(complete))).1
    }

    fn signal(&mut self, number: usize) -> Cost {
        let request = wf::SignalWorkflowExecutionRequest {
            signal_name: "s".into(),
            request_id: format!("request-{number:06}"),
            ..Default::default()
        };
        self.step(Command::Signal(Box::new(request))).1
    }

    /// Rows of a leader that reads the run anew are as many as there are items, no more.
    fn reload(&mut self) {
        let rows: Vec<_> = self.rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        let state = State::decode(&rows).expect("decodes");
        assert!(state == self.state, "the rows are the state");
        self.state = state;
    }
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: "q".into(), ..Default::default() })
}

fn activity(number: usize) -> command::Command {
    let payload = Payload { data: vec![7; 100], ..Default::default() };
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: format!("a{number:05}"),
        activity_type: Some(ActivityType { name: "charge".into() }),
        task_queue: queue(),
        input: Some(Payloads { payloads: vec![payload] }),
        start_to_close_timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    command::Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(attributes)),
        ..Default::default()
    }
}

/// The same step costs the same, whatever there is besides.
fn assert_flat(what: &str, first: Cost, last: Cost) {
    assert!(last.bytes() <= STEP_BYTES_MAX, "{what}: {last:?}");
    assert_eq!((first.rows, first.events), (last.rows, last.events), "{what}: {first:?} {last:?}");
    assert!(last.bytes() <= first.bytes() + GROWTH_BYTES_MAX, "{what}: {first:?} {last:?}");
}

#[test]
fn a_step_among_two_thousand_pending_activities_writes_what_it_changes() {
    let mut few = Run::started();
    few.complete_task(vec![activity(0)]);
    let mut many = Run::started();
    many.complete_task((0..ACTIVITIES).map(activity).collect());
    assert_eq!(many.state.tasks().len(), ACTIVITIES);
    let last = |run: &Run| match run.state.tasks().pop() {
        Some(Task::Activity(task)) => task,
        task => panic!("{task:?}"),
    };
    let mut costs = Vec::new();
    for run in [&mut few, &mut many] {
        let task = last(run);
        let poll = wf::PollActivityTaskQueueRequest { identity: "w".into(), ..Default::default() };
        let start = StartActivityTask {
            scheduled_event_id: task.scheduled_event_id,
            stamp: task.stamp,
            request_id: "poll".into(),
            poll,
        };
        let (_, started) = run.step(Command::StartActivityTask(Box::new(start)));
        let target =
            || ActivityTarget::Token { scheduled_event_id: task.scheduled_event_id, attempt: 1, started_event_id: 0 };
        let heartbeat = Heartbeat { target: target(), request: wf::RecordActivityTaskHeartbeatRequest::default() };
        let (_, alive) = run.step(Command::Heartbeat(Box::new(heartbeat)));
        let request = wf::RespondActivityTaskCompletedRequest::default();
        let (_, completed) =
            run.step(Command::CompleteActivity(Box::new(CompleteActivity { target: target(), request })));
        let scheduled = run.complete_task(vec![activity(ACTIVITIES + 1)]);
        run.reload();
        costs.push([started, alive, completed, scheduled]);
    }
    for (what, (first, last)) in
        ["start", "heartbeat", "complete", "schedule"].into_iter().zip(costs[0].into_iter().zip(costs[1]))
    {
        assert_flat(what, first, last);
    }
}

#[test]
fn the_ten_thousandth_signal_writes_no_more_than_the_second() {
    let mut run = Run::started();
    run.complete_task(Vec::new());
    run.signal(0);
    let second = run.signal(1);
    let mut last = second;
    for number in 2..SIGNALS {
        last = run.signal(number);
    }
    assert_flat("signal", second, last);
    // A request id is a row of its own: repeating one writes nothing.
    let again = run.signal(SIGNALS / 2);
    assert_eq!(again.bytes(), 0, "{again:?}");
    run.reload();
}

#[test]
fn a_workflow_task_at_the_end_of_the_longest_history_writes_what_the_first_one_wrote() {
    let mut run = Run::started();
    run.limits.signals_max = i64::MAX;
    let first = run.complete_task(Vec::new());
    let mut number = 0;
    let mut last = first;
    // Each round is a signal and the workflow task that it wakes: four events.
    while run.state.next_event_id() + 4 < run.limits.history_events_max {
        run.signal(number);
        number += 1;
        last = run.complete_task(Vec::new());
    }
    assert!(run.state.next_event_id() > 51_190);
    assert_eq!(run.state.status(), WorkflowExecutionStatus::Running);
    assert!(last.bytes() <= STEP_BYTES_MAX, "{last:?}");
    assert!(last.bytes() <= first.bytes() + GROWTH_BYTES_MAX, "{first:?} {last:?}");
    run.reload();
}
