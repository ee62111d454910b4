//! Reset points: the first task completed by each version of the worker code, kept so that a
//! bad deployment can be undone by resetting to before it.

use std::sync::Arc;

use base::Timestamp;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowTaskCompletedEventAttributes};
use temporalio_protos::temporal::api::workflow::v1::{ResetPointInfo, ResetPoints};

use super::State;
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
pub(crate) fn inherit(state: &mut State, event: &HistoryEvent) {
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(start)) = &event.attributes else { return };
    let Some(previous) = &start.prev_auto_reset_points else { return };
    let now = event.event_time.as_ref().map_or(Timestamp::ZERO, Timestamp::from_proto);
    let removed = now + duration::value(state.run.retention.as_ref());
    let mut points = ResetPoints::default();
    for point in &previous.points {
        if point.expire_time.as_ref().is_some_and(|time| Timestamp::from_proto(time) < now) {
            continue;
        }
        let mut point = point.clone();
        if point.run_id == start.continued_execution_run_id {
            point.expire_time = Some(removed.to_proto());
        }
        points.points.push(point);
    }
    state.reset_points = Arc::new(points);
}
