//! What a batch comes down to, one write per key: engines apply a batch as a set, so that
//! two writes of one key, or a range delete, have to be settled before.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Batch, KvError, Op};

/// Keys are read in pages of this size while a range is deleted.
const DELETE_SCAN_KEYS: usize = 4096;

/// `None` deletes.
pub(super) type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// `stored_keys(start, end, limit)` lists the first keys of `start <= key < end` in the store.
pub(super) fn resolve(
    batch: Batch,
    mut stored_keys: impl FnMut(&Bytes, &Bytes, usize) -> Result<Vec<Bytes>, KvError>,
) -> Result<Writes, KvError> {
    batch.check_keys();
    let mut writes = Writes::new();
    for op in batch.ops {
        match op {
            Op::Put { key, value } => {
                writes.insert(key, Some(value));
            }
            Op::Delete { key } => {
                writes.insert(key, None);
            }
            Op::DeleteRange { start, end } if start < end => {
                for (_, value) in writes.range_mut(start.clone()..end.clone()) {
                    *value = None;
                }
                let mut from = start;
                loop {
                    let page = stored_keys(&from, &end, DELETE_SCAN_KEYS)?;
                    let is_last = page.len() < DELETE_SCAN_KEYS;
                    if let Some(last) = page.last() {
                        from = successor(last);
                    }
                    writes.extend(page.into_iter().map(|key| (key, None)));
                    if is_last || from >= end {
                        break;
                    }
                }
            }
            Op::DeleteRange { .. } => {}
        }
    }
    Ok(writes)
}

/// The smallest key behind `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
