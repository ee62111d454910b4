//! Reset: a new run that begins with a copy of the first part of another run's history and
//! does the rest again.
//!
//! ```text
//!  base run     1 .. fork-1 | fork ..          (+ reset run id; terminated if it is current)
//!                 │ copied       │ what clients sent, also to runs it continued as
//!                 ▼              ▼
//!  new run      1 .. fork-1 | WorkflowTaskFailed (ResetWorkflow) | sent again | WorkflowTaskScheduled
//! ```
//!
//! The fork must lie within a workflow task: after it was scheduled, before its outcome. The
//! copied events are folded into a state as if the new run had lived them; what history does
//! not show (attempts, heartbeats, sticky queue, request ids of signals) starts over.
//! Activities that were pending at the fork are offered again, timers keep their time, and
//! the timeouts of the run count from the reset.

use std::collections::BTreeSet;

use base::{RunId, Timestamp};
use temporalio_protos::temporal::api::enums::v1::{
    ResetReapplyExcludeType, ResetReapplyType, UpdateAdmittedEventOrigin, WorkflowTaskFailedCause,
};
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{Failure, ResetWorkflowFailureInfo};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    HistoryEvent, WorkflowExecutionUpdateAdmittedEventAttributes, WorkflowTaskFailedEventAttributes,
    WorkflowTaskStartedEventAttributes,
};

use super::draft::draft;
use super::step::Step;
use super::workflow_task::{self, SERVER_IDENTITY};
use super::{Change, Note, Reply, RowKey, State, activity, apply, buffer, outgoing, predefined, stored, update};
use crate::{Limits, Rejection};

/// Who terminates the current run.
pub const RESETTER_IDENTITY: &str = "history-resetter";
/// The request id of a workflow task's start that no worker asked for.
const NO_REQUEST_ID: &str = "emptyUuid";
/// The incumbent rebuilds a run in one transaction and goes on with it in a second one.
const TRANSITIONS: i64 = 2;

/// The new run: what is known before its history is copied.
#[derive(Clone, Debug)]
pub struct Fork {
    pub run_id: RunId,
    /// Of the reset, so that its repetition finds the run.
    pub request_id: String,
    pub now: Timestamp,
}

/// The state of the new run while the copied events are folded into it.
#[derive(Debug)]
pub struct Rebuild {
    state: State,
    rows: BTreeSet<RowKey>,
    now: Timestamp,
    /// Of the workflow task in progress; 0 while it is not started.
    started_event_id: i64,
}

/// What was rebuilt.
#[derive(Debug)]
pub struct Rebuilt {
    pub state: State,
    /// Every row that exists.
    pub rows: BTreeSet<RowKey>,
    /// For [`Reset::started_event_id`].
    pub started_event_id: i64,
}

/// Fails the workflow task at the fork.
#[derive(Clone, Debug)]
pub struct Reset {
    pub base_run_id: String,
    pub reason: String,
    /// Of the task's start if that was copied, else 0.
    pub started_event_id: i64,
}

/// Which events after the fork the new run does not see.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Excluded {
    pub signals: bool,
    pub updates: bool,
    pub nexus: bool,
    /// Never seen again, but it counts for "everything".
    pub cancel_requests: bool,
}

impl Rebuild {
    #[must_use]
    pub fn new(base: &State, fork: Fork) -> Self {
        let run = stored::Run {
            run_id: fork.run_id.as_str().to_owned(),
            reset_time: fork.now.as_nanos(),
            reset_request_id: fork.request_id,
            start_event: None,
            ..(*base.run).clone()
        };
        let mut rebuild = Self { state: State::new(), rows: BTreeSet::new(), now: fork.now, started_event_id: 0 };
        rebuild.change(&Change::Note(Note::Created(Box::new(run))));
        rebuild
    }

    /// The next event of the base run.
    pub fn fold(&mut self, event: HistoryEvent, limits: &Limits) {
        use Attributes as A;
        let mut completed = None;
        match &event.attributes {
            Some(A::WorkflowTaskStartedEventAttributes(_)) => self.started_event_id = event.event_id,
            Some(A::WorkflowTaskCompletedEventAttributes(a)) => completed = Some(a.clone()),
            Some(A::WorkflowTaskScheduledEventAttributes(_)) => self.started_event_id = 0,
            _ => {}
        }
        self.change(&Change::Event(event));
        let Some(completed) = completed else { return };
        // What the server keeps on its own has no event: it is derived again.
        let mut step = Step::new(&self.state, self.now, limits);
        predefined::task_completed(&mut step, &completed);
        for change in step.finish(Reply::Empty).changes {
            self.change(&change);
        }
    }

