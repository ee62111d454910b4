//! Names of task queues.

use api::Error;
use temporalio_protos::temporal::api::enums::v1::TaskQueueKind;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;

use super::{invalid, not_longer};

/// Begins the names of single partitions, which are not for users.
pub(crate) const PARTITION_PREFIX: &str = "/_sys/";
/// Begin the names of queues of the server's own workers.
const PER_NAMESPACE_PREFIX: &str = "temporal-sys-per-ns-";
const WORKER_CONTROLLER_QUEUE: &str = "temporal-sys-worker-controller-per-ns-tq";

/// The queue of a start: a user's own.
pub(crate) fn start_queue(queue: Option<&mut TaskQueue>, bytes_max: usize) -> Result<&TaskQueue, Error> {
    let queue = poll_queue(queue, bytes_max)?;
    if queue.name.starts_with(PER_NAMESPACE_PREFIX) || queue.name == WORKER_CONTROLLER_QUEUE {
        return Err(invalid(format!("cannot use internal per-namespace task queue:{}", queue.name)));
    }
    Ok(queue)
}

/// The queue of a poll.
pub(crate) fn poll_queue(queue: Option<&mut TaskQueue>, bytes_max: usize) -> Result<&TaskQueue, Error> {
    let queue = partition_name(queue, bytes_max)?;
    if queue.name.starts_with(PARTITION_PREFIX) {
        return Err(invalid(format!("task queue name cannot start with reserved prefix {PARTITION_PREFIX}")));
    }
    Ok(queue)
}

/// A queue, or one partition of it by name.
pub(crate) fn partition_name(queue: Option<&mut TaskQueue>, bytes_max: usize) -> Result<&TaskQueue, Error> {
    let queue = queue.ok_or_else(|| invalid("taskQueue is not set"))?;
    if queue.kind() == TaskQueueKind::Unspecified {
        queue.set_kind(TaskQueueKind::Normal);
    }
    if queue.name.is_empty() {
        return Err(invalid("missing task queue name"));
    }
    not_longer(&queue.name, bytes_max, "taskQueue length exceeds limit")?;
    if queue.kind() == TaskQueueKind::Sticky {
        not_longer(&queue.normal_name, bytes_max, "taskQueue length exceeds limit")?;
    }
    Ok(queue)
}

/// The queue that an activity moves to: the shard knows whether it may be an internal one.
pub(crate) fn activity_queue(queue: Option<&mut TaskQueue>, bytes_max: usize) -> Result<(), Error> {
    start_queue(queue, bytes_max).map(drop)
}

/// Leaves the queue's own name and returns the number of the partition that it named.
pub(crate) fn partition_number(queue: &mut TaskQueue) -> Result<u32, Error> {
    if queue.kind() != TaskQueueKind::Sticky && !queue.normal_name.is_empty() {
        return Err(invalid(format!(
            "only sticky queues can have normal name. tq: {}, normal name: {}",
            queue.name, queue.normal_name
        )));
    }
    let Some(partition) = queue.name.strip_prefix(PARTITION_PREFIX) else { return Ok(0) };
    let parsed = partition.rsplit_once('/').and_then(|(name, number)| Some((name, number.parse::<u32>().ok()?)));
    match parsed {
        Some((name, number)) if number > 0 && !name.is_empty() => {
            queue.name = name.to_owned();
            Ok(number)
        }
        _ => Err(invalid(format!("invalid task queue partition name {}", queue.name))),
    }
}
