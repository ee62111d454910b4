//! What a run has under way at other runs: children, signals, cancel requests, and its own end
//! that its parent has to hear of. How each came about is in `child` and `external`.

use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use prost::{DecodeError, Message};
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    HistoryEvent, RequestCancelExternalWorkflowExecutionInitiatedEventAttributes as CancelInitiated,
    SignalExternalWorkflowExecutionInitiatedEventAttributes as SignalInitiated,
    StartChildWorkflowExecutionInitiatedEventAttributes as ChildInitiated,
};
use temporalio_protos::temporal::api::sdk::v1::UserMetadata;

use super::errand::{self, Errand};
use super::reset::RESETTER_IDENTITY;
use super::rows::RowKey;
use super::{State, stored};

/// See the module. All by the id of the initiating event.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Outgoing {
    pub(crate) children: RedBlackTreeMapSync<i64, Child>,
    pub(crate) signals: RedBlackTreeMapSync<i64, Arc<SignalInitiated>>,
    pub(crate) cancels: RedBlackTreeMapSync<i64, Arc<CancelInitiated>>,
    /// The closing event, until the parent was told.
    pub(crate) report: Option<Arc<HistoryEvent>>,
    /// An index: what of all this wants something to be done now.
    pub(crate) errands: RedBlackTreeSetSync<Errand>,
}

/// A child that is not known to have ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Child {
    pub(crate) input: Arc<ChildInitiated>,
    pub(crate) user_metadata: Option<Arc<UserMetadata>>,
    pub(crate) row: Arc<stored::Child>,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            children: RedBlackTreeMapSync::new_sync(),
            signals: RedBlackTreeMapSync::new_sync(),
            cancels: RedBlackTreeMapSync::new_sync(),
            report: None,
            errands: RedBlackTreeSetSync::new_sync(),
        }
    }
}

/// Events that begin something, and the ids that only written events have.
pub(crate) fn apply_event(state: &mut State, event: &HistoryEvent, attributes: &Attributes) {
    use Attributes as A;
    let id = event.event_id;
    match attributes {
        A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
            let child = Child {
                input: Arc::new(a.clone()),
                user_metadata: event.user_metadata.clone().map(Arc::new),
                row: Arc::default(),
            };
            change_child(state, id, |state| state.outgoing.children.insert_mut(id, child));
        }
        A::ChildWorkflowExecutionStartedEventAttributes(a) => {
            update_child(state, a.initiated_event_id, |row| row.started_event_id = id);
        }
        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => {
            state.outgoing.signals.insert_mut(id, Arc::new(a.clone()));
            state.outgoing.errands.insert_mut(Errand::SignalExternal(id));
        }
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => {
            state.outgoing.cancels.insert_mut(id, Arc::new(a.clone()));
            state.outgoing.errands.insert_mut(Errand::CancelExternal(id));
        }
        _ => {}
    }
}

/// What an event does the moment it happens, even when it is buffered. Idempotent.
pub(crate) fn apply_at_once(state: &mut State, attributes: &Attributes) {
    use Attributes as A;
    match attributes {
        A::ChildWorkflowExecutionStartedEventAttributes(a) => {
            let run_id = a.workflow_execution.as_ref().map_or("", |execution| &execution.run_id);
            update_child(state, a.initiated_event_id, |row| run_id.clone_into(&mut row.started_run_id));
        }
        A::ExternalWorkflowExecutionSignaledEventAttributes(a) => remove_signal(state, a.initiated_event_id),
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => remove_signal(state, a.initiated_event_id),
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => remove_cancel(state, a.initiated_event_id),
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
            remove_cancel(state, a.initiated_event_id);
        }
        attributes => {
            if let Some(id) = ended_child(attributes) {
                change_child(state, id, |state| {
                    state.outgoing.children.remove_mut(&id);
                });
            }
        }
    }
}

/// The child, by its initiating event, that is no longer pending after this event.
pub(crate) fn ended_child(attributes: &Attributes) -> Option<i64> {
    use Attributes as A;
    let id = match attributes {
        A::StartChildWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => a.initiated_event_id,
        A::ChildWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => a.initiated_event_id,
        A::ChildWorkflowExecutionTimedOutEventAttributes(a) => a.initiated_event_id,
        A::ChildWorkflowExecutionTerminatedEventAttributes(a) => a.initiated_event_id,
        _ => return None,
    };
    Some(id)
}

/// The signal or cancel request that was delivered or refused.
pub(crate) fn answered(attributes: &Attributes) -> Option<Errand> {
    use Attributes as A;
    let errand = match attributes {
        A::ExternalWorkflowExecutionSignaledEventAttributes(a) => Errand::SignalExternal(a.initiated_event_id),
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => Errand::SignalExternal(a.initiated_event_id),
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => Errand::CancelExternal(a.initiated_event_id),
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
            Errand::CancelExternal(a.initiated_event_id)
        }
        _ => return None,
    };
    Some(errand)
}

