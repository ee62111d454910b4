//! key -> local service or the node that has it.
//!
//! Every request takes at most one hop: a node that gets a forwarded request either
//! serves it or says who leads, and the sender goes there instead.
//!
//! ```text
//!        ┌────────────── leader known? ──no──▶ wait for a new role, 5..100 ms ─┐
//!        ▼                                                                     │
//! local or remote call ─▶ answer, error ─▶ caller                              │
//!        ├─ not leader, not sent ──────────────────────────────────────────────┤
//!        └─ lost ─▶ harmless to repeat? ──yes──────────────────────────────────┘
//!                        └─no─▶ Unavailable: the outcome is unknown
//! ```

pub mod bind;
mod repeat;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::Error;
use api::internal::frame::Body;
use api::internal::{
    HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse, PartitionKey, VisibilityRequest,
    VisibilityResponse,
};
use base::{Cell, CellRange, NodeId, ShardId, Term};
use consensus::{Group, Role};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::repeat::Repeat;
use crate::peer::{CallFailure, Peers};
use crate::placement::{self, ShardMap};
use crate::{DiskShortage, HistoryService, MatchingService, Services, VisibilityService};

/// Between two attempts; grows from the first to the second.
const WAIT_MIN: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Where a task-queue partition lives now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionOwner {
    Local,
    Remote(NodeId),
}

/// Cheap to clone. Services register themselves once at start.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    this: NodeId,
    map: ShardMap,
    /// By shard id: the metadata group and all history shards.
    groups: Vec<Local>,
    services: Arc<Services>,
    /// None when this node is the whole cluster.
    peers: Option<Arc<Peers>>,
}

/// The replica of a group on this node.
struct Local {
    group: Group,
    role: watch::Receiver<Role>,
    /// The last term in which the local service has answered as the leader.
    settled_term: AtomicU64,
}

impl Router {
    /// `groups` are ordered by shard id, without a gap.
    pub(crate) fn new(
        this: NodeId,
        map: ShardMap,
        groups: Vec<Group>,
        services: Arc<Services>,
        peers: Option<Arc<Peers>>,
    ) -> Self {
        assert_eq!(groups.len(), map.shards().len() + 1, "a replica of every group");
        let groups = groups
            .into_iter()
            .map(|group| Local { role: group.role(), group, settled_term: AtomicU64::new(0) })
            .collect();
        Self { inner: Arc::new(Inner { this, map, groups, services, peers }) }
    }

    pub fn serve_history(&self, service: Arc<dyn HistoryService>) {
        self.inner.services.history.set(service);
    }

    pub fn serve_matching(&self, service: Arc<dyn MatchingService>) {
        self.inner.services.matching.set(service);
    }

    pub fn serve_visibility(&self, service: Arc<dyn VisibilityService>) {
        self.inner.services.visibility.set(service);
    }

    /// Asks this node: it has a replica of every shard, so it covers all rows.
    pub async fn visibility(&self, request: VisibilityRequest, deadline: Instant) -> Result<VisibilityResponse, Error> {
        match self.inner.services.visibility.get() {
            Some(service) => service.call(request, deadline).await,
            None => Err(Error::Unavailable("the node is starting or shutting down".to_owned())),
        }
    }

