//! The checks of requests, with the messages of the official server: SDK tests and people
//! know them by heart. Pure functions; what they normalise, they change in place.

mod callback;
mod duration;
mod failure;
mod link;
mod search_attributes;
mod start;
mod task_queue;
mod update;

use api::Error;
use temporalio_protos::temporal::api::common::v1::{Priority, WorkflowExecution};

pub(crate) use callback::callbacks;
pub(crate) use duration::cap;
pub(crate) use failure::{cap_failure, server_failure};
pub(crate) use link::{deduplicate, links};
pub(crate) use search_attributes::search_attributes;
pub(crate) use start::{retry_policy, signal_with_start, start};
pub(crate) use task_queue::{
    PARTITION_PREFIX, activity_queue, partition_name, partition_number, poll_queue, start_queue,
};
pub(crate) use update::{update, update_with_start};

pub(crate) const FAIRNESS_KEY_BYTES_MAX: usize = 64;

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidArgument(message.into())
}

/// Which workflow, and possibly which run, a request is about.
pub(crate) fn execution(execution: Option<&WorkflowExecution>) -> Result<&WorkflowExecution, Error> {
    let execution = execution.ok_or_else(|| invalid("Execution is not set on request."))?;
    if execution.workflow_id.is_empty() {
        return Err(invalid("WorkflowId is not set on request."));
    }
    if !execution.run_id.is_empty() && uuid::Uuid::try_parse(&execution.run_id).is_err() {
        return Err(invalid("Invalid RunId."));
    }
    Ok(execution)
}

pub(crate) fn not_longer(text: &str, bytes_max: usize, message: &str) -> Result<(), Error> {
    if text.len() > bytes_max { Err(invalid(message)) } else { Ok(()) }
}

pub(crate) fn identity(identity: &str, bytes_max: usize) -> Result<(), Error> {
    not_longer(identity, bytes_max, "Identity length exceeds limit.")
}

pub(crate) fn blob(bytes: usize, bytes_max: usize) -> Result<(), Error> {
    if bytes > bytes_max { Err(invalid("Blob data size exceeds limit.")) } else { Ok(()) }
}

pub(crate) fn priority(priority: Option<&Priority>) -> Result<(), Error> {
    let Some(priority) = priority else { return Ok(()) };
    if priority.priority_key < 0 {
        return Err(invalid("priority key can't be negative"));
    }
    not_longer(&priority.fairness_key, FAIRNESS_KEY_BYTES_MAX, "fairness key length exceeds limit")?;
    if priority.fairness_weight < 0.0 {
        return Err(invalid("must be greater than zero"));
    }
    Ok(())
}
