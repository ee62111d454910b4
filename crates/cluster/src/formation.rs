//! With whom a cluster was founded, down to the disk: a node that comes back with an empty
//! one has forgotten what it voted and acknowledged, and must not be taken for itself.
//!
//! ```text
//! empty ── has met all members, is the first of them: founds ──┐
//!   │ ▲                                                        ├─▶ member, for ever
//!   │ └─ waits: no group runs, so that it cannot vote          │
//!   ├── is shown a roster with its own store ──────────────────┘
//!   └── is shown a roster with another store, or data: outcast, the process ends
//! ```
//!
//! The *roster* names the store of each member. One node writes it, before any group runs
//! anywhere; everybody else takes it over as it is. Data of a version that knew no rosters
//! counts as data: such nodes go on at once, and agree on a roster beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use api::internal::{Hello, Roster};
use base::{Entropy, NodeId};
use bytes::Bytes;
use storage::{Kv, StoreId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::metadata::proto::NodeState;
use crate::metadata::{self, LoadError, Registry};
use crate::{Member, NodeError};

/// How often a node that waits for others says so.
const WAITING_INTERVAL: Duration = Duration::from_secs(5);

/// Why two nodes do not belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// This node must not talk to the other one.
    Refused(String),
    /// The other one is not of the cluster any more, and should know.
    TheyAreOutcast(String),
    /// This node is not of the cluster any more.
    Outcast(String),
}

pub(crate) struct Formation {
    node: NodeId,
    store: StoreId,
    members: BTreeSet<NodeId>,
    has_data: bool,
    planted_welcome_wiped: bool,
    /// Nodes that joined later are in group 0.
    registry: Arc<Registry>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    roster: Option<Roster>,
    /// The stores of members that this node has met, until there is a roster.
    met: BTreeMap<NodeId, StoreId>,
    /// What another node has shown.
    offered: Option<Roster>,
    outcast: Option<String>,
}

impl Formation {
    pub(crate) fn load(
        kv: &dyn Kv,
        registry: Arc<Registry>,
        (node, store): (NodeId, StoreId),
        members: &[Member],
        has_data: bool,
        planted_welcome_wiped: bool,
    ) -> Result<Arc<Self>, LoadError> {
        let roster = metadata::roster(kv)?;
        let state = Mutex::new(State { roster, ..State::default() });
        let members = members.iter().map(|member| member.id).collect();
        let changed = watch::Sender::new(());
        Ok(Arc::new(Self { node, store, members, has_data, planted_welcome_wiped, registry, state, changed }))
    }

    /// Whether groups may run here.
    pub(crate) fn is_open(&self) -> bool {
        self.has_data || self.lock().roster.is_some()
    }

    pub(crate) fn roster(&self) -> Option<Roster> {
        self.lock().roster.clone()
    }

    /// Adds what this node knows of the founding.
    pub(crate) fn introduce(&self, hello: Hello) -> Hello {
        Hello { store_id: bytes(self.store), has_data: self.has_data, roster: self.roster(), ..hello }
    }

    /// Whether the sender of `theirs`, who may be of this cluster by name, is so in fact.
    pub(crate) fn judge(&self, theirs: &Hello) -> Result<(), Verdict> {
        let node = NodeId(theirs.node_id);
        let store = store_id(&theirs.store_id).ok_or_else(|| Verdict::Refused(format!("node {node} has no store")))?;
        let mut state = self.lock();
        match (&state.roster, &theirs.roster) {
            (Some(mine), Some(other)) if mine.uid != other.uid => Err(Verdict::Refused(format!(
                "node {node} belongs to another cluster of the same name, one that was founded apart from this one"
            ))),
            // This copy of group 0 may lag: it will know the node when that dials again.
            (Some(mine), Some(_)) if !self.knows(mine, node) => {
                Err(Verdict::Refused(format!("node {node} is not known to be of the cluster yet")))
            }
            (Some(mine), _) => self.check(mine, node, store).map_err(Verdict::TheyAreOutcast),
            (None, Some(other)) => {
                self.check(other, self.node, self.store).map_err(Verdict::Outcast)?;
                self.check(other, node, store).map_err(Verdict::TheyAreOutcast)?;
                state.offered = Some(other.clone());
                self.changed.send_replace(());
                Ok(())
            }
            (None, None) if self.has_data && !theirs.has_data => Err(Verdict::TheyAreOutcast(forgetful(node))),
            (None, None) if !self.has_data && theirs.has_data => Err(Verdict::Outcast(forgetful(self.node))),
            (None, None) => {
                state.met.insert(node, store);
                self.changed.send_replace(());
                Ok(())
            }
        }
    }

