//! What lists show of a run: less than a description, and written only when it changes.

use std::sync::Arc;

use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionInfo;

use super::State;

impl State {
    /// Whether lists show this state as another one than `before`; none: it is new.
    #[must_use]
    pub fn is_seen_changed(&self, before: Option<&Self>) -> bool {
        let Some(before) = before else { return true };
        self.status() != before.status()
            || !is_same(self.memo.as_ref(), before.memo.as_ref())
            || !is_same(self.search_attributes.as_ref(), before.search_attributes.as_ref())
    }

    /// The row of a list. Sizes are told once they are final.
    #[must_use]
    pub fn list_info(&self) -> WorkflowExecutionInfo {
        let mut info = self.info();
        if info.close_time.is_none() {
            info.history_length = 0;
            info.history_size_bytes = 0;
            info.state_transition_count = 0;
        }
        info.auto_reset_points = None;
        info.most_recent_worker_version_stamp = None;
        info
    }
}

/// Values are replaced, never edited in place, so the same place is the same value.
fn is_same<T>(left: Option<&Arc<T>>, right: Option<&Arc<T>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => Arc::ptr_eq(left, right),
        _ => false,
    }
}
