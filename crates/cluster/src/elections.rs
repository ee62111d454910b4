//! What a node does when another one died: the groups that it led elect at once instead
//! of waiting for their timeouts. One live node goes first, another one for each group,
//! so that votes are not split and leaders spread; the next follows only when that fails.

use std::time::Duration;

use base::NodeId;
use consensus::{Group, Role};
use tokio::time::sleep;

use crate::placement::rank;

/// Ample for one election among nodes that are alive.
const STAGGER: Duration = Duration::from_millis(150);

/// `groups` are ordered by id. Returns when this node has had its turn in each.
pub(crate) async fn replace_leader(dead: NodeId, this: NodeId, live: Vec<NodeId>, groups: Vec<Group>) {
    for turn in 0..live.len() {
        for (number, group) in groups.iter().enumerate() {
            let role = *group.role().borrow();
            if is_leaderless(role, dead) && rank(number as u64, this, &candidates(group, &live)) == turn {
                tracing::info!(group = number, %dead, "the leader is dead: election");
                group.campaign().await;
            }
        }
        sleep(STAGGER).await;
    }
}

/// Those of the live nodes that can be elected.
fn candidates(group: &Group, live: &[NodeId]) -> Vec<NodeId> {
    let voters = group.voters();
    // Where nothing is applied yet all are equal.
    live.iter().copied().filter(|node| voters.is_empty() || voters.contains(node)).collect()
}

fn is_leaderless(role: Role, dead: NodeId) -> bool {
    match role {
        Role::Follower { leader, .. } => leader.is_none_or(|leader| leader == dead),
        Role::Candidate { .. } => true,
        Role::Leader { .. } | Role::Learner { .. } | Role::Stopped => false,
    }
}
