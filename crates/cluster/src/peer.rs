//! The streams to the other nodes: one per pair, dialled by the node with the lower id,
//! used by both.
//!
//! ```text
//! lower id:  connect ─▶ hello ─▶ hello back ─▶ running ─▶ ended ─┐
//!               ▲                    └ refused                   │
//!               └──────────── backoff, capped ◀──────────────────┘
//! higher id: accept ─▶ hello? ─▶ hello back ─▶ running (replaces an older one)
//! ```

mod connection;
mod hello;
mod outbox;
mod serve;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use api::Error;
use api::internal::frame::Body;
use api::internal::{Hello, JoinRequest, NodeBeat};
use base::{Accepted, Certified, Entropy, Io, Listener, Net, NodeId, host_of};
use bytes::Bytes;
use consensus::{Transport, TransportError};
use futures_util::future::BoxFuture;
use storage::GroupId;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use connection::CallFailure;
use connection::{Connection, Received};
use hello::{HelloError, Knock};
pub(crate) use hello::{PROTOCOL_VERSION, ask};

use crate::formation::Formation;
use crate::join::JOIN_TIMEOUT;
use crate::liveness::{Liveness, SILENT_AFTER};
use crate::starts::{Start, Starts};
use crate::{Member, Services};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(400);
/// Strangers that may knock at the same time.
const HANDSHAKES_MAX: usize = 64;
/// After a failed accept (out of file descriptors, say) the listener rests.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// All peers of this node. None when it is alone.
pub(crate) struct Peers {
    /// Without what the formation adds.
    hello: Hello,
    formation: Arc<Formation>,
    starts: Starts,
    /// Where the others reach this node.
    address: String,
    links: RwLock<BTreeMap<NodeId, Arc<Link>>>,
    net: Arc<dyn Net>,
    entropy: Arc<dyn Entropy>,
    liveness: Arc<Liveness>,
    services: Arc<Services>,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// How many beats this node has sent.
    beats: AtomicU64,
}

/// The way to one node.
struct Link {
    address: String,
    current: Mutex<Option<Arc<Connection>>>,
    /// Ends with the link.
    stop: CancellationToken,
}

