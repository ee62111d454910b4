//! The last start of each peer that this node has seen. A store counts its starts, so that
//! a data directory that was copied or restored from a backup gives itself away: it comes
//! with a number that was seen before. Of two copies that run, the last to start is the node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base::NodeId;
use bytes::Bytes;
use storage::{Batch, Kv, KvError, Scan};

const PREFIX: [u8; 3] = [0xF1, 0x00, 4];
/// Nodes that this one has ever seen.
const NODES_MAX: usize = 1 << 16;

/// One start of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) number: u64,
    /// Random, to tell two processes apart that have the same number.
    pub(crate) incarnation: u64,
}

impl Start {
    /// Whether the node may start like this after it was seen to start like that.
    pub(crate) fn check(self, node: NodeId, last: Self) -> Result<(), String> {
        if last.number < self.number || last == self {
            return Ok(());
        }
        Err(if last.number == self.number {
            format!(
                "the data directory of node {node} was copied: start {} was seen of another process. Only one of them \
                 may run",
                self.number
            )
        } else {
            format!(
                "node {node} comes with an old copy of its data directory: this is start {} of it, and start {} was \
                 seen. It has forgotten what it voted and acknowledged since. Put back the newest data directory, or \
                 replace the node by one with an id of its own",
                self.number, last.number
            )
        })
    }
}

pub(crate) struct Starts {
    kv: Arc<dyn Kv>,
    seen: Mutex<BTreeMap<NodeId, Start>>,
}

impl Starts {
    pub(crate) fn load(kv: Arc<dyn Kv>) -> Result<Self, KvError> {
        let rows = kv.scan(&Scan::prefix(PREFIX.to_vec(), NODES_MAX))?;
        // A row that cannot be read protects from nothing, and harms nobody.
        let seen = rows.iter().filter_map(|(key, value)| decode(key, value)).collect();
        Ok(Self { kv, seen: Mutex::new(seen) })
    }

    pub(crate) fn last(&self, node: NodeId) -> Option<Start> {
        self.seen.lock().expect("no panic while held").get(&node).copied()
    }

    /// Whether this start of the node is not older than what was seen; if so it is the last
    /// one seen. Durable with the next checkpoint: what a power cut forgets before is a
    /// warning, not a promise.
    pub(crate) fn admit(&self, node: NodeId, start: Start) -> Result<(), String> {
        let mut seen = self.seen.lock().expect("no panic while held");
        if let Some(last) = seen.get(&node) {
            start.check(node, *last)?;
            if *last == start {
                return Ok(());
            }
        }
        seen.insert(node, start);
        let mut batch = Batch::default();
        batch.put(
            [&PREFIX[..], &node.0.to_be_bytes()].concat(),
            [start.number.to_be_bytes(), start.incarnation.to_be_bytes()].concat(),
        );
        self.kv.write(batch).map_err(|error| error.to_string())
    }
}

fn decode(key: &Bytes, value: &Bytes) -> Option<(NodeId, Start)> {
    let node = key.strip_prefix(&PREFIX)?.try_into().ok()?;
    let (number, incarnation) = value.split_first_chunk()?;
    let incarnation = incarnation.try_into().ok()?;
    let start = Start { number: u64::from_be_bytes(*number), incarnation: u64::from_be_bytes(incarnation) };
    Some((NodeId(u64::from_be_bytes(node)), start))
}

#[cfg(test)]
mod tests {
    use storage::MemoryKv;

    use super::*;

    #[test]
    fn only_the_last_start_is_the_node() {
        let kv = Arc::new(MemoryKv::new());
        let start = |number, incarnation| Start { number, incarnation };
        let starts = Starts::load(kv.clone()).unwrap();
        for admitted in [start(3, 10), start(3, 10), start(4, 11), start(7, 12), start(7, 12)] {
            starts.admit(NodeId(1), admitted).unwrap();
        }
        starts.admit(NodeId(2), start(1, 20)).unwrap();
        // Also after this node was away.
        for starts in [starts, Starts::load(kv).unwrap()] {
            assert!(starts.admit(NodeId(1), start(6, 12)).unwrap_err().contains("an old copy"));
            assert!(starts.admit(NodeId(1), start(7, 13)).unwrap_err().contains("was copied"));
            starts.admit(NodeId(1), start(7, 12)).unwrap();
            starts.admit(NodeId(2), start(1, 20)).unwrap();
        }
    }
}