/// The run is closed now: its children are left to their policies, and a parent is told when
/// nothing follows on this run.
pub(crate) fn apply_close(state: &mut State, event: &HistoryEvent) {
    let by_reset = is_reset(event);
    state.core.keeps_children = by_reset && !state.core.reset_run_id.is_empty();
    let has_parent = state.start().parent_workflow_execution.is_some();
    if has_parent && state.core.new_execution_run_id.is_empty() && !by_reset {
        state.outgoing.report = Some(Arc::new(event.clone()));
    }
    index(state);
}

/// The run ends because a reset made another one.
fn is_reset(event: &HistoryEvent) -> bool {
    matches!(&event.attributes, Some(Attributes::WorkflowExecutionTerminatedEventAttributes(a)) if a.identity == RESETTER_IDENTITY)
}

/// A reset copied the initiation of the child.
pub(crate) fn apply_copied(state: &mut State, initiated_event_id: i64) {
    update_child(state, initiated_event_id, |row| row.copied = true);
}

/// An errand was done that no event tells of.
pub(crate) fn apply_done(state: &mut State, errand: Errand) {
    match errand {
        Errand::ScheduleChild(id) => update_child(state, id, |row| row.scheduled = true),
        Errand::AskChild(id) => update_child(state, id, |row| row.asked = true),
        Errand::CloseChild(id) | Errand::DropChild(id) => update_child(state, id, |row| row.settled = true),
        Errand::Report => {
            state.outgoing.report = None;
            state.outgoing.errands.remove_mut(&errand);
        }
        Errand::StartChild(_) | Errand::SignalExternal(_) | Errand::CancelExternal(_) => {}
    }
}

/// Rows that an event touches when it is written.
pub(crate) fn rows_of_event(event_id: i64, attributes: &Attributes, rows: &mut Vec<RowKey>) {
    use Attributes as A;
    match attributes {
        A::StartChildWorkflowExecutionInitiatedEventAttributes(_) => {
            rows.extend([RowKey::Child(event_id), RowKey::ChildInput(event_id)]);
        }
        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(_) => rows.push(RowKey::SignalExternal(event_id)),
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_) => {
            rows.push(RowKey::CancelExternal(event_id));
        }
        A::WorkflowExecutionCompletedEventAttributes(_)
        | A::WorkflowExecutionFailedEventAttributes(_)
        | A::WorkflowExecutionTimedOutEventAttributes(_)
        | A::WorkflowExecutionCanceledEventAttributes(_)
        | A::WorkflowExecutionTerminatedEventAttributes(_) => rows.push(RowKey::Report),
        _ => {}
    }
}

/// See [`apply_at_once`].
pub(crate) fn rows_at_once(attributes: &Attributes, rows: &mut Vec<RowKey>) {
    use Attributes as A;
    match attributes {
        A::ChildWorkflowExecutionStartedEventAttributes(a) => rows.push(RowKey::Child(a.initiated_event_id)),
        A::ExternalWorkflowExecutionSignaledEventAttributes(a) => {
            rows.push(RowKey::SignalExternal(a.initiated_event_id));
        }
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => {
            rows.push(RowKey::SignalExternal(a.initiated_event_id));
        }
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => {
            rows.push(RowKey::CancelExternal(a.initiated_event_id));
        }
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
            rows.push(RowKey::CancelExternal(a.initiated_event_id));
        }
        attributes => {
            if let Some(id) = ended_child(attributes) {
                rows.extend([RowKey::Child(id), RowKey::ChildInput(id)]);
            }
        }
    }
}

/// See [`apply_done`].
pub(crate) fn rows_of_done(errand: Errand) -> Vec<RowKey> {
    match errand {
        Errand::Report => vec![RowKey::Report],
        Errand::SignalExternal(_) | Errand::CancelExternal(_) => Vec::new(),
        Errand::StartChild(id)
        | Errand::ScheduleChild(id)
        | Errand::AskChild(id)
        | Errand::CloseChild(id)
        | Errand::DropChild(id) => vec![RowKey::Child(id)],
    }
}

impl Outgoing {
    /// The stored form of a row of this module; `None` when it must be deleted.
    pub(crate) fn encode_row(&self, key: &RowKey) -> Option<Vec<u8>> {
        let bytes = match key {
            RowKey::Child(id) => self.children.get(id)?.row.encode_to_vec(),
            RowKey::ChildInput(id) => {
                let child = self.children.get(id)?;
                let attributes = Some((*child.input).clone());
                let user_metadata = child.user_metadata.as_deref().cloned();
                stored::ChildInput { attributes, user_metadata }.encode_to_vec()
            }
            RowKey::SignalExternal(id) => {
                stored::SignalExternal { attributes: Some((**self.signals.get(id)?).clone()) }.encode_to_vec()
            }
            RowKey::CancelExternal(id) => {
                stored::CancelExternal { attributes: Some((**self.cancels.get(id)?).clone()) }.encode_to_vec()
            }
            RowKey::Report => stored::Report { event: Some((**self.report.as_ref()?).clone()) }.encode_to_vec(),
            _ => return None,
        };
        Some(bytes)
    }

