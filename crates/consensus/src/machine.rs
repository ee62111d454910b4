//! The state machine: committed proposals become writes of the key-value store.
//!
//! An entry's fence is checked again here, on every replica alike: its term must be the
//! term of its place in the log, its sequence number must follow the last good one of
//! that term, and its shard epoch must be the current one. A mismatch makes the entry a
//! counted no-op. How far the log is applied is written in the same batch as the writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use prost::Message;
use storage::{Batch, GroupId, Kv};
use tokio::sync::watch;

use crate::codec::{self, DecodeError, proto};
use crate::host::ApplyObserver;
use crate::install;
use crate::keys;
use crate::snapshot::{SnapshotBuilder, SnapshotData, SnapshotView};
use crate::types::{Command, Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// The shard epoch of a group that was never split, merged or restored.
pub(crate) const FIRST_EPOCH: u64 = 1;

/// Entries are applied in one write until it holds this many bytes.
const WRITE_BYTES: usize = 1 << 20;

/// How far the state has come. On disk it is the `Applied` message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: Arc<StoredMembership>,
    /// Term and sequence number of the last good proposal.
    pub(crate) fence: (u64, u64),
    pub(crate) shard_epoch: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self { log_id: None, membership: Arc::default(), fence: (0, 0), shard_epoch: FIRST_EPOCH }
    }
}

impl Record {
    pub(crate) fn encode(&self) -> proto::Applied {
        proto::Applied {
            log_id: self.log_id.map(Into::into),
            membership: Some((&*self.membership).into()),
            fence_term: self.fence.0,
            fence_seq: self.fence.1,
            shard_epoch: self.shard_epoch,
        }
    }

    pub(crate) fn decode(applied: proto::Applied) -> Result<Self, DecodeError> {
        Ok(Self {
            log_id: applied.log_id.map(Into::into),
            membership: codec::decode_stored_membership(applied.membership)?.into(),
            fence: (applied.fence_term, applied.fence_seq),
            shard_epoch: applied.shard_epoch,
        })
    }

    pub(crate) fn from_bytes(bytes: Option<Bytes>) -> Result<Self, DecodeError> {
        match bytes {
            Some(bytes) => Self::decode(proto::Applied::decode(bytes)?),
            None => Ok(Self::default()),
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        codec::encode(&self.encode())
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.log_id, last_membership: (*self.membership).clone() }
    }

    /// Whether a proposal with this fence, found at `at`, was evaluated on this state.
    fn admits(&self, at: LogId, term: u64, seq: u64, shard_epoch: u64) -> bool {
        let previous = if self.fence.0 == term { self.fence.1 } else { 0 };
        term == at.leader_id.term && seq == previous + 1 && shard_epoch == self.shard_epoch
    }
}

/// What the rest of the crate may know of a replica's state machine.
pub(crate) struct Store {
    pub(crate) group: GroupId,
    pub(crate) kv: Arc<dyn Kv>,
    /// The key ranges that are the group's state: `start <= key < end`.
    pub(crate) ranges: Vec<(Bytes, Bytes)>,
    pub(crate) observer: Option<ApplyObserver>,
    /// What is applied, published after the write.
    pub(crate) applied: watch::Sender<Record>,
    /// What the last checkpoint made durable.
    pub(crate) durable: watch::Sender<Option<SnapshotMeta>>,
    pub(crate) fenced: AtomicU64,
}

impl Store {
    /// Opens the group's state, finishing an installation that a crash interrupted.
    pub(crate) fn open(
        group: GroupId,
        kv: Arc<dyn Kv>,
        ranges: Vec<(Vec<u8>, Vec<u8>)>,
        observer: Option<ApplyObserver>,
    ) -> Result<Arc<Self>, io::Error> {
        let ranges = ranges.into_iter().map(|(start, end)| (start.into(), end.into())).collect();
        let store = Self {
            group,
            kv,
            ranges,
            observer,
            applied: watch::Sender::new(Record::default()),
            durable: watch::Sender::new(None),
            fenced: AtomicU64::new(0),
        };
        install::recover(&store)?;
        let record = Record::from_bytes(store.kv.get(&keys::applied(group)).map_err(io::Error::other)?)?;
        store.applied.send_replace(record);
        Ok(Arc::new(store))
    }

