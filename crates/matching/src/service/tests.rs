//! The service against shards that answer by script, on tokio's paused clock.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use api::internal::{
    DispatchQuery, DispatchQueryResponse, HistoryResponse, QueryTaskToken, RespondQuery, ShardBacklog, TaskKind,
};
use base::{NodeId, SeededEntropy, Timestamp};
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::{RateLimitSource, TaskQueueType};
use temporalio_protos::temporal::api::taskqueue::v1::{
    ConfigMetadata, RateLimit, RateLimitConfig, TaskQueueConfig, TaskQueueMetadata,
};
use temporalio_protos::temporal::api::workflowservice::v1::{
    DescribeTaskQueueRequest, DescribeTaskQueueResponse, PollActivityTaskQueueRequest, PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest,
};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, LocalSet};

use super::*;

/// What a shard says to one attempt.
enum Script {
    Start,
    Gone,
    Fail(Error),
    /// Waits for `Shards::release` before it starts the task.
    Hold,
    /// The same, and then the task is gone.
    HoldGone,
}

struct Shards {
    /// Attempts by run id; a run without script starts.
    scripts: Mutex<BTreeMap<String, VecDeque<Script>>>,
    /// Requests in order: `start RUN REQUEST_ID` or `sticky RUN`.
    log: Mutex<Vec<String>>,
    release: Notify,
    owned: AtomicBool,
    live: Mutex<Vec<NodeId>>,
    membership: watch::Sender<u64>,
    /// What an operator set for activities.
    api_rate: Mutex<Option<f32>>,
    settings: watch::Sender<u64>,
}

#[async_trait]
impl Upstream for Shards {
    async fn history(&self, request: Box<HistoryRequest>, _deadline: Instant) -> Result<HistoryResponse, Error> {
        let (task, line) = match request.request.unwrap() {
            history_request::Request::StartWorkflowTask(start) => (start.task.unwrap(), start.request_id),
            history_request::Request::StartActivityTask(start) => (start.task.unwrap(), start.request_id),
            history_request::Request::StickyQueueUnavailable(sticky) => {
                let run = sticky.task.unwrap().run_id;
                self.log.lock().unwrap().push(format!("sticky {run}"));
                return Ok(HistoryResponse::default());
            }
            _ => unreachable!("matching asks for nothing else"),
        };
        self.log.lock().unwrap().push(format!("start {} {line}", task.run_id));
        let script = self.scripts.lock().unwrap().get_mut(&task.run_id).and_then(VecDeque::pop_front);
        match script.unwrap_or(Script::Start) {
            Script::Start => {}
            Script::Gone => return Ok(HistoryResponse { task_gone: true, ..Default::default() }),
            Script::Fail(error) => return Err(error),
            Script::Hold => self.release.notified().await,
            Script::HoldGone => {
                self.release.notified().await;
                return Ok(HistoryResponse { task_gone: true, ..Default::default() });
            }
        }
        Ok(HistoryResponse { body: task.run_id.into(), ..HistoryResponse::default() })
    }

    fn owns(&self, _partition: &PartitionKey) -> bool {
        self.owned.load(Ordering::Relaxed)
    }

    fn this_node(&self) -> NodeId {
        NodeId(7)
    }

    fn live_nodes(&self) -> Vec<NodeId> {
        self.live.lock().unwrap().clone()
    }

    async fn matching_at(
        &self,
        node: NodeId,
        request: MatchingRequest,
        _deadline: Instant,
    ) -> Result<MatchingResponse, Error> {
        let Some(Request::CancelPolls(cancel)) = request.request else { unreachable!("matching tells nothing else") };
        let worker = cancel.worker_instance_key;
        self.log.lock().unwrap().push(format!("tell {node} {} {worker}", request.namespace_id));
        Ok(MatchingResponse::default())
    }

    fn membership(&self) -> watch::Receiver<u64> {
        self.membership.subscribe()
    }

    fn queue_config(&self, _: &str, task_queue: &str, kind: TaskQueueType) -> Option<TaskQueueConfig> {
        let rate = (*self.api_rate.lock().unwrap()).filter(|_| task_queue == "q" && kind == TaskQueueType::Activity)?;
        let limit = RateLimitConfig {
            rate_limit: Some(RateLimit { requests_per_second: rate }),
            metadata: Some(ConfigMetadata { reason: "calm".to_owned(), ..Default::default() }),
        };
        Some(TaskQueueConfig { queue_rate_limit: Some(limit), ..Default::default() })
    }

