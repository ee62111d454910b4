//! The code of the workflows: what to answer a workflow task, by the history alone. Only
//! what it gives out as a result is new each time, so that a result says who gave it.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message as _;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::command::v1::{
    CancelWorkflowExecutionCommandAttributes, Command, CompleteWorkflowExecutionCommandAttributes,
    ProtocolMessageCommandAttributes, RequestCancelExternalWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes, StartTimerCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::{
    ActivityType, Payload, Payloads, RetryPolicy, WorkflowExecution, WorkflowType,
};
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::protocol::v1::Message;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::update::v1 as update;

use crate::program::{
    ACTIVITY_START_TO_CLOSE, Child, FINISH, PARENT, Parent, Program, QUICK, Script, TARGET, TASK_QUEUE, UPDATED,
    Updated, WAITING, WORK,
};

/// Updates with such an id are refused.
pub(crate) const REFUSED: &str = "refused";
/// Updates with such an id are completed by a later task than the one that accepts them.
pub(crate) const SLOW: &str = "slow";
const SLOW_PAUSE: Duration = Duration::from_millis(200);

/// A workflow task, as far as the code has to know it.
pub(crate) struct Task<'a> {
    pub(crate) workflow_id: &'a str,
    pub(crate) workflow_type: &'a str,
    pub(crate) events: &'a [HistoryEvent],
    /// Those of the updates that wait for an answer.
    pub(crate) messages: &'a [Message],
}

#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) commands: Vec<Command>,
    pub(crate) messages: Vec<Message>,
}

/// What the code of the task's type answers. `fresh` was never a result before.
pub(crate) fn decide(script: &Script, task: &Task<'_>, fresh: &mut dyn FnMut() -> String) -> Option<Answer> {
    let commands = match task.workflow_type {
        WORK => work(script.programs.iter().find(|program| program.workflow_id == task.workflow_id)?, task.events),
        PARENT => parent(script.parents.iter().find(|parent| parent.workflow_id == task.workflow_id)?, task.events),
        QUICK => vec![complete(Some(payloads(fresh())))],
        WAITING => waiting(task.events),
        UPDATED => return Some(updated(&script.updated, task, fresh)),
        _ => return None,
    };
    Some(Answer { commands, messages: Vec::new() })
}

fn count(events: &[HistoryEvent], kind: EventType) -> usize {
    events.iter().filter(|event| event.event_type() == kind).count()
}

fn work(program: &Program, events: &[HistoryEvent]) -> Vec<Command> {
    let scheduled = count(events, EventType::ActivityTaskScheduled);
    let completed = count(events, EventType::ActivityTaskCompleted);
    let timers = count(events, EventType::TimerStarted);
    let fired = count(events, EventType::TimerFired);
    if completed > timers {
        return vec![timer(format!("timer-{timers}"), program.timer)];
    }
    if fired == scheduled && scheduled < program.activities {
        return vec![activity(scheduled)];
    }
    if fired == program.activities && count(events, EventType::WorkflowExecutionSignaled) >= program.signals {
        return vec![complete(None)];
    }
    Vec::new()
}

fn parent(parent: &Parent, events: &[HistoryEvent]) -> Vec<Command> {
    let children = parent.children();
    let has = |kind| count(events, kind) > 0;
    let initiated = has(EventType::StartChildWorkflowExecutionInitiated);
    let started = count(events, EventType::ChildWorkflowExecutionStarted) == children.len();
    let asked = has(EventType::SignalExternalWorkflowExecutionInitiated);
    let mut commands = Vec::new();
    if !initiated {
        commands.extend(children.iter().map(child));
    }
    if !asked && (parent.at_once || started) {
        commands.push(signal_external(parent));
        commands.extend(parent.cancels.then(cancel_external));
    }
    let signaled =
        has(EventType::ExternalWorkflowExecutionSignaled) || has(EventType::SignalExternalWorkflowExecutionFailed);
    let cancelled = has(EventType::ExternalWorkflowExecutionCancelRequested)
        || has(EventType::RequestCancelExternalWorkflowExecutionFailed);
    let heard = has(EventType::ChildWorkflowExecutionCompleted) && signaled && (cancelled || !parent.cancels);
    if started && asked && (heard || parent.hasty) {
        commands.push(complete(None));
    }
    commands
}

fn waiting(events: &[HistoryEvent]) -> Vec<Command> {
    if count(events, EventType::WorkflowExecutionCancelRequested) > 0 {
        let attributes = CancelWorkflowExecutionCommandAttributes::default();
        let attributes = Attributes::CancelWorkflowExecutionCommandAttributes(attributes);
        return vec![command(CommandType::CancelWorkflowExecution, attributes)];
    }
    let finished = events.iter().any(|event| {
        matches!(&event.attributes, Some(A::WorkflowExecutionSignaledEventAttributes(a)) if a.signal_name == FINISH)
    });
    if finished { vec![complete(None)] } else { Vec::new() }
}

