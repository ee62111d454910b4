//! openraft's log storage over one group of the node's WAL.
//!
//! Entries and votes of a group go through the one queue of the WAL, so they become
//! durable in the order in which Raft wrote them. The committed index is a hint for a
//! faster restart: it rides in front of the next append instead of paying for an fsync.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use prost::Message;
use storage::{GroupLog, LogEntry, MetaKey, WalError};
use tokio::sync::oneshot;

use crate::codec::{self, DecodeError, proto};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// How much of the log is read at once to be applied.
const APPLY_READ_BYTES: usize = 4 << 20;

/// The log of one group. Cheap to clone; clones read the same log.
#[derive(Clone)]
pub(crate) struct Log {
    wal: GroupLog,
    /// The newest committed position that the WAL does not know yet.
    committed: Arc<Mutex<Option<LogId>>>,
    append_bytes_max: usize,
}

impl Log {
    pub(crate) fn new(wal: GroupLog, append_bytes_max: usize) -> Self {
        Self { wal, committed: Arc::default(), append_bytes_max }
    }

    /// Whether nothing was ever written here: no vote, no entry, nothing purged.
    pub(crate) fn is_pristine(&self) -> bool {
        self.wal.bounds().is_none()
            && self.wal.meta(MetaKey::Vote).is_none()
            && self.wal.meta(MetaKey::Purged).is_none()
    }

    /// The last entry that was purged.
    pub(crate) fn purged(&self) -> Result<Option<LogId>, DecodeError> {
        decode_log_id(self.wal.meta(MetaKey::Purged))
    }

    pub(crate) fn last_index(&self) -> Option<u64> {
        self.wal.bounds().map(|(_, last)| last)
    }

    /// Hands the committed index to the WAL, whenever that next syncs.
    pub(crate) fn note_committed(&self) {
        let committed = self.committed.lock().expect("no panic while held").take();
        if let Some(id) = committed {
            self.wal.save_meta(MetaKey::Committed, encode_log_id(id), Box::new(|_| ()));
        }
    }

    fn decode(entries: Vec<LogEntry>) -> Result<Vec<Entry>, io::Error> {
        let decoded = entries.into_iter().map(|entry| codec::decode_entry(entry.index, entry.payload));
        Ok(decoded.collect::<Result<_, _>>()?)
    }

    /// The part of `range` that the log holds.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let Some((first, last)) = self.wal.bounds() else { return 0..0 };
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        start.max(first)..end.min(last + 1)
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, io::Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        Self::decode(self.wal.read(range, bytes_max).map_err(wal_error)?)
    }

    /// Awaits the completion of what `submit` puts into the queue of the WAL.
    async fn durable(submit: impl FnOnce(storage::Completion)) -> Result<(), io::Error> {
        let (done, result) = oneshot::channel();
        submit(Box::new(move |outcome| drop(done.send(outcome))));
        match result.await {
            Ok(outcome) => outcome.map_err(wal_error),
            Err(_) => Err(io::Error::other("the WAL dropped a request")),
        }
    }
}

fn wal_error(error: WalError) -> io::Error {
    io::Error::other(error)
}

fn encode_log_id(id: LogId) -> Bytes {
    codec::encode(&proto::LogId::from(id))
}

fn decode_log_id(bytes: Option<Bytes>) -> Result<Option<LogId>, DecodeError> {
    Ok(bytes.map(proto::LogId::decode).transpose()?.map(Into::into))
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let mut range = self.clamp(&range);
        let mut entries = Vec::new();
        // The WAL may stop early at its own bounds; the contract here is to return all.
        while !range.is_empty() {
            let part = self.read(range.clone(), usize::MAX)?;
            let Some(last) = part.last() else {
                return Err(io::Error::other("the WAL returned no entry of its range"));
            };
            range.start = last.index() + 1;
            entries.extend(part);
        }
        Ok(entries)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let range = self.clamp(&range);
        let state = (self.clone(), range, Vec::new().into_iter());
        stream::unfold(state, |(log, mut range, mut page): (Self, Range<u64>, std::vec::IntoIter<Entry>)| async move {
            if page.len() == 0 && !range.is_empty() {
                match log.read(range.clone(), APPLY_READ_BYTES) {
                    Ok(entries) => page = entries.into_iter(),
                    Err(error) => {
                        range.start = range.end;
                        return Some((Err(error), (log, range, page)));
                    }
                }
            }
            let entry = page.next()?;
            range.start = entry.index() + 1;
            Some((Ok(entry), (log, range, page)))
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let vote = self.wal.meta(MetaKey::Vote).map(proto::Vote::decode).transpose().map_err(DecodeError::from)?;
        Ok(vote.map(Into::into))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(self.clamp(&(start..end)), self.append_bytes_max)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = decode_log_id(self.wal.meta(MetaKey::Purged))?;
        let last = match self.wal.bounds() {
            Some((_, last)) => self.read(last..last + 1, usize::MAX)?.pop().map(|entry| entry.log_id()),
            None => None,
        };
        Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = codec::encode(&proto::Vote::from(*vote));
        Self::durable(|done| self.wal.save_meta(MetaKey::Vote, bytes, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        *self.committed.lock().expect("no panic while held") = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let pending = *self.committed.lock().expect("no panic while held");
        Ok(match pending {
            Some(id) => Some(id),
            None => decode_log_id(self.wal.meta(MetaKey::Committed))?,
        })
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        self.note_committed();
        let entries = entries.into_iter().map(codec::encode_entry).collect();
        self.wal.append(entries, Box::new(move |outcome| callback.io_completed(outcome.map_err(wal_error))));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        Self::durable(|done| self.wal.truncate(from, done)).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), io::Error> {
        Self::durable(|done| self.wal.purge(through.index, encode_log_id(through), done)).await
    }
}
