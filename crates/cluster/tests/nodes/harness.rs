//! Nodes that can be killed: each runs on a runtime of its own, and dropping that ends
//! its tasks and closes its sockets as the end of a process would. Disk and KV survive.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use api::Error;
use api::internal::history_request::Request as HistoryKind;
use api::internal::matching_response::Response as MatchingKind;
use api::internal::{HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse, PartitionKey};
use async_trait::async_trait;
use base::{Accepted, CellRange, Certified, Entropy as _, Io, Listener, Net, NodeId};
use base::{SeededEntropy, ShardId, SystemClock, TcpNet};
use cluster::{ActivityReservation, Config, HistoryService, Join, MatchingService, Member, Node, NodeError};
use consensus::{Group, Role};
use storage::{MemoryDisk, MemoryKv, StoreId, WalConfig};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;

pub(crate) const SHARDS: u32 = 4;
/// Nothing here takes that long, unless the machine is busy with something else.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// TCP with names instead of ports: a listener gets a free port, and says which.
#[derive(Clone, Default)]
pub(crate) struct NamedNet {
    ports: Arc<Mutex<BTreeMap<String, SocketAddr>>>,
    /// How many connections were made.
    pub(crate) connects: Arc<AtomicUsize>,
    frozen: Arc<AtomicBool>,
    /// The only host that certificates of those who connect are for; none: no certificates.
    pub(crate) certified: Arc<Mutex<Option<&'static str>>>,
}

/// Gives everybody who connects a certificate.
struct Certifying {
    listener: Box<dyn Listener>,
    certified: Arc<Mutex<Option<&'static str>>>,
}

struct For(&'static str);

impl Certified for For {
    fn is_host(&self, host: &str) -> bool {
        host == self.0
    }

    fn describe(&self) -> String {
        format!("for {}", self.0)
    }
}

impl Listener for Certifying {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self) -> Pin<Box<dyn Future<Output = io::Result<Accepted>> + Send + '_>> {
        Box::pin(async {
            let accepted = self.listener.accept().await?;
            let certified = self.certified.lock().unwrap().map(|host| Arc::new(For(host)) as Arc<dyn Certified>);
            Ok(Accepted { certified, ..accepted })
        })
    }
}

impl NamedNet {
    /// A frozen network neither delivers nor fails, as a cable that was pulled.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }
}

struct Freezable {
    io: Box<dyn Io>,
    frozen: Arc<AtomicBool>,
    /// What was lost once does not come back with the cable.
    is_broken: bool,
}

impl Freezable {
    fn is_broken(&mut self) -> bool {
        self.is_broken |= self.frozen.load(Ordering::SeqCst);
        self.is_broken
    }
}

impl AsyncRead for Freezable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_broken() { Poll::Pending } else { Pin::new(&mut self.io).poll_read(cx, buf) }
    }
}

impl AsyncWrite for Freezable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_broken() { Poll::Ready(Ok(buf.len())) } else { Pin::new(&mut self.io).poll_write(cx, buf) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Net for NamedNet {
    fn listen(&self, address: &str) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Listener>>> + Send>> {
        let (ports, name) = (Arc::clone(&self.ports), address.to_owned());
        let certified = Arc::clone(&self.certified);
        Box::pin(async move {
            let listener = TcpNet.listen("127.0.0.1:0").await?;
            ports.lock().unwrap().insert(name, listener.local_addr()?);
            Ok(Box::new(Certifying { listener, certified }) as Box<dyn Listener>)
        })
    }

    /// Only the dialling side freezes; that is enough to silence both directions.
    fn connect(&self, address: &str) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>> {
        let Some(address) = self.ports.lock().unwrap().get(address).copied() else {
            return Box::pin(async { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) });
        };
        self.connects.fetch_add(1, Ordering::SeqCst);
        let frozen = Arc::clone(&self.frozen);
        Box::pin(async move {
            if frozen.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let io = TcpNet.connect(&address.to_string()).await?;
            Ok(Box::new(Freezable { io, frozen, is_broken: false }) as Box<dyn Io>)
        })
    }
}