fn updated(program: &Updated, task: &Task<'_>, fresh: &mut dyn FnMut() -> String) -> Answer {
    let mut answer = Answer::default();
    let mut accepted = BTreeSet::new();
    let mut completed = BTreeSet::new();
    let mut fired = BTreeSet::new();
    for event in task.events {
        match &event.attributes {
            Some(A::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => {
                accepted.insert(a.protocol_instance_id.clone());
            }
            Some(A::WorkflowExecutionUpdateCompletedEventAttributes(a)) => {
                completed.insert(a.meta.clone().unwrap_or_default().update_id);
            }
            Some(A::TimerFiredEventAttributes(a)) => {
                fired.insert(a.timer_id.clone());
            }
            _ => {}
        }
    }
    for message in task.messages {
        let id = message.protocol_instance_id.clone();
        if accepted.contains(&id) {
            continue;
        }
        if id.starts_with(REFUSED) {
            answer.messages.push(reply(&id, "reject", &rejection(message)));
            continue;
        }
        answer.say(&id, "accept", &acceptance(message));
        if id.starts_with(SLOW) {
            answer.commands.push(timer(id, SLOW_PAUSE));
        } else {
            answer.say(&id, "respond", &response(&id, fresh()));
            completed.insert(id);
        }
    }
    for id in fired {
        if completed.insert(id.clone()) {
            answer.say(&id, "respond", &response(&id, fresh()));
        }
    }
    if completed.len() >= program.updates {
        answer.commands.push(complete(None));
    }
    answer
}

impl Answer {
    /// A message, and the command that gives it its place among the others.
    fn say<M: prost::Name>(&mut self, update_id: &str, verb: &str, body: &M) {
        let message = reply(update_id, verb, body);
        let attributes = ProtocolMessageCommandAttributes { message_id: message.id.clone() };
        let attributes = Attributes::ProtocolMessageCommandAttributes(attributes);
        self.commands.push(command(CommandType::ProtocolMessage, attributes));
        self.messages.push(message);
    }
}

fn reply<M: prost::Name>(update_id: &str, verb: &str, body: &M) -> Message {
    Message {
        id: format!("{update_id}/{verb}"),
        protocol_instance_id: update_id.to_owned(),
        body: Some(prost_types::Any { type_url: M::type_url(), value: body.encode_to_vec() }),
        sequencing_id: None,
    }
}

fn request(message: &Message) -> Option<update::Request> {
    let body = message.body.as_ref()?;
    update::Request::decode(body.value.as_slice()).ok()
}

fn acceptance(message: &Message) -> update::Acceptance {
    update::Acceptance {
        accepted_request_message_id: message.id.clone(),
        accepted_request_sequencing_event_id: 1,
        accepted_request: request(message),
    }
}

fn rejection(message: &Message) -> update::Rejection {
    update::Rejection {
        rejected_request_message_id: message.id.clone(),
        rejected_request_sequencing_event_id: 1,
        rejected_request: request(message),
        failure: Some(Failure { message: "as the program says".to_owned(), ..Default::default() }),
    }
}

fn response(update_id: &str, result: String) -> update::Response {
    update::Response {
        meta: Some(update::Meta { update_id: update_id.to_owned(), ..Default::default() }),
        outcome: Some(update::Outcome { value: Some(update::outcome::Value::Success(payloads(result))) }),
    }
}

fn payloads(text: String) -> Payloads {
    Payloads { payloads: vec![Payload { data: text.into_bytes(), ..Default::default() }] }
}

fn complete(result: Option<Payloads>) -> Command {
    let attributes = CompleteWorkflowExecutionCommandAttributes { result };
    command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(attributes))
}

fn child(child: &Child) -> Command {
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: child.workflow_id.clone(),
        workflow_type: Some(WorkflowType { name: child.workflow_type.to_owned() }),
        task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
        parent_close_policy: child.policy.into(),
        ..Default::default()
    };
    let attributes = Attributes::StartChildWorkflowExecutionCommandAttributes(attributes);
    command(CommandType::StartChildWorkflowExecution, attributes)
}

fn signal_external(parent: &Parent) -> Command {
    let attributes = SignalExternalWorkflowExecutionCommandAttributes {
        execution: Some(WorkflowExecution { workflow_id: TARGET.to_owned(), run_id: String::new() }),
        signal_name: parent.signal(),
        ..Default::default()
    };
    let attributes = Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes);
    command(CommandType::SignalExternalWorkflowExecution, attributes)
}

fn cancel_external() -> Command {
    let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes {
        workflow_id: TARGET.to_owned(),
        ..Default::default()
    };
    let attributes = Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(attributes);
    command(CommandType::RequestCancelExternalWorkflowExecution, attributes)
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

fn timer(timer_id: String, duration: Duration) -> Command {
    let attributes = StartTimerCommandAttributes { timer_id, start_to_fire_timeout: Some(proto(duration)) };
    command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(attributes))
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind.into(), attributes: Some(attributes), ..Default::default() }
}

pub(crate) fn proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
