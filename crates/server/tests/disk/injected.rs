//! A whole node in this process over a disk and a store that fail on request.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{NodeId, SeededEntropy, SystemClock, TcpNet};
use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use server::assembly::{self, Options, Running, Seams, Writer};
use storage::{Batch, Kv, KvError, KvSnapshot, MemoryDisk, MemoryKv, Pairs, Scan, WalConfig};
use temporalio_protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1::{
    GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

pub(crate) const SEGMENT_BYTES: u64 = 256 << 10;
/// Little enough to be looked at often.
const CAPACITY_BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// What fails in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Fails {
    Nothing,
    Write,
    Checkpoint,
    /// For good.
    Read,
    /// For want of file handles.
    ReadForNow,
    /// In the background: nobody has seen it yet.
    Background,
}

#[derive(Clone)]
struct FaultyKv {
    kv: MemoryKv,
    fails: Arc<AtomicU8>,
}

impl FaultyKv {
    fn set(&self, fails: Fails) {
        self.fails.store(fails as u8, Ordering::Relaxed);
    }

    fn check_for(&self, fails: Fails) -> Result<(), KvError> {
        if self.fails.load(Ordering::Relaxed) != fails as u8 {
            return Ok(());
        }
        let reason: Arc<str> = format!("injected: {fails:?}").into();
        Err(if fails == Fails::ReadForNow { KvError::Busy(reason) } else { KvError::Engine(reason) })
    }
}

impl Kv for FaultyKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.check_for(Fails::Read)?;
        self.check_for(Fails::ReadForNow)?;
        self.kv.get(key)
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        self.check_for(Fails::Read)?;
        self.check_for(Fails::ReadForNow)?;
        self.kv.scan(scan)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        self.check_for(Fails::Write)?;
        self.kv.write(batch)
    }

    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError> {
        self.kv.snapshot()
    }

    fn checkpoint(&self) -> Result<(), KvError> {
        self.check_for(Fails::Checkpoint)?;
        self.kv.checkpoint()
    }

    fn check(&self) -> Result<(), KvError> {
        self.check_for(Fails::Background)
    }
}

/// A node, alone or one of several in this process.
pub(crate) struct Node {
    pub(crate) disk: MemoryDisk,
    kv: FaultyKv,
    pub(crate) running: Running,
    id: NodeId,
    begun: Mutex<u32>,
}

impl Node {
    async fn start() -> Self {
        Self::with_reserve(4 * SEGMENT_BYTES).await
    }

    async fn with_reserve(reserve: u64) -> Self {
        let consensus = consensus::Config { checkpoint_interval: Duration::from_millis(50), ..Default::default() };
        let options = Options { shards: 1, consensus, ..Options::single(NodeId(1)) };
        let node = Self::with(options, reserve).await;
        node.running.ready().await;
        node.begin().await.unwrap();
        node
    }

