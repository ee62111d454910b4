//! What the state of a cluster means, and whether it bears the loss of a node: pure.

use crate::admin::proto::GetStatusResponse;

/// Every shard has a copy on every node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Health {
    pub(super) shards: usize,
    pub(super) leaderless: usize,
    pub(super) under_replicated: usize,
    dead: Vec<u64>,
    /// Nodes that may die before shards stop serving. None: too many are dead already.
    spare: Option<usize>,
    asked: u64,
}

pub(super) fn health(status: &GetStatusResponse) -> Health {
    let dead: Vec<u64> = status.nodes.iter().filter(|node| !node.alive).map(|node| node.id).collect();
    let alive = status.nodes.len() - dead.len();
    let spare = alive.checked_sub(majority(status.nodes.len()));
    Health {
        shards: status.shards.len(),
        // A leader that has lost the majority may not know it yet.
        leaderless: status
            .shards
            .iter()
            .filter(|shard| spare.is_none() || shard.leader == 0 || dead.contains(&shard.leader))
            .count(),
        under_replicated: if dead.is_empty() { 0 } else { status.shards.len() },
        spare,
        dead,
        asked: status.node_id,
    }
}

const fn majority(nodes: usize) -> usize {
    nodes / 2 + 1
}

impl Health {
    pub(super) fn is_good(&self) -> bool {
        self.leaderless == 0 && self.dead.is_empty()
    }

    pub(super) fn word(&self) -> &'static str {
        match (self.leaderless, self.dead.is_empty()) {
            (0, true) => "healthy",
            (0, false) => "degraded",
            _ => "unavailable",
        }
    }

    pub(super) fn sentence(&self) -> String {
        let Self { shards, leaderless, dead, spare, asked, .. } = self;
        let dead_nodes = match dead.as_slice() {
            [] => String::new(),
            dead => format!("; dead: {}", dead.iter().map(|id| format!("node {id}")).collect::<Vec<_>>().join(", ")),
        };
        let Some(spare) = spare else {
            return format!("too many nodes are dead, no shard has a majority{dead_nodes}");
        };
        if *leaderless > 0 {
            return format!("node {asked} knows no living leader of {leaderless} of {shards} shards{dead_nodes}");
        }
        match spare {
            0 => format!("all {shards} shards have leaders, and the loss of any further node stops them{dead_nodes}"),
            spare => format!("all {shards} shards have leaders, and {spare} more node(s) may be lost{dead_nodes}"),
        }
    }
}

/// Why a node must not be stopped now.
pub(super) fn harm_of_stopping(status: &GetStatusResponse, node: u64) -> Option<String> {
    let Some(found) = status.nodes.iter().find(|known| known.id == node) else {
        return Some(format!("there is no node {node}"));
    };
    let health = health(status);
    let left = status.nodes.iter().filter(|other| other.alive && other.id != node).count();
    if found.alive && left < majority(status.nodes.len()) {
        return Some(format!("without node {node} only {left} of {} nodes are left, no majority", status.nodes.len()));
    }
    (health.leaderless > 0).then(|| format!("the cluster is not well already: {}", health.sentence()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::{NodeStatus, ShardStatus};

    /// Nodes 1 to 3; who is alive, and who leads each shard.
    fn status(alive: [bool; 3], leaders: &[u64]) -> GetStatusResponse {
        GetStatusResponse {
            node_id: 1,
            nodes: (1..=3).zip(alive).map(|(id, alive)| NodeStatus { id, alive, ..Default::default() }).collect(),
            shards: leaders.iter().map(|&leader| ShardStatus { leader, ..Default::default() }).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn verdicts() {
        for (status, word, sentence) in [
            (status([true; 3], &[1, 2]), "healthy", "all 2 shards have leaders, and 1 more node(s) may be lost"),
            (
                status([true, true, false], &[1, 2]),
                "degraded",
                "all 2 shards have leaders, and the loss of any further node stops them; dead: node 3",
            ),
            (
                status([true, true, false], &[3, 2]),
                "unavailable",
                "node 1 knows no living leader of 1 of 2 shards; dead: node 3",
            ),
            (
                status([true, false, false], &[1, 1]),
                "unavailable",
                "too many nodes are dead, no shard has a majority; dead: node 2, node 3",
            ),
            (status([true; 3], &[0, 2]), "unavailable", "node 1 knows no living leader of 1 of 2 shards"),
        ] {
            let health = health(&status);
            assert_eq!((health.word(), health.sentence().as_str()), (word, sentence));
            assert_eq!(health.is_good(), word == "healthy");
        }
    }

    #[test]
    fn a_node_can_be_stopped_while_the_others_are_a_majority() {
        let harm = |status: &GetStatusResponse, node| harm_of_stopping(status, node);
        assert_eq!(harm(&status([true; 3], &[1]), 1), None);
        let two = status([true, true, false], &[1]);
        assert_eq!(harm(&two, 3), None, "it is dead already");
        assert_eq!(harm(&two, 2).as_deref(), Some("without node 2 only 1 of 3 nodes are left, no majority"));
        assert_eq!(harm(&two, 9).as_deref(), Some("there is no node 9"));
        assert!(harm(&status([true; 3], &[0]), 1).expect("no leader").starts_with("the cluster is not well already"));
    }
}
