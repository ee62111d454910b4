//! All groups of one node.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use base::{Entropy, NodeId, Term};
use openraft::SnapshotPolicy;
use openraft::metrics::RaftMetrics;
use openraft::rt::WatchReceiver;
use openraft::type_config::alias::WatchReceiverOf;
use storage::{Batch, GroupId, Kv, Wal, checkpoint_pair};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::group::{Shared, Timing};
use crate::handler::{Directory, Handler, Receiver};
use crate::log::Log;
use crate::machine::{Machine, Store, blocking};
use crate::network::Network;
use crate::pipeline::Pipeline;
use crate::role::watch_role;
use crate::runtime::with_seed;
use crate::types::{Raft, SnapshotMeta, TypeConfig};
use crate::{Group, RaftHandler, Role, Transport};

/// Timing and sizes of Raft. Defaults are those of `raft.md` section 2.
#[derive(Clone, Debug)]
pub struct Config {
    pub heartbeat_interval: Duration,
    pub election_timeout_min: Duration,
    /// Also the lease: a leader that a quorum acknowledged this recently is not deposed.
    pub election_timeout_max: Duration,
    /// The most bytes of entries in one append request.
    pub append_bytes_max: usize,
    /// Log entries kept behind the durable applied index for slow followers.
    pub log_keep_entries: u64,
    /// How often the KV is checkpointed so that the log can be purged.
    pub checkpoint_interval: Duration,
    /// Only for the simulator's tests of itself: answers proposals before a quorum has them.
    pub planted_ack_before_quorum: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(200),
            election_timeout_min: Duration::from_millis(400),
            election_timeout_max: Duration::from_millis(700),
            append_bytes_max: 1 << 20,
            log_keep_entries: 5_000,
            checkpoint_interval: Duration::from_secs(10),
            planted_ack_before_quorum: false,
        }
    }
}

/// Requests that wait for one group's Raft core.
const CORE_QUEUE: u64 = 4096;
/// Commands that wait for one group's state machine.
const MACHINE_QUEUE: u64 = 1024;
/// The most entries in one append request.
const APPEND_ENTRIES_MAX: u64 = 256;
/// Openraft's wait before it tries an unreachable follower again.
const BACKOFF: &str = "200ms";
/// How often the first voter of a new group asks whether the others are there.
const BOOTSTRAP_INTERVAL: Duration = Duration::from_millis(25);
const BOOTSTRAP_INTERVAL_MAX: Duration = Duration::from_millis(800);

#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    #[error("group {0} failed to start: {1}")]
    Start(GroupId, String),
    #[error(
        "the state of group {group} is missing or an old copy: it holds the log up to entry {applied}, and the log \
         begins behind entry {purged}. Put back the state as it was; if that cannot be done, remove the node's whole \
         data directory and replace the node by a new one"
    )]
    StateBehindLog { group: GroupId, applied: u64, purged: u64 },
}

/// Called after an entry is applied to the KV, on every replica, in order; also while a
/// snapshot of the leader replaces the state, with the index of the snapshot, first with
/// the deletion of all ranges and then with its pairs. A restart may repeat the last
/// calls, because the KV may have lost its last writes.
pub type ApplyObserver = Arc<dyn Fn(GroupId, u64, &Batch) + Send + Sync>;

/// Runs the groups of one node.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    config: Config,
    wal: Wal,
    kv: Arc<dyn Kv>,
    transport: Arc<dyn Transport>,
    entropy: Arc<dyn Entropy>,
    replicas: Mutex<BTreeMap<GroupId, Replica>>,
    /// Held while a group starts, so that none starts twice.
    starting: tokio::sync::Mutex<()>,
    checkpointing: AtomicBool,
    /// See [`Host::decline_appends`].
    declining: Arc<AtomicBool>,
    /// Groups are being stopped on purpose.
    stopping: AtomicBool,
    failure: watch::Sender<Option<Arc<str>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Replica {
    group: Group,
    receiver: Arc<Receiver>,
    log: Log,
}

/// What [`Host::start_group`] was asked for.
struct Start {
    group: GroupId,
    voters: BTreeSet<u64>,
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
    observer: Option<ApplyObserver>,
}

