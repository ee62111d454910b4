//! One node: its peers' streams, its groups, group 0 and the router.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::internal::Hello;
use base::{Clock, Entropy, Listener, Net, NodeId, ShardId};
use consensus::{ApplyObserver, Group, Host, Role};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use storage::{Kv, SpaceLevel, Wal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::formation::Formation;
use crate::join::Joining;
use crate::liveness::{BEAT_INTERVAL, Liveness};
use crate::metadata::proto::{ClusterRecord, DirectoryRecord, NodeRecord, NodeState};
use crate::metadata::{self, Birth, LoadError, Proposer, Registry};
use crate::peer::{PROTOCOL_VERSION, Peers, World};
use crate::placement::{self, ShardMap};
use crate::starts::Starts;
use crate::{DiskShortage, Join, Namespaces, Router, Services, balance, elections, join, learners, room};

/// What moving leaders away may take at most.
const TRANSFER_TIMEOUT: Duration = Duration::from_millis(1500);
/// Transfers at the same time.
const TRANSFERS: usize = 8;
/// How long requests of peers may take to end before their streams are closed.
const SERVED_TIMEOUT: Duration = Duration::from_millis(300);
const SERVED_POLL: Duration = Duration::from_millis(5);
/// How long tasks may take to notice the end.
const TASKS_TIMEOUT: Duration = Duration::from_secs(1);

/// A node of the static list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub id: NodeId,
    /// `host:port` of its peer listener.
    pub peer_address: String,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeId,
    pub cluster_id: String,
    /// All nodes, this one included. A single one needs no peer listener.
    pub members: Vec<Member>,
    /// Instead of `node`, `members` and `shards`: the node asks to be let in, once.
    pub join: Option<Join>,
    /// Where to listen for them, when it is another address than the one of the list.
    pub listen: Option<String>,
    /// Fixed at the first start of the cluster.
    pub shards: u32,
    pub consensus: consensus::Config,
    /// Registered when the cluster is born, besides `temporal-system`.
    pub namespaces: Vec<String>,
    pub namespace_retention: std::time::Duration,
    /// Only for the simulator's tests of itself: a node whose disk was emptied votes on.
    pub planted_welcome_wiped: bool,
    /// How often this node looks whether it leads more than its share; `None`: never, leaders stay where
    /// they were elected.
    pub balance_interval: Option<Duration>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: String, reason: String },
    #[error(transparent)]
    Host(#[from] consensus::HostError),
    /// The data directory belongs to another node, cluster or shard count.
    #[error("{0}")]
    Mismatch(String),
    /// The cluster knows this node's id with another disk.
    #[error("refused by the cluster: {0}")]
    Refused(String),
    #[error(transparent)]
    Kv(#[from] storage::KvError),
}

impl From<LoadError> for NodeError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Kv(error) => Self::Kv(error),
            LoadError::Row(_) | LoadError::Mismatch(_) => Self::Mismatch(error.to_string()),
        }
    }
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    registry: Arc<Registry>,
    formation: Arc<Formation>,
    router: Router,
    services: Arc<Services>,
    peers: Option<Arc<Peers>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// A node that is dropped instead of shut down stops its tasks, too.
    _stop_guard: DropGuard,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.services.clear();
    }
}

