//! One node put together: storage, cluster, history, matching, frontend. The simulator
//! uses this very wiring over its own seams.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::{Clock, Entropy, Listener, Net, NodeId, SystemClock, SystemEntropy, TcpNet};
use bytes::Bytes;
use cluster::{Join, Member, Node};
use storage::{
    Directory, Disk, DiskReserve, Engine, Kv, KvError, MemoryDisk, MemoryKv, RealDisk, StoreId, Volume, Wal, WalConfig,
    WatchedKv,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::space;

/// How often a node looks whether it leads more than its share.
pub(crate) const BALANCE_INTERVAL: Duration = Duration::from_millis(500);

/// What a node is told about itself and its cluster.
#[derive(Clone, Debug)]
pub struct Options {
    pub node: NodeId,
    pub cluster_id: String,
    /// All nodes, this one included.
    pub members: Vec<Member>,
    /// Instead of `node` and `members`: see [`cluster::Config::join`].
    pub join: Option<Join>,
    /// Where to listen for other nodes, when it is another address than the member's.
    pub peer_listen: Option<String>,
    pub shards: u32,
    pub namespaces: Vec<String>,
    pub namespace_retention: Duration,
    /// How often a node looks whether it leads more than its share; `None`: leaders stay.
    pub balance_interval: Option<Duration>,
    pub consensus: consensus::Config,
    pub history: history::Config,
    pub matching: matching::Config,
    pub frontend: frontend::Config,
    /// See [`cluster::Config::planted_welcome_wiped`].
    pub planted_welcome_wiped: bool,
    /// What is kept free on each of [`Seams::volumes`].
    pub disk_reserve: DiskReserve,
}

impl Options {
    /// A cluster of one.
    #[must_use]
    pub fn single(node: NodeId) -> Self {
        Self {
            node,
            cluster_id: "active".to_owned(),
            members: vec![Member { id: node, peer_address: String::new() }],
            join: None,
            peer_listen: None,
            shards: 4,
            namespaces: vec!["default".to_owned()],
            namespace_retention: Duration::from_secs(24 * 3600),
            balance_interval: Some(BALANCE_INTERVAL),
            consensus: consensus::Config::default(),
            history: history::Config::default(),
            matching: matching::Config::default(),
            frontend: frontend::Config::default(),
            planted_welcome_wiped: false,
            disk_reserve: DiskReserve::default(),
        }
    }
}

/// Where the data of a server lives.
#[derive(Clone, Debug)]
pub enum Data {
    Memory,
    Directory { path: PathBuf, engine: Engine },
}

/// Who runs the writer of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writer {
    /// A thread of its own, so that a slow disk never holds up the runtime.
    Thread,
    /// A task, for a single-threaded simulation.
    Task,
}

/// The outside world of a node.
pub struct Seams {
    pub net: Arc<dyn Net>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub disk: Arc<dyn Disk>,
    pub kv: Arc<dyn Kv>,
    /// Where `disk` and `kv` keep their data.
    pub volumes: Vec<Arc<dyn Volume>>,
    pub wal: WalConfig,
    pub writer: Writer,
}

/// Segments of a log that lives in memory: small, so that an idle server stays small.
const MEMORY_SEGMENT_BYTES: u64 = 1 << 20;

/// Smaller segments would have to be changed too often.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;

impl Seams {
    /// The machine's own clock, network and (unless in memory) disk.
    pub async fn system(data: &Data) -> anyhow::Result<Self> {
        match data {
            Data::Memory => Ok(Self::in_memory()),
            Data::Directory { path, engine } => Self::in_directory(path, *engine).await,
        }
    }

    fn in_memory() -> Self {
        Self {
            net: Arc::new(TcpNet),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            disk: Arc::new(MemoryDisk::new()),
            kv: Arc::new(MemoryKv::new()),
            volumes: Vec::new(),
            wal: WalConfig { sync: false, segment_bytes: MEMORY_SEGMENT_BYTES, ..WalConfig::default() },
            writer: Writer::Thread,
        }
    }

    async fn in_directory(path: &Path, engine: Engine) -> anyhow::Result<Self> {
        let (wal, state) = (path.join("wal"), path.join("state"));
        std::fs::create_dir_all(&wal).with_context(|| format!("cannot create {}", wal.display()))?;
        let disk = lock(&wal).await.with_context(|| format!("cannot open {}", wal.display()))?;
        let kv = open_kv(engine, &state).await?;
        let (wal, state) = (Directory::new(&wal), Directory::new(&state));
        let config = wal_config(&wal)?;
        let volumes: Vec<Arc<dyn Volume>> = vec![Arc::new(wal), Arc::new(state)];
        Ok(Self { disk: Arc::new(disk), kv, volumes, wal: config, ..Self::in_memory() })
    }
}

/// Segments that suit the size of the file system: a sixteenth of a small one, so that the
/// log, a spare segment and the reserve find room together.
fn wal_config(volume: &Directory) -> anyhow::Result<WalConfig> {
    let config = WalConfig::default();
    let space = volume.space().with_context(|| format!("cannot see how much room is in {}", volume.place()))?;
    let part = space.map_or(config.segment_bytes, |space| space.total / 16);
    Ok(WalConfig { segment_bytes: config.segment_bytes.min(part.max(SEGMENT_BYTES_MIN)), ..config })
}

/// How long a start waits for a process that is being killed to let go of the directory.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(20);

