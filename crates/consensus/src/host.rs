//! All groups of one node.

use std::sync::Arc;
use std::time::Duration;

use base::{Entropy, NodeId};
use storage::{Batch, GroupId, Kv, Wal};

use crate::{Group, RaftHandler, Transport};

/// Timing and sizes of Raft. Defaults are those of `raft.md` section 2.
#[derive(Clone, Debug)]
pub struct Config {
    pub heartbeat_interval: Duration,
    pub election_timeout_min: Duration,
    pub election_timeout_max: Duration,
    /// The most bytes of entries in one append request.
    pub append_bytes_max: usize,
    /// Log entries kept behind the durable applied index for slow followers.
    pub log_keep_entries: u64,
    /// How often the KV is checkpointed so that the log can be purged.
    pub checkpoint_interval: Duration,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    #[error("group {0} failed to start: {1}")]
    Start(GroupId, String),
}

/// Called after an entry is applied to the KV, on every replica, in order.
pub type ApplyObserver = Arc<dyn Fn(GroupId, u64, &Batch) + Send + Sync>;

/// Runs the groups of one node.
#[derive(Clone)]
pub struct Host {
    _private: (),
}

impl Host {
    #[must_use]
    pub fn new(_node: NodeId, _config: Config, _wal: Wal, _kv: Arc<dyn Kv>, _transport: Arc<dyn Transport>, _entropy: Arc<dyn Entropy>) -> Self {
        unimplemented!("consensus owner")
    }

    /// Starts the replica of `group` on this node. A group without any stored state is
    /// initialised with `voters` (the same on every node). `ranges` are the key ranges of
    /// the KV that make up the group's state, for snapshots.
    pub async fn start_group(
        &self,
        _group: GroupId,
        _voters: Vec<NodeId>,
        _ranges: Vec<(Vec<u8>, Vec<u8>)>,
        _observer: Option<ApplyObserver>,
    ) -> Result<Group, HostError> {
        unimplemented!("consensus owner")
    }

    #[must_use]
    pub fn group(&self, _group: GroupId) -> Option<Group> {
        unimplemented!("consensus owner")
    }

    #[must_use]
    pub fn handler(&self) -> Arc<dyn RaftHandler> {
        unimplemented!("consensus owner")
    }

    /// Checkpoints the KV, purges logs and stops every group.
    pub async fn shutdown(&self) {
        unimplemented!("consensus owner")
    }
}