    #[must_use]
    pub fn finish(self) -> Rebuilt {
        let Self { state, rows, started_event_id, .. } = self;
        // Most items that came also went.
        let rows = rows.into_iter().filter(|row| state.encode_row(row).is_some()).collect();
        Rebuilt { state, rows, started_event_id }
    }

    fn change(&mut self, change: &Change) {
        apply(&mut self.state, change);
        self.rows.extend(self.state.touched(change));
    }
}

impl Excluded {
    /// `reapply` is the deprecated way to say what is included.
    #[must_use]
    pub fn new(excluded: impl Iterator<Item = ResetReapplyExcludeType>, reapply: ResetReapplyType) -> Self {
        let mut result = match reapply {
            ResetReapplyType::Unspecified | ResetReapplyType::AllEligible => Self::default(),
            ResetReapplyType::Signal => Self { updates: true, ..Self::default() },
            ResetReapplyType::None => Self { signals: true, updates: true, ..Self::default() },
        };
        for kind in excluded {
            match kind {
                ResetReapplyExcludeType::Unspecified => {}
                ResetReapplyExcludeType::Signal => result.signals = true,
                ResetReapplyExcludeType::Update => result.updates = true,
                ResetReapplyExcludeType::Nexus => result.nexus = true,
                ResetReapplyExcludeType::CancelRequest => result.cancel_requests = true,
            }
        }
        result
    }

    /// Then even what cannot be excluded by itself is left out.
    #[must_use]
    pub fn everything(self) -> bool {
        self.signals && self.updates && self.nexus && self.cancel_requests
    }

    /// Whether the new run sees this event of an old one again.
    #[must_use]
    pub fn keeps(self, event: &HistoryEvent) -> bool {
        use Attributes as A;
        match &event.attributes {
            Some(A::WorkflowExecutionSignaledEventAttributes(_)) => !self.signals,
            Some(A::WorkflowExecutionOptionsUpdatedEventAttributes(_)) => true,
            Some(A::WorkflowExecutionUpdateAdmittedEventAttributes(_)) => !self.updates,
            // Without its request it follows on an event that has it.
            Some(A::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => !self.updates && a.accepted_request.is_some(),
            Some(attributes) => is_answer(attributes),
            None => false,
        }
    }

    /// The same of an event of a run that followed on the base: what it asked of other runs is
    /// nothing that the new run asked.
    #[must_use]
    pub fn keeps_of_later_run(self, event: &HistoryEvent) -> bool {
        self.keeps(event) && !event.attributes.as_ref().is_some_and(is_answer)
    }
}

impl State {
    /// A reset may name event ids below this one as the end of the workflow task to redo.
    #[must_use]
    pub fn reset_end(&self) -> i64 {
        let held = self.is_running() && self.started.is_some() && !workflow_task::is_transient(self);
        self.core.next_event_id + i64::from(held)
    }

    /// Whether a reset with this request id made this run.
    #[must_use]
    pub fn was_made_by(&self, request_id: &str) -> bool {
        !request_id.is_empty() && (self.run.reset_request_id == request_id || self.run.request_id == request_id)
    }
}

/// The first step of the new run.
pub(crate) fn begin(step: &mut Step<'_>, command: Reset) -> Result<Reply, Rejection> {
    let Some(task) = step.state.core.workflow_task else {
        return Err(Rejection::InvalidArgument(format!(
            "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {}",
            step.state.core.next_event_id
        )));
    };
    let started_event_id = if command.started_event_id == 0 {
        let reasons = workflow_task::suggest_continue_as_new(step);
        step.event(Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            identity: SERVER_IDENTITY.to_owned(),
            request_id: NO_REQUEST_ID.to_owned(),
            history_size_bytes: i64::try_from(step.state.core.history_size_bytes).unwrap_or(i64::MAX),
            suggest_continue_as_new: !reasons.is_empty(),
            suggest_continue_as_new_reasons: reasons,
            ..WorkflowTaskStartedEventAttributes::default()
        }))
    } else {
        command.started_event_id
    };
    let failure = Failure {
        message: command.reason,
        failure_info: Some(FailureInfo::ResetWorkflowFailureInfo(ResetWorkflowFailureInfo::default())),
        ..Failure::default()
    };
    step.event(Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id,
        cause: WorkflowTaskFailedCause::ResetWorkflow.into(),
        failure: Some(failure),
        identity: SERVER_IDENTITY.to_owned(),
        base_run_id: command.base_run_id,
        new_run_id: step.state.run.run_id.clone(),
        ..WorkflowTaskFailedEventAttributes::default()
    }));
    let time = step.state.run.reset_time;
    let pending: Vec<i64> = step.state.activities.keys().copied().collect();
    for scheduled_event_id in pending {
        step.note(Note::ActivityRescheduled { scheduled_event_id, time });
    }
    let children: Vec<i64> = step.state.outgoing.children.keys().copied().collect();
    for initiated_event_id in children {
        step.note(Note::ChildCopied { initiated_event_id });
    }
    Ok(Reply::Empty)
}