impl Node {
    /// Starts listening, all groups, group 0 and the beats. The first start of a cluster
    /// waits until all members have met. Returns before any leader is elected.
    pub async fn start(
        mut config: Config,
        net: Arc<dyn Net>,
        _clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        wal: Wal,
        kv: Arc<dyn Kv>,
    ) -> Result<Self, NodeError> {
        join::settle(&mut config, &*net, &*entropy, wal.store_id(), &*kv).await?;
        config.check()?;
        let registry = open_registry(&config, &*kv)?;
        let listener = listen(&config, &*net).await?;
        let services = Services::new(Liveness::new(config.node));
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let stop_guard = stop.clone().drop_guard();
        let formation = Formation::load(
            &*kv,
            Arc::clone(&registry),
            (config.node, wal.store_id()),
            &config.members,
            !wal.groups().is_empty(),
            config.planted_welcome_wiped,
        )?;
        let peers = Peers::new(
            hello(&config, &*entropy, wal.starts()),
            (Arc::clone(&formation), Starts::load(Arc::clone(&kv))?),
            World {
                address: config.address().to_owned(),
                net,
                entropy: Arc::clone(&entropy),
                tracker: tracker.clone(),
                stop: stop.clone(),
            },
            Arc::clone(&services),
        );
        let host = Host::new(
            config.node,
            config.consensus.clone(),
            wal,
            Arc::clone(&kv),
            Arc::clone(&peers) as _,
            Arc::clone(&entropy),
        );
        services.raft.set(host.handler());
        // Listening before the groups start: a request for one that is not there yet is
        // refused, and the sender comes again.
        peers.start(listener);
        peers.follow(&known_members(&config, &registry));
        form(&formation, &peers, &kv, &entropy, (&tracker, stop.clone())).await?;
        let groups = match start_groups(&config, &host, &registry).await {
            Ok(groups) => groups,
            Err(error) => {
                services.clear();
                host.shutdown().await;
                return Err(error);
            }
        };
        let birth = birth(&config, &formation, entropy);
        let (proposer, run_proposer) = Proposer::new(groups[0].clone(), Arc::clone(&registry), birth);
        services.metadata.set(Arc::new(proposer));
        tracker.spawn(stop.clone().run_until_cancelled_owned(run_proposer));
        let peers = (config.members.len() > 1).then_some(peers);
        let map = ShardMap::even(config.shards);
        let router = Router::new(config.node, map, groups.clone(), Arc::clone(&services), peers.clone());
        let inner =
            Inner { host, registry, formation, router, services, peers, tracker, stop, _stop_guard: stop_guard };
        let node = Self { inner: Arc::new(inner) };
        node.live_with_others(config, groups);
        Ok(node)
    }

    /// What a node of several does beside its groups.
    fn live_with_others(&self, config: Config, groups: Vec<Group>) {
        let Inner { registry, formation, services, peers, tracker, stop, .. } = &*self.inner;
        let Some(peers) = peers else { return };
        services.joining.set(Arc::new(Joining {
            group_0: self.namespaces(),
            registry: Arc::clone(registry),
            formation: Arc::clone(formation),
            cluster_id: config.cluster_id.clone(),
            shards: config.shards,
        }));
        let spawn = |task: BoxFuture<'static, ()>| tracker.spawn(stop.clone().run_until_cancelled_owned(task));
        let (this, services) = (config.node, Arc::clone(services));
        if let Some(interval) = config.balance_interval {
            spawn(Box::pin(balance::run(this, Arc::clone(&services), groups.clone(), interval)));
        }
        spawn(Box::pin(beat(Arc::clone(peers), services, this, groups.clone(), tracker.clone(), stop.clone())));
        spawn(Box::pin(learners::enroll(Arc::clone(registry), groups)));
        spawn(Box::pin(follow_nodes(config, Arc::clone(registry), Arc::clone(peers))));
    }

