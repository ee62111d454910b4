//! Which histories the state machines of SDKs accept: a model, for tests and for the simulation.
//!
//! ```text
//!  workflow task  scheduled ──started──▶ started ──completed, failed, timed out──▶ ended
//!                     └──timed out──▶ ended
//!  activity       scheduled ──started──▶ started ──completed, failed, timed out──▶ ended
//!                     └──timed out──▶ ended      once asked to cancel, also ──cancelled──▶ ended
//!  timer          started ──fired, cancelled──▶ ended
//!  child          initiated ──started──▶ started ──any end──▶ ended
//!                     └──failed to start──▶ ended
//!  signal, cancel request     initiated ──delivered, failed──▶ ended
//!  update         [admitted] ──accepted──▶ accepted ──completed──▶ ended
//! ```
//! A worker that meets any other event fails the workflow task, and every later one: the run is
//! lost. What a worker commands is its own affair; this is about what the server makes of it.
//! The strictest of the SDKs counts where they differ.

use std::collections::BTreeMap;

use temporalio_protos::temporal::api::enums::v1::EventType as E;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;

use super::update;

/// The first event that a worker would not accept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("event {event_id} {}: {reason}", kind.as_str_name())]
pub struct Refused {
    pub event_id: i64,
    pub kind: E,
    pub reason: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Machine {
    WorkflowTask,
    Activity,
    Timer,
    Child,
    Signal,
    Cancel,
    Update,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Scheduled, initiated, or admitted.
    Waiting,
    /// An activity that was asked to cancel before it started.
    AskedToCancel,
    /// Of an update: accepted.
    Started,
    StartedAndAskedToCancel,
    Ended,
}

/// A machine by the event that began it, an update by its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Event(i64),
    Id(String),
}

/// What an event is to the machines.
enum Part {
    Begins(Machine),
    Moves(Machine, Key),
    /// The run as a whole, or nothing that a machine keeps.
    None,
    /// Workers know no such event.
    Unknown,
}

/// What is known of a history so far.
#[derive(Default)]
struct Reader {
    machines: BTreeMap<(Machine, Key), Stage>,
    /// The workflow task that has not ended.
    task: Option<i64>,
    /// Its start, which only its end may follow.
    task_started: bool,
    /// The last completion, as long as no other workflow task came after it.
    commanding: Option<i64>,
    closed: bool,
}

/// Whether a worker can read the events, which begin with the run's first one and may end anywhere.
pub fn check(history: &[HistoryEvent]) -> Result<(), Refused> {
    let mut reader = Reader::default();
    for (index, event) in history.iter().enumerate() {
        let kind = event.event_type();
        let known = i64::try_from(index + 1) == Ok(event.event_id);
        let read = if known { reader.read(event, kind) } else { Err("events come one after the other") };
        read.map_err(|reason| Refused { event_id: event.event_id, kind, reason })?;
    }
    Ok(())
}

impl Reader {
    fn read(&mut self, event: &HistoryEvent, kind: E) -> Result<(), &'static str> {
        let attributes = event.attributes.as_ref().ok_or("it says nothing")?;
        if (kind == E::WorkflowExecutionStarted) != (event.event_id == 1) {
            return Err("a run begins with its start, and only with that");
        }
        if self.closed {
            return Err("nothing follows the end of a run");
        }
        if std::mem::take(&mut self.task_started) && !ends_task(kind) {
            return Err("a worker holds the workflow task");
        }
        self.check_command(attributes)?;
        match part(attributes) {
            Part::Begins(Machine::WorkflowTask) if self.task.is_some() => {
                return Err("there is a workflow task already");
            }
            Part::Begins(machine) => self.begin(machine, Key::Event(event.event_id))?,
            Part::Moves(machine, key) => self.advance(machine, key, kind)?,
            Part::None => self.closed = closes(kind),
            Part::Unknown if event.worker_may_ignore => {}
            Part::Unknown => return Err("workers do not know it and may not ignore it"),
        }
        self.follow_task(event.event_id, kind);
        Ok(())
    }

    /// The event of a command stands behind the completion that brought the command.
    fn check_command(&self, attributes: &A) -> Result<(), &'static str> {
        match commanded_by(attributes) {
            Some(completed) if self.commanding != Some(completed) => {
                Err("it names another workflow task than the last")
            }
            _ => Ok(()),
        }
    }

    fn follow_task(&mut self, event_id: i64, kind: E) {
        match kind {
            E::WorkflowTaskScheduled => (self.task, self.commanding) = (Some(event_id), None),
            E::WorkflowTaskStarted => self.task_started = true,
            E::WorkflowTaskCompleted => (self.task, self.commanding) = (None, Some(event_id)),
            E::WorkflowTaskFailed | E::WorkflowTaskTimedOut => self.task = None,
            _ => {}
        }
    }

    fn begin(&mut self, machine: Machine, key: Key) -> Result<(), &'static str> {
        match self.machines.insert((machine, key), Stage::Waiting) {
            None => Ok(()),
            Some(_) => Err("it began before"),
        }
    }

    fn advance(&mut self, machine: Machine, key: Key, kind: E) -> Result<(), &'static str> {
        let stage = self.machines.get(&(machine, key.clone())).copied();
        let next = match (machine, stage) {
            // An update that its caller did not wait for begins with its acceptance.
            (Machine::Update, None) => accepted_update(Stage::Waiting, kind),
            (_, None) => return Err("what it is about never began"),
            (Machine::WorkflowTask, Some(stage)) => workflow_task(stage, kind),
            (Machine::Activity, Some(stage)) => activity(stage, kind),
            (Machine::Child, Some(stage)) => child(stage, kind),
            (Machine::Update, Some(stage)) => accepted_update(stage, kind),
            (Machine::Timer | Machine::Signal | Machine::Cancel, Some(stage)) => {
                (stage == Stage::Waiting).then_some(Stage::Ended)
            }
        };
        let next = next.ok_or("its machine is not at the stage for that")?;
        self.machines.insert((machine, key), next);
        Ok(())
    }
}