impl Host {
    #[must_use]
    pub fn new(
        node: NodeId,
        config: Config,
        wal: Wal,
        kv: Arc<dyn Kv>,
        transport: Arc<dyn Transport>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                node,
                config,
                wal,
                kv,
                transport,
                entropy,
                replicas: Mutex::default(),
                starting: tokio::sync::Mutex::default(),
                checkpointing: AtomicBool::new(false),
                declining: Arc::default(),
                stopping: AtomicBool::new(false),
                failure: watch::Sender::new(None),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Starts the replica of `group` on this node. A group without any stored state is
    /// initialised with `voters` (the same on every node). `ranges` are the key ranges of
    /// the KV that make up the group's state, for snapshots.
    pub async fn start_group(
        &self,
        group: GroupId,
        voters: Vec<NodeId>,
        ranges: Vec<(Vec<u8>, Vec<u8>)>,
        observer: Option<ApplyObserver>,
    ) -> Result<Group, HostError> {
        let _starting = self.inner.starting.lock().await;
        if let Some(running) = self.group(group) {
            return Ok(running);
        }
        let voters = voters.into_iter().map(|node| node.0).collect();
        let replica = self.inner.start(Start { group, voters, ranges, observer }).await.map_err(|error| match error
            .downcast::<HostError>(
        ) {
            Ok(error) => *error,
            Err(error) => HostError::Start(group, error.to_string()),
        })?;
        self.inner.replicas().insert(group, replica.clone());
        if !self.inner.checkpointing.swap(true, Ordering::Relaxed) {
            self.inner.spawn(checkpoint_periodically(Arc::downgrade(&self.inner)));
        }
        Ok(replica.group)
    }

    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<Group> {
        self.inner.replicas().get(&group).map(|replica| replica.group.clone())
    }

    #[must_use]
    pub fn handler(&self) -> Arc<dyn RaftHandler> {
        Arc::new(Handler(self.inner.clone()))
    }

    /// Makes everything applied so far durable in the KV and purges the logs below it.
    /// Also done at every [`Config::checkpoint_interval`] and by [`Host::shutdown`].
    pub async fn checkpoint(&self) {
        self.inner.checkpoint().await;
    }

    /// While set, followers here take no entries and no snapshots, as if they could not be
    /// reached, but they still hear their leaders. For a node that has no room, in a cluster
    /// that can do without it: it catches up later. What it leads is not affected.
    pub fn decline_appends(&self, decline: bool) {
        self.inner.declining.store(decline, Ordering::Relaxed);
    }

    /// Ready, with the reason, once a group has stopped that nobody asked to stop: its log or
    /// its state cannot be written or read. A node without one of its groups must not go on.
    pub fn failed(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        let mut failure = self.inner.failure.subscribe();
        async move {
            let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failed| failed.clone());
            match failed {
                Some(reason) => reason,
                None => pending().await,
            }
        }
    }

    /// Checkpoints the KV, purges logs and stops every group.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.inner.checkpoint().await;
        self.inner.stop_groups().await;
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

#[cfg(test)]
impl Host {
    /// Stops every group as a crash would: nothing is checkpointed.
    pub(crate) async fn kill(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.inner.stop_groups().await;
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    fn replicas(&self) -> MutexGuard<'_, BTreeMap<GroupId, Replica>> {
        self.replicas.lock().expect("no panic while held")
    }

    fn all_replicas(&self) -> Vec<Replica> {
        self.replicas().values().cloned().collect()
    }

    /// Runs `task` until it ends or the host stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    async fn start(self: &Arc<Self>, start: Start) -> Result<Replica, Box<dyn std::error::Error + Send + Sync>> {
        let store = blocking(|| Store::open(start.group, self.kv.clone(), start.ranges, start.observer))?;
        let log = Log::new(self.wal.group(start.group), self.config.append_bytes_max);
        self.check_pair(&store, &log)?;
        // A node that never voted or acknowledged anything owes nobody a lease.
        let is_new = log.is_pristine() && store.record().log_id.is_none();
        let started = Instant::now();
        let network = Network {
            transport: self.transport.clone(),
            entropy: self.entropy.clone(),
            node: self.node,
            group: start.group,
            append_timeout: self.config.election_timeout_max,
        };
        let config = Arc::new(self.raft_config(start.group, is_new)?);
        let machine = Machine::new(store.clone());
        let raft =
            with_seed(self.entropy.next_u64(), Raft::new(self.node.0, config, network, log.clone(), machine)).await?;
        let stored: BTreeSet<u64> =
            raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect()).await?;
        let voters = if stored.is_empty() { &start.voters } else { &stored };
        let is_single = voters.len() == 1 && voters.contains(&self.node.0);
        let hold_until = (!is_new && !is_single).then(|| started + self.hold_down());
        if is_single {
            // Nobody can time out: without ticks an idle group costs nothing.
            raft.runtime_config().tick(false);
        }

