//! What a command is decided by: the node's limits, and what the namespace has registered and
//! how long it keeps closed runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::Namespaces;
use execution::Limits;
use execution::workflow::Command;

use crate::run::RunKey;

/// Namespaces remembered; the rest is looked up again.
const NAMESPACES_MAX: usize = 1000;

pub(super) struct NamespaceLimits {
    common: Arc<Limits>,
    /// By namespace id, with the version that was looked at.
    known: BTreeMap<String, (u64, Arc<Limits>)>,
}

impl NamespaceLimits {
    pub(super) fn new(common: Limits) -> Self {
        Self { common: Arc::new(common), known: BTreeMap::new() }
    }

    pub(super) fn of(&mut self, namespaces: &Namespaces, run: &RunKey, command: &Command) -> Arc<Limits> {
        if matches!(command, Command::StartWorkflowTask(_) | Command::StartActivityTask(_)) {
            // They write no attribute and close nothing.
            return Arc::clone(&self.common);
        }
        self.of_namespace(namespaces, run.workflow.namespace_id.as_str())
    }

    pub(super) fn of_namespace(&mut self, namespaces: &Namespaces, id: &str) -> Arc<Limits> {
        let Some(namespace) = namespaces.by_id(id) else { return Arc::clone(&self.common) };
        if let Some((version, limits)) = self.known.get(id)
            && *version == namespace.version
        {
            return Arc::clone(limits);
        }
        let custom = base::custom_attributes(&namespace.config.custom_search_attribute_aliases);
        let limits = Arc::new(Limits {
            search_attributes: Some(Arc::new(custom)),
            retention: Some(namespace.retention),
            ..(*self.common).clone()
        });
        if self.known.len() >= NAMESPACES_MAX {
            self.known.clear();
        }
        self.known.insert(id.to_owned(), (namespace.version, Arc::clone(&limits)));
        limits
    }
}