    #[must_use]
    pub fn router(&self) -> Router {
        self.inner.router.clone()
    }

    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        Namespaces::new(Arc::clone(&self.inner.registry), self.router())
    }

    /// The history shards hosted here (never group 0).
    #[must_use]
    pub fn groups(&self) -> Vec<(ShardId, Group)> {
        let router = &self.inner.router;
        router.shards().into_iter().map(|(shard, _)| (shard, router.group(shard).clone())).collect()
    }

    /// The metadata group, for those who look at a node from outside.
    #[must_use]
    pub fn metadata_group(&self) -> Group {
        self.inner.router.group(metadata::GROUP).clone()
    }

    /// Resolves when group 0 is readable here and the initial namespaces exist.
    pub async fn ready(&self) {
        let mut version = self.inner.registry.version();
        while self.inner.registry.read(|table| table.cluster().is_none()) {
            if version.changed().await.is_err() {
                return;
            }
        }
        let knows_leader = |role: &Role| match role {
            Role::Leader { ready, .. } => *ready,
            Role::Follower { leader, .. } | Role::Learner { leader, .. } => leader.is_some(),
            Role::Candidate { .. } => false,
            // Whoever waits must not wait for ever.
            Role::Stopped => true,
        };
        // An error says that the group is gone, which ends the wait as well.
        let _ = self.metadata_group().role().wait_for(knows_leader).await;
    }

    /// Ready with the reason when the cluster refuses this node, which must end then: its
    /// data directory is not the one that it was last seen with.
    pub async fn refused(&self) -> String {
        self.inner.formation.outcast().await
    }

    /// Tells the peers that this node is about to leave: partitions move to others. It
    /// goes on serving what comes to it, and leads until [`Node::shutdown`].
    pub fn drain(&self) {
        self.inner.services.liveness.drain();
        if let Some(peers) = &self.inner.peers {
            peers.beat();
        }
    }

    /// What is known of the room on this node's disk, to be told again every second while it
    /// is short. A node that has next to none, in a cluster that can do without it, lets
    /// others lead and takes no more entries until there is room again.
    pub fn report_disk(&self, shortage: Option<DiskShortage>) {
        let Inner { host, services, tracker, stop, .. } = &*self.inner;
        let is_critical = |level| level == SpaceLevel::Critical;
        let said = shortage.map(Arc::new);
        services.liveness.report_disk(said.clone());
        let dispensable =
            is_critical(room::level(&said)) && !is_critical(room::level(&services.liveness.cluster_shortage()));
        host.decline_appends(dispensable);
        let targets = services.liveness.with_room();
        if dispensable && !targets.is_empty() {
            let node = self.clone();
            let moves = async move {
                // A move that takes longer is tried again with the next report.
                let _ = timeout(TRANSFER_TIMEOUT, node.move_leaders(targets)).await;
            };
            tracker.spawn(stop.clone().run_until_cancelled_owned(moves));
        }
    }

    /// What was reported of this node's disk last; nothing while there is room.
    #[must_use]
    pub fn disk_shortage(&self) -> Option<Arc<DiskShortage>> {
        self.inner.services.liveness.own_shortage()
    }

    /// Ready, with the reason, once the node cannot go on: one of its groups has stopped.
    pub fn failed(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        self.inner.host.failed()
    }

    /// Moves leaders away, closes streams and stops the groups.
    pub async fn shutdown(&self) {
        self.drain();
        let Inner { host, services, peers, tracker, stop, .. } = &*self.inner;
        if let Some(peers) = peers {
            if timeout(TRANSFER_TIMEOUT, self.move_leaders(self.eligible())).await.is_err() {
                tracing::warn!("not all leaders could be moved away in time");
            }
            let served = async {
                while services.served() > 0 {
                    sleep(SERVED_POLL).await;
                }
            };
            // Polls that are still parked are cut off: their callers poll again elsewhere.
            let _ = timeout(SERVED_TIMEOUT, served).await;
            peers.close_all();
        }
        stop.cancel();
        tracker.close();
        if timeout(TASKS_TIMEOUT, tracker.wait()).await.is_err() {
            tracing::warn!("some tasks of the cluster did not end in time");
        }
        if let Some(peers) = peers {
            peers.close_all();
        }
        host.shutdown().await;
        services.clear();
    }

    fn eligible(&self) -> Vec<NodeId> {
        self.inner.services.liveness.view().eligible.clone()
    }

    async fn move_leaders(&self, targets: Vec<NodeId>) {
        let router = &self.inner.router;
        let mut groups = self.groups();
        groups.insert(0, (metadata::GROUP, self.metadata_group()));
        let targets = &targets;
        let moves = stream::iter(groups).map(|(shard, group)| async move {
            let mut targets = targets.clone();
            targets.retain(|&node| node != router.this_node());
            targets.sort_by_key(|&node| placement::rank(shard.0.into(), node, &router.live_nodes()));
            for target in targets {
                if !matches!(*group.role().borrow(), Role::Leader { .. }) {
                    return;
                }
                if let Err(error) = group.transfer_leader(target).await {
                    tracing::debug!(%shard, %target, %error, "leadership stays");
                }
            }
        });
        moves.buffer_unordered(TRANSFERS).collect::<()>().await;
    }
}

