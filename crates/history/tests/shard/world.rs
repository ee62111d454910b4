//! A node that can crash. Each life is a tokio runtime of its own with a clock that jumps
//! to the next timer; dropping the runtime is the crash.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use base::{Clock, Entropy, NodeId, SeededEntropy, TcpNet, Timestamp};
use cluster::{Member, Namespace, NamespaceChange, Node};
use consensus::Role;
use history::{Config, Handle, Service};
use storage::{Kv, MemoryDisk, MemoryKv, Wal, WalConfig};
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::big::{CountingKv, Counts};
use crate::client::Client;
use crate::matching::FakeMatching;

const BORN: u64 = 1_700_000_000;

/// Follows tokio's clock from where the last life ended.
struct TestClock {
    origin: Timestamp,
    start: tokio::time::Instant,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.origin + self.start.elapsed()
    }
}

/// What outlives a crash.
pub(crate) struct World {
    pub(crate) node: NodeId,
    pub(crate) members: Vec<Member>,
    disk: MemoryDisk,
    pub(crate) kv: MemoryKv,
    pub(crate) counts: Arc<Counts>,
    entropy: Arc<SeededEntropy>,
    now: Mutex<Timestamp>,
    pub(crate) config: Config,
    pub(crate) retention: Duration,
}

/// One life of the node.
pub(crate) struct Life {
    pub(crate) client: Client,
    pub(crate) matching: Arc<FakeMatching>,
    pub(crate) kv: MemoryKv,
    node: Node,
    _handle: Handle,
    _tasks: JoinSet<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            node: NodeId(1),
            members: vec![Member { id: NodeId(1), peer_address: String::new() }],
            disk: MemoryDisk::new(),
            kv: MemoryKv::new(),
            counts: Arc::default(),
            entropy: Arc::new(SeededEntropy::new(7)),
            now: Mutex::new(Timestamp::from_millis(BORN * 1000)),
            config: Config { verify_rows: true, ..Config::default() },
            retention: Duration::from_secs(3 * 24 * 3600),
        }
    }

    /// Starts the node, runs the script, and cuts the power.
    pub(crate) fn live<T>(&self, script: impl AsyncFnOnce(&Life) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let result = runtime.block_on(async {
            let clock = Arc::new(TestClock { origin: *self.now.lock().unwrap(), start: tokio::time::Instant::now() });
            let life = self.start(clock.clone(), Arc::default()).await;
            let result = tokio::time::timeout(Duration::from_secs(40 * 24 * 3600), script(&life)).await;
            *self.now.lock().unwrap() = clock.now();
            self.disk.power_cut(&mut || self.entropy.next_u64());
            result.expect("the script ends")
        });
        runtime.shutdown_background();
        self.kv.power_cut(self.entropy.next_u64());
        result
    }

    /// The clock is the test's own, or the machine's for nodes that talk to each other.
    pub(crate) async fn start(&self, clock: Arc<dyn Clock>, matching: Arc<FakeMatching>) -> Life {
        let wal_config = WalConfig { segment_bytes: 1 << 20, ..WalConfig::default() };
        let wal = Wal::open(Arc::new(self.disk.clone()), wal_config).unwrap();
        let mut tasks = JoinSet::new();
        let writer = wal.clone();
        tasks.spawn(async move { writer.run_writer().await });
        let kv: Arc<dyn Kv> = Arc::new(CountingKv { inner: self.kv.clone(), counts: Arc::clone(&self.counts) });
        let config = cluster::Config {
            node: self.node,
            cluster_id: "test".into(),
            members: self.members.clone(),
            join: None,
            listen: None,
            shards: 2,
            consensus: consensus::Config::default(),
            namespaces: vec!["default".into()],
            namespace_retention: self.retention,
            planted_welcome_wiped: false,
            balance_interval: None,
        };
        let entropy: Arc<dyn Entropy> = self.entropy.clone();
        let node = Node::start(config, Arc::new(TcpNet), clock.clone(), entropy.clone(), wal, Arc::clone(&kv)).await;
        let node = node.unwrap();
        node.ready().await;
        let router = node.router();
        let ranges = router.shards();
        let groups = node.groups().into_iter().zip(ranges).map(|((shard, group), (_, cells))| (shard, cells, group));
        let service = Service::new(
            self.config.clone(),
            groups.collect(),
            kv,
            router.clone(),
            node.namespaces(),
            clock,
            entropy.clone(),
        )
        .unwrap();
        let handle = service.handle();
        router.serve_history(Arc::new(handle.clone()));
        router.serve_matching(matching.clone());
        tasks.spawn(service.run(CancellationToken::new()));
        let namespace = node.namespaces().by_name("default").unwrap();
        let client = Client::new(router, matching.clone(), namespace.id.as_str().to_owned(), entropy);
        Life { client, matching, kv: self.kv.clone(), node, _handle: handle, _tasks: tasks }
    }
}

impl Life {
    /// As an operator does it.
    pub(crate) async fn delete_namespace(&self) {
        let delete = |namespace: &mut Namespace| {
            namespace.state = NamespaceState::Deleted;
            namespace.name.push_str("-deleted");
        };
        self.change_namespace(delete).await;
    }

    pub(crate) async fn change_namespace(&self, change: impl FnOnce(&mut Namespace)) {
        let namespaces = self.node.namespaces();
        let mut namespace = (*namespaces.by_name("default").unwrap()).clone();
        let version = namespace.version;
        change(&mut namespace);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        namespaces.change(NamespaceChange::Update { namespace, version }, deadline).await.unwrap();
    }

    /// How many shards this node leads.
    pub(crate) fn leads(&self) -> usize {
        let roles = self.node.groups().into_iter().map(|(_, group)| group.status().role);
        roles.filter(|role| matches!(role, Role::Leader { ready: true, .. })).count()
    }
}
