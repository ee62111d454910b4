//! Namespaces: facts of group 0, with a copy on every node.

use std::sync::Arc;
use std::time::Duration;

use api::Error;
use base::NamespaceId;
use temporalio_protos::temporal::api::namespace::v1::NamespaceConfig;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use tokio::time::Instant;

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
    _private: (),
}

impl Namespaces {
    #[must_use]
    pub fn by_name(&self, _name: &str) -> Option<Arc<Namespace>> {
        unimplemented!("cluster owner")
    }

    #[must_use]
    pub fn by_id(&self, _id: &str) -> Option<Arc<Namespace>> {
        unimplemented!("cluster owner")
    }

    /// All namespaces, ordered by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Namespace>> {
        unimplemented!("cluster owner")
    }

    /// Commits the change in group 0, wherever its leader is; the local copy has it when
    /// the call returns.
    pub async fn change(&self, _change: NamespaceChange, _deadline: Instant) -> Result<(), Error> {
        unimplemented!("cluster owner")
    }
}
