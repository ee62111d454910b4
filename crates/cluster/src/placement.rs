//! Where things live: cells on shards, task-queue partitions on nodes. Pure.

use api::internal::PartitionKey;
use base::{Cell, CellRange, NodeId, ShardId};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// The cells of every history shard; shard ids count from 1, 0 is the metadata group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ShardMap {
    shards: Vec<(ShardId, CellRange)>,
}

impl ShardMap {
    /// `count` equal shards.
    pub(crate) fn even(count: u32) -> Self {
        let shards = (0..count).map(|index| (ShardId(index + 1), CellRange::part(index, count))).collect();
        Self { shards }
    }

    pub(crate) fn shards(&self) -> &[(ShardId, CellRange)] {
        &self.shards
    }

    pub(crate) fn shard_of(&self, cell: Cell) -> ShardId {
        let at = self.shards.partition_point(|(_, range)| range.end <= cell.index());
        self.shards[at].0
    }
}

/// The keys of a shard in the KV: those that begin with one of its cells.
pub(crate) fn key_range(cells: CellRange) -> (Vec<u8>, Vec<u8>) {
    (cells.start.to_be_bytes().to_vec(), cells.end.to_be_bytes().to_vec())
}

/// The node that a partition belongs to: the one whose hash with it is the highest.
/// When a node leaves, only its own partitions move.
pub(crate) fn owner(partition: &PartitionKey, nodes: &[NodeId]) -> Option<NodeId> {
    if let [only] = nodes {
        return Some(*only);
    }
    let key = hash(partition);
    nodes.iter().copied().max_by_key(|node| (score(key, *node), *node))
}

/// Orders nodes for a numbered thing, differently for each: see the elections.
pub(crate) fn rank(number: u64, node: NodeId, nodes: &[NodeId]) -> usize {
    let mine = (score(number, node), node);
    nodes.iter().filter(|&&other| (score(number, other), other) > mine).count()
}

fn score(key: u64, node: NodeId) -> u64 {
    xxh3_64_with_seed(&key.to_be_bytes(), node.0)
}

fn hash(partition: &PartitionKey) -> u64 {
    let PartitionKey { namespace_id, task_queue, kind, partition, sticky } = partition;
    let mut hash = Xxh3::new();
    for text in [namespace_id, task_queue] {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(&kind.to_be_bytes());
    hash.update(&partition.to_be_bytes());
    hash.update(&[u8::from(*sticky)]);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_the_shard_that_contains_it() {
        for count in [1, 3, 4, 64, 4096] {
            let map = ShardMap::even(count);
            assert_eq!(map.shards().len(), count as usize);
            for &(shard, range) in map.shards() {
                assert!(range.cells().all(|cell| map.shard_of(cell) == shard));
            }
        }
    }

    fn partition(queue: u32) -> PartitionKey {
        PartitionKey { namespace_id: "ns".into(), task_queue: format!("queue-{queue}"), ..PartitionKey::default() }
    }

    #[test]
    fn partitions_spread_and_move_only_from_a_node_that_left() {
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        let mut owned = [0; 3];
        for queue in 0..300 {
            let before = owner(&partition(queue), &nodes).unwrap();
            owned[before.0 as usize - 1] += 1;
            let after = owner(&partition(queue), &nodes[..2]).unwrap();
            assert!(before == after || before == NodeId(3));
        }
        assert!(owned.iter().all(|&count| count > 70), "{owned:?}");
        assert_eq!(owner(&partition(0), &[]), None);
    }

    #[test]
    fn ranks_are_an_order() {
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        for number in 0..20 {
            let mut ranks = nodes.map(|node| rank(number, node, &nodes));
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2]);
        }
    }
}
