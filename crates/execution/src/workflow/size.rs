//! How much a run keeps besides its history: what its limit is compared to.
//!
//! The large items are counted as they come and go, so that the sum costs nothing to know;
//! what there is only one of is measured when asked.

use prost::Message;

use super::State;

/// Bytes of everything that can become large: activities with their failures and heartbeat
/// details, buffered events, request ids of signals, memo and search attributes. Inputs of
/// activities are part of history.
pub(crate) fn state_bytes(state: &State) -> usize {
    let memo = state.memo.as_deref().map_or(0, Message::encoded_len);
    let search_attributes = state.search_attributes.as_deref().map_or(0, Message::encoded_len);
    state.items_bytes + memo + search_attributes
}

/// Of all items, from nothing.
pub(crate) fn items_bytes(state: &State) -> usize {
    let activities: usize = state.activities.values().map(|activity| activity.row.encoded_len()).sum();
    let buffered: usize = state.buffered.values().map(|event| event.encoded_len()).sum();
    let signals: usize = state.signal_requests.iter().map(|id| id.len()).sum();
    activities + buffered + signals
}

impl State {
    pub(crate) fn item_added(&mut self, bytes: usize) {
        self.items_bytes += bytes;
    }

    pub(crate) fn item_removed(&mut self, bytes: usize) {
        self.items_bytes -= bytes;
    }
}
