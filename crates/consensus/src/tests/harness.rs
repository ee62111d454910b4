//! Nodes in one process, under a clock that jumps to the next timer. A node can be cut
//! off, crash with or without its unsynced writes, and start again from its disk.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Entropy, NodeId, SeededEntropy, Term};
use bytes::Bytes;
use storage::{Batch, GroupId, Kv, MemoryDisk, MemoryKv, Wal, WalConfig};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{
    ApplyObserver, Config, Fence, Group, Host, HostError, Proposal, RaftHandler, Role, Transport, TransportError,
};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(super) const GROUP: GroupId = 7;
/// Longer than any wait of a healthy cluster, in simulated time.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The network: which nodes are up, and which links are cut, by direction.
#[derive(Default)]
pub(super) struct Net {
    handlers: Mutex<BTreeMap<NodeId, Arc<dyn RaftHandler>>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
}

impl Net {
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.lock().unwrap().contains(&(from, to))
    }

    pub(super) fn cut(&self, from: u64, to: u64) {
        self.cut.lock().unwrap().insert((NodeId(from), NodeId(to)));
    }

    pub(super) fn isolate(&self, node: u64, others: &[u64]) {
        for other in others {
            self.cut(node, *other);
            self.cut(*other, node);
        }
    }

    pub(super) fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

struct Link {
    net: Arc<Net>,
    from: NodeId,
}

impl Transport for Link {
    fn call(
        &self,
        node: NodeId,
        group: GroupId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (net, from) = (self.net.clone(), self.from);
        let lost = || TransportError::Timeout("lost".to_owned());
        if net.is_cut(from, node) {
            return Box::pin(async move {
                tokio::time::sleep(deadline).await;
                Err(lost())
            });
        }
        let Some(handler) = net.handlers.lock().unwrap().get(&node).cloned() else {
            return Box::pin(async { Err(TransportError::Unreachable("down".to_owned())) });
        };
        let answer = handler.handle(group, request);
        Box::pin(async move {
            let answer = timeout(deadline, answer).await.unwrap_or_else(|_| Err(lost()));
            if net.is_cut(node, from) {
                tokio::time::sleep(deadline).await;
                return Err(lost());
            }
            answer
        })
    }
}

/// What survives a crash, and what runs between two.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) disk: MemoryDisk,
    pub(super) kv: MemoryKv,
    entropy: Arc<SeededEntropy>,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    pub(super) host: Host,
    pub(super) group: Group,
    wal: Wal,
    _writer: JoinSet<()>,
}

pub(super) struct Cluster {
    pub(super) net: Arc<Net>,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) config: Config,
    voters: Vec<NodeId>,
}

pub(super) fn range() -> (Vec<u8>, Vec<u8>) {
    (vec![0x00], vec![0x10])
}

pub(super) fn wal_config() -> WalConfig {
    WalConfig { segment_bytes: 1 << 20, batch_bytes_max: 1 << 20, tail_bytes_max: 1 << 20, sync: true }
}

impl Cluster {
    pub(super) async fn start(nodes: u64, config: Config) -> Self {
        let mut cluster = Self::stopped(nodes, config);
        for id in 1..=nodes {
            cluster.restart(id).await;
        }
        cluster
    }

    pub(super) fn stopped(nodes: u64, config: Config) -> Self {
        Self::seeded(nodes, config, 0)
    }

    pub(super) fn seeded(nodes: u64, config: Config, seed: u64) -> Self {
        let ids = 1..=nodes;
        let node = |id: u64| Node {
            id: NodeId(id),
            disk: MemoryDisk::new(),
            kv: MemoryKv::new(),
            entropy: Arc::new(SeededEntropy::new(seed * 1000 + id)),
            running: None,
        };
        Self {
            net: Arc::default(),
            nodes: ids.clone().map(|id| (id, node(id))).collect(),
            config,
            voters: ids.map(NodeId).collect(),
        }
    }

