//! Watches one replica's Raft and tells what it is right now.

use std::sync::Arc;

use base::{NodeId, Term};
use openraft::ServerState;
use openraft::metrics::RaftServerMetrics;
use openraft::rt::WatchReceiver;
use storage::GroupId;
use tokio::sync::watch;

use crate::Role;
use crate::machine::Store;
use crate::pipeline::Pipeline;
use crate::types::{LogId, Raft, TypeConfig};

/// Publishes every change of the role until Raft stops, and ends the proposals of a term
/// that is over.
pub(crate) async fn watch_role(raft: Raft, store: Arc<Store>, pipeline: Arc<Pipeline>, role: watch::Sender<Role>) {
    let mut server = raft.server_metrics();
    let mut applied = store.applied.subscribe();
    drop(raft);
    loop {
        let last = applied.borrow_and_update().log_id;
        let now = role_of(&server.borrow_and_update(), last);
        publish(store.group, &role, &pipeline, now);
        let is_waiting = matches!(now, Role::Leader { ready: false, .. });
        tokio::select! {
            biased;
            changed = server.changed() => {
                if changed.is_err() {
                    publish(store.group, &role, &pipeline, Role::Stopped);
                    return;
                }
            }
            // The sender lives in `store`.
            _ = applied.changed(), if is_waiting => {}
        }
    }
}

fn publish(group: GroupId, role: &watch::Sender<Role>, pipeline: &Pipeline, now: Role) {
    let changed = role.send_if_modified(|role| {
        let changed = *role != now;
        *role = now;
        changed
    });
    if !changed {
        return;
    }
    tracing::debug!(group, role = ?now, "role");
    match now {
        Role::Leader { term, .. } => pipeline.end_before(term, None),
        Role::Follower { leader, .. } | Role::Learner { leader, .. } => pipeline.end(leader),
        Role::Candidate { .. } | Role::Stopped => pipeline.end(None),
    }
}

fn role_of(metrics: &RaftServerMetrics<TypeConfig>, applied: Option<LogId>) -> Role {
    let term = Term(metrics.vote.leader_id.term);
    let leader = metrics.current_leader.map(NodeId);
    match metrics.state {
        ServerState::Leader if metrics.vote.committed => {
            Role::Leader { term, ready: applied.is_some_and(|id| id.leader_id.term == term.0) }
        }
        ServerState::Leader | ServerState::Candidate => Role::Candidate { term },
        ServerState::Follower => Role::Follower { term, leader },
        ServerState::Learner => Role::Learner { term, leader },
        ServerState::Shutdown => Role::Stopped,
    }
}
