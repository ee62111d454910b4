//! The roster as it is kept: on each node for itself, outside of every group.

use api::internal::Roster;
use bytes::Bytes;
use prost::Message;
use storage::{Batch, Kv, KvError};

use super::LoadError;

const KEY: [u8; 3] = [0xF1, 0x00, 3];

pub(crate) fn roster(kv: &dyn Kv) -> Result<Option<Roster>, LoadError> {
    let stored = kv.get(&KEY)?;
    stored.map(|bytes| Roster::decode(bytes).map_err(|_| LoadError::Row(Bytes::from_static(&KEY)))).transpose()
}

/// Durably: what follows depends on it.
pub(crate) fn keep_roster(kv: &dyn Kv, roster: &Roster) -> Result<(), KvError> {
    let mut batch = Batch::default();
    batch.put(KEY.to_vec(), roster.encode_to_vec());
    kv.write(batch)?;
    kv.checkpoint()
}