impl Config {
    fn check(&self) -> Result<(), NodeError> {
        let mut ids: Vec<NodeId> = self.members.iter().map(|member| member.id).collect();
        ids.sort_unstable();
        if !(1..=u32::from(base::CELLS)).contains(&self.shards) {
            return Err(NodeError::Mismatch(format!("{} shards: there can be 1 to {}", self.shards, base::CELLS)));
        }
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(NodeError::Mismatch("two members have the same node id".to_owned()));
        }
        if ids.binary_search(&self.node).is_err() {
            return Err(NodeError::Mismatch(format!("node {} is not among the members", self.node)));
        }
        Ok(())
    }

    /// Where the others reach this node.
    fn address(&self) -> &str {
        let this = self.members.iter().find(|member| member.id == self.node);
        this.map_or("", |member| &member.peer_address)
    }
}

/// Checks whose directory it is and loads the copy of group 0.
fn open_registry(config: &Config, kv: &dyn Kv) -> Result<Arc<Registry>, NodeError> {
    let Config { cluster_id, node, shards, .. } = config;
    metadata::check_directory(
        kv,
        &DirectoryRecord { cluster_id: cluster_id.clone(), node_id: node.0, shards: *shards },
    )?;
    let registry = Registry::load(kv)?;
    let mine = ClusterRecord { cluster_id: cluster_id.clone(), shards: *shards };
    match registry.read(|table| table.cluster().cloned()) {
        Some(stored) if stored != mine => Err(NodeError::Mismatch(format!(
            "the data is of cluster {:?} with {} shards",
            stored.cluster_id, stored.shards
        ))),
        _ => Ok(registry),
    }
}

/// Waits for the founding of the cluster where nothing may run before it.
async fn form(
    formation: &Arc<Formation>,
    peers: &Arc<Peers>,
    kv: &Arc<dyn Kv>,
    entropy: &Arc<dyn Entropy>,
    (tracker, stop): (&TaskTracker, CancellationToken),
) -> Result<(), NodeError> {
    let is_open = formation.is_open();
    let (formation, peers) = (Arc::clone(formation), Arc::clone(peers));
    let (kv, entropy) = (Arc::clone(kv), Arc::clone(entropy));
    let found = async move {
        if formation.roster().is_none() {
            formation.run(&*kv, &*entropy).await?;
            // Everybody is to hear of it, and that is said in the hello.
            peers.close_all();
        }
        Ok(())
    };
    if !is_open {
        return found.await;
    }
    tracker.spawn(stop.run_until_cancelled_owned(async move {
        if let Err::<(), NodeError>(error) = found.await {
            tracing::error!(%error, "the members of the cluster cannot be written down");
        }
    }));
    Ok(())
}

/// Without what the formation adds.
fn hello(config: &Config, entropy: &dyn Entropy, start: u64) -> Hello {
    Hello {
        node_id: config.node.0,
        cluster_id: config.cluster_id.clone(),
        protocol_version: PROTOCOL_VERSION,
        incarnation: entropy.next_u64(),
        shards: config.shards,
        start,
        ..Hello::default()
    }
}

/// What group 0 begins with.
fn birth(config: &Config, formation: &Formation, entropy: Arc<dyn Entropy>) -> Birth {
    Birth {
        cluster: ClusterRecord { cluster_id: config.cluster_id.clone(), shards: config.shards },
        nodes: founders(config, formation),
        namespaces: config.namespaces.clone(),
        retention: config.namespace_retention,
        entropy,
    }
}

