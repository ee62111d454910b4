//! Who is alive, as this node sees it. Hints only: nothing here decides what is true.
//!
//! ```text
//!             beat                    silent 1 s, or disconnected 0.8 s
//! unknown ───────────▶ live ─────────────────────────────────────────▶ dead
//!                       ▲ └── beat of a new incarnation: moved ───┐      │
//!                       └─────────────────────────────────────────┴◀─────┘ beat
//! ```
//! A hello is not enough: a node that can only send would seem alive at each attempt. It
//! beats once it has heard the answer to its hello.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::NodeId;
use storage::SpaceLevel;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::room::{self, Said};

/// How often nodes tell each other that they live.
pub(crate) const BEAT_INTERVAL: Duration = Duration::from_millis(100);
/// Without a byte for this long a connected node is dead.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(1);
/// The same for one whose connection broke: a process that died closes its sockets. Just
/// longer than a leader's lease, so that an election after it is not refused.
const LOST_AFTER: Duration = Duration::from_millis(800);

/// The nodes, this one included, ordered by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct View {
    pub(crate) live: Vec<NodeId>,
    /// Live, not about to leave and not out of room: where task-queue partitions and leaders go.
    pub(crate) eligible: Vec<NodeId>,
}

/// The state behind the view: no clock, no sockets.
#[derive(Debug)]
struct Members {
    this: NodeId,
    is_draining: bool,
    shortage: Said,
    peers: BTreeMap<NodeId, Peer>,
    version: u64,
}

#[derive(Debug, Default)]
struct Peer {
    incarnation: u64,
    is_live: bool,
    is_connected: bool,
    is_draining: bool,
    shortage: Said,
    heard: Option<Instant>,
}

impl Peer {
    fn is_critical(&self) -> bool {
        room::level(&self.shortage) == SpaceLevel::Critical
    }
}

impl Members {
    fn beat(&mut self, node: NodeId, incarnation: u64, is_draining: bool, shortage: Said, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        // A process that was restarted has forgotten its pollers, even if it was back
        // before anybody missed it.
        let is_critical = room::level(&shortage) == SpaceLevel::Critical;
        if !peer.is_live
            || peer.incarnation != incarnation
            || peer.is_draining != is_draining
            || peer.is_critical() != is_critical
        {
            self.version += 1;
        }
        *peer = Peer { incarnation, is_live: true, is_connected: true, is_draining, shortage, heard: Some(now) };
    }

    fn report_disk(&mut self, shortage: Said) {
        let is_critical = |said: &Said| room::level(said) == SpaceLevel::Critical;
        if is_critical(&self.shortage) != is_critical(&shortage) {
            self.version += 1;
        }
        self.shortage = shortage;
    }

    fn follow(&mut self, nodes: &BTreeSet<NodeId>) {
        let before = self.peers.len();
        self.peers.retain(|node, _| nodes.contains(node));
        if self.peers.len() != before {
            self.version += 1;
        }
        for &node in nodes {
            self.peers.entry(node).or_default();
        }
    }

    fn drain(&mut self) {
        if !self.is_draining {
            self.is_draining = true;
            self.version += 1;
        }
    }

    /// Returns who died since the last time.
    fn tick(&mut self, now: Instant) -> Vec<NodeId> {
        let mut died = Vec::new();
        for (&node, peer) in &mut self.peers {
            let patience = if peer.is_connected { SILENT_AFTER } else { LOST_AFTER };
            let silence = peer.heard.map(|heard| now.saturating_duration_since(heard));
            if peer.is_live && silence.is_none_or(|silence| silence >= patience) {
                peer.is_live = false;
                self.version += 1;
                died.push(node);
            }
        }
        died
    }

    /// The shortage of all nodes together.
    fn cluster_shortage(&self) -> Said {
        let live = self.peers.values().filter(|peer| peer.is_live).map(|peer| peer.shortage.clone());
        room::of_cluster(live.chain([self.shortage.clone()]).collect(), self.peers.len() + 1)
    }

    fn view(&self) -> View {
        let mut nodes: Vec<(NodeId, bool)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_live)
            .map(|(&node, peer)| (node, peer.is_draining || peer.is_critical()))
            .collect();
        nodes.push((self.this, self.is_draining || room::level(&self.shortage) == SpaceLevel::Critical));
        nodes.sort_unstable();
        View {
            live: nodes.iter().map(|&(node, _)| node).collect(),
            eligible: nodes.iter().filter(|(_, draining)| !draining).map(|&(node, _)| node).collect(),
        }
    }
}

/// The members behind a lock, and what others watch of them.
#[derive(Debug)]
pub(crate) struct Liveness {
    members: Mutex<Members>,
    view: watch::Sender<Arc<View>>,
    version: watch::Sender<u64>,
    /// Changes with each beat of a node that is short of room, and no partition moves for it.
    shortage: watch::Sender<Said>,
}

impl Liveness {
    pub(crate) fn new(this: NodeId) -> Arc<Self> {
        let members = Members { this, is_draining: false, shortage: None, peers: BTreeMap::new(), version: 0 };
        let view = watch::Sender::new(Arc::new(members.view()));
        let (version, shortage) = (watch::Sender::new(0), watch::Sender::new(None));
        Arc::new(Self { members: Mutex::new(members), view, version, shortage })
    }

    pub(crate) fn beat(&self, node: NodeId, incarnation: u64, is_draining: bool, shortage: Said) {
        self.change(|members| members.beat(node, incarnation, is_draining, shortage, Instant::now()));
    }

    /// The nodes that there are now, this one left out.
    pub(crate) fn follow(&self, nodes: &BTreeSet<NodeId>) {
        self.change(|members| members.follow(nodes));
    }

