//! The rows of group 0, and the decisions over them. Pure: no group, no clock.
//!
//! ```text
//! f0 00 01                    ClusterRecord
//! f0 00 02 <namespace id>     NamespaceRecord
//! f0 00 03 <shard id: u32 BE> ShardRecord
//! f0 00 04 <namespace id> 00 <queue name> TaskQueueRecord
//! f0 00 05 <node id: u64 BE>  NodeRecord
//! f1 00 01                    DirectoryRecord, of this node alone
//! f1 00 02                    the mark of the log (see the storage crate)
//! f1 00 03                    Roster (of `internal/v1`), not replicated
//! f1 00 04 <node id: u64 BE>  that node's last start, as this node saw it: start, incarnation (u64 BE)
//! f1 00 05                    JoinResponse (of `internal/v1`), of a node that joined later
//! ```
//! Table ids are never reused.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Error;
use base::NodeId;
use bytes::Bytes;
use prost::Message;
use storage::{Batch, Kv, KvError, Op, Scan, StoreId};

use super::proto::metadata_request::Change;
use super::proto::{
    ClusterRecord, DirectoryRecord, JoinNode, NamespaceRecord, NodeRecord, NodeState, ShardRecord, TaskQueueRecord,
    UpdateNamespace,
};
use super::{from_record, to_record};
use crate::placement::ShardMap;
use crate::{Namespace, TaskQueueSettings, task_queue};

const PREFIX: [u8; 2] = [0xF0, 0x00];
const CLUSTER: u8 = 1;
const NAMESPACE: u8 = 2;
const SHARD: u8 = 3;
const TASK_QUEUE: u8 = 4;
const NODE: u8 = 5;
const DIRECTORY_KEY: [u8; 3] = [0xF1, 0x00, 1];
/// Rows read at a time.
const PAGE: usize = 1000;

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("metadata row {0:?} is damaged or of a later version")]
    Row(Bytes),
    #[error("{0}")]
    Mismatch(String),
}

/// Everything group 0 says.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Table {
    cluster: Option<ClusterRecord>,
    by_id: BTreeMap<String, Arc<Namespace>>,
    by_name: BTreeMap<String, Arc<Namespace>>,
    shards: BTreeMap<u32, ShardRecord>,
    task_queues: task_queue::Settings,
    nodes: BTreeMap<u64, NodeRecord>,
}

/// What a change writes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Row {
    Namespace(Box<NamespaceRecord>),
    TaskQueue(TaskQueueRecord),
    Node(NodeRecord),
}

impl Row {
    pub(crate) fn write(&self, batch: &mut Batch) {
        match self {
            Self::Namespace(record) => put_namespace(batch, record),
            Self::TaskQueue(record) => {
                batch.put(task_queue_key(&record.namespace_id, &record.name), record.encode_to_vec());
            }
            Self::Node(record) => put_node(batch, record),
        }
    }
}

impl Table {
    pub(crate) fn load(kv: &dyn Kv) -> Result<Self, LoadError> {
        let mut table = Self::default();
        let mut scan = Scan::prefix(PREFIX.to_vec(), PAGE);
        loop {
            let page = kv.scan(&scan)?;
            let Some((last, _)) = page.last().cloned() else { return Ok(table) };
            for (key, value) in page {
                if !table.put(&key, &value) {
                    return Err(LoadError::Row(key));
                }
            }
            scan.start = std::ops::Bound::Excluded(last);
        }
    }

    pub(crate) fn apply(&mut self, batch: &Batch) {
        for op in &batch.ops {
            match op {
                Op::Put { key, value } => {
                    if !self.put(key, value) {
                        // The row is safe in the KV; a node of the right version reads it.
                        tracing::error!(?key, "metadata row is damaged or of a later version");
                    }
                }
                Op::Delete { key } => self.delete(key),
                Op::DeleteRange { start, end } => self.delete_range(start, end),
            }
        }
    }

    pub(crate) fn cluster(&self) -> Option<&ClusterRecord> {
        self.cluster.as_ref()
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Namespace>> {
        self.by_id.get(id)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.by_name.get(name)
    }

    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.by_id.values()
    }

    /// What to write for a change; `None` when it is there already, so that a caller who
    /// does not know the outcome of a change may ask again.
    pub(crate) fn decide(&self, change: Change) -> Result<Option<Row>, Error> {
        let row = match change {
            Change::RegisterNamespace(record) => Row::Namespace(Box::new(self.register(record)?)),
            Change::UpdateNamespace(UpdateNamespace { namespace, version }) => {
                let record = namespace.ok_or_else(|| Error::InvalidArgument("Namespace is not set.".to_owned()))?;
                Row::Namespace(Box::new(self.update(record, version)?))
            }
            Change::UpdateTaskQueue(update) => Row::TaskQueue(task_queue::decide(&self.task_queues, update)?),
            Change::JoinNode(join) => Row::Node(self.join(join)?),
        };
        Ok((!self.has(&row)).then_some(row))
    }

