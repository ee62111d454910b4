//! The stored form of a state: one row per item, so that a step writes only what it touched.

use std::sync::Arc;

use bytes::Bytes;
use prost::{DecodeError, Message};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::state::Activity;
use super::{Change, Note, State, options, outgoing, stored, workflow_task};

/// One stored row of a run's state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RowKey {
    /// Small and rewritten by almost every step.
    Core,
    /// Who the run is and its start event: written once.
    Start,
    /// Only when a command changed it.
    Memo,
    /// Only when a command changed them.
    SearchAttributes,
    ResetPoints,
    /// What changes while an activity is pending, by its scheduled event id.
    Activity(i64),
    /// What the activity was scheduled with: written once.
    ActivityInput(i64),
    /// By its started event id.
    Timer(i64),
    Buffered(u64),
    SignalRequest(String),
    /// A start request that joined.
    RequestId(String),
    /// What changes while a child is pending, by its initiated event id; so are the next three.
    Child(i64),
    ChildInput(i64),
    SignalExternal(i64),
    CancelExternal(i64),
    /// The closing event that the parent has to hear of.
    Report,
    /// The callbacks that it brought.
    Callbacks(String),
    /// An update that history tells of, by its id.
    Update(String),
}

// First byte of a row's key. Never reused.
const CORE: u8 = 1;
const START: u8 = 2;
const MEMO: u8 = 3;
const SEARCH_ATTRIBUTES: u8 = 4;
const RESET_POINTS: u8 = 5;
const ACTIVITY: u8 = 16;
const ACTIVITY_INPUT: u8 = 17;
const TIMER: u8 = 18;
const BUFFERED: u8 = 19;
const SIGNAL_REQUEST: u8 = 20;
const REQUEST_ID: u8 = 21;
const CHILD: u8 = 100;
const CHILD_INPUT: u8 = 101;
const SIGNAL_EXTERNAL: u8 = 102;
const CANCEL_EXTERNAL: u8 = 103;
const REPORT: u8 = 104;
const CALLBACKS: u8 = 160;
const UPDATE: u8 = 120;

impl RowKey {
    /// The part of the persistent key below the run: ordered, and a prefix of no other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (tag, rest): (u8, &[u8]) = match self {
            Self::Core => (CORE, &[]),
            Self::Start => (START, &[]),
            Self::Memo => (MEMO, &[]),
            Self::SearchAttributes => (SEARCH_ATTRIBUTES, &[]),
            Self::ResetPoints => (RESET_POINTS, &[]),
            Self::Activity(id) => (ACTIVITY, &id.to_be_bytes()),
            Self::ActivityInput(id) => (ACTIVITY_INPUT, &id.to_be_bytes()),
            Self::Timer(id) => (TIMER, &id.to_be_bytes()),
            Self::Buffered(sequence) => (BUFFERED, &sequence.to_be_bytes()),
            Self::SignalRequest(id) => (SIGNAL_REQUEST, id.as_bytes()),
            Self::RequestId(id) => (REQUEST_ID, id.as_bytes()),
            Self::Child(id) => (CHILD, &id.to_be_bytes()),
            Self::ChildInput(id) => (CHILD_INPUT, &id.to_be_bytes()),
            Self::SignalExternal(id) => (SIGNAL_EXTERNAL, &id.to_be_bytes()),
            Self::CancelExternal(id) => (CANCEL_EXTERNAL, &id.to_be_bytes()),
            Self::Report => (REPORT, &[]),
            Self::Callbacks(id) => (CALLBACKS, id.as_bytes()),
            Self::Update(id) => (UPDATE, id.as_bytes()),
        };
        [&[tag], rest].concat()
    }

    /// The inverse of `to_bytes`; none when the bytes are no key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let number = || rest.try_into().ok().map(i64::from_be_bytes);
        match (*tag, rest.is_empty()) {
            (CORE, true) => Some(Self::Core),
            (START, true) => Some(Self::Start),
            (MEMO, true) => Some(Self::Memo),
            (SEARCH_ATTRIBUTES, true) => Some(Self::SearchAttributes),
            (RESET_POINTS, true) => Some(Self::ResetPoints),
            (ACTIVITY, _) => number().map(Self::Activity),
            (ACTIVITY_INPUT, _) => number().map(Self::ActivityInput),
            (TIMER, _) => number().map(Self::Timer),
            (BUFFERED, _) => rest.try_into().ok().map(|bytes| Self::Buffered(u64::from_be_bytes(bytes))),
            (SIGNAL_REQUEST, _) => std::str::from_utf8(rest).ok().map(|id| Self::SignalRequest(id.to_owned())),
            (CHILD, _) => number().map(Self::Child),
            (CHILD_INPUT, _) => number().map(Self::ChildInput),
            (SIGNAL_EXTERNAL, _) => number().map(Self::SignalExternal),
            (CANCEL_EXTERNAL, _) => number().map(Self::CancelExternal),
            (REPORT, true) => Some(Self::Report),
            (REQUEST_ID, _) => std::str::from_utf8(rest).ok().map(|id| Self::RequestId(id.to_owned())),
            (CALLBACKS, _) => std::str::from_utf8(rest).ok().map(|id| Self::Callbacks(id.to_owned())),
            (UPDATE, _) => std::str::from_utf8(rest).ok().map(|id| Self::Update(id.to_owned())),
            _ => None,
        }
    }
}

