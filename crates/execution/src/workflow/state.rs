//! The state of one run: a fold over its changes.

use base::Timestamp;
use bytes::Bytes;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::enums::v1::WorkflowExecutionStatus;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::{Change, Task};

/// One stored row of a run's state, so that a step writes only what it touched.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RowKey {
    /// Small and rewritten by almost every step.
    Core,
    /// The start event's attributes: written once.
    Start,
    Activity(i64),
    Timer(i64),
    Buffered(u64),
    SignalRequest(String),
}

/// Clone is cheap: collections are persistent, large values shared.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    _private: (),
}

impl State {
    /// The state of a run before its first change.
    #[must_use]
    pub fn new() -> Self {
        unimplemented!("core owner")
    }

    /// The rows that `change` touched, given the state after it.
    #[must_use]
    pub fn touched(&self, _change: &Change) -> Vec<RowKey> {
        unimplemented!("core owner")
    }

    /// The stored form of a row; `None` when it must be deleted.
    #[must_use]
    pub fn encode_row(&self, _key: &RowKey) -> Option<Bytes> {
        unimplemented!("core owner")
    }

    /// Rebuilds the state from all its rows.
    pub fn decode(_rows: &[(RowKey, Bytes)]) -> Result<Self, prost::DecodeError> {
        unimplemented!("core owner")
    }

    /// What still has to be done outside this run. Equal to what the decisions asked for.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        unimplemented!("core owner")
    }

    /// When `FireTimers` must be called next for something durable.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        unimplemented!("core owner")
    }

    /// When `FireTimers` must be called next for soft state (a started workflow task).
    #[must_use]
    pub fn soft_deadline(&self) -> Option<Timestamp> {
        unimplemented!("core owner")
    }

    #[must_use]
    pub fn status(&self) -> WorkflowExecutionStatus {
        unimplemented!("core owner")
    }

    #[must_use]
    pub fn execution(&self) -> WorkflowExecution {
        unimplemented!("core owner")
    }

    /// Events below this id are written.
    #[must_use]
    pub fn next_event_id(&self) -> i64 {
        unimplemented!("core owner")
    }

    #[must_use]
    pub fn first_execution_run_id(&self) -> &str {
        unimplemented!("core owner")
    }

    /// The request id that created this run.
    #[must_use]
    pub fn start_request_id(&self) -> &str {
        unimplemented!("core owner")
    }

    /// The run that followed this one (continue-as-new, retry, cron), if any.
    #[must_use]
    pub fn new_execution_run_id(&self) -> Option<&str> {
        unimplemented!("core owner")
    }

    /// A closed run may be removed from this time on.
    #[must_use]
    pub fn delete_after(&self) -> Option<Timestamp> {
        unimplemented!("core owner")
    }

    /// Whether a workflow task is scheduled or started, and whether it is started.
    #[must_use]
    pub fn pending_workflow_task(&self) -> Option<bool> {
        unimplemented!("core owner")
    }

    /// The sticky queue and its normal queue, for a query: `(sticky, normal)`.
    #[must_use]
    pub fn query_queues(&self) -> (Option<String>, String) {
        unimplemented!("core owner")
    }

    /// The events of a started workflow task that are not written yet.
    #[must_use]
    pub fn unwritten_tail(&self) -> Vec<temporalio_protos::temporal::api::history::v1::HistoryEvent> {
        unimplemented!("core owner")
    }

    #[must_use]
    pub fn describe(&self) -> wf::DescribeWorkflowExecutionResponse {
        unimplemented!("core owner")
    }
}
