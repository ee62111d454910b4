//! The log of a node: every Raft group's entries and votes, in one stream of fsyncs.
//!
//! ```text
//! GroupLog ─ submit ─▶ queue ─▶ writer: encode ▸ one write ▸ one sync ▸ settle ▸ complete
//!    ▲                            │
//!    └── tail in memory, places ◀─┘        segments: closed … closed │ head ▸ │ spares
//! ```
//!
//! - Calls for one group, votes included, become durable in the order of the calls.
//! - A segment goes once nothing in it is needed, oldest first. What an idle group has in
//!   an old one is written again at the head when less than half of the log is live.
//! - After a failed write or sync the log is stopped for good: what the kernel has done
//!   with the pages is unknown, so that trying again could report what is not true.
//!
//! See `docs/rfd/0002-own-wal.md`.

mod group;
mod manifest;
mod queue;
mod record;
mod recovery;
mod segment;
mod spares;
mod stats;
mod writer;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::{fmt, io};

use bytes::Bytes;
use tokio::sync::watch;

use crate::disk::Disk;
use crate::pair::{FoundLog, StoreId};
use group::{GroupCell, GroupState, Submitter};
use manifest::{Content, Manifest};
use queue::{Queue, Refused};
use spares::Spares;
use stats::Counters;
use writer::{Next, Writer};

pub use stats::{SYNC_BUCKETS, WalStats};

/// What fits into 32 bits, with room for one entry of the greatest size.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;
const SEGMENT_BYTES_MIN: u64 = 4096;

/// A Raft group on this node.
pub type GroupId = u64;

/// One log entry. The payload is opaque here; the caller encodes term and content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    pub index: u64,
    pub payload: Bytes,
}

/// Small per-group values that must be durable in order with the entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum MetaKey {
    Vote = 0,
    Committed = 1,
    /// Whatever the caller wants to remember of the last purged entry (its log id).
    Purged = 2,
}

/// Called once, from the writer, when the append is durable or can never be; at once by the
/// caller's own thread when it is refused. Must not block: everybody's commits wait for it.
pub type Completion = Box<dyn FnOnce(Result<(), WalError>) + Send>;

#[derive(Clone, Debug)]
pub struct WalConfig {
    /// Between 4 KiB and 2 GiB. A bigger record gets a segment of its own.
    pub segment_bytes: u64,
    /// The most bytes written between two syncs (but at least one record).
    pub batch_bytes_max: usize,
    /// Entries of all groups kept in memory for followers that are nearly caught up. What
    /// is not durable yet is kept in any case.
    pub tail_bytes_max: usize,
    /// False only for in-memory development servers: completes without syncing.
    pub sync: bool,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, batch_bytes_max: 4 << 20, tail_bytes_max: 32 << 20, sync: true }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WalError {
    #[error("WAL {operation} of {file} failed: {reason}; the node must stop")]
    Io { operation: &'static str, file: Arc<str>, reason: Arc<str> },
    #[error("WAL is corrupt in {file} at offset {offset}: {reason}")]
    Corrupt { file: Arc<str>, offset: u64, reason: Arc<str> },
    /// Segments that the manifest names are not there.
    #[error(
        "the log is not complete: {0}. Votes and acknowledged writes were in it. Put the files back; if that cannot be \
         done, remove the node's whole data directory and replace the node by a new one"
    )]
    Missing(Arc<str>),
    #[error("WAL stopped after an earlier failure: {0}")]
    Stopped(Arc<str>),
    #[error("log index {index} of group {group} is not in the log ({first}..={last})")]
    OutOfRange { group: GroupId, index: u64, first: u64, last: u64 },
}

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {:016x} offset {}", self.segment, self.offset)
    }
}

impl WalError {
    /// What later calls get to hear.
    fn after(&self) -> Self {
        match self {
            Self::Stopped(_) => self.clone(),
            _ => Self::Stopped(self.to_string().into()),
        }
    }
}

/// The node's log. Cheap to clone.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<Writer>>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    config: WalConfig,
    store: StoreId,
    starts: u32,
    /// Everything before is durable.
    position: Mutex<Position>,
    queue: Queue,
    groups: Mutex<BTreeMap<GroupId, Arc<GroupCell>>>,
    tail_bytes: AtomicUsize,
    moves_in_flight: AtomicUsize,
    spares: Spares,
    counters: Counters,
    failure: watch::Sender<Option<WalError>>,
}

