//! Fields of requests that do less than the API says: refused when they are set, or without
//! effect. Every other field of a built RPC acts; `testdata/acting_fields.txt` names those,
//! and a test walks the descriptors, so that a field that nobody has looked at fails it.

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// An error tells the caller.
    Refused,
    /// Nothing depends on it, on the official server in its default configuration neither.
    NoEffect,
    /// Kept and shown; what it asks for comes later.
    Recorded,
}

/// Message, field, what becomes of it, and why. A field of `*` is that of every request.
pub type Field = (&'static str, &'static str, Treatment, &'static str);

use Treatment::{NoEffect, Recorded, Refused};

/// The same in many requests.
pub const EVERYWHERE: &[Field] = &[
    ("*", "resource_id", NoEffect, "For proxies in between; the server routes by what it stands for."),
    ("*", "poller_group_id", NoEffect, "Groups of pollers are off, as they are by default."),
    ("*", "worker_control_task_queue", NoEffect, "Commands to workers are off, as they are by default."),
    ("*", "time_skipping_config", Refused, "Time skipping is off, as it is by default."),
];

pub const FIELDS: &[Field] = &[
    ("StartWorkflowExecutionRequest", "completion_callbacks", Recorded, "Shown; not delivered yet."),
    ("StartWorkflowExecutionRequest", "eager_worker_deployment_options", NoEffect, "Worker deployments are not built."),
    ("Callback", "nexus_handler", Refused, "Operations of Nexus are not built."),
    ("VersioningOverride", "pinned", Refused, "Worker deployments are not built: no version is there to pin to."),
    ("VersioningOverride", "one_time", Refused, "Worker deployments are not built: no version is there to pin to."),
    ("VersioningOverride", "deployment", Refused, "Worker deployments are not built: no version is there to pin to."),
    (
        "VersioningOverride",
        "pinned_version",
        Refused,
        "Worker deployments are not built: no version is there to pin to.",
    ),
    ("RegisterNamespaceRequest", "is_global_namespace", Refused, "There is one cluster."),
    ("RegisterNamespaceRequest", "security_token", NoEffect, "Reserved by the API."),
    ("RegisterNamespaceRequest", "history_archival_state", NoEffect, "No archive is configured."),
    ("RegisterNamespaceRequest", "history_archival_uri", NoEffect, "No archive is configured."),
    ("RegisterNamespaceRequest", "visibility_archival_state", NoEffect, "No archive is configured."),
    ("RegisterNamespaceRequest", "visibility_archival_uri", NoEffect, "No archive is configured."),
    ("UpdateNamespaceRequest", "promote_namespace", Refused, "There is one cluster."),
    ("UpdateNamespaceRequest", "security_token", NoEffect, "Reserved by the API."),
    ("NamespaceConfig", "history_archival_state", NoEffect, "No archive is configured."),
    ("NamespaceConfig", "history_archival_uri", NoEffect, "No archive is configured."),
    ("NamespaceConfig", "visibility_archival_state", NoEffect, "No archive is configured."),
    ("NamespaceConfig", "visibility_archival_uri", NoEffect, "No archive is configured."),
    ("NamespaceReplicationConfig", "state", NoEffect, "There is one cluster."),
    ("ClusterReplicationConfig", "replication_ramp_duration", NoEffect, "There is one cluster."),
    ("DescribeNamespaceRequest", "weak_consistency", NoEffect, "Every node has a copy that is as good."),
    ("GetWorkflowExecutionHistoryRequest", "skip_archival", NoEffect, "No archive is configured."),
    ("DeleteNamespaceRequest", "namespace_delete_delay", NoEffect, "The record of a deleted namespace stays."),
    ("WorkerVersionCapabilities", "use_versioning", Refused, "Versioning by build id is off."),
    ("WorkerVersionStamp", "use_versioning", Refused, "Versioning by build id is off."),
    ("WorkerDeploymentOptions", "worker_versioning_mode", Refused, "VERSIONED: worker deployments are not built."),
    (
        "RespondWorkflowTaskCompletedRequest",
        "deployment",
        Refused,
        "With a behavior: worker deployments are not built.",
    ),
    (
        "RespondWorkflowTaskCompletedRequest",
        "intermediate_page",
        Refused,
        "Completions in pages are off, as they are by default.",
    ),
    (
        "RespondWorkflowTaskCompletedRequest",
        "page_number",
        Refused,
        "Completions in pages are off, as they are by default.",
    ),
    ("RespondWorkflowTaskCompletedRequest", "worker_instance_key", NoEffect, "The poll said it."),
    ("RespondActivityTaskCompletedRequest", "deployment", NoEffect, "The poll said it."),
    ("RespondActivityTaskCompletedRequest", "deployment_options", NoEffect, "The poll said it."),
    ("RespondActivityTaskFailedRequest", "deployment", NoEffect, "The poll said it."),
    ("RespondActivityTaskFailedRequest", "deployment_options", NoEffect, "The poll said it."),
    ("RespondActivityTaskCanceledRequest", "deployment", NoEffect, "The poll said it."),
    ("RespondActivityTaskCanceledRequest", "deployment_options", NoEffect, "The poll said it."),
    ("RespondActivityTaskCanceledByIdRequest", "deployment_options", NoEffect, "The poll said it."),
    ("RespondWorkflowTaskFailedRequest", "worker_version", NoEffect, "The poll said it."),
    ("RespondWorkflowTaskFailedRequest", "deployment", NoEffect, "The poll said it."),
    ("RespondWorkflowTaskFailedRequest", "deployment_options", NoEffect, "The poll said it."),
    ("RespondActivityTaskFailedRequest", "cause", NoEffect, "For statistics of the official server."),
    ("RespondActivityTaskFailedByIdRequest", "cause", NoEffect, "For statistics of the official server."),
    ("RespondWorkflowTaskFailedRequest", "messages", NoEffect, "A task that failed says nothing else."),
    ("RespondQueryTaskCompletedRequest", "cause", NoEffect, "For statistics of the official server."),
    ("Message", "command_index", NoEffect, "The commands say where a message belongs."),
    ("PollWorkflowExecutionUpdateRequest", "identity", NoEffect, "Nothing shows it."),
    ("ScheduleActivityTaskCommandAttributes", "use_workflow_build_id", NoEffect, "Versioning by build id is off."),
    (
        "ContinueAsNewWorkflowExecutionCommandAttributes",
        "initial_versioning_behavior",
        NoEffect,
        "Only runs of a worker deployment have one, and they are refused.",
    ),
    ("Command", "schedule_nexus_operation_command_attributes", Refused, "The workflow task fails: Nexus is not built."),
    (
        "Command",
        "request_cancel_nexus_operation_command_attributes",
        Refused,
        "The workflow task fails: Nexus is not built.",
    ),
    ("Request", "completion_callbacks", Refused, "Callbacks of updates are off, as they are by default."),
    ("Priority", "fairness_key", Recorded, "Fairness is off, as it is by default."),
    ("Priority", "fairness_weight", Recorded, "Fairness is off, as it is by default."),
    (
        "UpdateTaskQueueConfigRequest",
        "update_fairness_key_rate_limit_default",
        Recorded,
        "Fairness is off, as it is by default.",
    ),
    (
        "UpdateTaskQueueConfigRequest",
        "set_fairness_weight_overrides",
        Recorded,
        "Fairness is off, as it is by default.",
    ),
    (
        "UpdateTaskQueueConfigRequest",
        "unset_fairness_weight_overrides",
        Recorded,
        "Fairness is off, as it is by default.",
    ),
    ("RespondActivityTaskCompletedByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("RespondActivityTaskFailedByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("RespondActivityTaskCanceledByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("RecordActivityTaskHeartbeatByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("PauseActivityExecutionRequest", "workflow_id", Refused, "Empty: off, as it is by default."),
    ("UnpauseActivityExecutionRequest", "workflow_id", Refused, "Empty: off, as it is by default."),
    ("ResetActivityExecutionRequest", "workflow_id", Refused, "Empty: off, as it is by default."),
    ("UpdateActivityExecutionOptionsRequest", "workflow_id", Refused, "Empty: off, as it is by default."),
    ("SignalWorkflowExecutionRequest", "control", NoEffect, "Deprecated by the API."),
    ("SignalWithStartWorkflowExecutionRequest", "control", NoEffect, "Deprecated by the API."),
];
