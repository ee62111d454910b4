//! How a workflow and one of its runs are addressed inside a shard.

use std::hash::{Hash, Hasher};

use base::{Cell, NamespaceId, RunId, WorkflowId, cell_of};

/// A workflow id in its namespace, with the cell it hashes to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
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

/// The parts that nearly always tell keys apart: keys are hashed many times in a request.
impl Hash for WorkflowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell.hash(state);
        self.workflow_id.hash(state);
    }
}

/// One run of a workflow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RunKey {
    pub(crate) workflow: WorkflowKey,
    pub(crate) run_id: RunId,
}

/// Run ids are UUIDs.
impl Hash for RunKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.run_id.hash(state);
    }
}
