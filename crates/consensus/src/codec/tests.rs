//! Round trips of everything that reaches the disk or the wire.

use std::collections::BTreeSet;

use base::Term;
use proptest::prelude::*;

use super::*;
use crate::Fence;

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| Op::Put { key, value }),
        bytes().prop_map(|key| Op::Delete { key }),
        (bytes(), bytes()).prop_map(|(start, end)| Op::DeleteRange { start, end }),
    ]
}

proptest! {
    #[test]
    fn proposals_survive(term: u64, seq: u64, shard_epoch: u64, index: u64, ops in proptest::collection::vec(op(), 0..8)) {
        let proposal = Proposal { fence: Fence { term: Term(term), seq, shard_epoch }, batch: Batch { ops: ops.clone() } };
        let entry = Entry::new(log_id(term, index), EntryPayload::Normal(encode_proposal(proposal)));
        let stored = encode_entry(entry.clone());
        let read = decode_entry(stored.index, stored.payload).unwrap();
        prop_assert_eq!(&read, &entry);
        let EntryPayload::Normal(command) = read.payload else { panic!("not a proposal") };
        let decided = decode_proposal(&command).unwrap();
        prop_assert_eq!((decided.seq, decided.shard_epoch, decided.batch.ops), (seq, shard_epoch, ops));
    }

    #[test]
    fn votes_and_log_ids_survive(term: u64, node: u64, index: u64, committed: bool) {
        let vote = if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) };
        prop_assert_eq!(Vote::from(proto::Vote::from(vote)), vote);
        prop_assert_eq!(LogId::from(proto::LogId::from(log_id(term, index))), log_id(term, index));
    }

    #[test]
    fn memberships_survive(voters in proptest::collection::btree_set(0u64..9, 1..5), learners in proptest::collection::btree_set(0u64..9, 0..5)) {
        let nodes: BTreeSet<u64> = voters.union(&learners).copied().collect();
        let membership = Membership::new(vec![voters], nodes).unwrap();
        let stored = StoredMembership::new(Some(log_id(3, 4)), membership.clone());
        prop_assert_eq!(decode_stored_membership(Some((&stored).into())).unwrap(), stored);
        let entry = Entry::new(log_id(3, 4), EntryPayload::Membership(membership));
        let bytes = encode_entry(entry.clone());
        prop_assert_eq!(decode_entry(4, bytes.payload).unwrap(), entry);
    }

    #[test]
    fn appends_survive(previous in proptest::option::of((1u64..9, 0u64..99)), count in 0u64..5) {
        let previous = previous.map(|(term, index)| log_id(term, index));
        let first = previous.map_or(0, |id| id.index + 1);
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(9, 1),
            prev_log_id: previous,
            entries: (first..first + count).map(|index| Entry::new(log_id(9, index), EntryPayload::Blank)).collect(),
            leader_commit: previous,
        };
        let read = decode_append(encode_append(request.clone())).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }
}

#[test]
fn an_empty_membership_is_the_default() {
    let stored = StoredMembership::default();
    assert_eq!(decode_stored_membership(Some((&stored).into())).unwrap(), stored);
    assert_eq!(decode_stored_membership(None).unwrap(), stored);
}