    pub(crate) fn disconnected(&self, node: NodeId) {
        self.change(|members| {
            if let Some(peer) = members.peers.get_mut(&node) {
                peer.is_connected = false;
            }
        });
    }

    /// `at` is when the last byte arrived.
    pub(crate) fn heard(&self, node: NodeId, at: Instant) {
        if let Some(peer) = self.members.lock().expect("no panic while held").peers.get_mut(&node) {
            peer.heard = Some(at);
        }
    }

    /// What this node has to say of its disk.
    pub(crate) fn report_disk(&self, shortage: Said) {
        self.change(|members| members.report_disk(shortage));
    }

    /// What this node said last.
    pub(crate) fn own_shortage(&self) -> Said {
        self.members.lock().expect("no panic while held").shortage.clone()
    }

    /// What keeps a majority from taking new work.
    pub(crate) fn cluster_shortage(&self) -> Said {
        self.shortage.borrow().clone()
    }

    /// Live nodes that have more room than the critical rest, ordered by id.
    pub(crate) fn with_room(&self) -> Vec<NodeId> {
        let members = self.members.lock().expect("no panic while held");
        let live = members.peers.iter().filter(|(_, peer)| peer.is_live && !peer.is_draining);
        live.filter(|(_, peer)| room::level(&peer.shortage) < SpaceLevel::Critical).map(|(&node, _)| node).collect()
    }

    /// This node is about to leave.
    pub(crate) fn drain(&self) {
        self.change(Members::drain);
    }

    pub(crate) fn tick(&self) -> Vec<NodeId> {
        self.change(|members| members.tick(Instant::now()))
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.members.lock().expect("no panic while held").is_draining
    }

    fn change<T>(&self, change: impl FnOnce(&mut Members) -> T) -> T {
        let mut members = self.members.lock().expect("no panic while held");
        let before = members.version;
        let result = change(&mut members);
        self.shortage.send_if_modified(|shortage| {
            let now = members.cluster_shortage();
            let is_new = *shortage != now;
            *shortage = now;
            is_new
        });
        if members.version != before {
            // Published under the lock, or an older view could overwrite a newer one.
            self.view.send_replace(Arc::new(members.view()));
            self.version.send_replace(members.version);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn members() -> Members {
        let peers = [(A, Peer::default()), (C, Peer::default())].into();
        Members { this: B, is_draining: false, shortage: None, peers, version: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_kills_and_a_beat_revives() {
        let (mut members, start) = (members(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(members.view().live, [B]);
        assert_eq!(members.tick(at(0)), []);
        members.beat(A, 7, false, None, at(0));
        members.beat(C, 8, false, None, at(0));
        assert_eq!(members.view().live, [A, B, C]);
        assert_eq!(members.tick(at(999)), []);
        members.peers.get_mut(&C).unwrap().heard = Some(at(900));
        assert_eq!(members.tick(at(1000)), [A]);
        assert_eq!(members.tick(at(1001)), []);
        assert_eq!(members.view().live, [B, C]);
        // The socket of C broke: it is given up earlier.
        members.peers.get_mut(&C).unwrap().is_connected = false;
        assert_eq!(members.tick(at(1699)), []);
        assert_eq!(members.tick(at(1700)), [C]);
        let version = members.version;
        members.beat(A, 7, false, None, at(2000));
        assert_eq!((members.view().live, members.version), (vec![A, B], version + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_come_and_go() {
        let (mut members, now) = (members(), Instant::now());
        members.beat(A, 7, false, None, now);
        members.follow(&[A, C, NodeId(4)].into());
        assert_eq!(members.version, 1, "who is not heard of changes nothing");
        members.beat(NodeId(4), 9, false, None, now);
        assert_eq!(members.view().live, [A, B, NodeId(4)]);
        members.follow(&[C, NodeId(4)].into());
        assert_eq!((members.view().live, members.version), (vec![B, NodeId(4)], 3));
        members.beat(A, 7, false, None, now);
        assert_eq!(members.view().live, [B, NodeId(4)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_restart_and_draining_move_partitions() {
        let (mut members, now) = (members(), Instant::now());
        members.beat(A, 7, true, None, now);
        assert_eq!(members.view(), View { live: vec![A, B], eligible: vec![B] });
        // The same process again: nothing moved.
        let version = members.version;
        members.beat(A, 7, true, None, now);
        assert_eq!(members.version, version);
        members.beat(A, 9, false, None, now);
        assert_eq!((members.version, members.view().eligible), (version + 1, vec![A, B]));
        members.drain();
        members.drain();
        assert_eq!((members.version, members.view().eligible), (version + 2, vec![A]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_room_is_no_place_for_leaders() {
        let (mut members, now) = (members(), Instant::now());
        let shortage = |level| {
            let place = "/data".to_owned();
            Some(Arc::new(crate::DiskShortage { node: A, level, place, free_bytes: 1, needed_bytes: 2 }))
        };
        members.beat(A, 7, false, shortage(SpaceLevel::Low), now);
        assert_eq!(members.view().eligible, [A, B]);
        let version = members.version;
        members.beat(A, 7, false, shortage(SpaceLevel::Critical), now);
        assert_eq!((members.version, members.view().eligible), (version + 1, vec![B]));
        members.report_disk(shortage(SpaceLevel::Critical));
        members.report_disk(shortage(SpaceLevel::Critical));
        assert_eq!((members.version, members.view().eligible), (version + 2, vec![]));
        members.report_disk(None);
        members.beat(A, 7, false, None, now);
        assert_eq!((members.version, members.view().eligible), (version + 4, vec![A, B]));
    }
}