        let pipeline = Pipeline::new(self.config.planted_ack_before_quorum);
        let (role_tx, role) = watch::channel(Role::Follower { term: Term::default(), leader: None });
        self.spawn(watch_role(raft.clone(), store.clone(), pipeline.clone(), role_tx));
        self.spawn(pipeline.clone().run(raft.clone()));
        self.spawn(notice_stop(Arc::downgrade(self), start.group, raft.metrics(), role.clone()));
        if let Some(until) = hold_until {
            let raft = raft.clone();
            self.spawn(async move {
                tokio::time::sleep_until(until).await;
                raft.runtime_config().elect(true);
            });
        }
        self.begin(&raft, start.voters, is_single, role.clone()).await?;

        let timing = Timing {
            lease_trusted: self.config.election_timeout_max * 3 / 4,
            transfer: self.config.election_timeout_max * 2,
        };
        let receiver = Receiver {
            raft: raft.clone(),
            store: store.clone(),
            incoming: Arc::default(),
            hold_until,
            declining: self.declining.clone(),
        };
        let shared = Shared { raft, store, pipeline, role, timing, hold_until, single_voter: is_single };
        Ok(Replica { group: Group { shared: Arc::new(shared) }, receiver: Arc::new(receiver), log })
    }

    /// Whether the log goes on where the state ends.
    fn check_pair(&self, store: &Store, log: &Log) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let applied = store.record().log_id.map(|id| id.index);
        if let Some(purged) = log.purged()?.map(|id| id.index).filter(|purged| applied < Some(*purged)) {
            let applied = applied.unwrap_or_default();
            return Err(Box::new(HostError::StateBehindLog { group: store.group, applied, purged }));
        }
        if log.last_index() < applied {
            // A leader applies what a quorum has, even before its own log has it. Raft purges
            // the log up to there now, so that the state must not be lost any more.
            blocking(|| self.kv.checkpoint())?;
        }
        Ok(())
    }

    /// Longer than the lease by a third, for clocks that run at different rates.
    fn hold_down(&self) -> Duration {
        self.config.election_timeout_max * 4 / 3
    }

    /// Initialises a new group, and elects at once where nobody else has to agree.
    async fn begin(
        &self,
        raft: &Raft,
        voters: BTreeSet<u64>,
        is_single: bool,
        role: watch::Receiver<Role>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let initialized = raft.is_initialized().await?;
        if is_single {
            if initialized {
                raft.trigger().elect(false).await?;
            } else {
                raft.initialize(voters).await?;
            }
        } else if !initialized && let Some(rank) = voters.iter().position(|voter| *voter == self.node.0) {
            let turn = u32::try_from(rank).unwrap_or(u32::MAX);
            let patience = self.config.election_timeout_max * 2 * turn;
            self.spawn(bootstrap(raft.clone(), voters, patience, role));
        }
        Ok(())
    }

    fn raft_config(&self, group: GroupId, is_new: bool) -> Result<openraft::Config, openraft::ConfigError> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = &self.config;
        openraft::Config {
            cluster_name: format!("group-{group}"),
            heartbeat_interval: ms(config.heartbeat_interval),
            // Entries prove the leader alive as well as heartbeats do.
            heartbeat_min_interval: Some(ms(config.heartbeat_interval) / 2),
            election_timeout_min: ms(config.election_timeout_min),
            election_timeout_max: ms(config.election_timeout_max),
            max_payload_entries: APPEND_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: config.log_keep_entries,
            purge_batch_size: (config.log_keep_entries / 8).max(1),
            api_channel_size: Some(CORE_QUEUE),
            notification_channel_size: Some(CORE_QUEUE),
            state_machine_channel_size: Some(MACHINE_QUEUE),
            // Until the hold-down is over.
            enable_elect: is_new,
            enable_pre_vote: Some(true),
            // A restarted leader must win a new term: sequence numbers start anew with it.
            enable_leader_restore: Some(false),
            quorum_loss_probe_interval: Some(ms(config.election_timeout_max) * 3),
            backoff: BACKOFF.to_owned(),
            ..openraft::Config::default()
        }
        .validate()
    }

    async fn checkpoint(&self) {
        let mut moved: Vec<(Replica, SnapshotMeta)> = Vec::new();
        for replica in self.all_replicas() {
            let store = &replica.group.shared.store;
            let meta = store.record().meta();
            let durable = store.durable.borrow().as_ref().and_then(|meta| meta.last_log_id);
            if meta.last_log_id > durable {
                moved.push((replica, meta));
            }
        }
        if moved.is_empty() {
            return;
        }
        if let Err(error) = blocking(|| checkpoint_pair(&self.wal, &*self.kv)) {
            // What a failed sync lost cannot be known: go on would be to guess.
            tracing::error!(%error, "the key-value store cannot be checkpointed, stopping all groups");
            self.fail(&format!("the key-value store cannot be checkpointed: {error}"));
            self.stop_groups().await;
            return;
        }
        for (replica, meta) in moved {
            let shared = &replica.group.shared;
            shared.store.durable.send_replace(Some(meta));
            replica.log.note_committed();
            // Fails only when the group has stopped.
            shared.raft.trigger().snapshot().await.ok();
        }
    }

    /// The first reason counts.
    fn fail(&self, reason: &str) {
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert_with(|| reason.into());
            is_first
        });
    }

    async fn stop_groups(&self) {
        for replica in self.all_replicas() {
            let mut role = replica.group.role();
            if let Err(error) = replica.group.shared.raft.shutdown().await {
                tracing::error!(%error, "a Raft core did not end well");
            }
            role.wait_for(|role| *role == Role::Stopped).await.ok();
        }
    }
}

