//! What nodes tell each other of room on their disks, and what it means for all of them:
//! a write needs a majority, so nothing new begins unless a majority has room for it.

use std::sync::Arc;

use api::internal::NodeShortage;
use base::NodeId;
use storage::SpaceLevel;

/// The disk of one node is short of room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskShortage {
    pub node: NodeId,
    pub level: SpaceLevel,
    /// The directory, as the node names it.
    pub place: String,
    pub free_bytes: u64,
    /// What must be free for the node to have enough again.
    pub needed_bytes: u64,
}

const LOW: u32 = 1;
const CRITICAL: u32 = 2;

impl DiskShortage {
    pub(crate) fn encode(&self) -> NodeShortage {
        let level = match self.level {
            SpaceLevel::Ample => 0,
            SpaceLevel::Low => LOW,
            SpaceLevel::Critical => CRITICAL,
        };
        let Self { place, free_bytes, needed_bytes, .. } = self;
        NodeShortage { level, place: place.clone(), free_bytes: *free_bytes, needed_bytes: *needed_bytes }
    }

    /// A level of a later version is worse than all that are known.
    pub(crate) fn decode(node: NodeId, shortage: NodeShortage) -> Self {
        let level = match shortage.level {
            0 => SpaceLevel::Ample,
            LOW => SpaceLevel::Low,
            _ => SpaceLevel::Critical,
        };
        let NodeShortage { place, free_bytes, needed_bytes, .. } = shortage;
        Self { node, level, place, free_bytes, needed_bytes }
    }
}

/// What a node says, if it says anything.
pub(crate) type Said = Option<Arc<DiskShortage>>;

pub(crate) fn level(said: &Said) -> SpaceLevel {
    said.as_ref().map_or(SpaceLevel::Ample, |shortage| shortage.level)
}

/// The shortage that the whole cluster suffers: that of the best majority's worst node.
/// `live` are the nodes that live, this one included, of `members`.
pub(crate) fn of_cluster(mut live: Vec<Said>, members: usize) -> Said {
    live.sort_by_key(level);
    let majority = members / 2 + 1;
    let decisive = majority.min(live.len()).checked_sub(1)?;
    live.swap_remove(decisive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(node: u64, level: SpaceLevel) -> Said {
        let shortage = DiskShortage { node: NodeId(node), level, place: "/d".into(), free_bytes: 1, needed_bytes: 2 };
        Some(Arc::new(shortage))
    }

    fn cluster(live: &[Said], members: usize) -> Option<(u64, SpaceLevel)> {
        of_cluster(live.to_vec(), members).map(|shortage| (shortage.node.0, shortage.level))
    }

    #[test]
    fn a_majority_with_room_is_enough() {
        use SpaceLevel::{Critical, Low};
        assert_eq!(cluster(&[None], 1), None);
        assert_eq!(cluster(&[said(1, Low)], 1), Some((1, Low)));
        assert_eq!(cluster(&[said(1, Critical), None, None], 3), None);
        assert_eq!(cluster(&[said(1, Critical), None, said(3, Low)], 3), Some((3, Low)));
        // The third node is dead: now both that are left must have room.
        assert_eq!(cluster(&[said(1, Low), None], 3), Some((1, Low)));
        assert_eq!(cluster(&[said(1, Low), None, None, said(4, Low)], 5), Some((1, Low)));
        assert_eq!(cluster(&[None], 3), None, "no majority: there are other reasons to refuse");
    }

    #[test]
    fn a_shortage_survives_the_hop() {
        for level in [SpaceLevel::Low, SpaceLevel::Critical] {
            let shortage = said(3, level).unwrap();
            assert_eq!(DiskShortage::decode(NodeId(3), shortage.encode()), *shortage);
        }
        let unknown = NodeShortage { level: 9, ..NodeShortage::default() };
        assert_eq!(DiskShortage::decode(NodeId(3), unknown).level, SpaceLevel::Critical);
    }
}
