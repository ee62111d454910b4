//! What a node keeps for itself of how it became one, outside of every group: with whom the
//! cluster was founded, and the answer when it has joined later.

use api::internal::{JoinResponse, Roster};
use bytes::Bytes;
use prost::Message;
use storage::{Batch, Kv, KvError};

use super::LoadError;

const ROSTER_KEY: [u8; 3] = [0xF1, 0x00, 3];
const JOINED_KEY: [u8; 3] = [0xF1, 0x00, 5];

pub(crate) fn roster(kv: &dyn Kv) -> Result<Option<Roster>, LoadError> {
    load(kv, &ROSTER_KEY)
}

pub(crate) fn joined(kv: &dyn Kv) -> Result<Option<JoinResponse>, LoadError> {
    load(kv, &JOINED_KEY)
}

/// Durably: what follows depends on it.
pub(crate) fn keep_roster(kv: &dyn Kv, roster: &Roster) -> Result<(), KvError> {
    let mut batch = Batch::default();
    batch.put(ROSTER_KEY.to_vec(), roster.encode_to_vec());
    kv.write(batch)?;
    kv.checkpoint()
}

/// The same, with the roster of the answer.
pub(crate) fn keep_joined(kv: &dyn Kv, joined: &JoinResponse) -> Result<(), KvError> {
    let mut batch = Batch::default();
    batch.put(JOINED_KEY.to_vec(), joined.encode_to_vec());
    batch.put(ROSTER_KEY.to_vec(), joined.roster.clone().unwrap_or_default().encode_to_vec());
    kv.write(batch)?;
    kv.checkpoint()
}

fn load<T: Message + Default>(kv: &dyn Kv, key: &'static [u8]) -> Result<Option<T>, LoadError> {
    let stored = kv.get(key)?;
    stored.map(|bytes| T::decode(bytes).map_err(|_| LoadError::Row(Bytes::from_static(key)))).transpose()
}