impl State {
    /// The rows that `change` touched. Encode them after the last change of a decision.
    #[must_use]
    pub fn touched(&self, change: &Change) -> Vec<RowKey> {
        match change {
            Change::Event(event) => {
                let mut rows = vec![RowKey::Core];
                if options::changes_priority(event) {
                    rows.extend(self.activities.keys().map(|id| RowKey::Activity(*id)));
                }
                if let Some(attributes) = &event.attributes {
                    rows_of_event(event.event_id, attributes, &mut rows);
                    outgoing::rows_of_event(event.event_id, attributes, &mut rows);
                    rows_at_once(attributes, &mut rows);
                }
                // Most completed tasks add no point; the row is then left alone.
                if self.reset_points.points.iter().any(|p| p.first_workflow_task_completed_id == event.event_id) {
                    rows.push(RowKey::ResetPoints);
                }
                rows
            }
            Change::Note(Note::PauseSet(_)) => {
                self.activities.keys().map(|id| RowKey::Activity(*id)).chain([RowKey::Core]).collect()
            }
            Change::Note(note) => {
                let mut rows = rows_of_note(note);
                if matches!(note, Note::Buffered { event, .. } if options::changes_priority(event)) {
                    rows.extend(self.activities.keys().map(|id| RowKey::Activity(*id)));
                }
                rows
            }
            Change::Soft(_) => Vec::new(),
        }
    }

    /// The stored form of a row; `None` when it must be deleted.
    #[must_use]
    pub fn encode_row(&self, key: &RowKey) -> Option<Bytes> {
        let bytes = match key {
            RowKey::Core => self.core.encode_to_vec(),
            RowKey::Start => self.run.encode_to_vec(),
            RowKey::Memo => wrapped(&**self.memo.as_ref()?),
            RowKey::SearchAttributes => wrapped(&**self.search_attributes.as_ref()?),
            RowKey::ResetPoints => {
                if self.reset_points.points.is_empty() {
                    return None;
                }
                wrapped(&*self.reset_points)
            }
            RowKey::Activity(id) => self.activities.get(id)?.row.encode_to_vec(),
            RowKey::ActivityInput(id) => wrapped(&*self.activities.get(id)?.input),
            RowKey::Timer(id) => self.timers.get(id)?.encode_to_vec(),
            RowKey::Buffered(sequence) => wrapped(&**self.buffered.get(sequence)?),
            RowKey::SignalRequest(id) => {
                self.signal_requests.contains(id.as_str()).then_some(())?;
                stored::SignalRequest { seen: true }.encode_to_vec()
            }
            RowKey::RequestId(id) => {
                stored::RequestId { event_id: *self.request_ids.get(id.as_str())? }.encode_to_vec()
            }
            RowKey::Child(_)
            | RowKey::ChildInput(_)
            | RowKey::SignalExternal(_)
            | RowKey::CancelExternal(_)
            | RowKey::Report => self.outgoing.encode_row(key)?,
            RowKey::Callbacks(id) => self.callbacks.get(id.as_str())?.encode_to_vec(),
            RowKey::Update(id) => self.updates.get(id.as_str())?.encode_to_vec(),
        };
        Some(bytes.into())
    }

