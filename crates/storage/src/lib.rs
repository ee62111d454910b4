//! Bytes on disk: one [`Wal`] per node for all Raft groups, and an ordered [`Kv`] that
//! replays from it. Knows nothing of groups' meaning, workflows or sockets.
//!
//! **Invariant:** the WAL is the truth. The KV never syncs on the commit path; what it
//! lost after a crash is replayed from the log, which is purged only below an index that
//! a [`Kv::checkpoint`] has made durable.

mod disk;
mod kv;
mod pair;
mod space;
mod wal;

pub use disk::{Disk, DiskFile, MemoryDisk, OpenMode, RealDisk};
pub use kv::{Batch, Engine, KEY_BYTES_MAX, Kv, KvError, KvSnapshot, MemoryKv, Op, Pairs, Scan, WatchedKv, open_kv};
pub use pair::{PairError, StoreId, checkpoint_pair, open_pair};
pub use space::{Directory, DiskReserve, ReserveError, Space, SpaceLevel, Volume};
pub use wal::{
    Completion, GroupId, GroupLog, LogEntry, MetaKey, Position, SYNC_BUCKETS, Wal, WalConfig, WalError, WalStats,
};