impl Wal {
    /// Replays the segments in `disk`. A torn tail is cut; anything else that does not
    /// check out is [`WalError::Corrupt`], with file and offset.
    ///
    /// Nothing becomes durable until the writer runs: [`Wal::spawn_writer_thread`], or
    /// [`Wal::run_writer`] under simulation.
    ///
    /// This is a log of its own. One that belongs to a state is opened with it: see
    /// [`crate::open_pair`].
    pub fn open(disk: Arc<dyn Disk>, config: WalConfig) -> Result<Self, WalError> {
        Self::open_checked(disk, config, StoreId::NONE, |_| Ok(()))
    }

    /// Nothing is written before `check` agrees. `mint` becomes the id of a log without one.
    pub(crate) fn open_checked<E: From<WalError>>(
        disk: Arc<dyn Disk>,
        mut config: WalConfig,
        mint: StoreId,
        check: impl FnOnce(&FoundLog) -> Result<(), E>,
    ) -> Result<Self, E> {
        config.segment_bytes = config.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let found = manifest::read(&*disk)?;
        let mut log = recovery::open(&*disk, found.map(|(_, content)| content))?;
        check(&FoundLog { store: found.map(|(_, content)| content.store), end: log.position() })?;
        let content = Content { store: mint, first: log.first().unwrap_or(1), head: log.head().unwrap_or(0) };
        let manifest = Manifest::open(&*disk, config.sync, found, content)?;
        let shared = Arc::new(Shared {
            disk,
            config,
            store: manifest.store(),
            starts: log.epoch + 1,
            position: Mutex::default(),
            queue: Queue::default(),
            groups: Mutex::new(std::mem::take(&mut log.groups)),
            tail_bytes: AtomicUsize::new(0),
            moves_in_flight: AtomicUsize::new(0),
            spares: Spares::default(),
            counters: Counters::default(),
            failure: watch::Sender::new(None),
        });
        let writer = Writer::open(shared.clone(), log, manifest)?;
        Ok(Self { shared, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Whose log it is.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.shared.store
    }

    /// A number that is higher at each start with this log than at all earlier ones. Durable.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.shared.starts.into()
    }

    /// How far the log is durable.
    #[must_use]
    pub fn position(&self) -> Position {
        *lock(&self.shared.position)
    }

    /// The log of a group, an empty one when nothing is stored of it.
    #[must_use]
    pub fn group(&self, group: GroupId) -> GroupLog {
        let cell = lock(&self.shared.groups).entry(group).or_insert_with(|| GroupCell::new(group)).clone();
        GroupLog { shared: self.shared.clone(), cell }
    }

    /// Groups of which anything is stored, sorted.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        let cells = self.shared.cells();
        cells.iter().filter(|cell| !cell.lock().is_unused()).map(|cell| cell.id).collect()
    }

    /// Forgets everything of the group, at once for readers.
    pub fn remove_group(&self, group: GroupId, done: Completion) {
        self.group(group).submit(|state, to| state.remove(to, done));
    }

    /// The writer as a task: it ends after [`Wal::shutdown`] or a failure. It blocks while
    /// it writes, so that only a simulated disk is for it; there it waits for
    /// [`Disk::simulated_sync_latency`] instead.
    ///
    /// # Panics
    /// When the writer runs already, or did.
    pub async fn run_writer(&self) {
        let mut writer = self.take_writer();
        let _guard = StopOnPanic(&self.shared);
        loop {
            let flow = match writer.next() {
                Ok(Next::Batch(batch)) => {
                    let mut result = writer.write();
                    let latency = writer.sync_latency();
                    if result.is_ok() && !latency.is_zero() {
                        tokio::time::sleep(latency).await;
                    }
                    result = result.and_then(|()| writer.sync());
                    writer.finish(result, batch)
                }
                Ok(Next::Idle) => {
                    self.shared.queue.wait_as_task().await;
                    ControlFlow::Continue(())
                }
                Ok(Next::End) => writer.end(),
                Err(error) => writer.stop(error),
            };
            if flow.is_break() {
                return;
            }
        }
    }

    /// The writer as a thread of its own, for real disks: the one place where the server
    /// waits for a device. It ends after [`Wal::shutdown`] or a failure.
    ///
    /// # Panics
    /// When the writer runs already, or did.
    pub fn spawn_writer_thread(&self) -> io::Result<JoinHandle<()>> {
        let mut writer = self.take_writer();
        let shared = self.shared.clone();
        let preparer = spares::spawn_preparer(&shared)?;
        thread::Builder::new().name("wal-writer".to_owned()).spawn(move || {
            let _guard = StopOnPanic(&shared);
            shared.queue.set_writer_thread();
            shared.spares.request();
            loop {
                let flow = match writer.next() {
                    Ok(Next::Batch(batch)) => {
                        let result = writer.write().and_then(|()| writer.sync());
                        writer.finish(result, batch)
                    }
                    Ok(Next::Idle) => {
                        shared.queue.wait_as_thread();
                        ControlFlow::Continue(())
                    }
                    Ok(Next::End) => writer.end(),
                    Err(error) => writer.stop(error),
                };
                if flow.is_break() {
                    break;
                }
            }
            shared.spares.dismiss_preparer();
            if preparer.join().is_err() {
                tracing::error!("the WAL's preparer panicked");
            }
        })
    }