/// The outside world of a node's peers.
pub(crate) struct World {
    /// Where the others reach this node.
    pub(crate) address: String,
    pub(crate) net: Arc<dyn Net>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Peers {
    pub(crate) fn new(
        hello: Hello,
        (formation, starts): (Arc<Formation>, Starts),
        world: World,
        services: Arc<Services>,
    ) -> Arc<Self> {
        let World { address, net, entropy, tracker, stop } = world;
        Arc::new(Self {
            hello,
            formation,
            starts,
            address,
            links: RwLock::default(),
            net,
            entropy,
            liveness: Arc::clone(&services.liveness),
            services,
            tracker,
            stop,
            beats: AtomicU64::new(0),
        })
    }

    /// Where a node listens, also this one.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        if node.0 == self.hello.node_id {
            return Some(self.address.clone());
        }
        self.link(node).map(|link| link.address.clone())
    }

    /// Accepts from lower ids until stopped.
    pub(crate) fn start(self: &Arc<Self>, listener: Option<Box<dyn Listener>>) {
        if let Some(listener) = listener {
            let peers = Arc::clone(self);
            self.tracker.spawn(async move {
                tokio::select! {
                    biased;
                    () = peers.stop.cancelled() => {}
                    () = peers.accept(listener) => {}
                }
            });
        }
    }

    /// Talks to these nodes from now on, this one left out, and to no others. Dials those
    /// with higher ids.
    pub(crate) fn follow(self: &Arc<Self>, nodes: &[Member]) {
        let others = nodes.iter().filter(|node| node.id.0 != self.hello.node_id);
        let wanted: BTreeMap<NodeId, &Member> = others.map(|node| (node.id, node)).collect();
        self.liveness.follow(&wanted.keys().copied().collect());
        let mut links = self.links.write().expect("no panic while held");
        links.retain(|node, link| {
            let stays = wanted.get(node).is_some_and(|node| node.peer_address == link.address);
            if !stays {
                link.end();
            }
            stays
        });
        for (&node, member) in &wanted {
            if links.contains_key(&node) {
                continue;
            }
            let stop = self.stop.child_token();
            let link = Arc::new(Link { address: member.peer_address.clone(), current: Mutex::default(), stop });
            links.insert(node, Arc::clone(&link));
            if node.0 > self.hello.node_id {
                let peers = Arc::clone(self);
                self.tracker.spawn(async move {
                    tokio::select! {
                        biased;
                        () = link.stop.cancelled() => {}
                        () = peers.dial(node, &link) => {}
                    }
                });
            }
        }
    }

    /// Sends one request to one node, once; the request comes back with the result.
    pub(crate) async fn call(&self, node: NodeId, body: Body, deadline: Instant) -> (Result<Body, CallFailure>, Body) {
        match self.connection(node) {
            Some(connection) => connection.call(body, deadline).await,
            None => (Err(CallFailure::NotSent("no connection to the node")), body),
        }
    }

    /// Tells every peer that this node lives, and gives up connections that are silent:
    /// the network may have lost them without a word.
    pub(crate) fn beat(&self) {
        let now = Instant::now();
        for (node, link) in self.all_links() {
            let Some(connection) = link.current() else { continue };
            let heard = connection.heard();
            self.liveness.heard(node, heard);
            if now.saturating_duration_since(heard) >= SILENT_AFTER {
                connection.close();
            } else {
                self.beat_once(&connection);
            }
        }
    }

    fn beat_once(&self, connection: &Connection) {
        let Hello { node_id, incarnation, .. } = self.hello;
        let seq = self.beats.fetch_add(1, Ordering::Relaxed) + 1;
        let shortage = self.liveness.own_shortage().map(|shortage| shortage.encode());
        let draining = self.liveness.is_draining();
        connection.tell(Body::Beat(NodeBeat { node_id, incarnation, seq, draining, shortage }));
    }

    pub(crate) fn close_all(&self) {
        for (_, link) in self.all_links() {
            if let Some(connection) = link.current() {
                connection.close();
            }
        }
    }

    fn connection(&self, node: NodeId) -> Option<Arc<Connection>> {
        self.link(node)?.current()
    }

    fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.links.read().expect("no panic while held").get(&node).cloned()
    }

    fn all_links(&self) -> Vec<(NodeId, Arc<Link>)> {
        let links = self.links.read().expect("no panic while held");
        links.iter().map(|(&node, link)| (node, Arc::clone(link))).collect()
    }

    async fn accept(self: &Arc<Self>, mut listener: Box<dyn Listener>) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let Accepted { io, certified, .. } = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a peer");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(room) = Arc::clone(&handshakes).try_acquire_owned() else { continue };
            let peers = Arc::clone(self);
            self.tracker.spawn(async move {
                let serve = async {
                    let introduce = |node| peers.introduce(node);
                    let judge = |theirs: &Hello| peers.judge(theirs);
                    let expects = |node| peers.expects(node, certified.as_deref());
                    match hello::accept(io, introduce, expects, judge).await {
                        Ok(Knock::Peer(established)) => {
                            drop(room);
                            peers.run(established).await;
                        }
                        Ok(Knock::Joiner(io, request)) => peers.let_in(io, request, certified.as_deref()).await,
                        Err(error) => {
                            tracing::warn!(%error, "refused a connection");
                            peers.note(error);
                        }
                    }
                };
                tokio::select! {
                    biased;
                    () = peers.stop.cancelled() => {}
                    () = serve => {}
                }
            });
        }
    }

    /// Answers a node that wants to become one of the cluster.
    async fn let_in(&self, io: Box<dyn Io>, request: JoinRequest, certified: Option<&dyn Certified>) {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        let result = match (check_host("the new node", &request.peer_address, certified), self.services.joining.get()) {
            (Err(error), _) => Err(Error::FailedPrecondition(error.to_string())),
            (Ok(()), Some(joining)) => joining.serve(request, deadline).await,
            (Ok(()), None) => Err(Error::Unavailable("the node is starting".to_owned())),
        };
        let body = result.map_or_else(
            |error| {
                tracing::warn!(%error, "a new node was not let in");
                Body::Error(error.into())
            },
            Body::Joined,
        );
        hello::answer(io, body).await;
    }

    /// Only lower ids dial this node, and each with a certificate for its own host.
    fn expects(&self, node: NodeId, certified: Option<&dyn Certified>) -> Result<(), HelloError> {
        let Some(link) = self.link(node).filter(|_| node.0 < self.hello.node_id) else {
            return Err(HelloError::Refused(format!(
                "node {node} is not expected to dial node {}",
                self.hello.node_id
            )));
        };
        check_host(&format!("node {node}"), &link.address, certified)
    }

    async fn dial(self: &Arc<Self>, node: NodeId, link: &Link) {
        let mut backoff = BACKOFF_MIN;
        let mut last_refusal = None;
        loop {
            match self.connect(node, link).await {
                Ok(established) => {
                    backoff = BACKOFF_MIN;
                    last_refusal = None;
                    self.run(established).await;
                }
                Err(error @ (HelloError::Refused(_) | HelloError::TheyAreOutcast(_) | HelloError::Outcast(_))) => {
                    // Once is enough: it will be the same answer until somebody acts.
                    if last_refusal.as_ref() != Some(&error) {
                        tracing::warn!(%node, %error, "the peer and this node do not belong together");
                        last_refusal = Some(error.clone());
                    }
                    self.note(error);
                }
                Err(error) => tracing::debug!(%node, %error, "cannot reach the peer"),
            }
            let jitter = self.entropy.next_u64() % (u64::try_from(backoff.as_millis()).unwrap_or(1) / 2).max(1);
            sleep(backoff + Duration::from_millis(jitter)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn connect(&self, node: NodeId, link: &Link) -> Result<Established, HelloError> {
        let io = timeout(CONNECT_TIMEOUT, self.net.connect(&link.address))
            .await
            .map_err(|_| HelloError::from(io::Error::from(io::ErrorKind::TimedOut)))??;
        let mine = self.introduce(node);
        hello::dial(io, &mine, node, |theirs| self.judge(theirs)).await
    }

    /// What this node says of itself, and knows of `node`.
    fn introduce(&self, node: NodeId) -> Hello {
        let mut hello = self.formation.introduce(self.hello.clone());
        if let Some(Start { number, incarnation }) = self.starts.last(node) {
            (hello.seen_start, hello.seen_incarnation) = (number, incarnation);
        }
        hello
    }

    /// Whether the node that introduces itself is who it says, and nobody else is.
    fn judge(&self, theirs: &Hello) -> Result<(), HelloError> {
        self.formation.judge(theirs)?;
        let Hello { node_id, start, incarnation, .. } = self.hello;
        let seen = Start { number: theirs.seen_start, incarnation: theirs.seen_incarnation };
        Start { number: start, incarnation }.check(NodeId(node_id), seen).map_err(HelloError::Outcast)?;
        let node = NodeId(theirs.node_id);
        let is_other = |connection: &Arc<Connection>| {
            connection.incarnation != theirs.incarnation && connection.heard().elapsed() < SILENT_AFTER
        };
        if self.connection(node).is_some_and(|current| is_other(&current)) {
            return Err(HelloError::Refused(format!(
                "node {node} is connected already as another process: either that one died just now, or the data \
                 directory was copied and both run"
            )));
        }
        let start = Start { number: theirs.start, incarnation: theirs.incarnation };
        self.starts.admit(node, start).map_err(HelloError::TheyAreOutcast)
    }

    fn note(&self, error: HelloError) {
        if let HelloError::Outcast(reason) = error {
            self.formation.cast_out(reason);
        }
    }

    /// Uses the connection until it ends. An older one to the same node is closed.
    async fn run(&self, established: Established) {
        let Established { io, received, node, incarnation } = established;
        let Some(link) = self.link(node) else { return };
        let connection = Connection::new(node, incarnation);
        let older = link.current.lock().expect("no panic while held").replace(Arc::clone(&connection));
        if let Some(older) = older {
            older.close();
        }
        if link.stop.is_cancelled() {
            // Removed in this very moment.
            connection.close();
        }
        // The peer lives for this node once it beats; so does this node for the peer.
        self.beat_once(&connection);
        tracing::debug!(%node, "connected");
        connection.run(io, received, &self.services).await;
        let mut current = link.current.lock().expect("no panic while held");
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &connection)) {
            *current = None;
            drop(current);
            self.liveness.disconnected(node);
        }
    }
}