    /// Adds what a row of this module says. The index is made by [`index`] once all are in.
    pub(crate) fn decode_row(&mut self, key: &RowKey, bytes: &Bytes) -> Result<(), DecodeError> {
        let bytes = bytes.as_ref();
        match key {
            RowKey::Child(id) => {
                let row = Arc::new(stored::Child::decode(bytes)?);
                let child = Child { row, ..self.child_so_far(*id) };
                self.children.insert_mut(*id, child);
            }
            RowKey::ChildInput(id) => {
                let stored::ChildInput { attributes, user_metadata } = stored::ChildInput::decode(bytes)?;
                let input = Arc::new(attributes.unwrap_or_default());
                let child = Child { input, user_metadata: user_metadata.map(Arc::new), ..self.child_so_far(*id) };
                self.children.insert_mut(*id, child);
            }
            RowKey::SignalExternal(id) => {
                let attributes = stored::SignalExternal::decode(bytes)?.attributes.unwrap_or_default();
                self.signals.insert_mut(*id, Arc::new(attributes));
            }
            RowKey::CancelExternal(id) => {
                let attributes = stored::CancelExternal::decode(bytes)?.attributes.unwrap_or_default();
                self.cancels.insert_mut(*id, Arc::new(attributes));
            }
            RowKey::Report => self.report = stored::Report::decode(bytes)?.event.map(Arc::new),
            _ => {}
        }
        Ok(())
    }

    /// The two rows of a child come in any order.
    fn child_so_far(&self, id: i64) -> Child {
        let empty = || Child { input: Arc::default(), user_metadata: None, row: Arc::default() };
        self.children.get(&id).cloned().unwrap_or_else(empty)
    }
}

/// Makes the index anew.
pub(crate) fn index(state: &mut State) {
    let mut errands = RedBlackTreeSetSync::new_sync();
    for errand in errand::all(state) {
        errands.insert_mut(errand);
    }
    state.outgoing.errands = errands;
}

impl State {
    /// Whether something has to be done at other runs.
    #[must_use]
    pub fn has_errands(&self) -> bool {
        !self.outgoing.errands.is_empty()
    }

    /// Whether another workflow's request was carried out here.
    #[must_use]
    pub fn has_seen(&self, request_id: &str) -> bool {
        self.signal_requests.contains(request_id)
    }

    /// The run before this one in its chain.
    #[must_use]
    pub fn continued_run_id(&self) -> Option<&str> {
        Some(self.start().continued_execution_run_id.as_str()).filter(|id| !id.is_empty())
    }

    /// Whose child this run is.
    #[must_use]
    pub fn parent_execution(&self) -> Option<&WorkflowExecution> {
        self.start().parent_workflow_execution.as_ref()
    }

    /// The run that a reset made out of this one.
    #[must_use]
    pub fn reset_run_id(&self) -> Option<&str> {
        Some(self.core.reset_run_id.as_str()).filter(|id| !id.is_empty())
    }

    /// Whether this run waits for the end of the child that began with this run.
    #[must_use]
    pub fn awaits_end_of(&self, initiated_event_id: i64, first_execution_run_id: &str) -> bool {
        let child = self.outgoing.children.get(&initiated_event_id);
        self.is_running() && child.is_some_and(|child| child.row.started_run_id == first_execution_run_id)
    }

    /// A child whose parent did not ask for its first workflow task, and which nothing else woke.
    #[must_use]
    pub fn awaits_first_task(&self) -> bool {
        self.is_running() && !self.core.had_workflow_task
    }

    /// A closed run may be removed from this time on, once nobody waits to hear from it.
    #[must_use]
    pub fn removable_after(&self) -> Option<Timestamp> {
        self.delete_after().filter(|_| self.outgoing.errands.is_empty())
    }
}

fn update_child(state: &mut State, id: i64, update: impl FnOnce(&mut stored::Child)) {
    change_child(state, id, |state| {
        if let Some(child) = state.outgoing.children.get(&id) {
            let mut child = child.clone();
            update(Arc::make_mut(&mut child.row));
            state.outgoing.children.insert_mut(id, child);
        }
    });
}

/// Keeps the index right while a child changes.
fn change_child(state: &mut State, id: i64, change: impl FnOnce(&mut State)) {
    let before = errand::of_child(state, id);
    change(state);
    let after = errand::of_child(state, id);
    if before == after {
        return;
    }
    if let Some(before) = before {
        state.outgoing.errands.remove_mut(&before);
    }
    if let Some(after) = after {
        state.outgoing.errands.insert_mut(after);
    }
}

fn remove_signal(state: &mut State, id: i64) {
    state.outgoing.signals.remove_mut(&id);
    state.outgoing.errands.remove_mut(&Errand::SignalExternal(id));
}

fn remove_cancel(state: &mut State, id: i64) {
    state.outgoing.cancels.remove_mut(&id);
    state.outgoing.errands.remove_mut(&Errand::CancelExternal(id));
}
