//! The limits of `docs/config.md` that a decision depends on; one value per request.

use std::sync::Arc;
use std::time::Duration;

use base::CustomAttributes;

/// Defaults are the incumbent's, so that nobody has to re-learn them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Ids of every kind.
    pub id_bytes_max: usize,
    pub blob_bytes_max: usize,
    pub memo_bytes_max: usize,
    pub history_size_bytes_max: usize,
    pub history_events_max: i64,
    pub history_size_bytes_suggest_continue_as_new: usize,
    pub history_events_suggest_continue_as_new: i64,
    pub pending_activities_max: usize,
    pub pending_children_max: usize,
    pub pending_signals_max: usize,
    pub pending_cancels_max: usize,
    pub signals_max: i64,
    pub buffered_events_max: usize,
    pub buffered_events_bytes_max: usize,
    pub activity_failure_bytes_max: usize,
    pub workflow_task_timeout_default: Duration,
    pub workflow_task_timeout_max: Duration,
    pub workflow_task_heartbeat_max: Duration,
    pub sticky_schedule_to_start_default: Duration,
    pub continue_as_new_interval_min: Duration,
    pub request_ids_max: usize,
    /// The namespace's own search attributes. None: they are not checked.
    pub search_attributes: Option<Arc<CustomAttributes>>,
    /// How long the namespace keeps a run that closes now. None: as long as when it started.
    pub retention: Option<Duration>,
    /// What a run keeps besides its history.
    pub state_bytes_max: usize,
    /// The events of one step.
    pub transaction_bytes_max: usize,
    /// Completion callbacks of one run.
    pub callbacks_max: usize,
    /// Updates that are not completed.
    pub updates_in_flight_max: usize,
    pub updates_in_flight_bytes_max: usize,
    /// All updates of a run but those that were rejected.
    pub updates_max: usize,
    pub updates_suggest_continue_as_new: usize,
    /// A speculative workflow task that showed its worker more events is written.
    pub speculative_events_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            id_bytes_max: 1000,
            blob_bytes_max: 2 << 20,
            memo_bytes_max: 2 << 20,
            history_size_bytes_max: 50 << 20,
            history_events_max: 51_200,
            history_size_bytes_suggest_continue_as_new: 4 << 20,
            history_events_suggest_continue_as_new: 4096,
            pending_activities_max: 2000,
            pending_children_max: 2000,
            pending_signals_max: 2000,
            pending_cancels_max: 2000,
            signals_max: 10_000,
            buffered_events_max: 100,
            buffered_events_bytes_max: 2 << 20,
            activity_failure_bytes_max: 4 << 10,
            workflow_task_timeout_default: Duration::from_secs(10),
            workflow_task_timeout_max: Duration::from_secs(120),
            workflow_task_heartbeat_max: Duration::from_secs(30 * 60),
            sticky_schedule_to_start_default: Duration::from_secs(5),
            continue_as_new_interval_min: Duration::from_secs(1),
            request_ids_max: 25,
            search_attributes: None,
            retention: None,
            state_bytes_max: 8 << 20,
            transaction_bytes_max: 4 << 20,
            callbacks_max: 2000,
            updates_in_flight_max: 10,
            updates_in_flight_bytes_max: 20 << 20,
            updates_max: 2000,
            updates_suggest_continue_as_new: 1800,
            speculative_events_max: 10,
        }
    }
}