    pub(crate) fn has(&self, row: &Row) -> bool {
        match row {
            Row::Namespace(record) => self.by_id(&record.id).is_some_and(|stored| to_record(stored) == **record),
            Row::TaskQueue(record) => self
                .task_queue(&record.namespace_id, &record.name)
                .is_some_and(|stored| task_queue::to_record(stored) == *record),
            Row::Node(record) => self.nodes.get(&record.id) == Some(record),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&id.0)
    }

    /// All that are or were of the cluster, ordered by id.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    pub(crate) fn node_of_store(&self, store: &[u8]) -> Option<&NodeRecord> {
        self.nodes.values().find(|node| node.store_id == store)
    }

    /// The same store is the same node, however often it asks. A new one gets the next id:
    /// records stay for ever, so that none is given twice.
    fn join(&self, join: JoinNode) -> Result<NodeRecord, Error> {
        let JoinNode { store_id, peer_address } = join;
        if store_id.len() != size_of::<StoreId>() || peer_address.is_empty() {
            return Err(Error::InvalidArgument("a node joins with a store and a peer address".to_owned()));
        }
        if let Some(node) = self.node_of_store(&store_id) {
            return match node.state() {
                NodeState::Removed => Err(Error::FailedPrecondition(format!(
                    "node {} was removed from the cluster, and its data directory with it: start with an empty one",
                    node.id
                ))),
                _ => Ok(NodeRecord { peer_address, ..node.clone() }),
            };
        }
        let present = |node: &&NodeRecord| node.state() != NodeState::Removed;
        if let Some(other) = self.nodes.values().filter(present).find(|node| node.peer_address == peer_address) {
            return Err(Error::FailedPrecondition(format!(
                "{peer_address} is the address of node {}, which has another data directory: remove that node first, \
                 or give this one an address of its own",
                other.id
            )));
        }
        let Some(last) = self.nodes.keys().last() else {
            return Err(Error::Unavailable("the nodes of the cluster are not written down yet".to_owned()));
        };
        Ok(NodeRecord { id: last + 1, store_id, peer_address, state: NodeState::Active.into() })
    }

    pub(crate) fn task_queue(&self, namespace_id: &str, name: &str) -> Option<&Arc<TaskQueueSettings>> {
        self.task_queues.get(&(namespace_id.to_owned(), name.to_owned()))
    }

    fn register(&self, record: NamespaceRecord) -> Result<NamespaceRecord, Error> {
        if record.id.is_empty() || record.name.is_empty() {
            return Err(Error::InvalidArgument("Namespace has no name.".to_owned()));
        }
        let record = NamespaceRecord { version: 1, ..record };
        let rival = self.by_name(&record.name).or_else(|| self.by_id(&record.id));
        match rival {
            Some(rival) if to_record(rival) != record => {
                Err(Error::NamespaceAlreadyExists("Namespace already exists.".to_owned()))
            }
            _ => Ok(record),
        }
    }

    fn update(&self, record: NamespaceRecord, version: u64) -> Result<NamespaceRecord, Error> {
        let Some(stored) = self.by_id(&record.id) else {
            return Err(Error::NamespaceNotFound(record.name));
        };
        if self.by_name(&record.name).is_some_and(|other| other.id != stored.id) {
            return Err(Error::NamespaceAlreadyExists("Namespace already exists.".to_owned()));
        }
        let record = NamespaceRecord { version: version.saturating_add(1), ..record };
        if stored.version != version && to_record(stored) != record {
            return Err(Error::FailedPrecondition("Namespace was changed by someone else.".to_owned()));
        }
        Ok(record)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        match key.strip_prefix(&PREFIX) {
            Some([CLUSTER]) => ClusterRecord::decode(value).map(|record| self.cluster = Some(record)).is_ok(),
            Some([NAMESPACE, ..]) => {
                NamespaceRecord::decode(value).map(|record| self.put_namespace(from_record(record))).is_ok()
            }
            Some([SHARD, ..]) => {
                ShardRecord::decode(value).map(|record| self.shards.insert(record.shard_id, record)).is_ok()
            }
            Some([TASK_QUEUE, ..]) => TaskQueueRecord::decode(value).map(|record| self.put_task_queue(record)).is_ok(),
            Some([NODE, ..]) => NodeRecord::decode(value).map(|record| self.nodes.insert(record.id, record)).is_ok(),
            _ => false,
        }
    }

    fn put_task_queue(&mut self, record: TaskQueueRecord) {
        let settings = task_queue::from_record(record);
        let key = (settings.namespace_id.as_str().to_owned(), settings.name.clone());
        self.task_queues.insert(key, Arc::new(settings));
    }

    fn put_namespace(&mut self, namespace: Namespace) {
        let namespace = Arc::new(namespace);
        let id = namespace.id.as_str().to_owned();
        if let Some(older) = self.by_id.insert(id, Arc::clone(&namespace)) {
            self.by_name.remove(&older.name);
        }
        self.by_name.insert(namespace.name.clone(), namespace);
    }

    fn delete(&mut self, key: &[u8]) {
        match key.strip_prefix(&PREFIX) {
            Some([CLUSTER]) => self.cluster = None,
            Some([NAMESPACE, id @ ..]) => {
                if let Ok(id) = std::str::from_utf8(id)
                    && let Some(gone) = self.by_id.remove(id)
                {
                    self.by_name.remove(&gone.name);
                }
            }
            Some([SHARD, id @ ..]) => {
                if let Ok(id) = id.try_into() {
                    self.shards.remove(&u32::from_be_bytes(id));
                }
            }
            Some([TASK_QUEUE, ..]) => {
                self.task_queues.retain(|(namespace_id, name), _| task_queue_key(namespace_id, name) != key);
            }
            Some([NODE, id @ ..]) => {
                if let Ok(id) = id.try_into() {
                    self.nodes.remove(&u64::from_be_bytes(id));
                }
            }
            _ => {}
        }
    }

    fn delete_range(&mut self, start: &Bytes, end: &Bytes) {
        let mut keys = vec![key(CLUSTER, &[])];
        keys.extend(self.by_id.keys().map(|id| key(NAMESPACE, id.as_bytes())));
        keys.extend(self.shards.keys().map(|id| key(SHARD, &id.to_be_bytes())));
        keys.extend(self.task_queues.keys().map(|(namespace_id, name)| task_queue_key(namespace_id, name)));
        keys.extend(self.nodes.keys().map(|id| key(NODE, &id.to_be_bytes())));
        for key in keys.into_iter().filter(|key| start <= key && key < end) {
            self.delete(&key);
        }
    }
}