    pub(crate) fn observe(&self, index: u64, batch: &Batch) {
        if let Some(observer) = &self.observer {
            observer(self.group, index, batch);
        }
    }

    pub(crate) fn record(&self) -> Record {
        self.applied.borrow().clone()
    }
}

/// Runs a call that waits for the disk without holding up other tasks of a server. A
/// simulation has one thread and no disk to wait for, so there it just runs.
pub(crate) fn blocking<T>(call: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(call),
        _ => call(),
    }
}

/// The state machine as openraft drives it.
pub(crate) struct Machine {
    store: Arc<Store>,
    record: Record,
}

/// Entries that wait for their common write.
#[derive(Default)]
struct Pending {
    batch: Batch,
    bytes: usize,
    observed: Vec<(u64, Batch)>,
    responders: Vec<ApplyResponder<TypeConfig>>,
    entries: usize,
}

impl Machine {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let record = store.record();
        Self { store, record }
    }

    fn step(&mut self, entry: Entry, pending: &mut Pending) -> Result<(), io::Error> {
        let at = entry.log_id;
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                self.record.membership = Arc::new(StoredMembership::new(Some(at), membership));
            }
            EntryPayload::Normal(command) => self.decide(at, &command, pending)?,
        }
        self.record.log_id = Some(at);
        pending.entries += 1;
        Ok(())
    }

    fn decide(&mut self, at: LogId, command: &Command, pending: &mut Pending) -> Result<(), io::Error> {
        let decided = codec::decode_proposal(command)?;
        if !self.record.admits(at, command.term, decided.seq, decided.shard_epoch) {
            self.store.fenced.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                group = self.store.group,
                index = at.index,
                term = command.term,
                seq = decided.seq,
                shard_epoch = decided.shard_epoch,
                last_good = ?self.record.fence,
                "a proposal was evaluated on another state and is skipped"
            );
            return Ok(());
        }
        self.record.fence = (command.term, decided.seq);
        pending.bytes += command.bytes.len();
        if self.store.observer.is_some() {
            pending.batch.ops.extend(decided.batch.ops.iter().cloned());
            pending.observed.push((at.index, decided.batch));
        } else {
            pending.batch.ops.extend(decided.batch.ops);
        }
        Ok(())
    }

    fn flush(&mut self, pending: &mut Pending) -> Result<(), io::Error> {
        let Pending { mut batch, observed, responders, entries, .. } = std::mem::take(pending);
        if entries == 0 {
            return Ok(());
        }
        batch.put(keys::applied(self.store.group), self.record.to_bytes());
        self.store.kv.write(batch).map_err(io::Error::other)?;
        for (index, batch) in &observed {
            self.store.observe(*index, batch);
        }
        self.store.applied.send_replace(self.record.clone());
        for responder in responders {
            responder.send(());
        }
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.record.log_id, (*self.record.membership).clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let mut pending = Pending::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            self.step(entry, &mut pending)?;
            pending.responders.extend(responder);
            if pending.bytes >= WRITE_BYTES {
                self.flush(&mut pending)?;
            }
        }
        self.flush(&mut pending)
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        if force {
            return Some(self.get_snapshot_builder().await);
        }
        let meta = self.store.durable.borrow().clone()?;
        Some(SnapshotBuilder::durable(meta))
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::after_checkpoint(self.store.clone(), self.record.meta())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let (record, incoming) = match snapshot {
            SnapshotData::Staged(record, incoming) => (record, Some(incoming)),
            SnapshotData::View(view) => {
                install::stage_view(&self.store, &view)?;
                (view.record, None)
            }
            SnapshotData::Nothing => return Err(io::Error::other("a snapshot without content cannot be installed")),
        };
        assert_eq!(&record.meta(), meta, "a snapshot is what its metadata says");
        blocking(|| install::install(&self.store, &record))?;
        if let Some(mut incoming) = incoming {
            incoming.installed = true;
        }
        self.record = record;
        self.store.applied.send_replace(self.record.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let view = SnapshotView::open(&self.store)?;
        Ok(view.map(|view| Snapshot { meta: view.record.meta(), snapshot: SnapshotData::View(view) }))
    }
}