    /// Rebuilds the state from all its rows.
    pub fn decode(rows: &[(RowKey, Bytes)]) -> Result<Self, DecodeError> {
        let mut state = Self::new();
        let mut inputs = std::collections::BTreeMap::new();
        let mut activities = Vec::new();
        for (key, row) in rows {
            let bytes = row.as_ref();
            match key {
                RowKey::Core => {
                    state.core = stored::Core::decode(bytes)?;
                    state.started = workflow_task::kept_start(&state.core)?;
                }
                RowKey::Start => state.run = Arc::new(stored::Run::decode(bytes)?),
                RowKey::Memo => state.memo = stored::Memo::decode(bytes)?.value.map(Arc::new),
                RowKey::SearchAttributes => {
                    state.search_attributes = stored::SearchAttributes::decode(bytes)?.value.map(Arc::new);
                }
                RowKey::ResetPoints => {
                    state.reset_points = Arc::new(stored::ResetPoints::decode(bytes)?.value.unwrap_or_default());
                }
                RowKey::Activity(id) => activities.push((*id, stored::Activity::decode(bytes)?)),
                RowKey::ActivityInput(id) => {
                    let input = stored::ActivityInput::decode(bytes)?.attributes.unwrap_or_default();
                    inputs.insert(*id, Arc::new(input));
                }
                RowKey::Timer(id) => super::timer::put(&mut state, *id, stored::Timer::decode(bytes)?),
                RowKey::Buffered(sequence) => {
                    let event = stored::Buffered::decode(bytes)?.event.unwrap_or_default();
                    state.buffered.insert_mut(*sequence, Arc::new(event));
                }
                RowKey::SignalRequest(id) => state.signal_requests.insert_mut(id.as_str().into()),
                RowKey::RequestId(id) => {
                    state.request_ids.insert_mut(id.as_str().into(), stored::RequestId::decode(bytes)?.event_id);
                }
                RowKey::Child(_)
                | RowKey::ChildInput(_)
                | RowKey::SignalExternal(_)
                | RowKey::CancelExternal(_)
                | RowKey::Report => state.outgoing.decode_row(key, row)?,
                RowKey::Callbacks(id) => {
                    state.callbacks.insert_mut(id.as_str().into(), Arc::new(stored::Callbacks::decode(bytes)?));
                }
                RowKey::Update(id) => super::update::put(&mut state, id, stored::Update::decode(bytes)?),
            }
        }
        for (id, row) in activities {
            let input = inputs.remove(&id).unwrap_or_default();
            super::activity::put(&mut state, id, Activity { input, row: Arc::new(row) });
        }
        outgoing::index(&mut state);
        state.items_bytes = super::size::items_bytes(&state);
        super::update::order_admitted(&mut state);
        Ok(state)
    }
}

/// A row message whose only field, number 1, is `value`; without copying the value.
fn wrapped(value: &impl Message) -> Vec<u8> {
    const FIELD_1_MESSAGE: u8 = 1 << 3 | 2;
    let bytes = value.encoded_len();
    let mut row = Vec::with_capacity(1 + prost::length_delimiter_len(bytes) + bytes);
    row.push(FIELD_1_MESSAGE);
    value.encode_length_delimited(&mut row).expect("a vector grows");
    row
}

