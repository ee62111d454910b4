//! Errands: what a run has to do at other runs, each at least once and until it is done.
//!
//! ```text
//!  child, this run is open:   StartChild ──started──▶ ScheduleChild ──done──▶ none
//!                                  └──refused──▶ none
//!         copied by a reset:    ... ScheduleChild ──done──▶ AskChild ──ended, gone, or it will tell──▶ none
//!  child, this run closed:    not known to exist ─▶ DropChild
//!                             abandoned ──────────▶ ScheduleChild, unless done
//!                             else ───────────────▶ CloseChild
//!                             by a reset: its children belong to the new run
//!  signal, cancel request:    SignalExternal, CancelExternal, while this run is open
//!  a child that closed:       Report
//! ```
//!
//! What is wanted is a function of the rows, so that a new leader finds it again. Whoever is
//! asked recognises a repetition by the request id, or because there is nothing left to do.

use std::collections::BTreeSet;

use temporalio_protos::temporal::api::enums::v1::ParentClosePolicy;

use super::State;

/// A thing to do, by the event of this run that initiated it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Errand {
    StartChild(i64),
    /// Ask the child, which exists, for its first workflow task.
    ScheduleChild(i64),
    /// Ask the child, which an old run started, for its end: it may have told only that one.
    AskChild(i64),
    /// Terminate or cancel the child, as the parent close policy says.
    CloseChild(i64),
    /// End the child if it exists: this run closed before it could know.
    DropChild(i64),
    SignalExternal(i64),
    CancelExternal(i64),
    /// Tell the parent how this run, or the chain it belongs to, ended.
    Report,
}

impl Errand {
    /// The initiating event, 0 for the report. At most one errand is wanted for each.
    #[must_use]
    pub fn event_id(&self) -> i64 {
        match self {
            Self::StartChild(id)
            | Self::ScheduleChild(id)
            | Self::AskChild(id)
            | Self::CloseChild(id)
            | Self::DropChild(id)
            | Self::SignalExternal(id)
            | Self::CancelExternal(id) => *id,
            Self::Report => 0,
        }
    }
}

/// What is wanted for a child.
pub(crate) fn of_child(state: &State, initiated_event_id: i64) -> Option<Errand> {
    let child = state.outgoing.children.get(&initiated_event_id)?;
    let (exists, scheduled) = (!child.row.started_run_id.is_empty(), child.row.scheduled);
    let abandoned = child.input.parent_close_policy() == ParentClosePolicy::Abandon;
    if state.is_closed() && state.core.keeps_children {
        return (exists && !scheduled).then_some(Errand::ScheduleChild(initiated_event_id));
    }
    let errand = match (state.is_closed(), exists) {
        (false, false) => Errand::StartChild(initiated_event_id),
        (false, true) if !scheduled => Errand::ScheduleChild(initiated_event_id),
        (false, true) if child.row.copied && !child.row.asked => Errand::AskChild(initiated_event_id),
        (true, false) if !child.row.settled => Errand::DropChild(initiated_event_id),
        (true, true) if abandoned && !scheduled => Errand::ScheduleChild(initiated_event_id),
        (true, true) if !abandoned && !child.row.settled => Errand::CloseChild(initiated_event_id),
        _ => return None,
    };
    Some(errand)
}

/// All that is wanted, from scratch.
pub(crate) fn all(state: &State) -> BTreeSet<Errand> {
    let outgoing = &state.outgoing;
    let mut errands: BTreeSet<_> = outgoing.children.keys().filter_map(|id| of_child(state, *id)).collect();
    if !state.is_closed() {
        errands.extend(outgoing.signals.keys().map(|id| Errand::SignalExternal(*id)));
        errands.extend(outgoing.cancels.keys().map(|id| Errand::CancelExternal(*id)));
    }
    errands.extend(outgoing.report.is_some().then_some(Errand::Report));
    errands
}
