//! Every key decodes to what it was made from, and sorts as its parts do.

use base::Timestamp;
use execution::workflow::RowKey;
use proptest::prelude::*;

use super::{current, event, key, pending, state, timer};
use crate::run::{RunKey, WorkflowKey};

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).to_string()),
        any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).to_string().to_uppercase()),
        any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).simple().to_string()),
    ]
}

fn run() -> impl Strategy<Value = RunKey> {
    (id(), id(), id()).prop_map(|(namespace, workflow, run)| WorkflowKey::new(&namespace, &workflow).run(&run))
}

fn row() -> impl Strategy<Value = RowKey> {
    prop_oneof![
        Just(RowKey::Core),
        Just(RowKey::Start),
        any::<i64>().prop_map(RowKey::Activity),
        any::<i64>().prop_map(RowKey::Timer),
        any::<u64>().prop_map(RowKey::Buffered),
        any::<String>().prop_map(RowKey::SignalRequest),
    ]
}

proptest! {
    #[test]
    fn an_id_comes_back(id in id()) {
        let mut buffer = Vec::new();
        key::put_id(&mut buffer, &id);
        prop_assert_eq!(key::take_id(&mut &buffer[..]), Some(id));
    }

    #[test]
    fn the_current_run_comes_back(run_id in id()) {
        prop_assert_eq!(current::decode(&current::encode(&run_id)).unwrap(), run_id);
    }

    #[test]
    fn a_state_row_comes_back(run in run(), row in row()) {
        let key = state::key(&run, &row);
        prop_assert_eq!(state::row(&key[state::prefix(&run).len()..]), Some(row));
    }

    #[test]
    fn history_sorts_by_event_id(run in run(), a in 1_i64.., b in 1_i64..) {
        let (key_a, key_b) = (event::key(&run, a), event::key(&run, b));
        prop_assert_eq!(a.cmp(&b), key_a.cmp(&key_b));
        prop_assert_eq!(event::first_event_id(&key_a[event::prefix(&run).len()..]), Some(a));
    }

    #[test]
    fn timers_sort_by_time(a in run(), b in run(), time_a: u64, time_b: u64) {
        let (time_a, time_b) = (Timestamp::from_nanos(time_a), Timestamp::from_nanos(time_b));
        let key_a = timer::key(time_a, &a);
        prop_assert_eq!(timer::decode(&key_a), Some((time_a, a.clone())));
        if a.workflow.cell == b.workflow.cell && time_a != time_b {
            prop_assert_eq!(time_a.cmp(&time_b), key_a.cmp(&timer::key(time_b, &b)));
        }
    }

    #[test]
    fn a_pending_run_comes_back(run in run()) {
        prop_assert_eq!(pending::decode(&pending::key(&run)), Some(run));
    }

    #[test]
    fn runs_never_share_a_prefix(a in run(), b in run()) {
        if a != b {
            prop_assert!(!state::prefix(&a).starts_with(&state::prefix(&b)));
        }
    }

    #[test]
    fn garbage_is_no_key(bytes: Vec<u8>) {
        let _ = (timer::decode(&bytes), pending::decode(&bytes), state::row(&bytes));
    }
}