fn rows_of_event(event_id: i64, attributes: &Attributes, rows: &mut Vec<RowKey>) {
    use Attributes as A;
    match attributes {
        A::WorkflowExecutionStartedEventAttributes(a) => {
            rows.push(RowKey::Start);
            if a.prev_auto_reset_points.is_some() {
                rows.push(RowKey::ResetPoints);
            }
        }
        A::UpsertWorkflowSearchAttributesEventAttributes(_) => rows.push(RowKey::SearchAttributes),
        A::WorkflowPropertiesModifiedEventAttributes(_) => rows.push(RowKey::Memo),
        A::ActivityTaskScheduledEventAttributes(_) => {
            rows.extend([RowKey::Activity(event_id), RowKey::ActivityInput(event_id)]);
        }
        A::ActivityTaskCancelRequestedEventAttributes(a) => rows.push(RowKey::Activity(a.scheduled_event_id)),
        A::TimerStartedEventAttributes(_) => rows.push(RowKey::Timer(event_id)),
        A::TimerCanceledEventAttributes(a) => rows.push(RowKey::Timer(a.started_event_id)),
        A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
            rows.push(RowKey::Update(a.protocol_instance_id.clone()));
            let request_id = super::update::request_id(a);
            rows.extend((!request_id.is_empty()).then(|| RowKey::RequestId(request_id.to_owned())));
        }
        _ => rows.extend(super::update::id_of(attributes).map(|id| RowKey::Update(id.to_owned()))),
    }
}

/// See `apply_at_once`.
fn rows_at_once(attributes: &Attributes, rows: &mut Vec<RowKey>) {
    use Attributes as A;
    let closed = match attributes {
        A::ActivityTaskCompletedEventAttributes(a) => a.scheduled_event_id,
        A::ActivityTaskFailedEventAttributes(a) => a.scheduled_event_id,
        A::ActivityTaskTimedOutEventAttributes(a) => a.scheduled_event_id,
        A::ActivityTaskCanceledEventAttributes(a) => a.scheduled_event_id,
        A::TimerFiredEventAttributes(a) => {
            rows.push(RowKey::Timer(a.started_event_id));
            return;
        }
        A::WorkflowExecutionOptionsUpdatedEventAttributes(a) => {
            rows.extend(Some(&a.attached_request_id).filter(|id| !id.is_empty()).cloned().map(RowKey::RequestId));
            if !a.attached_completion_callbacks.is_empty() {
                rows.push(RowKey::Callbacks(a.attached_request_id.clone()));
            }
            return;
        }
        attributes => return outgoing::rows_at_once(attributes, rows),
    };
    rows.extend([RowKey::Activity(closed), RowKey::ActivityInput(closed)]);
}

fn rows_of_note(note: &Note) -> Vec<RowKey> {
    match note {
        Note::Created(_) => vec![RowKey::Core, RowKey::Start],
        Note::Buffered { sequence, event } => {
            let mut rows = vec![RowKey::Core, RowKey::Buffered(*sequence)];
            if let Some(attributes) = &event.attributes {
                rows_at_once(attributes, &mut rows);
            }
            rows
        }
        Note::Unbuffered { sequence } => vec![RowKey::Buffered(*sequence)],
        Note::Flushed { first, next } => (*first..*next).map(RowKey::Buffered).collect(),
        Note::SignalRequested { request_id } => vec![RowKey::SignalRequest(request_id.clone())],
        Note::SearchAttribute { .. } => vec![RowKey::SearchAttributes],
        Note::TransientTaskScheduled(_)
        | Note::TaskHeartbeat { .. }
        | Note::TransientTaskFailed { .. }
        | Note::StickySet { .. }
        | Note::StickyCleared
        | Note::Retained { .. }
        | Note::StickyDeferred { .. }
        | Note::PauseSet(_)
        | Note::ResetTo { .. }
        | Note::ResetFinished
        | Note::DeleteRequested { .. }
        | Note::StartKept(_)
        | Note::SpeculativeWritten { .. } => vec![RowKey::Core],
        Note::UpdateForgotten { id } => vec![RowKey::Update(id.clone())],
        Note::ChildCopied { initiated_event_id } => vec![RowKey::Child(*initiated_event_id)],
        Note::ErrandDone { errand } => outgoing::rows_of_done(*errand),
        Note::ActivityStarted(started) => vec![RowKey::Core, RowKey::Activity(started.scheduled_event_id)],
        Note::Transition => vec![RowKey::Core],
        Note::ActivityRetried { scheduled_event_id, .. }
        | Note::ActivityReturned { scheduled_event_id }
        | Note::ActivityReady { scheduled_event_id }
        | Note::ActivitySet { scheduled_event_id, .. }
        | Note::ActivityRescheduled { scheduled_event_id, .. }
        | Note::ActivityHeartbeat { scheduled_event_id, .. } => vec![RowKey::Activity(*scheduled_event_id)],
    }
}
