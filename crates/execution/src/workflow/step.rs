//! One decision in the making: a scratch state that every change is applied to as soon as it
//! is decided, so that later rules see the effect of earlier ones.

use std::collections::BTreeSet;

use base::Timestamp;
use rpds::RedBlackTreeSetSync;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::decision::{NewRun, Task};
use super::draft::draft;
use super::errand::Errand;
use super::workflow_task::speculative;
use super::{Change, Decision, Note, Reply, Soft, State, apply, buffer, options};
use crate::Limits;
use crate::policy::duration;

pub(crate) struct Step<'a> {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) limits: &'a Limits,
    pub(crate) new_run: Option<Box<NewRun>>,
    changes: Vec<Change>,
    /// Activities that may have to be offered, by scheduled event id.
    offered: Vec<i64>,
    /// What was under way at other runs.
    errands_before: RedBlackTreeSetSync<Errand>,
    stamps_before: (i64, i64),
}

impl<'a> Step<'a> {
    pub(crate) fn new(state: &State, now: Timestamp, limits: &'a Limits) -> Self {
        let stamps_before = stamps(state);
        let errands_before = state.outgoing.errands.clone();
        Self {
            state: state.clone(),
            now,
            limits,
            new_run: None,
            changes: Vec::new(),
            offered: Vec::new(),
            errands_before,
            stamps_before,
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        if !matches!(note, Note::StickySet { .. } | Note::StickyCleared) {
            speculative::settle(self);
        }
        if let Note::ActivityReady { scheduled_event_id }
        | Note::ActivityReturned { scheduled_event_id }
        | Note::ActivitySet { scheduled_event_id, .. }
        | Note::ActivityRescheduled { scheduled_event_id, .. } = &note
        {
            self.offered.push(*scheduled_event_id);
        }
        let offers_all = match &note {
            Note::PauseSet(pause) => pause.is_none(),
            Note::Buffered { event, .. } => options::reprioritizes(&self.state, event),
            _ => false,
        };
        if offers_all {
            self.offered.extend(self.state.activities.keys());
        }
        self.change(Change::Note(note));
    }

    pub(crate) fn soft(&mut self, soft: Soft) {
        self.change(Change::Soft(soft));
    }

    /// Writes an event that happens now. Never buffered: for what a command, the workflow
    /// task or the end of the run writes.
    pub(crate) fn event(&mut self, attributes: Attributes) -> i64 {
        self.write(draft(self.now, attributes))
    }

    /// Writes a drafted event and returns its id.
    pub(crate) fn write(&mut self, mut event: HistoryEvent) -> i64 {
        if !event.attributes.as_ref().is_some_and(speculative::leaves_unwritten) {
            speculative::settle(self);
        }
        let id = self.state.core.next_event_id;
        event.event_id = id;
        event.task_id = id;
        if matches!(event.attributes, Some(Attributes::ActivityTaskScheduledEventAttributes(_))) {
            self.offered.push(id);
        }
        if options::reprioritizes(&self.state, &event) {
            self.offered.extend(self.state.activities.keys());
        }
        self.change(Change::Event(event));
        id
    }

    /// An event from outside: it waits in the buffer while a worker holds the workflow task,
    /// so that the worker's commands directly follow the task that made them.
    pub(crate) fn happened(&mut self, event: HistoryEvent) -> Option<i64> {
        speculative::settle(self);
        if self.state.started.is_some() {
            let sequence = self.state.core.next_buffered;
            self.note(Note::Buffered { sequence, event: Box::new(event) });
            None
        } else {
            Some(self.write(event))
        }
    }

    pub(crate) fn finish(mut self, reply: Reply) -> Decision {
        buffer::enforce_limits(&mut self);
        if let Some(retention) = self.limits.retention
            && self.state.is_closed()
            && self.state.core.retention.is_none()
            && !self.changes.is_empty()
        {
            self.change(Change::Note(Note::Retained { retention: duration::proto(retention) }));
        }
        let state = &self.state;
        let scheduled = stamps(state) != self.stamps_before;
        let workflow = state.workflow_task_ref().filter(|_| scheduled).map(Task::Workflow);
        let mut seen = BTreeSet::new();
        self.offered.retain(|id| seen.insert(*id));
        let activities = self.offered.iter().filter_map(|id| state.activity_task_ref(*id)).map(Task::Activity);
        let errands = state.outgoing.errands.iter().filter(|errand| !self.errands_before.contains(errand));
        let errands = errands.copied().map(Task::Errand);
        let tasks = workflow.into_iter().chain(activities).chain(errands).collect();
        Decision { changes: self.changes, tasks, reply, new_run: self.new_run }
    }

    /// The finished step of a run that begins.
    pub(crate) fn into_new_run(self) -> NewRun {
        let run_id = self.state.run.run_id.as_str().into();
        let decision = self.finish(Reply::Empty);
        NewRun { run_id, initial: Box::new(State::new()), changes: decision.changes, tasks: decision.tasks }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.state, &change);
        self.changes.push(change);
    }
}

/// Change when a workflow task is to be offered anew.
fn stamps(state: &State) -> (i64, i64) {
    (state.core.workflow_task_stamp, state.speculations)
}
