//! What operators set for task queues: facts of group 0, with a copy on every node.
//!
//! The design has each queue's settings in an execution of its own, in the shard of its
//! name. They are few, small and rarely written, and every node that owns a partition
//! needs them at once, so for now they live next to the namespaces; their bound is
//! [`TASK_QUEUES_MAX`].

use std::collections::BTreeMap;

use api::Error;
use base::NamespaceId;
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueueConfig;

use crate::metadata::proto::{TaskQueueRecord, UpdateTaskQueue};

/// Queues with settings in the whole cluster.
pub(crate) const TASK_QUEUES_MAX: usize = 100_000;

/// The settings of one queue.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskQueueSettings {
    pub namespace_id: NamespaceId,
    pub name: String,
    /// By `TaskQueueType`.
    pub config_by_type: BTreeMap<i32, TaskQueueConfig>,
    /// Grows by one with each change; a change must name the one it was made from.
    pub version: u64,
}

pub(crate) type Settings = BTreeMap<(String, String), std::sync::Arc<TaskQueueSettings>>;

/// What to write for an update; an update that was made already is made again without harm.
pub(crate) fn decide(settings: &Settings, update: UpdateTaskQueue) -> Result<TaskQueueRecord, Error> {
    let UpdateTaskQueue { task_queue, version } = update;
    let record = task_queue.ok_or_else(|| Error::InvalidArgument("Task queue is not set.".to_owned()))?;
    let record = TaskQueueRecord { version: version.saturating_add(1), ..record };
    let stored = settings.get(&(record.namespace_id.clone(), record.name.clone()));
    let stored_version = stored.map_or(0, |stored| stored.version);
    if stored_version != version && stored.is_none_or(|stored| to_record(stored) != record) {
        return Err(Error::FailedPrecondition("Task queue was changed by someone else.".to_owned()));
    }
    if stored.is_none() && settings.len() >= TASK_QUEUES_MAX {
        return Err(Error::ResourceExhausted {
            message: "too many task queues have settings".to_owned(),
            cause: ResourceExhaustedCause::SystemOverloaded.into(),
            scope: ResourceExhaustedScope::System.into(),
        });
    }
    Ok(record)
}

pub(crate) fn to_record(settings: &TaskQueueSettings) -> TaskQueueRecord {
    TaskQueueRecord {
        namespace_id: settings.namespace_id.as_str().to_owned(),
        name: settings.name.clone(),
        config_by_type: settings.config_by_type.clone(),
        version: settings.version,
    }
}

pub(crate) fn from_record(record: TaskQueueRecord) -> TaskQueueSettings {
    TaskQueueSettings {
        namespace_id: NamespaceId::from(record.namespace_id),
        name: record.name,
        config_by_type: record.config_by_type,
        version: record.version,
    }
}