/// Events of old runs happen again; they are those that [`Excluded::keeps`] keeps.
pub(crate) fn reapply(step: &mut Step<'_>, events: Vec<HistoryEvent>) -> Reply {
    use Attributes as A;
    for old in events {
        let Some(mut attributes) = old.attributes.map(asked_again) else { continue };
        if let Some(initiated_event_id) = about_child(&attributes)
            && !fits_child(step, initiated_event_id, &mut attributes)
        {
            continue;
        }
        if let Some(errand) = outgoing::answered(&attributes)
            && !step.state.outgoing.errands.contains(&errand)
        {
            continue;
        }
        if update::id_of(&attributes).is_some_and(|id| step.state.updates.contains_key(id)) {
            // A run before or after the fork took it, too: it is asked once.
            continue;
        }
        if let A::WorkflowExecutionOptionsUpdatedEventAttributes(a) = &attributes
            && !a.attached_completion_callbacks.is_empty()
            && step.state.request_ids.contains_key(a.attached_request_id.as_str())
        {
            continue;
        }
        let mut event = draft(step.now, attributes);
        event.links = old.links;
        event.worker_may_ignore = old.worker_may_ignore;
        step.happened(event);
    }
    Reply::Empty
}

/// Whether the event tells what came of something that the run asked of another one.
fn is_answer(attributes: &Attributes) -> bool {
    about_child(attributes).is_some() || outgoing::answered(attributes).is_some()
}

/// The initiating event of the child that an event is about.
fn about_child(attributes: &Attributes) -> Option<i64> {
    match attributes {
        Attributes::ChildWorkflowExecutionStartedEventAttributes(a) => Some(a.initiated_event_id),
        attributes => outgoing::ended_child(attributes),
    }
}

/// Whether the event of an old run is news to the child of this one. The end of a child
/// learns the id of the start here.
fn fits_child(step: &Step<'_>, initiated_event_id: i64, attributes: &mut Attributes) -> bool {
    let Some(child) = step.state.outgoing.children.get(&initiated_event_id) else { return false };
    if let Some((_, started_event_id)) = buffer::end_of_item(attributes) {
        *started_event_id = child.row.started_event_id;
        return child.row.started_event_id != 0;
    }
    child.row.started_run_id.is_empty()
}

/// An update that the old run accepted is put to the new one, which may reject it.
fn asked_again(attributes: Attributes) -> Attributes {
    match attributes {
        Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted) => {
            Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(WorkflowExecutionUpdateAdmittedEventAttributes {
                request: accepted.accepted_request,
                origin: UpdateAdmittedEventOrigin::Reapply.into(),
            })
        }
        attributes => attributes,
    }
}

/// Folds in a note of this machine.
pub(crate) fn note(state: &mut State, note: &Note) {
    match note {
        Note::ActivityRescheduled { scheduled_event_id, time } => {
            activity::update(state, *scheduled_event_id, |row| {
                row.scheduled_time = *time;
                row.first_scheduled_time = *time;
            });
        }
        Note::ResetTo { run_id } => {
            state.core.reset_run_id.clone_from(run_id);
            // For an open run it is part of its end.
            state.core.state_transition_count += i64::from(!state.is_running());
        }
        Note::ResetFinished => state.core.state_transition_count = TRANSITIONS,
        note => panic!("no note of a reset: {note:?}"),
    }
}

/// The last step: a worker gets its turn.
pub(crate) fn finish(step: &mut Step<'_>) -> Reply {
    workflow_task::schedule(step);
    step.note(Note::ResetFinished);
    Reply::Empty
}
