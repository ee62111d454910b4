//! Namespaces: facts of group 0, with a copy on every node.

use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::frame::Body;
use base::NamespaceId;
use bytes::Bytes;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use temporalio_protos::temporal::api::namespace::v1::NamespaceConfig;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::metadata::proto::metadata_request::Change;
use crate::metadata::proto::{MetadataRequest, MetadataResponse, UpdateNamespace, UpdateTaskQueue};
use crate::metadata::{self, Registry, to_record};
use crate::router::Repeat;
use crate::{Router, TaskQueueSettings, task_queue};

/// The server's own, which nobody can delete.
pub const SYSTEM_NAMESPACE: &str = "temporal-system";

/// How often a change whose outcome is unknown is asked for again.
const ATTEMPTS_MAX: u32 = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// One namespace as every node knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Namespace {
    pub id: NamespaceId,
    pub name: String,
    pub state: NamespaceState,
    pub description: String,
    pub owner_email: String,
    pub data: std::collections::BTreeMap<String, String>,
    pub retention: Duration,
    pub config: NamespaceConfig,
    /// Grows by one with each change; a change must name the one it was made from.
    pub version: u64,
}

/// A write to the registry.
#[derive(Clone, PartialEq, Debug)]
pub enum NamespaceChange {
    /// Fails with [`Error::NamespaceAlreadyExists`] when the name is taken.
    Register(Namespace),
    /// Replaces the namespace with this id if its version is still `version`.
    Update { namespace: Namespace, version: u64 },
}

/// The local copy, and the way to change it. Cheap to clone.
#[derive(Clone)]
pub struct Namespaces {
    registry: Arc<Registry>,
    router: Router,
}

impl Namespaces {
    pub(crate) fn new(registry: Arc<Registry>, router: Router) -> Self {
        Self { registry, router }
    }

    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Namespace>> {
        self.registry.by_name(name)
    }

    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Arc<Namespace>> {
        self.registry.by_id(id)
    }

    /// All namespaces, ordered by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Namespace>> {
        self.registry.list()
    }

    /// Counts the changes of the local copy.
    #[must_use]
    pub fn version(&self) -> watch::Receiver<u64> {
        self.registry.version()
    }

    /// Commits the change in group 0, wherever its leader is; the local copy has it when
    /// the call returns. An update from another version than the current one is
    /// [`Error::FailedPrecondition`].
    pub async fn change(&self, change: NamespaceChange, deadline: Instant) -> Result<(), Error> {
        let change = match change {
            NamespaceChange::Register(namespace) => Change::RegisterNamespace(to_record(&namespace)),
            NamespaceChange::Update { namespace, version } => {
                Change::UpdateNamespace(UpdateNamespace { namespace: Some(to_record(&namespace)), version })
            }
        };
        self.commit(change, deadline).await
    }

    /// What operators set for a task queue.
    #[must_use]
    pub fn task_queue(&self, namespace_id: &str, name: &str) -> Option<Arc<TaskQueueSettings>> {
        self.registry.task_queue(namespace_id, name)
    }

    /// Replaces the settings of a task queue if their version is still `version`, 0 for
    /// none; otherwise as [`Self::change`].
    pub async fn update_task_queue(
        &self,
        settings: &TaskQueueSettings,
        version: u64,
        deadline: Instant,
    ) -> Result<(), Error> {
        let task_queue = Some(task_queue::to_record(settings));
        self.commit(Change::UpdateTaskQueue(UpdateTaskQueue { task_queue, version }), deadline).await
    }

    pub(crate) async fn commit(&self, change: Change, deadline: Instant) -> Result<(), Error> {
        let request = Bytes::from(MetadataRequest { change: Some(change) }.encode_to_vec());
        let mut attempt = 1;
        let index = loop {
            match self.attempt(request.clone(), deadline).await {
                // The same change again is recognised, so an unknown outcome is settled
                // by asking once more.
                Err(Error::Unavailable(_)) if attempt < ATTEMPTS_MAX && Instant::now() < deadline => {
                    sleep(ATTEMPT_PAUSE).await
                }
                result => break result?,
            }
            attempt += 1;
        };
        timeout_at(deadline, self.router.group(metadata::GROUP).applied(index))
            .await
            .map_err(|_| Error::Unavailable("the change is made, but has not arrived at this node in time".to_owned()))
    }

    async fn attempt(&self, request: Bytes, deadline: Instant) -> Result<u64, Error> {
        let answer =
            self.router.at_leader(metadata::GROUP, Body::Metadata(request), Repeat::Harmless, deadline).await?;
        let Body::MetadataResponse(response) = answer else {
            return Err(Error::Internal("an answer of another kind".to_owned()));
        };
        let response = MetadataResponse::decode(response)
            .map_err(|error| Error::Internal(format!("metadata response: {error}")))?;
        Ok(response.index)
    }
}
