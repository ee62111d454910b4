//! How a workflow and one of its runs are addressed inside a shard.

use base::{Cell, NamespaceId, RunId, WorkflowId, cell_of};

/// A workflow id in its namespace, with the cell it hashes to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct WorkflowKey {
    pub(crate) cell: Cell,
    pub(crate) namespace_id: NamespaceId,
    pub(crate) workflow_id: WorkflowId,
}

impl WorkflowKey {
    pub(crate) fn new(namespace_id: &str, workflow_id: &str) -> Self {
        Self {
            cell: cell_of(namespace_id, workflow_id),
            namespace_id: namespace_id.into(),
            workflow_id: workflow_id.into(),
        }
    }

    pub(crate) fn run(&self, run_id: &str) -> RunKey {
        RunKey { workflow: self.clone(), run_id: run_id.into() }
    }
}

/// One run of a workflow.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct RunKey {
    pub(crate) workflow: WorkflowKey,
    pub(crate) run_id: RunId,
}
