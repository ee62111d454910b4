//! What a start request with `on_conflict_options` adds to the run that it joins.
//!
//! ```text
//!  running ──Attach──▶ OptionsUpdated (no workflow task), once per request id
//!  closed: refused
//! ```

use temporalio_protos::temporal::api::history::v1::WorkflowExecutionOptionsUpdatedEventAttributes;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::draft::draft;
use super::step::Step;
use super::{Reply, State, callback, close};
use crate::Rejection;
use crate::policy::start_policy::Attach;

pub(crate) fn attach(step: &mut Step<'_>, attach: Attach) -> Result<Reply, Rejection> {
    let state = &step.state;
    let seen = state.run.request_id == attach.request_id || state.request_ids.contains_key(attach.request_id.as_str());
    if !attach.request_id.is_empty() && seen {
        return Ok(Reply::Empty);
    }
    if !state.is_running() {
        return Err(close::completed());
    }
    let limit = step.limits.request_ids_max;
    if !attach.request_id.is_empty() && state.request_ids.size() >= limit {
        return Err(Rejection::FailedPrecondition(format!(
            "cannot attach more than {limit} request ids to a workflow"
        )));
    }
    callback::check(state, attach.completion_callbacks.len(), step.limits)?;
    let attributes =
        Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(WorkflowExecutionOptionsUpdatedEventAttributes {
            attached_request_id: attach.request_id,
            attached_completion_callbacks: attach.completion_callbacks,
            ..WorkflowExecutionOptionsUpdatedEventAttributes::default()
        });
    let mut event = draft(step.now, attributes);
    event.links = attach.links;
    event.worker_may_ignore = true;
    step.happened(event);
    Ok(Reply::Empty)
}

impl State {
    /// The start requests that joined this run by attaching their request id.
    pub fn attached_request_ids(&self) -> impl Iterator<Item = &str> {
        self.request_ids.keys().map(AsRef::as_ref)
    }
}

/// The request is known at once; where it is in history, once the event has an id.
pub(crate) fn remember(state: &mut State, request_id: &str, event_id: Option<i64>) {
    if request_id.is_empty() {
        return;
    }
    match event_id {
        Some(event_id) => state.request_ids.insert_mut(request_id.into(), event_id),
        None if !state.request_ids.contains_key(request_id) => state.request_ids.insert_mut(request_id.into(), 0),
        None => {}
    }
}