    /// The cluster has refused this node: it must end.
    pub(crate) fn cast_out(&self, reason: String) {
        self.lock().outcast.get_or_insert(reason);
        self.changed.send_replace(());
    }

    /// Ready with the reason once the cluster has refused this node.
    pub(crate) async fn outcast(&self) -> String {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(reason) = self.lock().outcast.clone() {
                return reason;
            }
            // The sender is in `self`.
            let _ = changed.changed().await;
        }
    }

    /// Waits for a roster, keeps it durably, and returns.
    pub(crate) async fn run(&self, kv: &dyn Kv, entropy: &dyn Entropy) -> Result<(), NodeError> {
        let mut changed = self.changed.subscribe();
        let mut complain_at = Instant::now() + WAITING_INTERVAL;
        loop {
            changed.mark_unchanged();
            if let Some(reason) = self.lock().outcast.clone() {
                return Err(NodeError::Refused(reason));
            }
            if let Some(roster) = self.next(entropy) {
                metadata::keep_roster(kv, &roster)?;
                self.lock().roster = Some(roster);
                return Ok(());
            }
            tokio::select! {
                biased;
                // The sender is in `self`.
                _ = changed.changed() => {}
                () = sleep_until(complain_at) => {
                    let missing = self.missing();
                    tracing::warn!(
                        ?missing,
                        "waiting for members: a cluster is founded when all have met. If it is there already, let this \
                         node join it instead"
                    );
                    complain_at += WAITING_INTERVAL;
                }
            }
        }
    }

    /// The roster that is there to be taken, or made.
    fn next(&self, entropy: &dyn Entropy) -> Option<Roster> {
        let state = self.lock();
        if state.roster.is_some() || state.offered.is_some() {
            return state.roster.clone().or_else(|| state.offered.clone());
        }
        let is_founder = self.members.first() == Some(&self.node);
        let is_complete = self.members.iter().all(|&member| member == self.node || state.met.contains_key(&member));
        (is_founder && is_complete).then(|| {
            let stores = state.met.iter().map(|(&node, &store)| (node, store)).chain([(self.node, self.store)]);
            let stores = stores.filter(|(node, _)| self.members.contains(node));
            Roster {
                uid: Bytes::copy_from_slice(&entropy.bytes()),
                stores: stores.map(|(node, store)| (node.0, bytes(store))).collect(),
            }
        })
    }

    fn missing(&self) -> Vec<u64> {
        let state = self.lock();
        let missing = self.members.iter().filter(|&&node| node != self.node && !state.met.contains_key(&node));
        missing.map(|node| node.0).collect()
    }

    fn knows(&self, roster: &Roster, node: NodeId) -> bool {
        roster.stores.contains_key(&node.0) || self.registry.read(|table| table.node(node).is_some())
    }

    fn check(&self, roster: &Roster, node: NodeId, store: StoreId) -> Result<(), String> {
        let (recorded, is_removed) = self.registry.read(|table| {
            let node = table.node(node);
            (node.map(|node| node.store_id.clone()), node.is_some_and(|node| node.state() == NodeState::Removed))
        });
        if is_removed {
            return Err(format!("node {node} was removed from the cluster"));
        }
        match recorded.as_ref().or_else(|| roster.stores.get(&node.0)) {
            Some(known) if *known == bytes(store) || self.planted_welcome_wiped => Ok(()),
            Some(known) => {
                let known = store_id(known).unwrap_or_default();
                Err(format!(
                    "node {node} is known with store {known} and has store {store} now: its disk is not the one it had. \
                     {}",
                    remedy(node)
                ))
            }
            None => Err(format!("the cluster was founded without node {node}: let it join instead")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

fn forgetful(node: NodeId) -> String {
    format!("node {node} has an empty disk, and the cluster holds data already. {}", remedy(node))
}

fn remedy(node: NodeId) -> String {
    format!(
        "It has forgotten what it voted and acknowledged as node {node} and must not take part. Put back its data \
         directory, or replace it by a node with an id of its own"
    )
}

fn bytes(store: StoreId) -> Bytes {
    Bytes::copy_from_slice(&store.0)
}

fn store_id(bytes: &Bytes) -> Option<StoreId> {
    bytes[..].try_into().ok().map(StoreId)
}

#[cfg(test)]
mod tests;