/// The writes that make a cluster of an empty group 0.
pub(crate) fn bootstrap(cluster: &ClusterRecord, nodes: &[NodeRecord], namespaces: &[Namespace]) -> Batch {
    let mut batch = Batch::default();
    batch.put(key(CLUSTER, &[]), cluster.encode_to_vec());
    for &(shard, cells) in ShardMap::even(cluster.shards).shards() {
        let record =
            ShardRecord { shard_id: shard.0, cell_start: cells.start.into(), cell_end: cells.end.into(), epoch: 1 };
        batch.put(key(SHARD, &shard.0.to_be_bytes()), record.encode_to_vec());
    }
    nodes.iter().for_each(|node| put_node(&mut batch, node));
    for namespace in namespaces {
        put_namespace(&mut batch, &to_record(namespace));
    }
    batch
}

pub(crate) fn put_node(batch: &mut Batch, record: &NodeRecord) {
    batch.put(key(NODE, &record.id.to_be_bytes()), record.encode_to_vec());
}

pub(crate) fn put_namespace(batch: &mut Batch, record: &NamespaceRecord) {
    batch.put(key(NAMESPACE, record.id.as_bytes()), record.encode_to_vec());
}

/// Whether the data directory is this node's; an empty one becomes it.
pub(crate) fn check_directory(kv: &dyn Kv, mine: &DirectoryRecord) -> Result<(), LoadError> {
    let Some(stored) = kv.get(&DIRECTORY_KEY)? else {
        let mut batch = Batch::default();
        batch.put(DIRECTORY_KEY.to_vec(), mine.encode_to_vec());
        kv.write(batch)?;
        return Ok(kv.checkpoint()?);
    };
    let stored = DirectoryRecord::decode(stored).map_err(|_| LoadError::Row(Bytes::from_static(&DIRECTORY_KEY)))?;
    let mismatch = if stored.cluster_id != mine.cluster_id {
        format!("the data directory belongs to cluster {:?}, not to {:?}", stored.cluster_id, mine.cluster_id)
    } else if stored.node_id != mine.node_id {
        format!("the data directory belongs to node {}, not to node {}", stored.node_id, mine.node_id)
    } else if stored.shards != mine.shards {
        format!("the data directory has {} shards, the configuration {}", stored.shards, mine.shards)
    } else {
        return Ok(());
    };
    Err(LoadError::Mismatch(mismatch))
}

/// Namespace ids contain no zero byte, so that no two queues share a key.
fn task_queue_key(namespace_id: &str, name: &str) -> Bytes {
    key(TASK_QUEUE, &[namespace_id.as_bytes(), &[0], name.as_bytes()].concat())
}

fn key(table: u8, rest: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(3 + rest.len());
    key.extend_from_slice(&PREFIX);
    key.push(table);
    key.extend_from_slice(rest);
    key.into()
}

#[cfg(test)]
mod tests;