    pub(crate) async fn with(options: Options, reserve: u64) -> Self {
        let disk = MemoryDisk::new();
        disk.set_capacity(Some(CAPACITY_BYTES));
        let kv = FaultyKv { kv: MemoryKv::new(), fails: Arc::new(AtomicU8::new(Fails::Nothing as u8)) };
        let id = options.node;
        let options = Options { disk_reserve: storage::DiskReserve::Bytes(reserve), ..options };
        let seams = Seams {
            net: Arc::new(TcpNet),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SeededEntropy::new(id.0)),
            disk: Arc::new(disk.clone()),
            kv: Arc::new(kv.clone()),
            volumes: vec![Arc::new(disk.clone())],
            wal: WalConfig { segment_bytes: SEGMENT_BYTES, ..WalConfig::default() },
            writer: Writer::Task,
        };
        let running = assembly::start(options, seams).await.unwrap();
        Self { disk, kv, running, id, begun: Mutex::default() }
    }

    /// How many rows of executions the store holds.
    pub(crate) fn rows(&self) -> usize {
        let end = base::CELLS.to_be_bytes().to_vec();
        self.kv.kv.scan(&Scan::range(vec![0], end, usize::MAX)).unwrap().len()
    }

    async fn call(&self, method: &str, request: Vec<u8>) -> Result<Bytes, Status> {
        let path = format!("/temporal.api.workflowservice.v1.WorkflowService/{method}");
        let allowed = Some(Duration::from_secs(1));
        self.running.frontend().call(&path, &HeaderMap::new(), request.into(), allowed).await
    }

    /// Starts a workflow with another id each time.
    pub(crate) async fn begin(&self) -> Result<Bytes, Status> {
        let number = {
            let mut begun = self.begun.lock().unwrap();
            *begun += 1;
            *begun
        };
        let request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: format!("n{}w{number}", self.id),
            workflow_type: Some(WorkflowType { name: "w".repeat(500) }),
            task_queue: Some(TaskQueue { name: "queue".to_owned(), ..TaskQueue::default() }),
            request_id: format!("start-{}-{number}", self.id),
            ..StartWorkflowExecutionRequest::default()
        };
        self.call("StartWorkflowExecution", request.encode_to_vec()).await
    }

    /// Of a workflow that is not in any cache of a shard.
    async fn read(&self) -> Result<Bytes, Status> {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: "default".to_owned(),
            execution: Some(WorkflowExecution { workflow_id: format!("n{}w1", self.id), run_id: String::new() }),
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        self.call("GetWorkflowExecutionHistory", request.encode_to_vec()).await
    }

    /// Works until the node says that it must not go on. No call is told a wrong thing: what
    /// fails may be tried again.
    async fn stops(&self, why: &str) {
        let failed = self.running.failed();
        tokio::pin!(failed);
        let work = async {
            loop {
                for result in [self.begin().await, self.read().await] {
                    let Err(status) = result else { continue };
                    let may_be_repeated = [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted];
                    assert!(may_be_repeated.contains(&status.code()), "{why}: {status}");
                    sleep(Duration::from_millis(5)).await;
                }
            }
        };
        let reason = tokio::select! {
            reason = timeout(PATIENCE, &mut failed) => reason.unwrap_or_else(|_| panic!("{why}: the node stays")),
            never = work => never,
        };
        assert!(reason.to_string().contains(why), "{reason:?} does not say {why:?}");
    }

    async fn serves(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(status) = self.begin().await {
            assert!(Instant::now() < deadline, "still {status}");
            sleep(Duration::from_millis(5)).await;
        }
        self.read().await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_sync_of_the_log_stops_the_node() {
    let node = Node::start().await;
    node.disk.fail_sync(1);
    node.stops("WAL sync of").await;
}

#[tokio::test]
async fn a_failed_write_of_the_log_stops_the_node() {
    let node = Node::start().await;
    node.disk.set_full(true);
    node.stops("WAL write of").await;
}

#[tokio::test]
async fn no_room_for_the_next_segment_stops_the_node() {
    let node = Node::with_reserve(0).await;
    node.disk.set_capacity(Some(node.disk.used()));
    node.stops("WAL preallocate of").await;
}

#[tokio::test]
async fn a_file_system_that_became_read_only_stops_the_node() {
    let node = Node::start().await;
    node.disk.set_read_only(true);
    node.stops(&std::io::Error::from(ErrorKind::ReadOnlyFilesystem).to_string()).await;
}

#[tokio::test]
async fn no_handle_for_the_next_segment_stops_the_node() {
    let node = Node::start().await;
    node.disk.set_handles_exhausted(true);
    node.stops("oo many open files").await;
}

#[tokio::test]
async fn a_failed_sync_of_the_directory_stops_the_node() {
    // The log syncs its directory with each new segment; one of the next syncs is that.
    let node = Node::start().await;
    node.disk.fail_directory_sync(true);
    node.stops("WAL directory sync of").await;
}

#[tokio::test]
async fn a_failed_write_of_the_store_stops_the_node() {
    let node = Node::start().await;
    node.kv.set(Fails::Write);
    node.stops("injected: Write").await;
}

#[tokio::test]
async fn a_failed_checkpoint_stops_the_node() {
    let node = Node::start().await;
    node.kv.set(Fails::Checkpoint);
    node.stops("injected: Checkpoint").await;
}

#[tokio::test]
async fn a_failed_read_of_the_store_stops_the_node() {
    let node = Node::start().await;
    node.kv.set(Fails::Read);
    node.stops("injected: Read").await;
}

#[tokio::test]
async fn what_failed_in_the_background_stops_an_idle_node() {
    let node = Node::start().await;
    node.kv.set(Fails::Background);
    let reason = timeout(PATIENCE, node.running.failed()).await.expect("the node notices");
    assert!(reason.to_string().contains("injected: Background"), "{reason}");
}

#[tokio::test]
async fn a_read_without_handles_is_survived() {
    let node = Node::start().await;
    node.kv.set(Fails::ReadForNow);
    let status = node.read().await.expect_err("nothing can be read");
    assert!([Code::Unavailable, Code::DeadlineExceeded].contains(&status.code()), "{status}");
    node.kv.set(Fails::Nothing);
    node.serves().await;
}

#[tokio::test]
async fn below_the_reserve_nothing_begins_until_there_is_room() {
    let node = Node::start().await;
    node.disk.set_capacity(Some(node.disk.used() + 3 * SEGMENT_BYTES));
    let deadline = Instant::now() + PATIENCE;
    let refusal = loop {
        match node.begin().await {
            Ok(_) => assert!(Instant::now() < deadline, "never refused"),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    assert!(refusal.message().contains("disk of node 1") && refusal.message().contains("in memory"), "{refusal}");
    node.read().await.unwrap();
    node.disk.set_capacity(None);
    node.serves().await;
}