    /// Sends to the leader of the shard of `request.cell`. While there is no leader, or
    /// the hint was stale, tries again until `deadline`; then [`Error::Unavailable`]. A
    /// request whose outcome is unknown is not repeated here, unless that is harmless.
    ///
    /// A request that names no run and has to wait is bound to one first, see [`bind`].
    pub async fn history(&self, mut request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error> {
        let Some(cell) = u16::try_from(request.cell).ok().and_then(Cell::new) else {
            return Err(Error::Internal(format!("there is no cell {}", request.cell)));
        };
        let shard = self.shard_of(cell);
        if self.inner.peers.is_none() && self.local(shard).is_settled() {
            return self.history_here(request, deadline).await;
        }
        request.can_bind = bind::names_no_run(&request);
        let unbound = request.can_bind.then(|| request.clone());
        let response = self.history_at_leader(shard, request, deadline).await?;
        match unbound {
            Some(mut request) if !response.bind_run_id.is_empty() => {
                bind::to_run(&mut request, &response.bind_run_id);
                request.can_bind = false;
                self.history_at_leader(shard, request, deadline).await
            }
            _ => Ok(response),
        }
    }

    async fn history_at_leader(
        &self,
        shard: ShardId,
        request: Box<HistoryRequest>,
        deadline: Instant,
    ) -> Result<HistoryResponse, Error> {
        let repeat = Repeat::of_history(&request);
        match Box::pin(self.at_leader(shard, Body::History(request), repeat, deadline)).await? {
            Body::HistoryResponse(response) => Ok(response),
            _ => Err(Error::Internal("an answer of another kind".to_owned())),
        }
    }

    /// Alone, and the shard is up: nowhere else to go, so no copy is kept for a retry.
    async fn history_here(&self, request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error> {
        let Some(service) = self.inner.services.history.get() else {
            return Err(Error::Unavailable("the node is shutting down".to_owned()));
        };
        match service.call(request, deadline).await {
            Err(Error::NotLeader { .. }) => Err(Error::Unavailable("the shard is restarting".to_owned())),
            result => result,
        }
    }

    /// Sends to the owner of `request.partition`.
    pub async fn matching(&self, request: Box<MatchingRequest>, deadline: Instant) -> Result<MatchingResponse, Error> {
        let Some(partition) = &request.partition else {
            return Err(Error::Internal("a request to matching names its partition".to_owned()));
        };
        match self.partition_owner(partition) {
            PartitionOwner::Local => self.matching_here(request, deadline).await,
            PartitionOwner::Remote(_) => Box::pin(self.matching_at_owner(request, deadline)).await,
        }
    }

    /// Sends to one node, whoever owns what (answers of queries, cancelling polls). Gives
    /// up when that node is not alive.
    pub async fn matching_at(
        &self,
        node: NodeId,
        request: Box<MatchingRequest>,
        deadline: Instant,
    ) -> Result<MatchingResponse, Error> {
        if node == self.inner.this {
            return self.matching_here(request, deadline).await;
        }
        let Some(peers) = &self.inner.peers else { return Err(unavailable("no such node")) };
        let mut body = Body::Matching(request);
        let mut waits = Waits::new(deadline);
        loop {
            if !self.inner.services.liveness.view().live.contains(&node) {
                return Err(unavailable("the node is not alive"));
            }
            let (result, kept) = peers.call(node, body, deadline).await;
            body = kept;
            match outcome(result) {
                Outcome::Answer(answer) => return matching_answer(*answer),
                Outcome::Lost(reason) => return Err(unavailable(reason)),
                Outcome::NotDone { .. } => waits.wait(&mut self.membership_version()).await?,
            }
        }
    }

    /// Rendezvous hash over the live nodes that are not about to leave.
    #[must_use]
    pub fn partition_owner(&self, partition: &PartitionKey) -> PartitionOwner {
        if self.inner.peers.is_none() {
            return PartitionOwner::Local;
        }
        let view = self.inner.services.liveness.view();
        let nodes = if view.eligible.is_empty() { &view.live } else { &view.eligible };
        match placement::owner(partition, nodes) {
            Some(node) if node != self.inner.this => PartitionOwner::Remote(node),
            _ => PartitionOwner::Local,
        }
    }

    /// Where the owner of a partition listens for its peers; its id when it is alone and
    /// listens for nobody.
    #[must_use]
    pub fn partition_address(&self, partition: &PartitionKey) -> String {
        let node = match self.partition_owner(partition) {
            PartitionOwner::Local => self.inner.this,
            PartitionOwner::Remote(node) => node,
        };
        let address = self.inner.peers.as_ref().and_then(|peers| peers.address(node));
        address.unwrap_or_else(|| format!("node-{}", node.0))
    }

    #[must_use]
    pub fn local_matching(&self) -> Option<Arc<dyn MatchingService>> {
        self.inner.services.matching.get()
    }

    /// Changes whenever a node joins, dies, returns or drains: partitions may have moved.
    #[must_use]
    pub fn membership_version(&self) -> watch::Receiver<u64> {
        self.inner.services.liveness.version()
    }

    #[must_use]
    pub fn live_nodes(&self) -> Vec<NodeId> {
        self.inner.services.liveness.view().live.clone()
    }

    /// Why the cluster takes no new work for want of room, if it does not.
    #[must_use]
    pub fn disk_shortage(&self) -> Option<Arc<DiskShortage>> {
        self.inner.services.liveness.cluster_shortage()
    }

    #[must_use]
    pub fn this_node(&self) -> NodeId {
        self.inner.this
    }

    /// The shard of a cell, and the cells of all shards (fixed at bootstrap for now).
    #[must_use]
    pub fn shard_of(&self, cell: Cell) -> ShardId {
        self.inner.map.shard_of(cell)
    }

    #[must_use]
    pub fn shards(&self) -> Vec<(ShardId, CellRange)> {
        self.inner.map.shards().to_vec()
    }

    pub(crate) fn group(&self, shard: ShardId) -> &Group {
        &self.local(shard).group
    }

    fn local(&self, shard: ShardId) -> &Local {
        &self.inner.groups[shard.0 as usize]
    }

    async fn matching_here(&self, request: Box<MatchingRequest>, deadline: Instant) -> Result<MatchingResponse, Error> {
        match self.local_matching() {
            Some(service) => service.call(request, deadline).await,
            None => Err(unavailable("the node is starting")),
        }
    }

    async fn matching_at_owner(
        &self,
        request: Box<MatchingRequest>,
        deadline: Instant,
    ) -> Result<MatchingResponse, Error> {
        let repeat = Repeat::of_matching(&request);
        let partition = request.partition.clone().unwrap_or_default();
        let mut body = Body::Matching(request);
        let mut waits = Waits::new(deadline);
        loop {
            // Ownership is read again each time: the last owner may be dead by now.
            let (node, Some(peers)) = (self.partition_owner(&partition), &self.inner.peers) else {
                return Err(unavailable("no such node"));
            };
            let PartitionOwner::Remote(node) = node else {
                let Body::Matching(request) = body else { return Err(unavailable("no request")) };
                return self.matching_here(request, deadline).await;
            };
            let (result, kept) = peers.call(node, body, deadline).await;
            body = kept;
            match outcome(result) {
                Outcome::Answer(answer) => return matching_answer(*answer),
                Outcome::Lost(reason) if repeat == Repeat::Never => return Err(unavailable(reason)),
                Outcome::Lost(_) | Outcome::NotDone { .. } => waits.wait(&mut self.membership_version()).await?,
            }
        }
    }

    /// The general way to a leader, here or one hop away.
    pub(crate) async fn at_leader(
        &self,
        shard: ShardId,
        mut body: Body,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<Body, Error> {
        let local = self.local(shard);
        let mut role = local.role.clone();
        let mut waits = Waits::new(deadline);
        // Where the last answer said to go, if that was not itself such an answer: two
        // nodes that point at each other must not make the request run in circles.
        let mut hint = None;
        loop {
            let current = *role.borrow_and_update();
            let is_following = hint.is_some();
            let next = match hint.take().map_or_else(|| target(current, self.inner.this), Target::Node) {
                Target::Here(term) => match self.inner.services.start(body.clone(), deadline).await {
                    Err(Error::NotLeader { hint }) => hint,
                    result => {
                        local.settled_term.store(term.0, Ordering::Relaxed);
                        return result;
                    }
                },
                Target::Node(node) => {
                    let (result, kept) = self.call(node, body, deadline).await;
                    body = kept;
                    match outcome(result) {
                        Outcome::Answer(answer) => return *answer,
                        Outcome::Lost(reason) if repeat == Repeat::Never => return Err(unavailable(reason)),
                        Outcome::Lost(_) => None,
                        Outcome::NotDone { hint } => hint,
                    }
                }
                Target::Nobody => None,
            };
            hint = next.filter(|&node| node != self.inner.this && !is_following);
            if hint.is_none() {
                waits.wait(&mut role).await?;
            }
        }
    }

    async fn call(&self, node: NodeId, body: Body, deadline: Instant) -> (Result<Body, CallFailure>, Body) {
        match &self.inner.peers {
            Some(peers) => peers.call(node, body, deadline).await,
            None => (Err(CallFailure::NotSent("no such node")), body),
        }
    }
}

impl Local {
    fn is_settled(&self) -> bool {
        match *self.role.borrow() {
            Role::Leader { term, ready: true } => self.settled_term.load(Ordering::Relaxed) == term.0,
            _ => false,
        }
    }
}

enum Target {
    Here(Term),
    Node(NodeId),
    Nobody,
}

fn target(role: Role, this: NodeId) -> Target {
    match role {
        Role::Leader { term, ready: true } => Target::Here(term),
        Role::Follower { leader: Some(leader), .. } | Role::Learner { leader: Some(leader), .. } if leader != this => {
            Target::Node(leader)
        }
        _ => Target::Nobody,
    }
}

enum Outcome {
    Answer(Box<Result<Body, Error>>),
    /// Surely not executed.
    NotDone {
        hint: Option<NodeId>,
    },
    /// Nobody knows.
    Lost(&'static str),
}

fn outcome(result: Result<Body, CallFailure>) -> Outcome {
    match result {
        Ok(Body::Error(error)) => match Error::from(error) {
            Error::NotLeader { hint } => Outcome::NotDone { hint },
            error => Outcome::Answer(Box::new(Err(error))),
        },
        Ok(answer) => Outcome::Answer(Box::new(Ok(answer))),
        Err(CallFailure::NotSent(_)) => Outcome::NotDone { hint: None },
        Err(failure @ CallFailure::TooLarge) => {
            Outcome::Answer(Box::new(Err(Error::InvalidArgument(failure.to_string()))))
        }
        Err(CallFailure::Lost(reason)) => Outcome::Lost(reason),
    }
}

fn matching_answer(answer: Result<Body, Error>) -> Result<MatchingResponse, Error> {
    match answer? {
        Body::MatchingResponse(response) => Ok(response),
        _ => Err(Error::Internal("an answer of another kind".to_owned())),
    }
}

fn unavailable(reason: &str) -> Error {
    Error::Unavailable(reason.to_owned())
}

/// Growing pauses between attempts, until the deadline.
struct Waits {
    next: Duration,
    deadline: Instant,
}

impl Waits {
    fn new(deadline: Instant) -> Self {
        Self { next: WAIT_MIN, deadline }
    }

    /// Ends early when `news` has changed. Past the deadline it is an error.
    async fn wait<T>(&mut self, news: &mut watch::Receiver<T>) -> Result<(), Error> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(unavailable("no leader or no connection to it until the deadline"));
        }
        let until = (now + self.next).min(self.deadline);
        self.next = (self.next * 2).min(WAIT_MAX);
        tokio::select! {
            biased;
            Ok(()) = news.changed() => {}
            () = sleep_until(until) => {}
        }
        Ok(())
    }
}
