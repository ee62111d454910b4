//! What the notes about an activity do to its row.

use super::super::{Note, State};
use super::{operator, update};

/// Notes about anything else do nothing here.
pub(crate) fn apply_note(state: &mut State, note: &Note) {
    match note {
        Note::ActivityStarted(started) => {
            state.core.state_transition_count += 1;
            update(state, started.scheduled_event_id, |row| {
                row.started_time = started.time;
                row.request_id.clone_from(&started.request_id);
                row.started_identity.clone_from(&started.identity);
            });
        }
        Note::ActivityRetried { scheduled_event_id, failed_time, scheduled_time, failure } => {
            update(state, *scheduled_event_id, |row| {
                row.attempt += 1;
                row.stamp += 1;
                row.ready = false;
                row.started_time = 0;
                row.request_id.clear();
                row.scheduled_time = *scheduled_time;
                row.last_attempt_complete_time = *failed_time;
                row.last_worker_identity = std::mem::take(&mut row.started_identity);
                row.last_failure = failure.as_deref().cloned();
                operator::forget_reset(row);
            });
        }
        Note::ActivityReturned { scheduled_event_id } => update(state, *scheduled_event_id, |row| {
            row.stamp += 1;
            row.started_time = 0;
            row.request_id.clear();
            row.started_identity.clear();
        }),
        Note::ActivityReady { scheduled_event_id } => update(state, *scheduled_event_id, |row| row.ready = true),
        Note::ActivitySet { scheduled_event_id, row } => {
            update(state, *scheduled_event_id, |stored| stored.clone_from(row));
        }
        Note::ActivityHeartbeat { scheduled_event_id, time, identity, details } => {
            update(state, *scheduled_event_id, |row| {
                row.last_heartbeat_time = *time;
                row.last_heartbeat_details.clone_from(details);
                if !identity.is_empty() {
                    row.last_worker_identity.clone_from(identity);
                }
            });
        }
        _ => {}
    }
}
