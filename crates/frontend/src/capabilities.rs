//! What clients are told that this server can do. A flag is true only for what is built:
//! the official clients do without whatever is false. `compatibility/capabilities.rs` compares
//! each of them with the official server.

use temporalio_protos::temporal::api::namespace::v1::namespace_info;
use temporalio_protos::temporal::api::workflowservice::v1::get_system_info_response;

use crate::Limits;

/// The Temporal version whose API is spoken, which is the one that answers are compared with.
/// The CLI wants `>=1.0.0 <2.0.0`; the Web UI hides pages below 1.30 and, from 1.32 on, asks
/// for worker counts.
pub const SERVER_VERSION: &str = "1.32.1";

/// Clients this server knows, and their versions that it accepts.
pub(crate) const SUPPORTED_CLIENTS: [(&str, &str); 8] = [
    ("temporal-go", "<2.0.0"),
    ("temporal-java", "<2.0.0"),
    ("temporal-php", "<2.0.0"),
    ("temporal-typescript", "<2.0.0"),
    ("temporal-cli", "<2.0.0"),
    ("temporal-server", "<2.0.0"),
    ("temporal-ui", "<3.0.0"),
    ("Nexus-go-sdk", "<2.0.0"),
];

pub(crate) fn system() -> get_system_info_response::Capabilities {
    get_system_info_response::Capabilities {
        // Headers of signals and queries reach the worker.
        signal_and_query_header: true,
        // An internal error is a defect, not a reason for the client to retry.
        internal_error_differentiation: true,
        activity_failure_include_heartbeat: true,
        encoded_failure_attributes: true,
        // Without it SDKs would forget which of their own flags a run was made with.
        sdk_metadata: true,
        upsert_memo: true,
        eager_workflow_start: true,
        supports_schedules: false,
        // A worker says its build in the version stamp of a completion, not as a binary checksum.
        build_id_based_versioning: true,
        count_group_by_execution_status: true,
        nexus: false,
        server_scaled_deployments: false,
        server_scaled_provider_cloud_run: false,
    }
}

/// The same in every namespace. What is not named is not built.
pub(crate) fn namespace() -> namespace_info::Capabilities {
    namespace_info::Capabilities {
        eager_workflow_start: true,
        sync_update: true,
        async_update: true,
        // `ShutdownWorker` ends the worker's polls on every node, so that no task is given
        // to a poll whose worker has hung up.
        worker_poll_complete_on_shutdown: true,
        worker_heartbeats: true,
        poller_autoscaling: true,
        workflow_pause: true,
        reported_problems_search_attribute: true,
        ..namespace_info::Capabilities::default()
    }
}

/// SDKs check payloads against these before they send them.
pub(crate) fn namespace_limits(limits: &Limits) -> namespace_info::Limits {
    let bytes = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    namespace_info::Limits {
        blob_size_limit_error: bytes(limits.blob_bytes_max),
        memo_size_limit_error: bytes(limits.memo_bytes_max),
        ..namespace_info::Limits::default()
    }
}
