//! Changes group 0 where it is led: one loop, one change at a time, each decided on what
//! is applied here and answered once it is applied. Runs on every node; where the group
//! is not led it only says so.

use std::sync::Arc;
use std::time::Duration;

use api::Error;
use base::{Entropy, NamespaceId, Term};
use bytes::Bytes;
use consensus::{Fence, Group, Proposal, ProposeError, Role};
use prost::Message;
use storage::Batch;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use temporalio_protos::temporal::api::namespace::v1::NamespaceConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Registry;
use super::proto::metadata_request::Change;
use super::proto::{ClusterRecord, MetadataRequest, MetadataResponse, NodeRecord};
use super::table;
use crate::{Namespace, SYSTEM_NAMESPACE};

/// Changes that wait for their turn.
const QUEUE_MAX: usize = 256;
/// Between two attempts to write the birth of the cluster under one term.
const BIRTH_RETRY: Duration = Duration::from_millis(50);

/// The id that official tools know the system namespace by.
const SYSTEM_NAMESPACE_ID: &str = "32049b68-7872-4094-8e63-d0dd59896a83";
const SYSTEM_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the first leader of an empty group 0 writes.
pub(crate) struct Birth {
    pub(crate) cluster: ClusterRecord,
    pub(crate) nodes: Vec<NodeRecord>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) retention: Duration,
    pub(crate) entropy: Arc<dyn Entropy>,
}

struct Input {
    change: Change,
    reply: oneshot::Sender<Result<u64, Error>>,
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposer {
    inputs: mpsc::Sender<Input>,
}

impl Proposer {
    /// The handle, and the loop to run.
    pub(crate) fn new(
        group: Group,
        registry: Arc<Registry>,
        birth: Birth,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (inputs, inbox) = mpsc::channel(QUEUE_MAX);
        let service = Service { role: group.role(), group, registry, birth, lead: None };
        (Self { inputs }, service.run(inbox))
    }

    /// Decides and commits. [`Error::NotLeader`] means that nothing was done.
    pub(crate) async fn change(&self, change: Change, deadline: Instant) -> Result<u64, Error> {
        let (reply, answer) = oneshot::channel();
        match timeout_at(deadline, self.inputs.send(Input { change, reply })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Error::Unavailable("the node is shutting down".to_owned())),
            Err(_) => return Err(Error::Unavailable("too many changes of metadata are waiting".to_owned())),
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Unavailable("the node is shutting down".to_owned())),
            Err(_) => Err(Error::Unavailable("the change of metadata was not committed in time".to_owned())),
        }
    }

    /// The same for a peer.
    pub(crate) async fn serve(&self, request: Bytes, deadline: Instant) -> Result<Bytes, Error> {
        let request =
            MetadataRequest::decode(request).map_err(|error| Error::Internal(format!("metadata request: {error}")))?;
        let change = request.change.ok_or_else(|| Error::Unimplemented("unknown change of metadata".to_owned()))?;
        let index = self.change(change, deadline).await?;
        Ok(MetadataResponse { index }.encode_to_vec().into())
    }
}

/// The term that this node leads, and the number of the next proposal in it.
struct Lead {
    term: Term,
    next_seq: u64,
}

struct Service {
    group: Group,
    role: tokio::sync::watch::Receiver<Role>,
    registry: Arc<Registry>,
    birth: Birth,
    lead: Option<Lead>,
}