/// What survives the death of a node.
#[derive(Clone)]
pub(crate) struct Storage {
    disk: Arc<MemoryDisk>,
    kv: Arc<MemoryKv>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { disk: Arc::new(MemoryDisk::new()), kv: Arc::new(MemoryKv::new()) }
    }
}

impl Storage {
    /// A backup.
    pub(crate) fn copy(&self) -> Self {
        Self { disk: Arc::new(self.disk.copy()), kv: Arc::new(self.kv.copy()) }
    }
}

pub(crate) struct TestNode {
    pub(crate) node: Node,
    pub(crate) history: Arc<FakeHistory>,
    pub(crate) matching: Arc<FakeMatching>,
    runtime: Background,
}

impl TestNode {
    /// Like the end of the process, seen from outside.
    pub(crate) fn kill(self) {
        drop(self.runtime);
    }

    pub(crate) fn leads(&self, shard: ShardId) -> bool {
        let group = if shard == ShardId(0) {
            self.node.metadata_group()
        } else {
            self.node.groups()[shard.0 as usize - 1].1.clone()
        };
        matches!(*group.role().borrow(), Role::Leader { ready: true, .. })
    }
}

/// A runtime that ends without waiting for its tasks.
struct Background(Option<Runtime>);

impl std::ops::Deref for Background {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("runs until dropped")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A cluster's nodes by id, and the parts to start them again.
pub(crate) struct Cluster {
    pub(crate) net: NamedNet,
    pub(crate) members: Vec<Member>,
    pub(crate) storage: BTreeMap<u64, Storage>,
    pub(crate) nodes: BTreeMap<u64, TestNode>,
    /// Without one, leaders stay where they are, which most tests count on.
    pub(crate) balance_interval: Option<Duration>,
    starts: AtomicU64,
}

impl Cluster {
    pub(crate) async fn start(count: u64) -> Self {
        Self::new(count).started().await
    }

    /// With all its nodes.
    pub(crate) async fn started(mut self) -> Self {
        let (count, cluster) = (self.members.len() as u64, &mut self);
        // Together: a new cluster begins when all have met.
        let starts = (1..=count).map(|id| cluster.launch(cluster.config(id)));
        let starts: Vec<_> = starts.collect();
        for (id, node) in (1..=count).zip(futures_util::future::join_all(starts).await) {
            cluster.nodes.insert(id, node.unwrap());
        }
        for node in cluster.nodes.values() {
            node.node.ready().await;
        }
        self
    }

    pub(crate) fn new(count: u64) -> Self {
        let members = (1..=count).map(|id| Member { id: NodeId(id), peer_address: format!("node-{id}") }).collect();
        let storage = (1..=count).map(|id| (id, Storage::default())).collect();
        let starts = AtomicU64::new(0);
        Self { net: NamedNet::default(), members, storage, nodes: BTreeMap::new(), balance_interval: None, starts }
    }

    pub(crate) fn config(&self, id: u64) -> Config {
        Config {
            node: NodeId(id),
            cluster_id: "test".to_owned(),
            members: self.members.clone(),
            join: None,
            listen: None,
            shards: SHARDS,
            consensus: consensus::Config::default(),
            namespaces: vec!["default".to_owned()],
            namespace_retention: Duration::from_secs(3600),
            planted_welcome_wiped: false,
            balance_interval: self.balance_interval,
        }
    }

    pub(crate) async fn start_node(&mut self, id: u64) -> Result<(), NodeError> {
        self.start_with(self.config(id)).await
    }

