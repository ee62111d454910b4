//! How a node with an empty disk becomes one of a cluster that is there.
//!
//! ```text
//! new node                any node                 leader of group 0
//!   │ store, address ────▶ │ commit JoinNode ──────▶ │ the next id, written for ever
//!   │ ◀─ id, roster, nodes │ ◀───────────────────────┘
//!   │ keeps the answer, durably: from here it is that node
//!   ▼ listens, is dialled, and gets replicas as a learner
//! ```
//!
//! It never founds a cluster, and asking again changes nothing: the store is known by then.

use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::frame::Body;
use api::internal::{JoinRequest, JoinResponse, Neighbour};
use base::{Entropy, Net, NodeId};
use bytes::Bytes;
use storage::{Kv, StoreId};
use tokio::time::{Instant, sleep, timeout};

use crate::formation::Formation;
use crate::metadata::proto::metadata_request::Change;
use crate::metadata::proto::{JoinNode, NodeState};
use crate::metadata::{self, Registry};
use crate::peer::{PROTOCOL_VERSION, ask};
use crate::{Config, Member, Namespaces, NodeError};

/// Longer than an election.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a node that waits says so.
const WAITING_INTERVAL: Duration = Duration::from_secs(5);

/// What a node is told that joins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Join {
    /// `host:port` of the peer listeners of nodes of the cluster. One that answers is enough.
    pub addresses: Vec<String>,
    /// `host:port` under which the others reach this one.
    pub peer_address: String,
}

/// Lets nodes in, at a node of the cluster.
pub(crate) struct Joining {
    pub(crate) group_0: Namespaces,
    pub(crate) registry: Arc<Registry>,
    pub(crate) formation: Arc<Formation>,
    pub(crate) cluster_id: String,
    pub(crate) shards: u32,
}

impl Joining {
    pub(crate) async fn serve(&self, request: JoinRequest, deadline: Instant) -> Result<JoinResponse, Error> {
        let JoinRequest { cluster_id, protocol_version, store_id, peer_address } = request;
        if cluster_id != self.cluster_id {
            return Err(Error::FailedPrecondition(format!(
                "this is cluster {:?}, not {cluster_id:?}",
                self.cluster_id
            )));
        }
        if protocol_version != PROTOCOL_VERSION {
            return Err(Error::FailedPrecondition(format!(
                "the cluster speaks version {PROTOCOL_VERSION} of the protocol, the new node version {protocol_version}"
            )));
        }
        let roster = self.formation.roster();
        let Some(roster) = roster else { return Err(Error::Unavailable("the cluster is not founded yet".to_owned())) };
        let join = JoinNode { store_id: store_id.clone(), peer_address };
        self.group_0.commit(Change::JoinNode(join), deadline).await?;
        // The copy here has it now.
        self.registry.read(|table| {
            let node = table.node_of_store(&store_id);
            let node = node.ok_or_else(|| Error::Unavailable("the new node is not known here yet".to_owned()))?;
            let nodes = table.nodes().filter(|node| node.state() != NodeState::Removed);
            let nodes = nodes.map(|node| Neighbour { node_id: node.id, peer_address: node.peer_address.clone() });
            tracing::info!(node = node.id, address = node.peer_address, "a node has joined");
            Ok(JoinResponse { node_id: node.id, shards: self.shards, roster: Some(roster), nodes: nodes.collect() })
        })
    }
}

/// Fills in who a node is that has joined, after asking to be let in where it has not. Does
/// nothing for one that is named in its configuration.
pub(crate) async fn settle(
    config: &mut Config,
    net: &dyn Net,
    entropy: &dyn Entropy,
    store: StoreId,
    kv: &dyn Kv,
) -> Result<(), NodeError> {
    let joined = metadata::joined(kv)?;
    let Some(join) = &config.join else {
        return match joined {
            Some(joined) => Err(NodeError::Mismatch(format!(
                "the data directory belongs to node {}, which has joined its cluster later: say where to join",
                joined.node_id
            ))),
            None => Ok(()),
        };
    };
    let joined = match joined {
        Some(joined) => joined,
        None if metadata::roster(kv)?.is_some() => {
            return Err(NodeError::Mismatch(
                "the data directory belongs to a founder of its cluster: list the members instead of joining"
                    .to_owned(),
            ));
        }
        None => {
            let joined = ask_to_join(config, join, net, entropy, store).await?;
            metadata::keep_joined(kv, &joined)?;
            joined
        }
    };
    config.node = NodeId(joined.node_id);
    config.shards = joined.shards;
    let nodes =
        joined.nodes.into_iter().map(|node| Member { id: NodeId(node.node_id), peer_address: node.peer_address });
    config.members = nodes.filter(|member| member.id != config.node).collect();
    config.members.push(Member { id: config.node, peer_address: join.peer_address.clone() });
    Ok(())
}

async fn ask_to_join(
    config: &Config,
    join: &Join,
    net: &dyn Net,
    entropy: &dyn Entropy,
    store: StoreId,
) -> Result<JoinResponse, NodeError> {
    if join.addresses.is_empty() || join.peer_address.is_empty() {
        return Err(NodeError::Mismatch("to join, a node needs addresses of nodes, and one of its own".to_owned()));
    }
    let request = JoinRequest {
        cluster_id: config.cluster_id.clone(),
        protocol_version: PROTOCOL_VERSION,
        store_id: Bytes::copy_from_slice(&store.0),
        peer_address: join.peer_address.clone(),
    };
    let mut pause = PAUSE_MIN;
    let mut complain_at = Instant::now() + WAITING_INTERVAL;
    loop {
        for address in &join.addresses {
            let error = match timeout(JOIN_TIMEOUT * 2, ask(net, address, Body::Join(request.clone()))).await {
                Ok(Ok(Body::Joined(joined))) if joined.roster.is_some() => return Ok(joined),
                Ok(Ok(Body::Error(error))) => match Error::from(error) {
                    error @ (Error::FailedPrecondition(_) | Error::InvalidArgument(_)) => {
                        return Err(NodeError::Refused(error.to_string()));
                    }
                    error => error.to_string(),
                },
                Ok(Ok(_)) => "an answer of another kind".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if Instant::now() >= complain_at {
                tracing::warn!(address, error, "cannot join the cluster yet");
                complain_at = Instant::now() + WAITING_INTERVAL;
            }
        }
        let jitter = entropy.next_u64() % 20;
        sleep(pause + Duration::from_millis(jitter)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
