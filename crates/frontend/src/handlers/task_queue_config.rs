//! What operators set for a task queue, and where its partitions are.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Error;
use api::internal::{PartitionKey, TaskKind};
use base::Timestamp;
use bytes::Bytes;
use cluster::{Namespace, TaskQueueSettings};
use temporalio_protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_protos::temporal::api::taskqueue::v1::{
    ConfigMetadata, RateLimitConfig, TaskQueueConfig, TaskQueuePartitionMetadata,
};
use temporalio_protos::temporal::api::workflowservice::v1::update_task_queue_config_request::RateLimitUpdate;
use temporalio_protos::temporal::api::workflowservice::v1::{
    ListTaskQueuePartitionsRequest, ListTaskQueuePartitionsResponse, UpdateTaskQueueConfigRequest,
    UpdateTaskQueueConfigResponse,
};

use crate::call::{Call, encoded};
use crate::{Limits, validate};

/// Other writers may come first a few times.
const ATTEMPTS_MAX: u32 = 5;

pub(super) async fn update(
    call: Call,
    namespace: Arc<Namespace>,
    request: UpdateTaskQueueConfigRequest,
) -> Result<Bytes, Error> {
    check(&request, call.limits())?;
    let now = Timestamp::from_millis(call.state.clock.now().as_nanos() / 1_000_000);
    let kind = request.task_queue_type;
    let mut attempt = 1;
    loop {
        let stored = call.backend().task_queue(namespace.id.as_str(), &request.task_queue);
        let version = stored.as_ref().map_or(0, |stored| stored.version);
        let mut config_by_type = stored.map_or_else(BTreeMap::new, |stored| stored.config_by_type.clone());
        let before = config_by_type.get(&kind).cloned();
        let config = merged(before.clone().unwrap_or_default(), &request, now, call.limits())?;
        if before.as_ref() == Some(&config) || (before.is_none() && config == TaskQueueConfig::default()) {
            return encoded(&UpdateTaskQueueConfigResponse { config: Some(config) });
        }
        config_by_type.insert(kind, config.clone());
        let name = request.task_queue.clone();
        let settings = TaskQueueSettings { namespace_id: namespace.id.clone(), name, config_by_type, version };
        match call.backend().update_task_queue(&settings, version, call.deadline).await {
            Ok(()) => return encoded(&UpdateTaskQueueConfigResponse { config: Some(config) }),
            Err(Error::FailedPrecondition(_)) if attempt < ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn check(request: &UpdateTaskQueueConfigRequest, limits: &Limits) -> Result<(), Error> {
    let is_workflow = request.task_queue_type == TaskQueueType::Workflow as i32;
    let rates = [
        (&request.update_queue_rate_limit, "rate limit", "UpdateQueueRateLimit"),
        (
            &request.update_fairness_key_rate_limit_default,
            "fairness key rate limit",
            "UpdateFairnessKeyRateLimitDefault",
        ),
    ];
    for (update, what, label) in rates {
        let Some(RateLimitUpdate { rate_limit: Some(rate), reason }) = update else { continue };
        if is_workflow {
            return Err(validate::invalid(format!("Setting {what} on workflow task queues is not allowed.")));
        }
        if rate.requests_per_second < 0.0 {
            return Err(validate::invalid(format!("RequestsPerSecond for {label} rate limit must be non-negative.")));
        }
        field(&format!("{label}.Reason"), reason, limits)?;
    }
    field("Identity", &request.identity, limits)?;
    check_weights(request, limits)?;
    if request.task_queue.starts_with(validate::PARTITION_PREFIX) {
        return Err(validate::invalid(format!(
            "task queue family name cannot have prefix {} {}",
            validate::PARTITION_PREFIX,
            request.task_queue
        )));
    }
    // The incumbent has no bound here; ours keep the rows of group 0 small.
    validate::not_longer(&request.task_queue, limits.id_bytes_max, "taskQueue length exceeds limit")
}

fn field(name: &str, value: &str, limits: &Limits) -> Result<(), Error> {
    let max = limits.id_bytes_max;
    if value.len() > max {
        return Err(validate::invalid(format!("{name} field too long (max {max} characters).")));
    }
    Ok(())
}

fn check_weights(request: &UpdateTaskQueueConfigRequest, limits: &Limits) -> Result<(), Error> {
    let (set, unset) = (&request.set_fairness_weight_overrides, &request.unset_fairness_weight_overrides);
    let (total, max) = (set.len() + unset.len(), limits.fairness_overrides_max);
    if total > max {
        return Err(validate::invalid(format!(
            "too many fairness weight overrides in request: got {total}, maximum {max}"
        )));
    }
    // In one order, so that the same request fails in the same way.
    let sorted: BTreeMap<_, _> = set.iter().collect();
    for (key, weight) in sorted {
        fairness_key(key)?;
        if weight.is_nan() || *weight <= 0.0 {
            return Err(validate::invalid(format!(
                "invalid fairness weight weight for key {key:?}: must be greater than zero"
            )));
        }
    }
    for key in unset {
        fairness_key(key)?;
    }
    match unset.iter().find(|key| set.contains_key(*key)) {
        Some(key) => {
            Err(validate::invalid(format!("fairness weight override key {key:?} present in both set and unset lists")))
        }
        None => Ok(()),
    }
}

fn fairness_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(validate::invalid("fairness weight override key must not be empty"));
    }
    validate::not_longer(key, validate::FAIRNESS_KEY_BYTES_MAX, "fairness key length exceeds limit")
}

/// An update without a rate unsets it, and says so in the metadata.
fn rate_limit(update: &RateLimitUpdate, identity: &str, now: Timestamp) -> RateLimitConfig {
    RateLimitConfig {
        rate_limit: update.rate_limit,
        metadata: Some(ConfigMetadata {
            reason: update.reason.clone(),
            update_identity: identity.to_owned(),
            update_time: Some(now.to_proto()),
        }),
    }
}

fn merged(
    mut config: TaskQueueConfig,
    request: &UpdateTaskQueueConfigRequest,
    now: Timestamp,
    limits: &Limits,
) -> Result<TaskQueueConfig, Error> {
    if let Some(update) = &request.update_queue_rate_limit {
        config.queue_rate_limit = Some(rate_limit(update, &request.identity, now));
    }
    if let Some(update) = &request.update_fairness_key_rate_limit_default {
        config.fairness_keys_rate_limit_default = Some(rate_limit(update, &request.identity, now));
    }
    let overrides = &mut config.fairness_weight_overrides;
    for key in &request.unset_fairness_weight_overrides {
        overrides.remove(key);
    }
    overrides.extend(request.set_fairness_weight_overrides.iter().map(|(key, weight)| (key.clone(), *weight)));
    if overrides.len() > limits.fairness_overrides_max {
        return Err(validate::invalid("fairness weight overrides update rejected: exceeding maximum key size"));
    }
    Ok(config)
}

/// A queue has one partition for each type of task.
pub(super) async fn list_partitions(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: ListTaskQueuePartitionsRequest,
) -> Result<Bytes, Error> {
    let queue = validate::poll_queue(request.task_queue.as_mut(), call.limits().id_bytes_max)?;
    let partition = |kind: TaskKind| {
        let partition = PartitionKey {
            namespace_id: namespace.id.as_str().to_owned(),
            task_queue: queue.name.clone(),
            kind: kind as i32,
            ..PartitionKey::default()
        };
        let owner_host_name = call.backend().partition_address(&partition);
        vec![TaskQueuePartitionMetadata { key: queue.name.clone(), owner_host_name }]
    };
    encoded(&ListTaskQueuePartitionsResponse {
        activity_task_queue_partitions: partition(TaskKind::Activity),
        workflow_task_queue_partitions: partition(TaskKind::Workflow),
    })
}
