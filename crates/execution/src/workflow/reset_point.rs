//! Reset points: the first task completed by each version of the worker code, kept so that a
//! bad deployment can be undone by resetting to before it.

use std::sync::Arc;

use base::Timestamp;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowTaskCompletedEventAttributes};
use temporalio_protos::temporal::api::workflow::v1::{ResetPointInfo, ResetPoints};

use super::State;
use crate::Limits;
use crate::policy::duration;

/// The oldest points are dropped beyond this.
const POINTS_MAX: usize = 20;

/// A worker version completed a task: its first one is a point.
pub(crate) fn add(state: &mut State, event: &HistoryEvent, completed: &WorkflowTaskCompletedEventAttributes) {
    let build_id = match (&completed.deployment_version, &completed.worker_version) {
        (Some(version), _) => version.build_id.as_str(),
        (None, Some(stamp)) => stamp.build_id.as_str(),
        (None, None) => "",
    };
    let known =
        |point: &ResetPointInfo| point.binary_checksum == completed.binary_checksum && point.build_id == build_id;
    if state.reset_points.points.iter().any(known) {
        return;
    }
    let point = ResetPointInfo {
        build_id: build_id.to_owned(),
        binary_checksum: completed.binary_checksum.clone(),
        run_id: state.run.run_id.clone(),
        first_workflow_task_completed_id: event.event_id,
        create_time: event.event_time,
        expire_time: None,
        resettable: true,
    };
    let points = &mut Arc::make_mut(&mut state.reset_points).points;
    points.push(point);
    let surplus = points.len().saturating_sub(POINTS_MAX);
    points.drain(..surplus);
}

/// A run that follows another keeps its points until the closed run is removed.
pub(crate) fn rolled_over(before: &State, now: Timestamp, limits: &Limits) -> ResetPoints {
    let removed = now + limits.retention.unwrap_or_else(|| duration::value(before.run.retention.as_ref()));
    let alive =
        |point: &&ResetPointInfo| point.expire_time.as_ref().is_none_or(|time| Timestamp::from_proto(time) >= now);
    let points: Vec<ResetPointInfo> = before
        .reset_points
        .points
        .iter()
        .filter(alive)
        .map(|point| {
            let mut point = point.clone();
            if point.run_id == before.run.run_id {
                point.expire_time = Some(removed.to_proto());
            }
            point
        })
        .collect();
    ResetPoints { points }
}

/// Those of a run that another one followed are there for as long as the closed run is.
pub(crate) fn shown(state: &State) -> ResetPoints {
    let mut shown = (*state.reset_points).clone();
    if let (Some(removed), Some(_)) = (state.kept_until(), state.new_execution_run_id()) {
        let own = shown.points.iter_mut().filter(|point| point.run_id == state.run.run_id);
        own.for_each(|point| point.expire_time = Some(removed.to_proto()));
    }
    shown
}

pub(crate) fn inherit(state: &mut State, event: &HistoryEvent) {
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(start)) = &event.attributes else { return };
    if let Some(previous) = &start.prev_auto_reset_points {
        state.reset_points = Arc::new(previous.clone());
    }
}
