//! Completion callbacks: who wants to be told when the workflow has closed for good.
//!
//! ```text
//!  start ─▶ recorded in the start event            ┐
//!  attached by a start that joins ─▶ own rows      ┴─▶ carried over to the next run by
//!                                                      continue-as-new and retry, not by cron
//! ```
//! They are recorded and shown; nothing is delivered.

use std::sync::Arc;

use base::Timestamp;
use temporalio_protos::temporal::api::common::v1::Callback;
use temporalio_protos::temporal::api::enums::v1::CallbackState;
use temporalio_protos::temporal::api::workflow::v1::CallbackInfo;
use temporalio_protos::temporal::api::workflow::v1::callback_info::{Trigger, WorkflowClosed, trigger};

use super::state::time;
use super::{State, stored};
use crate::{Limits, Rejection};

/// Whether so many more fit.
pub(crate) fn check(state: &State, added: usize, limits: &Limits) -> Result<(), Rejection> {
    let attached = registered(state).count();
    if added == 0 || attached + added <= limits.callbacks_max {
        return Ok(());
    }
    let limit = limits.callbacks_max;
    Err(Rejection::FailedPrecondition(format!(
        "cannot attach more than {limit} callbacks to a workflow ({attached} callbacks already attached)"
    )))
}

/// A start request joined and brought these.
pub(crate) fn attach(state: &mut State, request_id: &str, callbacks: &[Callback], at: u64) {
    if callbacks.is_empty() || state.callbacks.contains_key(request_id) {
        return;
    }
    let row = stored::Callbacks { values: callbacks.to_vec(), registration_time: at };
    state.callbacks.insert_mut(request_id.into(), Arc::new(row));
}

/// All of them, in the order in which they came.
pub(crate) fn all(state: &State) -> Vec<Callback> {
    registered(state).map(|(callback, _)| callback.clone()).collect()
}

pub(crate) fn describe(state: &State) -> Vec<CallbackInfo> {
    let info = |(callback, registered): (&Callback, Timestamp)| CallbackInfo {
        callback: Some(callback.clone()),
        trigger: Some(Trigger { variant: Some(trigger::Variant::WorkflowClosed(WorkflowClosed {})) }),
        registration_time: Some(registered.to_proto()),
        state: CallbackState::Standby.into(),
        ..CallbackInfo::default()
    };
    registered(state).map(info).collect()
}

fn registered(state: &State) -> impl Iterator<Item = (&Callback, Timestamp)> {
    let started = state.start_time();
    let start = state.start().completion_callbacks.iter().map(move |callback| (callback, started));
    let mut attached: Vec<_> = state.callbacks.iter().map(|(id, row)| (row.registration_time, id, row)).collect();
    attached.sort_unstable_by_key(|(at, id, _)| (*at, *id));
    let attached = attached.into_iter().flat_map(|(at, _, row)| {
        row.values.iter().map(move |callback| (callback, time(at).unwrap_or(Timestamp::ZERO)))
    });
    start.chain(attached)
}
