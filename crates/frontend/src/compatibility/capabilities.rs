//! What clients are told that this server can do, bit by bit against what the official server
//! says in its default configuration. A test walks the descriptors: a bit that is not here
//! fails it, and so does one that the server does not say as it stands here.

/// Message, field, what the official server says, what this one says, and why they differ and
/// what SDKs do because of it; empty where they do not.
pub type Capability = (&'static str, &'static str, &'static str, &'static str, &'static str);

const SYSTEM: &str = "GetSystemInfoResponse.Capabilities";
const NAMESPACE: &str = "NamespaceInfo.Capabilities";
const LIMITS: &str = "NamespaceInfo.Limits";
const INFO: &str = "NamespaceInfo";
const CLUSTER: &str = "GetClusterInfoResponse";

const NO_SCHEDULES: &str =
    "Schedules are not built. No SDK looks: its calls answer UNIMPLEMENTED. The Web UI hides its page of them.";
const NO_STANDALONE: &str = "Standalone activities are not built. No SDK looks: its calls answer UNIMPLEMENTED. The Web UI hides its pages of them.";

pub const CAPABILITIES: &[Capability] = &[
    (SYSTEM, "signal_and_query_header", "true", "true", ""),
    (SYSTEM, "internal_error_differentiation", "true", "true", ""),
    (SYSTEM, "activity_failure_include_heartbeat", "true", "true", ""),
    (SYSTEM, "supports_schedules", "true", "false", NO_SCHEDULES),
    (SYSTEM, "encoded_failure_attributes", "true", "true", ""),
    // Says how workers name their build: in the version stamp of a completion, not as a binary
    // checksum. Without it SDKs do the latter, and lose the build id of a replayed task.
    (SYSTEM, "build_id_based_versioning", "true", "true", ""),
    (SYSTEM, "upsert_memo", "true", "true", ""),
    (SYSTEM, "eager_workflow_start", "true", "true", ""),
    (SYSTEM, "sdk_metadata", "true", "true", ""),
    (SYSTEM, "count_group_by_execution_status", "true", "true", ""),
    (
        SYSTEM,
        "nexus",
        "true",
        "false",
        "Nexus is not built. SDKs poll for Nexus tasks only for workers with Nexus services; these get UNIMPLEMENTED. \
         The Web UI hides its page of endpoints.",
    ),
    (
        SYSTEM,
        "server_scaled_deployments",
        "true",
        "false",
        "Worker deployments are not built. No SDK looks; the Web UI hides what configures them.",
    ),
    (SYSTEM, "server_scaled_provider_cloud_run", "false", "false", ""),
    (NAMESPACE, "eager_workflow_start", "true", "true", ""),
    (NAMESPACE, "sync_update", "true", "true", ""),
    (NAMESPACE, "async_update", "true", "true", ""),
    (NAMESPACE, "worker_heartbeats", "true", "true", ""),
    (NAMESPACE, "reported_problems_search_attribute", "true", "true", ""),
    (
        NAMESPACE,
        "workflow_pause",
        "false",
        "true",
        "Built, and there is no switch that turns it off. No SDK looks; the Web UI shows its button.",
    ),
    (NAMESPACE, "standalone_activities", "true", "false", NO_STANDALONE),
    (
        NAMESPACE,
        "worker_poll_complete_on_shutdown",
        "false",
        "true",
        "Built, and there is no switch that turns it off. SDKs that know it let the server end their polls when they \
         shut down, and lose no task to a poll that nobody waits for; others hang up, as ever.",
    ),
    (NAMESPACE, "poller_autoscaling", "true", "true", ""),
    (NAMESPACE, "worker_commands", "false", "false", ""),
    (NAMESPACE, "standalone_nexus_operation", "false", "false", ""),
    (NAMESPACE, "workflow_update_callbacks", "false", "false", ""),
    (NAMESPACE, "poller_autoscaling_auto_enroll", "false", "false", ""),
    (NAMESPACE, "workflow_task_completion_pagination", "false", "false", ""),
    (NAMESPACE, "standalone_activity_start_delay", "true", "false", NO_STANDALONE),
    (NAMESPACE, "standalone_activity_batch_operations", "false", "false", ""),
    (NAMESPACE, "standalone_activity_operator_commands", "false", "false", ""),
    (LIMITS, "blob_size_limit_error", "2097152", "2097152", ""),
    (LIMITS, "memo_size_limit_error", "2097152", "2097152", ""),
    (
        LIMITS,
        "workflow_task_completion_size_limit_error",
        "41943040",
        "0",
        "It bounds a completion in pages, and those are off here as there. No SDK sends pages unasked.",
    ),
    (INFO, "supports_schedules", "true", "false", NO_SCHEDULES),
    (CLUSTER, "supported_clients", "eight clients", "the same", ""),
    (CLUSTER, "server_version", "1.32.1", "1.32.1", ""),
    (CLUSTER, "cluster_id", "a UUID", "as configured", "A name to show. No SDK asks."),
    // There it is set once newer releases were asked for, which needs the internet.
    (CLUSTER, "version_info", "unset", "unset", ""),
    (CLUSTER, "cluster_name", "active", "as configured", "A name to show. No SDK asks."),
    (CLUSTER, "history_shard_count", "as configured", "as configured", ""),
    (CLUSTER, "persistence_store", "as configured", "as configured", ""),
    (
        CLUSTER,
        "visibility_store",
        "as configured",
        "perpetuo",
        "There is one. No SDK asks; the Web UI looks only for `elasticsearch`.",
    ),
    (CLUSTER, "initial_failover_version", "1", "1", ""),
    (CLUSTER, "failover_version_increment", "10", "10", ""),
];

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;
    use crate::{Limits, capabilities};

    const PACKAGES: [(&str, &str); 5] = [
        (SYSTEM, "temporal.api.workflowservice.v1"),
        (NAMESPACE, "temporal.api.namespace.v1"),
        (LIMITS, "temporal.api.namespace.v1"),
        (INFO, "temporal.api.namespace.v1"),
        (CLUSTER, "temporal.api.workflowservice.v1"),
    ];

    /// Facts of a namespace, which are no capabilities.
    const FACTS: [&str; 8] = ["name", "state", "description", "owner_email", "data", "id", "capabilities", "limits"];

    fn rows(message: &str) -> impl Iterator<Item = &'static Capability> {
        CAPABILITIES.iter().filter(move |row| row.0 == message)
    }

    #[test]
    fn every_capability_is_classified() {
        let pool = DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors are sound");
        let mut problems = Vec::new();
        for (message, package) in PACKAGES {
            let descriptor = pool.get_message_by_name(&format!("{package}.{message}")).expect("a message");
            for field in descriptor.fields() {
                let is_fact = message == INFO && FACTS.contains(&field.name());
                if !is_fact && rows(message).filter(|row| row.1 == field.name()).count() != 1 {
                    problems.push(format!("{message}.{} must be in the table once", field.name()));
                }
            }
            for (_, field, official, ours, why) in rows(message) {
                if descriptor.get_field_by_name(field).is_none() {
                    problems.push(format!("{message}.{field} is no field"));
                }
                let differs = official != ours && *ours != "the same";
                if differs == why.is_empty() {
                    problems.push(format!("{message}.{field}: a reason stands exactly where they differ"));
                }
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn the_server_says_what_the_table_says() {
        let pool = DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors are sound");
        let said = [
            (SYSTEM, "temporal.api.workflowservice.v1", capabilities::system().encode_to_vec()),
            (NAMESPACE, "temporal.api.namespace.v1", capabilities::namespace().encode_to_vec()),
            (LIMITS, "temporal.api.namespace.v1", capabilities::namespace_limits(&Limits::default()).encode_to_vec()),
        ];
        for (message, package, bytes) in said {
            let descriptor = pool.get_message_by_name(&format!("{package}.{message}")).expect("a message");
            let said = DynamicMessage::decode(descriptor, bytes.as_slice()).expect("a message");
            for (_, field, _, ours, _) in rows(message) {
                let value = said.get_field_by_name(field).expect("a field");
                let shown = value.as_bool().map(|value| value.to_string());
                let shown = shown.or_else(|| value.as_i64().map(|value| value.to_string()));
                assert_eq!(shown.as_deref(), Some(*ours), "{message}.{field}");
            }
        }
        for (_, field, _, ours, _) in rows(INFO) {
            assert_eq!((*field, *ours), ("supports_schedules", "false"));
        }
        assert!(!capabilities::system().supports_schedules, "the namespace says what the system says");
    }
}