fn founders(config: &Config, formation: &Formation) -> Vec<NodeRecord> {
    let stores = formation.roster().unwrap_or_default().stores;
    let address = |id| config.members.iter().find(|member| member.id == NodeId(id)).map(|member| &member.peer_address);
    let record = |(id, store_id)| NodeRecord {
        id,
        store_id,
        peer_address: address(id).cloned().unwrap_or_default(),
        state: NodeState::Active.into(),
    };
    stores.into_iter().map(record).collect()
}

/// A node that is alone has nobody to listen to.
async fn listen(config: &Config, net: &dyn Net) -> Result<Option<Box<dyn Listener>>, NodeError> {
    let member = config.members.iter().find(|member| member.id == config.node);
    let Some(member) = member.filter(|_| config.members.len() > 1) else { return Ok(None) };
    let address = config.listen.clone().unwrap_or_else(|| member.peer_address.clone());
    match net.listen(&address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => Err(NodeError::Listen { address, reason: error.to_string() }),
    }
}

/// Who is of the cluster as far as this node knows: what group 0 says, and what its own
/// configuration says of the founders.
fn known_members(config: &Config, registry: &Registry) -> Vec<Member> {
    let (mut members, removed) = registry.read(|table| {
        let (removed, present): (Vec<_>, Vec<_>) = table.nodes().partition(|node| node.state() == NodeState::Removed);
        let member = |node: &NodeRecord| Member { id: NodeId(node.id), peer_address: node.peer_address.clone() };
        let present: BTreeMap<NodeId, Member> =
            present.into_iter().map(|node| (NodeId(node.id), member(node))).collect();
        (present, removed.into_iter().map(|node| NodeId(node.id)).collect::<Vec<_>>())
    });
    for member in config.members.iter().filter(|member| !removed.contains(&member.id)) {
        // An operator may move a founder to another address; what a node heard when it
        // joined is only the beginning.
        if config.join.is_none() || !members.contains_key(&member.id) {
            members.insert(member.id, member.clone());
        }
    }
    members.into_values().collect()
}

/// Talks to the nodes of the cluster as they come and go.
async fn follow_nodes(config: Config, registry: Arc<Registry>, peers: Arc<Peers>) {
    let mut version = registry.version();
    loop {
        version.mark_unchanged();
        peers.follow(&known_members(&config, &registry));
        if version.changed().await.is_err() {
            return;
        }
    }
}

/// The metadata group and one group per shard, ordered by id.
async fn start_groups(config: &Config, host: &Host, registry: &Arc<Registry>) -> Result<Vec<Group>, NodeError> {
    // Who joined later waits until the leaders know of it.
    let founders = config.members.iter().filter(|_| config.join.is_none());
    let mut voters: Vec<NodeId> = founders.map(|member| member.id).collect();
    voters.sort_unstable();
    let copy = Arc::clone(registry);
    let observer: ApplyObserver = Arc::new(move |_, _, batch| copy.apply(batch));
    let metadata =
        host.start_group(metadata::GROUP.0.into(), voters.clone(), vec![metadata::key_range()], Some(observer)).await?;
    let mut groups = vec![metadata];
    for &(shard, cells) in ShardMap::even(config.shards).shards() {
        groups.push(host.start_group(shard.0.into(), voters.clone(), vec![placement::key_range(cells)], None).await?);
    }
    Ok(groups)
}

/// Says that this node lives, notices who does not, and has their groups elect.
async fn beat(
    peers: Arc<Peers>,
    services: Arc<Services>,
    this: NodeId,
    groups: Vec<Group>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(BEAT_INTERVAL);
    // After a pause one beat says as much as all the missed ones.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        peers.beat();
        for dead in services.liveness.tick() {
            tracing::warn!(node = %dead, "the node is dead");
            let live = services.liveness.view().live.clone();
            let elections = elections::replace_leader(dead, this, live, groups.clone());
            tracker.spawn(stop.clone().run_until_cancelled_owned(elections));
        }
    }
}