async fn lock(path: &Path) -> std::io::Result<RealDisk> {
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match RealDisk::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
            result => return result,
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// The engine has a lock of its own, which a dying process may hold a moment longer.
async fn open_kv(engine: Engine, path: &Path) -> anyhow::Result<Arc<dyn Kv>> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match storage::open_kv(engine, path) {
            Err(KvError::Locked) if Instant::now() < deadline => {}
            result => return result.with_context(|| format!("cannot open the state in {}", path.display())),
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Why a node must not go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failed {
    /// A failed write or sync of the log, a failed store, a group that stopped.
    #[error("{0}")]
    Storage(String),
    /// An old copy of the data, or none.
    #[error("refused by the cluster: {0}")]
    Refused(String),
}

/// A node with all its services running.
pub struct Running {
    node: Node,
    wal: Wal,
    kv: WatchedKv,
    frontend: frontend::Service,
    /// Ends history and matching, after the last request was answered.
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts everything but the public listener. Leaders may not be elected yet.
pub async fn start(options: Options, seams: Seams) -> anyhow::Result<Running> {
    options.matching.validate()?;
    options.frontend.validate()?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let wal = storage::open_pair(seams.disk, seams.wal, &*seams.kv, StoreId(seams.entropy.bytes()))
        .context("cannot open the data")?;
    match seams.writer {
        Writer::Thread => drop(wal.spawn_writer_thread().context("cannot start the log's writer")?),
        Writer::Task => {
            let wal = wal.clone();
            tasks.spawn(async move { wal.run_writer().await });
        }
    }
    let watched = WatchedKv::new(seams.kv);
    let kv: Arc<dyn Kv> = Arc::new(watched.clone());
    let config = cluster::Config {
        node: options.node,
        cluster_id: options.cluster_id,
        members: options.members,
        join: options.join,
        listen: options.peer_listen,
        shards: options.shards,
        consensus: options.consensus,
        namespaces: options.namespaces,
        namespace_retention: options.namespace_retention,
        planted_welcome_wiped: options.planted_welcome_wiped,
        balance_interval: options.balance_interval,
    };
    let (clock, entropy) = (seams.clock, seams.entropy);
    let node = Node::start(config, seams.net, Arc::clone(&clock), Arc::clone(&entropy), wal.clone(), Arc::clone(&kv))
        .await
        .context("cannot start the node")?;
    let router = node.router();
    let upstream = matching::ClusterUpstream::new(router.clone(), node.namespaces());
    let matching =
        matching::Service::new(options.matching, Arc::new(upstream), Arc::clone(&clock), Arc::clone(&entropy));
    router.serve_matching(Arc::new(matching.handle()));
    tasks.spawn(matching.run(stop.child_token()));
    let shards = node.groups().into_iter().filter_map(|(shard, group)| {
        let cells = router.shards().into_iter().find(|(id, _)| *id == shard).map(|(_, cells)| cells);
        cells.map(|cells| (shard, cells, group))
    });
    let rows = history::VisibleRows::new(Arc::clone(&kv));
    let history = history::Service::new(
        options.history,
        shards.collect(),
        kv,
        router.clone(),
        node.namespaces(),
        Arc::clone(&clock),
        Arc::clone(&entropy),
    )?;
    router.serve_history(Arc::new(history.handle()));
    tasks.spawn(history.run(stop.child_token()));
    router.serve_visibility(Arc::new(visibility::Service::new(Arc::new(VisibleRows(rows)))));
    let backend = frontend::ClusterBackend::new(router, node.namespaces());
    let frontend = frontend::Service::new(options.frontend, Arc::new(backend), clock, entropy);
    let watch = space::Watch {
        node_id: options.node,
        volumes: seams.volumes,
        reserve: options.disk_reserve,
        kv: watched.clone(),
        node: node.clone(),
        frontend: frontend.clone(),
        writer: seams.writer,
    };
    tasks.spawn(stop.clone().run_until_cancelled_owned(watch.run()));
    tasks.close();
    Ok(Running { node, wal, kv: watched, frontend, stop, tasks })
}

/// History's rows, as visibility reads them.
struct VisibleRows(history::VisibleRows);

impl visibility::Rows for VisibleRows {
    fn page(&self, namespace_id: &str, cursor: Option<Bytes>) -> Result<visibility::RowsPage, api::Error> {
        let (rows, next) = self.0.page(namespace_id, cursor)?;
        Ok(visibility::RowsPage { rows, next })
    }
}

impl Running {
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    #[must_use]
    pub fn frontend(&self) -> &frontend::Service {
        &self.frontend
    }

    /// Resolves when requests can be answered.
    pub async fn ready(&self) {
        self.node.ready().await;
    }

    /// Serves the public API until `stop`, then ends polls and waits for what is in flight.
    pub fn serve(
        &self,
        grpc: Box<dyn Listener>,
        http: Option<Box<dyn Listener>>,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static + use<> {
        let frontend = self.frontend.clone();
        async move {
            let http = async {
                let Some(listener) = http else { return Ok(()) };
                let api = frontend::HttpApi::new(frontend.clone(), frontend::HttpConfig::default());
                api.serve(listener, stop.clone()).await.context("the HTTP listener failed")
            };
            let grpc = async { frontend.serve(grpc, stop.clone()).await.context("the gRPC listener failed") };
            tokio::try_join!(grpc, http).map(|_| ())
        }
    }

    /// Resolves with the reason when the node must not go on.
    pub async fn failed(&self) -> Failed {
        tokio::select! {
            biased;
            error = self.wal.stopped() => Failed::Storage(error.to_string()),
            error = self.kv.failed() => Failed::Storage(error.to_string()),
            reason = self.node.refused() => Failed::Refused(reason.to_string()),
            reason = self.node.failed() => Failed::Storage(reason.to_string()),
        }
    }

    /// Ends the services, moves leaders away and leaves everything acknowledged on disk.
    pub async fn shutdown(&self) {
        self.frontend.drain().await;
        self.stop.cancel();
        self.node.shutdown().await;
        self.wal.shutdown();
        self.tasks.wait().await;
    }
}