    pub(crate) async fn start_with(&mut self, config: Config) -> Result<(), NodeError> {
        let id = config.node.0;
        let node = self.launch(config).await?;
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Starts a node on its storage. What is returned does not borrow the cluster.
    pub(crate) fn launch(&self, config: Config) -> impl Future<Output = Result<TestNode, NodeError>> + use<> {
        self.launch_on(config.node.0, config)
    }

    /// A node that joins on the storage `id` by way of node 2.
    pub(crate) fn joining(&mut self, id: u64) -> Config {
        self.storage.entry(id).or_default();
        let join =
            Join { addresses: vec!["nowhere".to_owned(), "node-2".to_owned()], peer_address: format!("node-{id}") };
        Config { join: Some(join), node: NodeId(0), members: vec![], shards: 0, ..self.config(1) }
    }

    pub(crate) async fn join(&mut self, id: u64) -> Result<(), NodeError> {
        let config = self.joining(id);
        let node = self.launch_on(id, config).await?;
        self.nodes.insert(id, node);
        Ok(())
    }

    pub(crate) fn launch_on(
        &self,
        id: u64,
        config: Config,
    ) -> impl Future<Output = Result<TestNode, NodeError>> + use<> {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let entropy = Arc::new(SeededEntropy::new(id * 1000 + start));
        let net = Arc::new(self.net.clone());
        let storage = self.storage[&id].clone();
        async move {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            // Ends the tasks of a start that was given up, too.
            let runtime = Background(Some(builder.worker_threads(1).enable_all().build().unwrap()));
            let started = runtime.spawn(async move {
                let config_of_log = WalConfig { segment_bytes: 1 << 20, ..WalConfig::default() };
                let mint = StoreId(entropy.bytes());
                let wal = storage::open_pair(storage.disk, config_of_log, &*storage.kv, mint).unwrap();
                let writer = wal.clone();
                // It ends with the runtime.
                drop(Handle::current().spawn(async move { writer.run_writer().await }));
                Node::start(config, net, Arc::new(SystemClock), entropy, wal, storage.kv).await
            });
            let node = started.await.unwrap()?;
            let history = Arc::new(FakeHistory {
                node: NodeId(id),
                router: node.router(),
                groups: node.groups(),
                calls: AtomicUsize::new(0),
                bound: AtomicUsize::new(0),
            });
            let matching = Arc::new(FakeMatching { node: NodeId(id), parked: AtomicUsize::new(0) });
            node.router().serve_history(Arc::clone(&history) as _);
            node.router().serve_matching(Arc::clone(&matching) as _);
            Ok(TestNode { node, history, matching, runtime })
        }
    }

    pub(crate) fn kill(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().kill();
    }

    /// Stops a node in order. What it had is still there when it starts again.
    pub(crate) async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        node.node.shutdown().await;
    }

    pub(crate) fn at(&self, id: u64) -> &TestNode {
        &self.nodes[&id]
    }