    fn settings(&self) -> watch::Receiver<u64> {
        self.settings.subscribe()
    }
}

/// The clock of what is told to people; it stands still.
struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }
}

struct Bed {
    shards: Arc<Shards>,
    handle: Handle,
    shutdown: CancellationToken,
}

/// Runs `test` beside a service, on one thread and the paused clock.
async fn with_service<F: Future<Output = ()>>(test: impl FnOnce(Bed) -> F) {
    let shards = Arc::new(Shards {
        scripts: Mutex::default(),
        log: Mutex::default(),
        release: Notify::new(),
        owned: AtomicBool::new(true),
        live: Mutex::default(),
        membership: watch::Sender::new(0),
        api_rate: Mutex::default(),
        settings: watch::Sender::new(0),
    });
    let config = Config { tasks_per_partition_max: 3, ..Config::default() };
    config.validate().unwrap();
    let upstream: Arc<dyn Upstream> = Arc::clone(&shards) as _;
    let service = Service::new(config, upstream, Arc::new(StillClock), Arc::new(SeededEntropy::new(1)));
    let handle = service.handle();
    let shutdown = CancellationToken::new();
    let local = LocalSet::new();
    local.spawn_local(service.run(shutdown.clone()));
    local.run_until(test(Bed { shards, handle, shutdown })).await;
}

fn key(kind: TaskKind, sticky: bool) -> PartitionKey {
    let task_queue = if sticky { "sticky-q" } else { "q" };
    PartitionKey { namespace_id: "ns".into(), task_queue: task_queue.into(), kind: kind.into(), partition: 0, sticky }
}

fn task(run: &str) -> TaskRef {
    TaskRef { namespace_id: "ns".into(), workflow_id: "w".into(), run_id: run.into(), ..Default::default() }
}

impl Bed {
    async fn call(&self, partition: PartitionKey, request: Request) -> Result<Response, Error> {
        call(self.handle.clone(), partition, request, Duration::from_secs(70)).await
    }

    /// A poll that goes on by itself; it has parked when this returns.
    async fn poll(&self, kind: TaskKind, sticky: bool, worker: &str) -> JoinHandle<Result<Bytes, Error>> {
        let (identity, worker_instance_key) = (format!("id-{worker}"), worker.to_owned());
        let request = match kind {
            TaskKind::Activity => Request::PollActivity(PollActivityTaskQueueRequest {
                identity,
                worker_instance_key,
                ..Default::default()
            }),
            _ => Request::PollWorkflow(PollWorkflowTaskQueueRequest {
                identity,
                worker_instance_key,
                ..Default::default()
            }),
        };
        let handle = self.handle.clone();
        let poll = tokio::task::spawn_local(async move {
            match call(handle, key(kind, sticky), request, Duration::from_secs(70)).await? {
                Response::Body(body) => Ok(body),
                other => panic!("a poll was answered with {other:?}"),
            }
        });
        settle().await;
        poll
    }

    async fn offer(&self, kind: TaskKind, sticky: bool, runs: &[&str]) -> OfferTasksResponse {
        let tasks = runs.iter().map(|run| task(run)).collect();
        match self.call(key(kind, sticky), Request::Offer(OfferTasks { tasks, ..Default::default() })).await.unwrap() {
            Response::Offer(response) => response,
            other => panic!("an offer was answered with {other:?}"),
        }
    }

    fn script(&self, run: &str, script: impl IntoIterator<Item = Script>) {
        self.shards.scripts.lock().unwrap().insert(run.to_owned(), script.into_iter().collect());
    }

    /// What the shards were asked, without request ids.
    fn log(&self) -> Vec<String> {
        let log = self.shards.log.lock().unwrap();
        log.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    fn owned(&self, owned: bool, membership: u64) {
        self.shards.owned.store(owned, Ordering::Relaxed);
        self.shards.membership.send_replace(membership);
    }

    fn reserve(&self) -> Option<ActivityReservation> {
        self.handle.reserve_activity_poller(&key(TaskKind::Activity, false))
    }
}

async fn call(handle: Handle, partition: PartitionKey, request: Request, wait: Duration) -> Result<Response, Error> {
    let request = MatchingRequest {
        namespace_id: "ns".into(),
        namespace: "default".into(),
        partition: Some(partition),
        request: Some(request),
    };
    let response = MatchingService::call(&handle, Box::new(request), Instant::now() + wait).await?;
    Ok(response.response.unwrap())
}

/// Lets every other future go as far as it can without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    settle().await;
}