impl Directory for Arc<Inner> {
    fn receiver(&self, group: GroupId) -> Option<Arc<Receiver>> {
        self.replicas().get(&group).map(|replica| replica.receiver.clone())
    }
}

/// A group that stopped by itself could not go on.
async fn notice_stop(
    host: Weak<Inner>,
    group: GroupId,
    metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    mut role: watch::Receiver<Role>,
) {
    // An error says that nobody tells the role any more, which is an end as well.
    role.wait_for(|role| *role == Role::Stopped).await.ok();
    let Some(host) = host.upgrade() else { return };
    if !host.stopping.load(Ordering::Relaxed) {
        let reason = match &metrics.borrow_watched().running_state {
            Ok(()) => "for an unknown reason".to_owned(),
            Err(error) => error.to_string(),
        };
        host.fail(&format!("group {group} stopped: {reason}"));
    }
}

async fn checkpoint_periodically(host: Weak<Inner>) {
    loop {
        let Some(interval) = host.upgrade().map(|host| host.config.checkpoint_interval) else { return };
        tokio::time::sleep(interval).await;
        let Some(host) = host.upgrade() else { return };
        host.checkpoint().await;
    }
}

/// Gives a new group its first membership. Every voter holds the same list, so the first
/// log entry is the same whoever writes it; but the first of the list goes ahead, so that
/// not all of them campaign at once. The others only step in when it does not show up.
async fn bootstrap(raft: Raft, voters: BTreeSet<u64>, patience: Duration, mut role: watch::Receiver<Role>) {
    if !patience.is_zero() {
        tokio::time::sleep(patience).await;
    }
    match raft.is_initialized().await {
        Ok(false) => {}
        Ok(true) | Err(_) => return,
    }
    if let Err(error) = raft.initialize(voters).await {
        // Lost the race against the first append of a leader.
        tracing::info!(%error, "the group is initialised already");
        return;
    }
    // The other voters may start a moment later than this one. Asking costs nothing: no
    // term is begun unless a quorum answers.
    let mut interval = BOOTSTRAP_INTERVAL;
    while tokio::time::timeout(interval, role.wait_for(has_leader)).await.is_err() {
        let has_stopped = *role.borrow() == Role::Stopped;
        if has_stopped || raft.trigger().elect(true).await.is_err() {
            return;
        }
        // Asking again ends the vote in progress, which on a slow disk takes longer.
        interval = (interval * 2).min(BOOTSTRAP_INTERVAL_MAX);
    }
}

fn has_leader(role: &Role) -> bool {
    match role {
        Role::Leader { .. } => true,
        Role::Follower { leader, .. } | Role::Learner { leader, .. } => leader.is_some(),
        Role::Candidate { .. } | Role::Stopped => false,
    }
}
