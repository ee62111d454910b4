//! Every node of the cluster gets a replica of every group: the leader of each adds those
//! that have none, as learners, which follow and do not vote. Level-triggered: it looks at
//! what is, not at what happened.

use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use consensus::{Group, Role};
use tokio::time::timeout;

use crate::metadata::Registry;
use crate::metadata::proto::NodeState;

/// How often it looks, apart from when the nodes change.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn enroll(registry: Arc<Registry>, groups: Vec<Group>) {
    let mut version = registry.version();
    loop {
        version.mark_unchanged();
        let active = registry.read(|table| {
            let active = table.nodes().filter(|node| node.state() == NodeState::Active);
            active.map(|node| NodeId(node.id)).collect::<Vec<_>>()
        });
        for group in &groups {
            enroll_in(group, &active).await;
        }
        // The end of the registry is the end of the node.
        let _ = timeout(INTERVAL, version.changed()).await;
    }
}

async fn enroll_in(group: &Group, active: &[NodeId]) {
    if !matches!(*group.role().borrow(), Role::Leader { ready: true, .. }) {
        return;
    }
    let replicas = group.replicas();
    for &node in active.iter().filter(|node| !replicas.contains(node)) {
        match group.add_learner(node).await {
            Ok(()) => tracing::info!(%node, "the node gets a replica"),
            Err(error) => tracing::debug!(%node, %error, "the node gets a replica later"),
        }
    }
}