    pub(super) async fn restart(&mut self, id: u64) {
        self.restart_observed(id, None).await;
    }

    pub(super) async fn restart_observed(&mut self, id: u64, observer: Option<ApplyObserver>) {
        self.try_restart(id, observer).await.unwrap();
    }

    pub(super) async fn try_restart(&mut self, id: u64, observer: Option<ApplyObserver>) -> Result<(), HostError> {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.running.is_none());
        let wal = Wal::open(Arc::new(node.disk.clone()), wal_config()).unwrap();
        let mut writer = JoinSet::new();
        let running = wal.clone();
        writer.spawn(async move { running.run_writer().await });
        let link = Arc::new(Link { net: self.net.clone(), from: node.id });
        let kv = Arc::new(node.kv.clone());
        let host = Host::new(node.id, self.config.clone(), wal.clone(), kv, link, node.entropy.clone());
        let group = host.start_group(GROUP, self.voters.clone(), vec![range()], observer).await?;
        self.net.handlers.lock().unwrap().insert(node.id, host.handler());
        node.running = Some(Running { host, group, wal, _writer: writer });
        Ok(())
    }

    /// The power goes: unsynced writes of the disk and the store are lost, torn or kept.
    pub(super) async fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        self.net.handlers.lock().unwrap().remove(&node.id);
        let running = node.running.take().unwrap();
        node.disk.power_cut(&mut || node.entropy.next_u64());
        running.host.kill().await;
        node.kv.power_cut(node.entropy.next_u64());
    }

    pub(super) async fn stop(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        self.net.handlers.lock().unwrap().remove(&node.id);
        let running = node.running.take().unwrap();
        running.host.shutdown().await;
        running.wal.shutdown();
    }

    pub(super) fn group(&self, id: u64) -> Group {
        self.nodes[&id].running.as_ref().expect("is running").group.clone()
    }

    pub(super) fn host(&self, id: u64) -> Host {
        self.nodes[&id].running.as_ref().expect("is running").host.clone()
    }

    pub(super) fn up(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.running.is_some()).map(|(id, _)| *id).collect()
    }

    /// Waits until one of `among` leads a term above `after` and is ready.
    pub(super) async fn leader_among(&self, among: &[u64], after: Term) -> (u64, Term) {
        let waits = among.iter().map(|id| {
            let mut role = self.group(*id).role();
            Box::pin(async move {
                let ready = role.wait_for(|role| matches!(role, Role::Leader { term, ready: true } if *term > after));
                match *ready.await.unwrap() {
                    Role::Leader { term, .. } => (*id, term),
                    _ => unreachable!("waited for a leader"),
                }
            })
        });
        timeout(PATIENCE, futures_util::future::select_all(waits)).await.expect("a leader").0
    }

    pub(super) async fn leader(&self) -> (u64, Term) {
        self.leader_among(&self.up(), Term(0)).await
    }

    pub(super) fn get(&self, id: u64, key: &str) -> Option<String> {
        let value = self.nodes[&id].kv.get(&cell_key(key)).unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// Waits until every running node has applied `index`.
    pub(super) async fn applied_everywhere(&self, index: u64) {
        for id in self.up() {
            timeout(PATIENCE, self.group(id).applied(index))
                .await
                .unwrap_or_else(|_| panic!("node {id} does not apply {index}"));
        }
    }
}

pub(super) fn cell_key(key: &str) -> Vec<u8> {
    [&[0x01], key.as_bytes()].concat()
}

pub(super) fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(cell_key(key), value.as_bytes().to_vec());
    batch
}

pub(super) fn proposal(term: Term, seq: u64, batch: Batch) -> Proposal {
    Proposal { fence: Fence { term, seq, shard_epoch: 1 }, batch }
}

/// Timing of the tests: the defaults, but no checkpoint unless the test asks for one.
pub(super) fn config() -> Config {
    Config { checkpoint_interval: Duration::from_secs(1_000_000), log_keep_entries: 4, ..Config::default() }
}