fn check_host(who: &str, address: &str, certified: Option<&dyn Certified>) -> Result<(), HelloError> {
    let host = host_of(address);
    match certified.filter(|certified| !certified.is_host(host)) {
        None => Ok(()),
        Some(certified) => Err(HelloError::Refused(format!(
            "{who} is listed at {host}, and its certificate is {}",
            certified.describe()
        ))),
    }
}

impl Link {
    fn end(&self) {
        self.stop.cancel();
        if let Some(connection) = self.current() {
            connection.close();
        }
    }

    fn current(&self) -> Option<Arc<Connection>> {
        self.current.lock().expect("no panic while held").clone().filter(|connection| !connection.is_closed())
    }
}

/// A stream whose two ends have introduced themselves.
pub(crate) struct Established {
    io: Box<dyn Io>,
    received: Received,
    node: NodeId,
    incarnation: u64,
}

impl Transport for Peers {
    fn call(
        &self,
        node: NodeId,
        group: GroupId,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let Some(connection) = self.connection(node) else {
            return Box::pin(std::future::ready(Err(TransportError::Unreachable(
                "no connection to the node".to_owned(),
            ))));
        };
        let answer = connection.call_raft(group, request, timeout);
        Box::pin(async move {
            match answer.await {
                Ok(Body::Raft(message)) => Ok(message.body),
                Ok(Body::Error(error)) => match Error::from(error) {
                    Error::Unavailable(reason) => Err(TransportError::Unreachable(reason)),
                    error => Err(TransportError::Timeout(error.to_string())),
                },
                Ok(_) => Err(TransportError::Timeout("an answer of another kind".to_owned())),
                Err(CallFailure::NotSent(reason)) => Err(TransportError::Unreachable(reason.to_owned())),
                Err(failure @ CallFailure::TooLarge) => Err(TransportError::Unreachable(failure.to_string())),
                Err(CallFailure::Lost(reason)) => Err(TransportError::Timeout(reason.to_owned())),
            }
        })
    }
}
