//! Which partition, as an ordered map key.

use api::internal::{PartitionKey, TaskKind};
use temporalio_protos::temporal::api::enums::v1::TaskQueueType;

/// [`PartitionKey`] with an order; equal keys mean the same partition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub namespace_id: String,
    pub task_queue: String,
    pub activity: bool,
    pub sticky: bool,
    pub partition: u32,
}

impl Key {
    /// The sticky queue of a worker; it has one partition, of workflow tasks.
    pub(crate) fn sticky(namespace_id: &str, task_queue: &str) -> Self {
        Self {
            namespace_id: namespace_id.to_owned(),
            task_queue: task_queue.to_owned(),
            activity: false,
            sticky: true,
            partition: 0,
        }
    }

    pub(crate) fn task_queue_type(&self) -> TaskQueueType {
        if self.activity { TaskQueueType::Activity } else { TaskQueueType::Workflow }
    }

    pub(crate) fn to_proto(&self) -> PartitionKey {
        let kind = if self.activity { TaskKind::Activity } else { TaskKind::Workflow };
        PartitionKey {
            namespace_id: self.namespace_id.clone(),
            task_queue: self.task_queue.clone(),
            kind: kind.into(),
            partition: self.partition,
            sticky: self.sticky,
        }
    }
}

impl From<PartitionKey> for Key {
    fn from(key: PartitionKey) -> Self {
        let activity = key.kind() == TaskKind::Activity;
        let PartitionKey { namespace_id, task_queue, partition, sticky, .. } = key;
        Self { namespace_id, task_queue, activity, sticky, partition }
    }
}
