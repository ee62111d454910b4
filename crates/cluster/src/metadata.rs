//! Group 0: what every node of the cluster knows. Its leader decides changes one after
//! the other; every node keeps a copy in memory, fed by what is applied to the KV.

mod proposer;
mod record;
mod roster;
mod table;

use std::sync::{Arc, RwLock};

use base::ShardId;
use storage::{Batch, Kv};
use tokio::sync::watch;

/// Messages of `proto/perpetuo/cluster/v1`.
pub(crate) mod proto {
    #![expect(unreachable_pub, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/perpetuo.cluster.v1.rs"));
}

pub(crate) use proposer::{Birth, Proposer};
pub(crate) use record::{from_record, to_record};
pub(crate) use roster::{joined, keep_joined, keep_roster, roster};
pub(crate) use table::{LoadError, Table, check_directory};

use crate::{Namespace, TaskQueueSettings};

/// The metadata group.
pub(crate) const GROUP: ShardId = ShardId(0);

/// The `[start, end)` of everything that group 0 replicates. Cells end at `0x0fff`.
pub(crate) fn key_range() -> (Vec<u8>, Vec<u8>) {
    (vec![0xF0, 0x00], vec![0xF0, 0x01])
}

/// The node's copy of group 0.
pub(crate) struct Registry {
    table: RwLock<Table>,
    /// Counts changes of the copy.
    version: watch::Sender<u64>,
}

impl Registry {
    pub(crate) fn load(kv: &dyn Kv) -> Result<Arc<Self>, LoadError> {
        Ok(Arc::new(Self { table: RwLock::new(Table::load(kv)?), version: watch::Sender::new(0) }))
    }

    /// Takes over what was applied to the KV.
    pub(crate) fn apply(&self, batch: &Batch) {
        self.table.write().expect("no panic while held").apply(batch);
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read().expect("no panic while held"))
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Namespace>> {
        self.read(|table| table.by_name(name).cloned())
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Namespace>> {
        self.read(|table| table.by_id(id).cloned())
    }

    pub(crate) fn task_queue(&self, namespace_id: &str, name: &str) -> Option<Arc<TaskQueueSettings>> {
        self.read(|table| table.task_queue(namespace_id, name).cloned())
    }

    pub(crate) fn list(&self) -> Vec<Arc<Namespace>> {
        self.read(|table| table.namespaces().cloned().collect())
    }

    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