impl Service {
    async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        loop {
            let role = *self.role.borrow_and_update();
            self.follow(role);
            let is_unborn = self.lead.is_some() && self.registry.read(|table| table.cluster().is_none());
            if is_unborn {
                self.give_birth().await;
                continue;
            }
            if self.lead.is_some()
                && !self.birth.nodes.is_empty()
                && self.registry.read(|table| table.nodes().count() == 0)
            {
                self.write_nodes().await;
                continue;
            }
            tokio::select! {
                biased;
                changed = self.role.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                input = inbox.recv() => {
                    let Some(Input { change, reply }) = input else { return };
                    let result = self.change(change).await;
                    // The caller may have given up.
                    let _ = reply.send(result);
                }
            }
        }
    }

    fn follow(&mut self, role: Role) {
        match (role, &self.lead) {
            (Role::Leader { term, ready: true }, Some(lead)) if lead.term == term => {}
            (Role::Leader { term, ready: true }, _) => self.lead = Some(Lead { term, next_seq: 1 }),
            _ => self.lead = None,
        }
    }

    async fn change(&mut self, change: Change) -> Result<u64, Error> {
        // The role may have changed since the loop looked.
        let role = *self.role.borrow();
        self.follow(role);
        if self.lead.is_none() {
            return Err(not_leader(role));
        }
        let Some(row) = self.registry.read(|table| table.decide(change))? else {
            return Ok(self.group.status().applied_index);
        };
        let mut batch = Batch::default();
        row.write(&mut batch);
        let index = self.propose(batch).await?;
        let is_there = self.registry.read(|table| table.has(&row));
        // A fence that did not match turned the entry into a no-op.
        if is_there { Ok(index) } else { Err(Error::Unavailable("the leader of the metadata changed".to_owned())) }
    }

    async fn give_birth(&mut self) {
        let Birth { cluster, nodes, namespaces, retention, entropy } = &self.birth;
        let mut all = vec![namespace(SYSTEM_NAMESPACE_ID.into(), SYSTEM_NAMESPACE, SYSTEM_RETENTION)];
        all.extend(namespaces.iter().map(|name| namespace(entropy.uuid().into(), name, *retention)));
        tracing::info!(cluster_id = cluster.cluster_id, shards = cluster.shards, "a new cluster is born");
        let batch = table::bootstrap(cluster, nodes, &all);
        if let Err(error) = self.propose(batch).await {
            tracing::debug!(%error, "the birth of the cluster is tried again");
            tokio::time::sleep(BIRTH_RETRY).await;
        }
    }

    /// A cluster that was born before it wrote down its nodes does so now.
    async fn write_nodes(&mut self) {
        let mut batch = Batch::default();
        self.birth.nodes.iter().for_each(|node| table::put_node(&mut batch, node));
        if let Err(error) = self.propose(batch).await {
            tracing::debug!(%error, "the nodes of the cluster are written again");
            tokio::time::sleep(BIRTH_RETRY).await;
        }
    }

    /// Commits and applies. It is not abandoned half-way: what was proposed under a term
    /// must be known before anything else is decided under it.
    async fn propose(&mut self, batch: Batch) -> Result<u64, Error> {
        let Some(Lead { term, next_seq }) = &mut self.lead else {
            return Err(not_leader(*self.role.borrow()));
        };
        let fence = Fence { term: *term, seq: *next_seq, shard_epoch: self.group.shard_epoch() };
        match self.group.propose(Proposal { fence, batch }).await {
            Ok(proposed) => {
                *next_seq += 1;
                self.group.applied(proposed.index).await;
                Ok(proposed.index)
            }
            Err(ProposeError::NotLeader(_, hint)) => Err(Error::NotLeader { hint }),
            Err(ProposeError::Unknown(reason)) => {
                // The term is over; the next one begins at 1.
                *next_seq += 1;
                Err(Error::Unavailable(format!("the change of metadata may have been lost: {reason}")))
            }
            Err(ProposeError::Stopped) => Err(Error::Unavailable("the node is shutting down".to_owned())),
        }
    }
}

fn not_leader(role: Role) -> Error {
    let hint = match role {
        Role::Follower { leader, .. } | Role::Learner { leader, .. } => leader,
        Role::Leader { .. } | Role::Candidate { .. } | Role::Stopped => None,
    };
    Error::NotLeader { hint }
}

fn namespace(id: NamespaceId, name: &str, retention: Duration) -> Namespace {
    Namespace {
        id,
        name: name.to_owned(),
        state: NamespaceState::Registered,
        description: String::new(),
        owner_email: String::new(),
        data: Default::default(),
        retention,
        config: NamespaceConfig::default(),
        version: 1,
    }
}