    /// Waits until exactly one node leads the shard, and returns it.
    pub(crate) async fn leader(&self, shard: ShardId) -> u64 {
        let mut leader = None;
        until("a leader", || {
            leader = self.nodes.iter().find(|(_, node)| node.leads(shard)).map(|(&id, _)| id);
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    pub(crate) async fn everyone_sees(&self, nodes: &[u64]) {
        let expected: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        until("the live nodes", || self.nodes.values().all(|node| node.node.router().live_nodes() == expected)).await;
    }

    /// Waits until everything is led, and no node leads two groups more than another one.
    pub(crate) async fn leaders_are_even(&self, nodes: &[u64]) {
        until("leaders to spread", || {
            let led = |node: &TestNode| (0..=SHARDS).filter(|&shard| node.leads(ShardId(shard))).count();
            let counts: Vec<usize> = nodes.iter().map(|&id| led(self.at(id))).collect();
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            counts.iter().sum::<usize>() == SHARDS as usize + 1 && most - least < 2
        })
        .await;
    }
}

/// Polls a condition that something else makes true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = deadline();
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Answers with its node's id when it leads the shard of the cell. What else it does is
/// up to the namespace of the request.
pub(crate) struct FakeHistory {
    node: NodeId,
    router: cluster::Router,
    groups: Vec<(ShardId, Group)>,
    pub(crate) calls: AtomicUsize,
    /// How many requests wait that are about a run of this node.
    pub(crate) bound: AtomicUsize,
}

#[async_trait]
impl HistoryService for FakeHistory {
    async fn call(&self, request: Box<HistoryRequest>, _deadline: Instant) -> Result<HistoryResponse, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let cell = base::Cell::new(request.cell.try_into().unwrap()).unwrap();
        let shard = self.router.shard_of(cell);
        let role = *self.groups[shard.0 as usize - 1].1.role().borrow();
        match role {
            Role::Leader { ready: true, .. } => {}
            Role::Follower { leader, .. } => return Err(Error::NotLeader { hint: leader }),
            _ => return Err(Error::NotLeader { hint: None }),
        }
        match request.namespace.as_str() {
            "silent" => std::future::pending().await,
            "refuses" => Err(Error::FailedPrecondition("because".to_owned())),
            "binds" => self.bind(&request).await,
            _ => Ok(HistoryResponse { body: self.node.0.to_string().into(), ..HistoryResponse::default() }),
        }
    }
}

impl FakeHistory {
    /// Binds a request that names no run to one that only this node ends; until then it waits.
    async fn bind(&self, request: &HistoryRequest) -> Result<HistoryResponse, Error> {
        let Some(HistoryKind::GetHistory(history)) = &request.request else { panic!("{request:?}") };
        let run_id = &history.execution.as_ref().unwrap().run_id;
        let of_this_node = format!("run-of-{}", self.node.0);
        if run_id.is_empty() {
            assert!(request.can_bind, "it is not about a run yet");
            return Ok(HistoryResponse { bind_run_id: of_this_node, ..HistoryResponse::default() });
        }
        if *run_id == of_this_node {
            self.bound.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
        Ok(HistoryResponse { body: run_id.clone().into(), ..HistoryResponse::default() })
    }
}

/// Answers with its node's id; a request for the namespace "parks" waits until dropped.
pub(crate) struct FakeMatching {
    node: NodeId,
    pub(crate) parked: AtomicUsize,
}

#[async_trait]
impl MatchingService for FakeMatching {
    async fn call(&self, request: Box<MatchingRequest>, _deadline: Instant) -> Result<MatchingResponse, Error> {
        if request.namespace == "parks" {
            self.parked.fetch_add(1, Ordering::SeqCst);
            let _unpark = Unpark(&self.parked);
            std::future::pending::<()>().await;
        }
        Ok(MatchingResponse { response: Some(MatchingKind::Body(self.node.0.to_string().into())) })
    }

    fn reserve_activity_poller(&self, _partition: &PartitionKey) -> Option<ActivityReservation> {
        None
    }
}

struct Unpark<'a>(&'a AtomicUsize);

impl Drop for Unpark<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn cell_of(shard: ShardId) -> u32 {
    CellRange::part(shard.0 - 1, SHARDS).start.into()
}

/// A request that must not be repeated.
pub(crate) fn start(shard: ShardId, namespace: &str) -> Box<HistoryRequest> {
    Box::new(HistoryRequest {
        namespace: namespace.to_owned(),
        cell: cell_of(shard),
        request: Some(HistoryKind::Start(StartWorkflowExecutionRequest::default())),
        ..HistoryRequest::default()
    })
}

/// A request that may.
pub(crate) fn describe(shard: ShardId, namespace: &str) -> Box<HistoryRequest> {
    let request = Some(HistoryKind::Describe(DescribeWorkflowExecutionRequest::default()));
    Box::new(HistoryRequest { request, ..*start(shard, namespace) })
}

/// A request that waits for the end of the current run.
pub(crate) fn the_end(shard: ShardId, namespace: &str) -> Box<HistoryRequest> {
    let history = GetWorkflowExecutionHistoryRequest {
        execution: Some(WorkflowExecution { workflow_id: "w".to_owned(), ..Default::default() }),
        wait_new_event: true,
        ..Default::default()
    };
    Box::new(HistoryRequest { request: Some(HistoryKind::GetHistory(history)), ..*start(shard, namespace) })
}

pub(crate) fn partition(queue: u32) -> PartitionKey {
    PartitionKey { namespace_id: "ns".to_owned(), task_queue: format!("queue-{queue}"), ..PartitionKey::default() }
}

pub(crate) fn poll(queue: u32, namespace: &str) -> Box<MatchingRequest> {
    use api::internal::matching_request::Request;
    Box::new(MatchingRequest {
        namespace: namespace.to_owned(),
        partition: Some(partition(queue)),
        request: Some(Request::PollWorkflow(Default::default())),
        ..MatchingRequest::default()
    })
}

/// The node that a fake service says it runs on.
pub(crate) fn node_of(response: &MatchingResponse) -> u64 {
    let Some(MatchingKind::Body(body)) = &response.response else { panic!("{response:?}") };
    number(body)
}

pub(crate) fn number(body: &[u8]) -> u64 {
    std::str::from_utf8(body).unwrap().parse().unwrap()
}
