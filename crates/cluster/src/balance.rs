//! Spreads leaders over the nodes. After failures they pile up on few of them: who was
//! elected stays.
//!
//! Each node looks at what all replicas know anyway, and only the one that leads the most
//! acts: it hands some of its groups to the node that leads the least, until the two differ
//! by less than two. So nothing moves when nothing is gained by it, and nothing moves back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use consensus::{Group, Role};
use tokio::time::Instant;

use crate::Services;

/// How long a node must have been eligible before leaders go there: one that dies again at
/// once would take them with it.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// Leaders that one node hands over at a time. Each stops its group for some milliseconds.
const MOVES_MAX: usize = 4;

/// Looks at `groups` at every `interval`.
pub(crate) async fn run(this: NodeId, services: Arc<Services>, groups: Vec<Group>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since: BTreeMap<NodeId, Instant> = BTreeMap::new();
    loop {
        let now = ticks.tick().await;
        let view = services.liveness.view();
        since.retain(|node, _| view.eligible.contains(node));
        for &node in &view.eligible {
            since.entry(node).or_insert(now);
        }
        let settled = since.iter().filter(|(_, since)| now.saturating_duration_since(**since) >= SETTLED_AFTER);
        // Who joined later follows everywhere and can lead nothing.
        let voters: BTreeSet<NodeId> = groups.iter().flat_map(Group::voters).collect();
        let settled: Vec<NodeId> = settled.map(|(node, _)| *node).filter(|node| voters.contains(node)).collect();
        let leaders: Option<Vec<NodeId>> = groups.iter().map(|group| leader(*group.role().borrow(), this)).collect();
        // Where a leader is missing, electing one comes first.
        let Some(leaders) = leaders else { continue };
        for (number, target) in moves(this, &settled, &leaders) {
            match groups[number].transfer_leader(target).await {
                Ok(()) => tracing::info!(group = number, %target, "leadership handed over to spread it"),
                Err(error) => tracing::debug!(group = number, %target, %error, "leadership stays for now"),
            }
        }
    }
}

fn leader(role: Role, this: NodeId) -> Option<NodeId> {
    match role {
        Role::Leader { ready: true, .. } => Some(this),
        Role::Follower { leader, .. } | Role::Learner { leader, .. } => leader,
        Role::Leader { ready: false, .. } | Role::Candidate { .. } | Role::Stopped => None,
    }
}

/// Which of its groups `this` node should hand over now, and to whom. `leaders` has the
/// leader of each group; those of groups that are led elsewhere than on `nodes` count for nobody.
fn moves(this: NodeId, nodes: &[NodeId], leaders: &[NodeId]) -> Vec<(usize, NodeId)> {
    let mut counts: BTreeMap<NodeId, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    for leader in leaders {
        if let Some(count) = counts.get_mut(leader) {
            *count += 1;
        }
    }
    let mut mine = (0..leaders.len()).filter(|&number| leaders[number] == this);
    let mut moves = Vec::new();
    while moves.len() < MOVES_MAX
        && let Some((&fullest, &most)) = counts.iter().rev().max_by_key(|(_, count)| **count)
        && let Some((&emptiest, &least)) = counts.iter().min_by_key(|(_, count)| **count)
        && fullest == this
        && most >= least + 2
        && let Some(number) = mine.next()
    {
        moves.push((number, emptiest));
        counts.insert(this, most - 1);
        counts.insert(emptiest, least + 1);
    }
    moves
}

#[cfg(test)]
mod tests {
    use base::{Entropy as _, SeededEntropy};

    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    fn counts(nodes: &[NodeId], leaders: &[NodeId]) -> Vec<usize> {
        nodes.iter().map(|node| leaders.iter().filter(|leader| *leader == node).count()).collect()
    }

    /// All nodes act on the same view, as in the worst case; every round moves leaders of one only.
    #[test]
    fn every_distribution_ends_even_and_moves_no_more_than_it_must() {
        let entropy = SeededEntropy::new(7);
        for _ in 0..500 {
            let nodes = nodes(1 + entropy.next_u64() % 9);
            let groups = 1 + entropy.next_u64() % 70;
            let some = 1 + entropy.next_u64() % nodes.len() as u64;
            let mut leaders: Vec<NodeId> = (0..groups).map(|_| nodes[(entropy.next_u64() % some) as usize]).collect();
            let share = leaders.len() / nodes.len();
            let needed: usize = counts(&nodes, &leaders).iter().map(|count| share.saturating_sub(*count)).sum();
            let over: usize = counts(&nodes, &leaders).iter().map(|count| count.saturating_sub(share + 1)).sum();
            let mut moved = 0;
            loop {
                let round: Vec<_> = nodes.iter().flat_map(|&node| moves(node, &nodes, &leaders)).collect();
                assert!(round.len() <= MOVES_MAX);
                if round.is_empty() {
                    break;
                }
                moved += round.len();
                for (number, target) in round {
                    leaders[number] = target;
                }
            }
            let counts = counts(&nodes, &leaders);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            assert_eq!(moved, needed.max(over), "{counts:?}");
        }
    }

    #[test]
    fn who_leaves_or_is_new_gets_nothing() {
        let [a, b, c] = [NodeId(1), NodeId(2), NodeId(3)];
        assert_eq!(moves(a, &[a, b], &[a, a, a, c]), [(0, b)]);
        // Only the fullest acts; the first of two.
        assert_eq!(moves(b, &[a, b, c], &[a, a, b, b]), []);
        assert_eq!(moves(a, &[a, b, c], &[a, a, b, b]), [(0, c)]);
        // A node that is about to leave does not act: it will hand over everything.
        assert_eq!(moves(c, &[a, b], &[c, c, c]), []);
        assert_eq!(moves(a, &[], &[a, a]), []);
    }
}
