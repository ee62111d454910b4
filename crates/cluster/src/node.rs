//! One node: its peers' streams, its groups, group 0 and the router.

use std::sync::Arc;

use base::{Clock, Entropy, Net, NodeId, ShardId};
use consensus::Group;
use storage::{Kv, Wal};

use crate::{Namespaces, Router};

/// A node of the static list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub id: NodeId,
    /// `host:port` of its peer listener.
    pub peer_address: String,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeId,
    pub cluster_id: String,
    /// All nodes, this one included. A single one needs no peer listener.
    pub members: Vec<Member>,
    /// Fixed at the first start of the cluster.
    pub shards: u32,
    pub consensus: consensus::Config,
    /// Registered when the cluster is born, besides `temporal-system`.
    pub namespaces: Vec<String>,
    pub namespace_retention: std::time::Duration,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: String, reason: String },
    #[error(transparent)]
    Host(#[from] consensus::HostError),
    /// The data directory belongs to another node, cluster or shard count.
    #[error("{0}")]
    Mismatch(String),
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    _private: (),
}

impl Node {
    /// Starts listening, all groups, group 0 and the beats. Returns before any leader is
    /// elected.
    pub async fn start(
        _config: Config,
        _net: Arc<dyn Net>,
        _clock: Arc<dyn Clock>,
        _entropy: Arc<dyn Entropy>,
        _wal: Wal,
        _kv: Arc<dyn Kv>,
    ) -> Result<Self, NodeError> {
        unimplemented!("cluster owner")
    }

    #[must_use]
    pub fn router(&self) -> Router {
        unimplemented!("cluster owner")
    }

    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        unimplemented!("cluster owner")
    }

    /// The history shards hosted here (never group 0).
    #[must_use]
    pub fn groups(&self) -> Vec<(ShardId, Group)> {
        unimplemented!("cluster owner")
    }

    /// Resolves when group 0 is readable here and the initial namespaces exist.
    pub async fn ready(&self) {
        unimplemented!("cluster owner")
    }

    /// Moves leaders away, closes streams and stops the groups.
    pub async fn shutdown(&self) {
        unimplemented!("cluster owner")
    }
}