fn workflow_task(stage: Stage, kind: E) -> Option<Stage> {
    match (stage, kind) {
        (Stage::Waiting, E::WorkflowTaskStarted) => Some(Stage::Started),
        (Stage::Waiting, E::WorkflowTaskTimedOut) => Some(Stage::Ended),
        (Stage::Started, kind) if ends_task(kind) => Some(Stage::Ended),
        _ => None,
    }
}

fn activity(stage: Stage, kind: E) -> Option<Stage> {
    use Stage::{AskedToCancel, Ended, Started, StartedAndAskedToCancel, Waiting};
    match (stage, kind) {
        (Waiting, E::ActivityTaskStarted) => Some(Started),
        (AskedToCancel, E::ActivityTaskStarted) => Some(StartedAndAskedToCancel),
        (Waiting | AskedToCancel, E::ActivityTaskCancelRequested) => Some(AskedToCancel),
        (Started | StartedAndAskedToCancel, E::ActivityTaskCancelRequested) => Some(StartedAndAskedToCancel),
        (Waiting | AskedToCancel | Started | StartedAndAskedToCancel, E::ActivityTaskTimedOut)
        | (Started | StartedAndAskedToCancel, E::ActivityTaskCompleted | E::ActivityTaskFailed)
        | (AskedToCancel | StartedAndAskedToCancel, E::ActivityTaskCanceled) => Some(Ended),
        _ => None,
    }
}

fn child(stage: Stage, kind: E) -> Option<Stage> {
    match (stage, kind) {
        (Stage::Waiting, E::ChildWorkflowExecutionStarted) => Some(Stage::Started),
        (Stage::Waiting, E::StartChildWorkflowExecutionFailed) => Some(Stage::Ended),
        (Stage::Started, kind) if kind != E::ChildWorkflowExecutionStarted => {
            (kind != E::StartChildWorkflowExecutionFailed).then_some(Stage::Ended)
        }
        _ => None,
    }
}

fn accepted_update(stage: Stage, kind: E) -> Option<Stage> {
    match (stage, kind) {
        (Stage::Waiting, E::WorkflowExecutionUpdateAdmitted) => Some(Stage::Waiting),
        (Stage::Waiting, E::WorkflowExecutionUpdateAccepted) => Some(Stage::Started),
        (Stage::Started, E::WorkflowExecutionUpdateCompleted) => Some(Stage::Ended),
        _ => None,
    }
}

fn ends_task(kind: E) -> bool {
    matches!(kind, E::WorkflowTaskCompleted | E::WorkflowTaskFailed | E::WorkflowTaskTimedOut)
}

fn closes(kind: E) -> bool {
    matches!(
        kind,
        E::WorkflowExecutionCompleted
            | E::WorkflowExecutionFailed
            | E::WorkflowExecutionTimedOut
            | E::WorkflowExecutionCanceled
            | E::WorkflowExecutionTerminated
            | E::WorkflowExecutionContinuedAsNew
    )
}