async fn answer(poll: JoinHandle<Result<Bytes, Error>>) -> String {
    let body = poll.await.unwrap().unwrap();
    // Our shards answer with plain text; what follows it tells how many polls to make.
    let text = body.iter().position(|byte| !byte.is_ascii()).unwrap_or(body.len());
    String::from_utf8(body[..text].to_vec()).unwrap()
}

const WF: TaskKind = TaskKind::Workflow;
const ACT: TaskKind = TaskKind::Activity;

#[tokio::test(start_paused = true)]
async fn a_parked_poll_gets_the_offered_task_and_a_late_one_the_waiting_task() {
    with_service(|bed| async move {
        let poll = bed.poll(WF, false, "a").await;
        let OfferTasksResponse { accepted, credit, generation } = bed.offer(WF, false, &["r1", "r2"]).await;
        assert_eq!((accepted, credit), (2, 1));
        assert_eq!(answer(poll).await, "r1");
        assert_eq!(answer(bed.poll(WF, false, "a").await).await, "r2");
        assert_eq!(
            bed.offer(WF, false, &["r3", "r4", "r5", "r6"]).await,
            OfferTasksResponse { accepted: 3, credit: 0, generation }
        );
        assert_eq!(bed.log(), ["start r1", "start r2"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_a_task_ends_empty_before_its_deadline() {
    with_service(|bed| async move {
        let started = Instant::now();
        assert_eq!(answer(bed.poll(WF, false, "a").await).await, "");
        assert_eq!(started.elapsed().as_secs(), 60);
        let poll = Request::PollWorkflow(PollWorkflowTaskQueueRequest::default());
        let short = call(bed.handle.clone(), key(WF, false), poll, Duration::from_secs(5)).await;
        assert_eq!(short, Ok(Response::Body(Bytes::new())));
        assert_eq!(started.elapsed().as_secs(), 64);
        assert_eq!(bed.handle.lock().polls, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_task_is_dropped_and_its_poll_stays_first() {
    with_service(|bed| async move {
        bed.script("stale", [Script::Gone]);
        let first = bed.poll(ACT, false, "a").await;
        let second = bed.poll(ACT, false, "b").await;
        bed.offer(ACT, false, &["stale"]).await;
        settle().await;
        bed.offer(ACT, false, &["r1"]).await;
        assert_eq!(answer(first).await, "r1");
        assert_eq!(bed.handle.lock().tasks, 0);
        second.abort();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_shard_has_no_leader_rests_and_keeps_its_request_id() {
    with_service(|bed| async move {
        bed.script(
            "r1",
            [Script::Fail(Error::NotLeader { hint: None }), Script::Fail(Error::Unavailable(String::new()))],
        );
        let poll = bed.poll(ACT, false, "a").await;
        bed.offer(ACT, false, &["r1"]).await;
        settle().await;
        // Meanwhile the poll serves others.
        bed.offer(ACT, false, &["r2"]).await;
        assert_eq!(answer(poll).await, "r2");
        assert_eq!(answer(bed.poll(ACT, false, "a").await).await, "r1");
        assert_eq!(bed.log(), ["start r1", "start r2", "start r1", "start r1"]);
        let log = bed.shards.log.lock().unwrap();
        assert!(log[0] == log[2] && log[2] == log[3], "{log:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_its_shard_refuses_rests_for_longer_and_is_never_dropped() {
    with_service(|bed| async move {
        bed.script("r1", [Script::Fail(Error::Internal("broken".into()))]);
        let poll = bed.poll(WF, false, "a").await;
        bed.offer(WF, false, &["r1"]).await;
        pass(9).await;
        assert_eq!(bed.log(), ["start r1"]);
        assert_eq!(answer(poll).await, "r1");
        assert_eq!(bed.log(), ["start r1", "start r1"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_poll_leaves_and_gives_its_task_to_the_next() {
    with_service(|bed| async move {
        bed.script("r1", [Script::Hold]);
        let gone = bed.poll(WF, false, "a").await;
        gone.abort();
        settle().await;
        let dropped = bed.poll(WF, false, "b").await;
        let other = bed.poll(WF, false, "c").await;
        bed.offer(WF, false, &["r1"]).await;
        settle().await;
        dropped.abort();
        assert_eq!(answer(other).await, "r1");
        assert_eq!(bed.log(), ["start r1", "start r1"]);
        assert_eq!(bed.handle.lock().polls, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_task_delivered_to_a_poll_that_is_dropped_unread_is_not_lost() {
    with_service(|bed| async move {
        let mut poll = Box::pin(call(
            bed.handle.clone(),
            key(WF, false),
            Request::PollWorkflow(PollWorkflowTaskQueueRequest::default()),
            Duration::from_secs(70),
        ));
        assert!(futures_util::poll!(&mut poll).is_pending());
        bed.offer(WF, false, &["r1"]).await;
        drop(poll);
        assert_eq!(answer(bed.poll(WF, false, "b").await).await, "r1");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_sticky_queue_gives_its_tasks_back() {
    with_service(|bed| async move {
        bed.offer(WF, true, &["r1"]).await;
        settle().await;
        assert_eq!(bed.log(), ["sticky r1"]);
        let poll = bed.poll(WF, true, "a").await;
        bed.offer(WF, true, &["r2"]).await;
        assert_eq!(answer(poll).await, "r2");
        bed.offer(WF, true, &["r3"]).await;
        pass(9).await;
        assert_eq!(bed.log(), ["sticky r1", "start r2"]);
        pass(2).await;
        assert_eq!(bed.log(), ["sticky r1", "start r2", "sticky r3"]);
        assert_eq!(bed.handle.lock().tasks, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_shuts_down_gets_no_more_tasks() {
    with_service(|bed| async move {
        let gone = [bed.poll(WF, false, "a").await, bed.poll(ACT, false, "a").await, bed.poll(WF, true, "").await];
        let stays = bed.poll(WF, false, "b").await;
        let cancel = CancelPolls { worker_instance_key: "a".into(), sticky_queue: "sticky-q".into() };
        bed.call(key(WF, false), Request::CancelPolls(cancel)).await.unwrap();
        for poll in gone {
            assert_eq!(answer(poll).await, "");
        }
        let late = bed.poll(WF, false, "a").await;
        assert!(late.is_finished());
        let pollers = described(&bed, WF).await.pollers;
        assert_eq!(pollers.iter().map(|poller| poller.identity.as_str()).collect::<Vec<_>>(), ["id-b"]);
        bed.offer(WF, false, &["r1"]).await;
        assert_eq!(answer(stays).await, "r1");
        bed.offer(WF, true, &["r2"]).await;
        settle().await;
        assert_eq!(bed.log(), ["start r1", "sticky r2"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_shuts_down_while_a_task_starts_does_not_wait_for_another() {
    with_service(|bed| async move {
        bed.script("r1", [Script::HoldGone]);
        let poll = bed.poll(WF, false, "a").await;
        bed.offer(WF, false, &["r1"]).await;
        settle().await;
        let cancel = CancelPolls { worker_instance_key: "a".into(), sticky_queue: String::new() };
        bed.call(key(WF, false), Request::CancelPolls(cancel)).await.unwrap();
        assert!(!poll.is_finished());
        bed.shards.release.notify_one();
        settle().await;
        assert!(poll.is_finished());
        assert_eq!(answer(poll).await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_is_told_which_workers_are_gone() {
    with_service(|bed| async move {
        let cancel = CancelPolls { worker_instance_key: "a".into(), sticky_queue: String::new() };
        bed.call(key(WF, false), Request::CancelPolls(cancel)).await.unwrap();
        settle().await;
        for live in [vec![7, 8], vec![7, 8], vec![7], vec![7, 8]] {
            *bed.shards.live.lock().unwrap() = live.into_iter().map(NodeId).collect();
            bed.shards.membership.send_modify(|version| *version += 1);
            settle().await;
        }
        let told = format!("tell {} ns a", NodeId(8));
        assert_eq!(*bed.shards.log.lock().unwrap(), [told.clone(), told]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_moves_ends_its_polls_and_forgets_its_tasks_in_time() {
    with_service(|bed| async move {
        let poll = bed.poll(WF, false, "a").await;
        bed.offer(ACT, false, &["r1"]).await;
        bed.owned(false, 1);
        assert_eq!(answer(poll).await, "");
        assert_eq!(bed.offer(WF, false, &["r2"]).await, OfferTasksResponse::default());
        // A poll that comes here all the same does not wait for long.
        let started = Instant::now();
        assert_eq!(answer(bed.poll(WF, false, "a").await).await, "");
        assert_eq!(started.elapsed().as_secs(), 1);
        pass(31).await;
        let state = bed.handle.lock();
        assert_eq!((state.partitions.len(), state.tasks, state.polls), (0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_only_seemed_to_move_still_has_its_tasks() {
    with_service(|bed| async move {
        bed.offer(ACT, false, &["r1", "r2"]).await;
        bed.owned(false, 1);
        pass(5).await;
        // A poller whose node saw no move gets a task even now.
        assert_eq!(answer(bed.poll(ACT, false, "a").await).await, "r1");
        bed.owned(true, 2);
        pass(60).await;
        assert_eq!(answer(bed.poll(ACT, false, "a").await).await, "r2");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_ends_polls_and_refuses_new_ones() {
    with_service(|bed| async move {
        let poll = bed.poll(WF, false, "a").await;
        bed.shutdown.cancel();
        assert_eq!(answer(poll).await, "");
        let refused = bed.poll(WF, false, "a").await.await.unwrap();
        assert!(matches!(refused, Err(Error::Unavailable(_))));
        assert_eq!(bed.offer(WF, false, &["r1"]).await.accepted, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reserved_poller_gets_the_committed_task_or_its_place_back() {
    with_service(|bed| async move {
        assert!(bed.reserve().is_none());
        let poll = bed.poll(ACT, false, "a").await;
        drop(bed.reserve().unwrap());
        settle().await;
        let reservation = bed.reserve().unwrap();
        assert_eq!(reservation.poll.identity, "id-a");
        assert!(bed.reserve().is_none());
        reservation.deliver.send("fused".into()).unwrap();
        assert_eq!(answer(poll).await, "fused");
        // A poller that leaves while it is reserved cannot be delivered to.
        let poll = bed.poll(ACT, false, "a").await;
        let reservation = bed.reserve().unwrap();
        poll.abort();
        settle().await;
        assert!(reservation.deliver.send("late".into()).is_err());
    })
    .await;
}

fn query() -> Request {
    let task = PollWorkflowTaskQueueResponse { attempt: 5, ..Default::default() };
    Request::DispatchQuery(DispatchQuery {
        task: task.encode_to_vec().into(),
        timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
    })
}

#[tokio::test(start_paused = true)]
async fn a_query_is_answered_by_the_worker_that_gets_it() {
    with_service(|bed| async move {
        let mut asked = pin!(bed.call(key(WF, false), query()));
        assert!(futures_util::poll!(&mut asked).is_pending());
        let body = bed.poll(WF, false, "a").await.await.unwrap().unwrap();
        let given = PollWorkflowTaskQueueResponse::decode(body).unwrap();
        assert_eq!(given.attempt, 5);
        let token = QueryTaskToken::decode(given.task_token.as_slice()).unwrap();
        assert_eq!((token.node_id, token.namespace_id.as_str()), (7, "ns"));
        let request = RespondQueryTaskCompletedRequest { error_message: "no".into(), ..Default::default() };
        let respond = Request::RespondQuery(RespondQuery { token: Some(token), request: Some(request.clone()) });
        bed.call(key(WF, false), respond.clone()).await.unwrap();
        let expected = DispatchQueryResponse { answer: Some(request), no_poller: false };
        assert_eq!(asked.await, Ok(Response::Query(expected)));
        let again = bed.call(key(WF, false), respond).await;
        assert!(matches!(again, Err(Error::NotFound(_))));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_query_without_a_worker_says_so() {
    with_service(|bed| async move {
        let no_poller = Ok(Response::Query(DispatchQueryResponse { answer: None, no_poller: true }));
        let started = Instant::now();
        assert_eq!(bed.call(key(WF, true), query()).await, no_poller);
        assert_eq!(started.elapsed(), Duration::ZERO);
        // A queue new to this node gets a moment for its workers to come over.
        assert_eq!(bed.call(key(WF, false), query()).await, no_poller);
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        assert_eq!(bed.call(key(WF, false), query()).await, no_poller);
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        // A worker was there just now, and does not come back in time.
        let poll = bed.poll(WF, false, "a").await;
        poll.abort();
        settle().await;
        assert_eq!(bed.call(key(WF, false), query()).await, Err(Error::DeadlineExceeded));
        assert_eq!(bed.call(key(WF, false), query()).await, no_poller);
        let state = bed.handle.lock();
        assert_eq!((state.queries.len(), state.tasks), (0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn describe_tells_pollers_backlog_and_rates() {
    with_service(|bed| async move {
        let poll = bed.poll(WF, false, "a").await;
        bed.offer(WF, false, &["r1", "r2", "r3"]).await;
        assert_eq!(answer(poll).await, "r1");
        let request = DescribeTaskQueueRequest { report_stats: true, ..Default::default() };
        let Ok(Response::Body(body)) = bed.call(key(WF, false), Request::Describe(request)).await else { panic!() };
        let described = DescribeTaskQueueResponse::decode(body).unwrap();
        assert_eq!(described.pollers.len(), 1);
        assert_eq!(described.pollers[0].identity, "id-a");
        let stats = described.stats.unwrap();
        assert_eq!(stats.approximate_backlog_count, 2);
        assert!(stats.tasks_add_rate > stats.tasks_dispatch_rate && stats.tasks_dispatch_rate > 0.0, "{stats:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn idle_partitions_are_forgotten() {
    with_service(|bed| async move {
        let poll = bed.poll(WF, false, "a").await;
        assert_eq!(answer(poll).await, "");
        bed.offer(ACT, false, &["r1"]).await;
        pass(300).await;
        assert_eq!(bed.handle.lock().partitions.len(), 2);
        pass(120).await;
        // The one with a task stays.
        assert_eq!(bed.handle.lock().partitions.len(), 1);
    })
    .await;
}

/// A poll for activities by a worker that wants a rate for the queue.
fn limited_poll(bed: &Bed, rate: Option<f64>) -> JoinHandle<Result<Bytes, Error>> {
    let request = Request::PollActivity(PollActivityTaskQueueRequest {
        task_queue_metadata: rate.map(|rate| TaskQueueMetadata { max_tasks_per_second: Some(rate) }),
        ..Default::default()
    });
    let handle = bed.handle.clone();
    tokio::task::spawn_local(async move {
        match call(handle, key(ACT, false), request, Duration::from_secs(70)).await? {
            Response::Body(body) => Ok(body),
            other => panic!("{other:?}"),
        }
    })
}

#[expect(deprecated, reason = "older tools read the old fields")]
async fn described(bed: &Bed, kind: TaskKind) -> DescribeTaskQueueResponse {
    let request = DescribeTaskQueueRequest {
        report_stats: true,
        report_config: true,
        include_task_queue_status: true,
        ..Default::default()
    };
    let Ok(Response::Body(body)) = bed.call(key(kind, false), Request::Describe(request)).await else { panic!() };
    DescribeTaskQueueResponse::decode(body).unwrap()
}

/// Takes `count` activities one after the other; the time it took, in milliseconds.
async fn drain(bed: &Bed, rate: Option<f64>, count: u32) -> u128 {
    let started = Instant::now();
    for _ in 0..count {
        let run = answer(limited_poll(bed, rate)).await;
        bed.offer(ACT, false, &[&format!("{run}+")]).await;
    }
    started.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn the_last_poll_sets_the_rate_and_an_operator_overrides_it() {
    with_service(|bed| async move {
        bed.offer(ACT, false, &["a", "b", "c"]).await;
        // The first second's worth goes at once.
        drain(&bed, Some(10.0), 11).await;
        let took = drain(&bed, Some(10.0), 30).await;
        assert!((2900..=3100).contains(&took), "{took}");
        let told = described(&bed, ACT).await;
        let rate = told.effective_rate_limit.unwrap();
        assert_eq!((rate.requests_per_second, rate.rate_limit_source()), (10.0, RateLimitSource::Worker));
        assert!(told.stats.unwrap().rate_limiting_active);
        assert_eq!(told.pollers[0].rate_per_second, 10.0);
        // A worker without a wish: as fast as it goes.
        let took = drain(&bed, None, 100).await;
        assert!(took < 100, "{took}");
        // An operator stops the queue; the poller that waits sees the change of mind.
        *bed.shards.api_rate.lock().unwrap() = Some(0.0);
        bed.shards.settings.send_replace(1);
        let poll = limited_poll(&bed, Some(50.0));
        pass(20).await;
        assert!(!poll.is_finished());
        let told = described(&bed, ACT).await;
        let rate = told.effective_rate_limit.unwrap();
        assert_eq!((rate.requests_per_second, rate.rate_limit_source()), (0.0, RateLimitSource::Api));
        assert_eq!(told.config.unwrap().queue_rate_limit.unwrap().metadata.unwrap().reason, "calm");
        *bed.shards.api_rate.lock().unwrap() = None;
        bed.shards.settings.send_replace(2);
        assert_ne!(answer(poll).await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[expect(deprecated, reason = "older tools read the old fields")]
async fn backlogs_count_what_the_shards_keep_until_they_are_silent() {
    with_service(|bed| async move {
        let offer = |shard_id, priority_key, runs: &[&str], count| {
            let tasks = runs.iter().map(|run| TaskRef { priority_key, ..task(run) }).collect();
            let oldest = Some(Timestamp::from_millis(990_000).to_proto());
            let backlog = (count > 0).then_some(ShardBacklog { priority_key, count, oldest });
            Request::Offer(OfferTasks { tasks, shard_id, backlog: backlog.into_iter().collect() })
        };
        bed.call(key(WF, false), offer(1, 0, &["a", "b", "c", "d", "e"], 7)).await.unwrap();
        bed.call(key(WF, false), offer(2, 1, &["x"], 30)).await.unwrap();
        let told = described(&bed, WF).await;
        let by_priority = |told: &DescribeTaskQueueResponse, key: i32| {
            told.stats_by_priority_key.get(&key).map(|stats| stats.approximate_backlog_count)
        };
        // Three of the first shard's tasks fit the window; the other two are its backlog, too.
        assert_eq!(told.stats.as_ref().unwrap().approximate_backlog_count, 12 + 31);
        assert_eq!((by_priority(&told, 3), by_priority(&told, 1), by_priority(&told, 2)), (Some(12), Some(31), None));
        assert_eq!(told.stats.as_ref().unwrap().approximate_backlog_age.as_ref().unwrap().seconds, 10);
        assert_eq!(told.task_queue_status.as_ref().unwrap().backlog_count_hint, 43);
        // The urgent one goes first.
        assert_eq!(answer(bed.poll(WF, false, "a").await).await, "x");
        pass(6).await;
        assert_eq!(described(&bed, WF).await.stats.unwrap().approximate_backlog_count, 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_generation_says_when_tasks_were_lost() {
    with_service(|bed| async move {
        settle().await;
        let ask = || bed.offer(WF, false, &[]);
        assert_eq!(ask().await.generation, 0);
        let first = bed.offer(WF, false, &["r1"]).await.generation;
        assert_ne!(first, 0);
        assert_eq!(ask().await.generation, first);
        // The partition moves away and comes back: what it had is gone.
        bed.owned(false, 1);
        settle().await;
        pass(31).await;
        bed.owned(true, 2);
        pass(1).await;
        assert_eq!(ask().await.generation, 0);
        let second = bed.offer(WF, false, &["r1"]).await.generation;
        assert!(second != 0 && second != first);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn polls_are_told_when_more_or_fewer_of_them_would_do() {
    with_service(|bed| async move {
        let decision = |body: Bytes| {
            let response = PollActivityTaskQueueResponse::decode(body).unwrap();
            response.poller_scaling_decision.map(|decision| decision.poll_request_delta_suggestion)
        };
        let poll = bed.poll(ACT, false, "a").await;
        pass(2).await;
        bed.offer(ACT, false, &[""]).await;
        assert_eq!(decision(poll.await.unwrap().unwrap()), Some(-1));
        let old = TaskRef { scheduled_time: Some(Timestamp::from_millis(999_000).to_proto()), ..task("") };
        let tasks = [1, 2].map(|number| TaskRef { scheduled_event_id: number, ..old.clone() });
        let offer = OfferTasks { tasks: tasks.to_vec(), ..Default::default() };
        bed.call(key(ACT, false), Request::Offer(offer)).await.unwrap();
        let poll = bed.poll(ACT, false, "a").await;
        assert_eq!(decision(poll.await.unwrap().unwrap()), Some(1));
    })
    .await;
}
