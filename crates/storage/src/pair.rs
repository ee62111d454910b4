//! A log and a state that belong together. Either alone, or with another one's half, could
//! not be told from a healthy node: it would vote twice in a term, or deny what it has
//! acknowledged. So both carry the id of their store, and the state a *mark*: how far the
//! log was durable when the state was last made durable itself.
//!
//! | state | log | |
//! |---|---|---|
//! | no mark, empty | empty | a new store: the id is minted |
//! | no mark | any | adopted; a crash may have come between the log's part and the state's |
//! | no mark, not empty | empty | refused: the log is missing |
//! | mark | empty, or without its manifest | refused: the log is missing |
//! | mark | of another store | refused |
//! | mark | ends before the mark | refused: an old copy |
//!
//! The log's part is always written first, so that no crash leaves a healthy node in a row
//! that is refused. A state that is older than the log is none of these: what it lacks is
//! replayed, unless the log was purged, which each group finds out for itself.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::kv::{Batch, Kv, KvError, Scan};
use crate::wal::{Position, Wal, WalConfig, WalError};

/// Outside of all cells and groups: no snapshot carries it to another node.
const MARK_KEY: [u8; 3] = [0xF1, 0x00, 2];
const MARK_VERSION: u8 = 1;
const MARK_BYTES: usize = 33;

const REMEDY: &str = "Put back what is missing; if that cannot be done, remove the whole data directory: \
                      with peers that are complete the node can be replaced by a new one, alone it has lost its data";

/// Names a data directory, for ever. Random, so that a directory that was emptied and filled
/// again is another store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StoreId(pub [u8; 16]);

impl StoreId {
    /// A log that was opened without a state.
    pub const NONE: Self = Self([0; 16]);
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum PairError {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("the log is missing: there is a state, but {0}. Votes and acknowledged writes were in it. {REMEDY}")]
    LogMissing(Arc<str>),
    #[error(
        "the log and the state do not belong together: the log is of store {log}, the state of store {state}. {REMEDY}"
    )]
    Strangers { log: StoreId, state: StoreId },
    #[error("the log is an old copy: it ends at {log}, but the state has seen it durable up to {state}. {REMEDY}")]
    LogOld { log: Position, state: Position },
    #[error("the mark of the log in the state is damaged or of a later version")]
    Mark,
}

/// What the state knows of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    store: StoreId,
    position: Position,
}

/// What is found of a log before anything is written to it.
pub(crate) struct FoundLog {
    /// `None` without a manifest.
    pub(crate) store: Option<StoreId>,
    /// `None` without a segment.
    pub(crate) end: Option<Position>,
}

/// Opens the log that belongs to `kv`; refuses any other. A new pair gets the id `mint`.
pub fn open_pair(disk: Arc<dyn Disk>, config: WalConfig, kv: &dyn Kv, mint: StoreId) -> Result<Wal, PairError> {
    let mark = kv.get(&MARK_KEY)?.map(|bytes| Mark::decode(&bytes).ok_or(PairError::Mark)).transpose()?;
    let has_state = mark.is_some() || !kv.scan(&Scan::prefix(Bytes::new(), 1))?.is_empty();
    let wal = Wal::open_checked(disk, config, mint, |log| check(mark, has_state, log))?;
    write_mark(&wal, kv)?;
    kv.checkpoint()?;
    Ok(wal)
}

/// Makes the state durable, with a mark of how far the log is.
pub fn checkpoint_pair(wal: &Wal, kv: &dyn Kv) -> Result<(), KvError> {
    if wal.store_id() != StoreId::NONE {
        write_mark(wal, kv)?;
    }
    kv.checkpoint()
}

fn write_mark(wal: &Wal, kv: &dyn Kv) -> Result<(), KvError> {
    let mut batch = Batch::default();
    batch.put(MARK_KEY.to_vec(), Mark { store: wal.store_id(), position: wal.position() }.encode());
    kv.write(batch)
}

fn check(mark: Option<Mark>, has_state: bool, log: &FoundLog) -> Result<(), PairError> {
    let (Some(end), true) = (log.end, has_state) else {
        return if has_state { Err(PairError::LogMissing("no segment of the log".into())) } else { Ok(()) };
    };
    let Some(mark) = mark else { return Ok(()) };
    match log.store {
        None => Err(PairError::LogMissing("the log has lost its manifest".into())),
        Some(store) if store != mark.store => Err(PairError::Strangers { log: store, state: mark.store }),
        Some(_) if end < mark.position => Err(PairError::LogOld { log: end, state: mark.position }),
        Some(_) => Ok(()),
    }
}

impl Mark {
    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MARK_BYTES);
        bytes.push(MARK_VERSION);
        bytes.extend_from_slice(&self.store.0);
        bytes.extend_from_slice(&self.position.segment.to_be_bytes());
        bytes.extend_from_slice(&self.position.offset.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
        let (version, rest) = bytes.split_first()?;
        let (store, rest) = rest.split_first_chunk::<16>()?;
        let (segment, offset) = rest.split_first_chunk::<8>()?;
        (*version == MARK_VERSION).then_some(Self {
            store: StoreId(*store),
            position: Position {
                segment: u64::from_be_bytes(*segment),
                offset: u64::from_be_bytes(offset.try_into().ok()?),
            },
        })
    }
}