fn part(attributes: &A) -> Part {
    use Machine as M;
    let moves = |machine, event_id: i64| Part::Moves(machine, Key::Event(event_id));
    match attributes {
        A::WorkflowTaskScheduledEventAttributes(_) => Part::Begins(M::WorkflowTask),
        A::WorkflowTaskStartedEventAttributes(a) => moves(M::WorkflowTask, a.scheduled_event_id),
        A::WorkflowTaskCompletedEventAttributes(a) => moves(M::WorkflowTask, a.scheduled_event_id),
        A::WorkflowTaskFailedEventAttributes(a) => moves(M::WorkflowTask, a.scheduled_event_id),
        A::WorkflowTaskTimedOutEventAttributes(a) => moves(M::WorkflowTask, a.scheduled_event_id),
        A::ActivityTaskScheduledEventAttributes(_) => Part::Begins(M::Activity),
        A::ActivityTaskStartedEventAttributes(a) => moves(M::Activity, a.scheduled_event_id),
        A::ActivityTaskCompletedEventAttributes(a) => moves(M::Activity, a.scheduled_event_id),
        A::ActivityTaskFailedEventAttributes(a) => moves(M::Activity, a.scheduled_event_id),
        A::ActivityTaskTimedOutEventAttributes(a) => moves(M::Activity, a.scheduled_event_id),
        A::ActivityTaskCancelRequestedEventAttributes(a) => moves(M::Activity, a.scheduled_event_id),
        A::ActivityTaskCanceledEventAttributes(a) => moves(M::Activity, a.scheduled_event_id),
        A::TimerStartedEventAttributes(_) => Part::Begins(M::Timer),
        A::TimerFiredEventAttributes(a) => moves(M::Timer, a.started_event_id),
        A::TimerCanceledEventAttributes(a) => moves(M::Timer, a.started_event_id),
        attributes => match update::id_of(attributes) {
            Some(id) => Part::Moves(M::Update, Key::Id(id.to_owned())),
            None => part_elsewhere(attributes),
        },
    }
}

/// What happens at other runs, and to the run as a whole.
fn part_elsewhere(attributes: &A) -> Part {
    use Machine as M;
    let moves = |machine, event_id: i64| Part::Moves(machine, Key::Event(event_id));
    match attributes {
        A::StartChildWorkflowExecutionInitiatedEventAttributes(_) => Part::Begins(M::Child),
        A::StartChildWorkflowExecutionFailedEventAttributes(a) => moves(M::Child, a.initiated_event_id),
        A::ChildWorkflowExecutionStartedEventAttributes(a) => moves(M::Child, a.initiated_event_id),
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => moves(M::Child, a.initiated_event_id),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => moves(M::Child, a.initiated_event_id),
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => moves(M::Child, a.initiated_event_id),
        A::ChildWorkflowExecutionTimedOutEventAttributes(a) => moves(M::Child, a.initiated_event_id),
        A::ChildWorkflowExecutionTerminatedEventAttributes(a) => moves(M::Child, a.initiated_event_id),
        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(_) => Part::Begins(M::Signal),
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => moves(M::Signal, a.initiated_event_id),
        A::ExternalWorkflowExecutionSignaledEventAttributes(a) => moves(M::Signal, a.initiated_event_id),
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_) => Part::Begins(M::Cancel),
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => moves(M::Cancel, a.initiated_event_id),
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => moves(M::Cancel, a.initiated_event_id),
        A::WorkflowExecutionStartedEventAttributes(_)
        | A::WorkflowExecutionSignaledEventAttributes(_)
        | A::WorkflowExecutionCancelRequestedEventAttributes(_)
        | A::WorkflowExecutionOptionsUpdatedEventAttributes(_)
        | A::MarkerRecordedEventAttributes(_)
        | A::UpsertWorkflowSearchAttributesEventAttributes(_)
        | A::WorkflowPropertiesModifiedEventAttributes(_)
        | A::WorkflowExecutionCompletedEventAttributes(_)
        | A::WorkflowExecutionFailedEventAttributes(_)
        | A::WorkflowExecutionTimedOutEventAttributes(_)
        | A::WorkflowExecutionCanceledEventAttributes(_)
        | A::WorkflowExecutionTerminatedEventAttributes(_)
        | A::WorkflowExecutionContinuedAsNewEventAttributes(_) => Part::None,
        _ => Part::Unknown,
    }
}

/// The completion that brought the command which the event is of.
fn commanded_by(attributes: &A) -> Option<i64> {
    let completed = match attributes {
        A::ActivityTaskScheduledEventAttributes(a) => a.workflow_task_completed_event_id,
        A::ActivityTaskCancelRequestedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::TimerStartedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::TimerCanceledEventAttributes(a) => a.workflow_task_completed_event_id,
        A::MarkerRecordedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::UpsertWorkflowSearchAttributesEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowPropertiesModifiedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowExecutionCompletedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowExecutionFailedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowExecutionCanceledEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowExecutionContinuedAsNewEventAttributes(a) => a.workflow_task_completed_event_id,
        _ => return None,
    };
    Some(completed)
}

#[cfg(test)]
mod tests;
