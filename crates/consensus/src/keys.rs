//! Where a group keeps its own records in the node's key-value store: outside of all
//! cells, so that no snapshot ever carries them to another node.

use bytes::{BufMut, Bytes, BytesMut};
use storage::GroupId;

/// First byte of every node-local key.
const NODE_LOCAL: u8 = 0xFF;

// One byte per table; never reuse one.
const APPLIED: u8 = 0;
const INSTALLING: u8 = 1;
const STAGING: u8 = 2;

fn key(group: GroupId, table: u8, rest: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(10 + rest.len());
    key.put_u8(NODE_LOCAL);
    key.put_u64(group);
    key.put_u8(table);
    key.put_slice(rest);
    key.freeze()
}

/// How far this store has applied the group's log.
pub(crate) fn applied(group: GroupId) -> Bytes {
    key(group, APPLIED, &[])
}

/// Present while a complete staged snapshot replaces the group's state.
pub(crate) fn installing(group: GroupId) -> Bytes {
    key(group, INSTALLING, &[])
}

/// Where a pair of an incoming snapshot waits until the snapshot is complete.
pub(crate) fn staging(group: GroupId, pair: &[u8]) -> Bytes {
    key(group, STAGING, pair)
}

/// The bounds of all staged pairs.
pub(crate) fn staging_range(group: GroupId) -> (Bytes, Bytes) {
    (key(group, STAGING, &[]), key(group, STAGING + 1, &[]))
}

/// The key of a staged pair in the state itself.
pub(crate) fn unstaged(key: &Bytes) -> Bytes {
    key.slice(10..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_keys_come_back_and_stay_in_their_range() {
        let (start, end) = staging_range(7);
        for pair in [&b""[..], b"\0", b"abc", b"\xff\xff"] {
            let staged = staging(7, pair);
            assert!(start <= staged && staged < end);
            assert_eq!(unstaged(&staged), pair);
        }
        assert!(applied(7) < installing(7) && installing(7) < start && end <= applied(8));
    }
}