    /// Lets the writer finish what is submitted, and end. What comes later is refused.
    pub fn shutdown(&self) {
        self.shared.queue.drain();
    }

    /// Ready once the log has failed: the node must exit then. Never ready otherwise.
    pub fn stopped(&self) -> impl Future<Output = WalError> + Send + 'static {
        let mut failure = self.shared.failure.subscribe();
        async move {
            let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failed| failed.clone());
            match failed {
                Some(error) => error,
                None => pending().await,
            }
        }
    }

    #[must_use]
    pub fn stats(&self) -> WalStats {
        let tail_bytes = self.shared.tail_bytes.load(Ordering::Relaxed);
        self.shared.counters.read(self.shared.queue.bytes(), tail_bytes)
    }

    fn take_writer(&self) -> Writer {
        lock(&self.writer).take().expect("the writer is started once")
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// One group's view of the log. Cheap to clone. Calls for one group are ordered: what
/// was submitted first is durable first, votes included.
///
/// The calls that write return at once, except when 256 MiB wait for the writer *thread*:
/// then they block until it has caught up. The writer task never makes anybody wait.
#[derive(Clone)]
pub struct GroupLog {
    shared: Arc<Shared>,
    cell: Arc<GroupCell>,
}

impl GroupLog {
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.cell.id
    }

    /// Entries must continue the log without a gap, else they are refused with
    /// [`WalError::OutOfRange`]. They can be read on return.
    pub fn append(&self, entries: Vec<LogEntry>, done: Completion) {
        self.submit(|state, to| state.append(to, entries, done));
    }

    /// Drops entries with `index >= from`.
    pub fn truncate(&self, from: u64, done: Completion) {
        self.submit(|state, to| state.truncate(to, from, done));
    }

    /// Drops entries with `index <= through` and remembers `marker` as [`MetaKey::Purged`].
    /// `through` may lie past the last entry: the log then restarts behind it. Does nothing
    /// when that much is purged already.
    pub fn purge(&self, through: u64, marker: Bytes, done: Completion) {
        self.submit(|state, to| state.purge(to, through, marker, done));
    }

    pub fn save_meta(&self, key: MetaKey, value: Bytes, done: Completion) {
        self.submit(|state, to| state.save_meta(to, key, value, done));
    }

    /// The value saved last, durable or not.
    #[must_use]
    pub fn meta(&self, key: MetaKey) -> Option<Bytes> {
        self.cell.lock().meta(key)
    }

    /// First and last index, `None` when empty.
    #[must_use]
    pub fn bounds(&self) -> Option<(u64, u64)> {
        self.cell.lock().bounds()
    }

    /// Entries of `range`, stopping early past `bytes_max` (but at least one). Reads the
    /// disk when the tail in memory does not hold them. A range may reach past the last
    /// entry; one that starts before the first is [`WalError::OutOfRange`].
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, WalError> {
        group::read(&self.cell, range, bytes_max)
    }

    fn submit(&self, call: impl FnOnce(&mut GroupState, &Submitter<'_>) -> Result<(), Refused>) {
        let Shared { queue, tail_bytes, .. } = &*self.shared;
        queue.wait_for_space();
        let refused = call(&mut self.cell.lock(), &Submitter { queue, cell: &self.cell, tail_bytes });
        if let Err((error, done)) = refused {
            done(Err(error));
        }
    }
}

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupLog").field("id", &self.cell.id).field("bounds", &self.bounds()).finish()
    }
}

impl Shared {
    /// All groups, in order.
    fn cells(&self) -> Vec<Arc<GroupCell>> {
        lock(&self.groups).values().cloned().collect()
    }
}

/// A writer that panics must not leave anybody waiting.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let error = WalError::Stopped("the writer panicked".into());
            let waiting = self.0.queue.stop(error.clone());
            self.0.failure.send_replace(Some(error.clone()));
            for done in waiting.into_iter().filter_map(|submission| submission.done) {
                done(Err(error.clone()));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
