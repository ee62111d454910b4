//! Fields of requests that do less than the API says: refused when they are set, or without
//! effect. A test checks that each exists; every other field of a built RPC acts.

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// An error tells the caller.
    Refused,
    /// Nothing depends on it, on the official server neither.
    NoEffect,
    /// Kept and shown; what it asks for comes later.
    Recorded,
}

/// Message, field, what becomes of it, and why.
pub type Field = (&'static str, &'static str, Treatment, &'static str);

use Treatment::{NoEffect, Recorded, Refused};

pub const FIELDS: &[Field] = &[
    ("StartWorkflowExecutionRequest", "time_skipping_config", Refused, "Time skipping is off."),
    ("SignalWithStartWorkflowExecutionRequest", "time_skipping_config", Refused, "Time skipping is off."),
    ("StartWorkflowExecutionRequest", "completion_callbacks", Recorded, "Shown; not delivered yet."),
    ("StartWorkflowExecutionRequest", "eager_worker_deployment_options", NoEffect, "Worker deployments are not built."),
    ("RegisterNamespaceRequest", "is_global_namespace", Refused, "There is one cluster."),
    ("RegisterNamespaceRequest", "security_token", NoEffect, "Reserved by the API."),
    ("RegisterNamespaceRequest", "history_archival_state", NoEffect, "No archive is configured."),
    ("RegisterNamespaceRequest", "history_archival_uri", NoEffect, "No archive is configured."),
    ("RegisterNamespaceRequest", "visibility_archival_state", NoEffect, "No archive is configured."),
    ("RegisterNamespaceRequest", "visibility_archival_uri", NoEffect, "No archive is configured."),
    ("UpdateNamespaceRequest", "promote_namespace", Refused, "There is one cluster."),
    ("UpdateNamespaceRequest", "security_token", NoEffect, "Reserved by the API."),
    ("GetWorkflowExecutionHistoryRequest", "skip_archival", NoEffect, "No archive is configured."),
    ("DeleteNamespaceRequest", "namespace_delete_delay", NoEffect, "The record of a deleted namespace stays."),
    ("WorkerVersionCapabilities", "use_versioning", Refused, "Versioning by build id is off."),
    ("WorkerVersionStamp", "use_versioning", Refused, "Versioning by build id is off."),
    ("WorkerDeploymentOptions", "worker_versioning_mode", Refused, "VERSIONED: worker deployments are not built."),
    ("ScheduleActivityTaskCommandAttributes", "use_workflow_build_id", NoEffect, "Versioning by build id is off."),
    ("RespondWorkflowTaskCompletedRequest", "intermediate_page", Refused, "Completions come in one piece."),
    ("RespondWorkflowTaskCompletedRequest", "page_number", Refused, "Completions come in one piece."),
    ("RespondWorkflowTaskCompletedRequest", "metering_metadata", NoEffect, "Nobody is billed."),
    ("ResetWorkflowExecutionRequest", "post_reset_operations", Refused, "Not built yet."),
    ("Request", "completion_callbacks", Refused, "Callbacks of updates are off."),
    ("Priority", "fairness_key", Recorded, "Fairness is off, as it is by default."),
    ("Priority", "fairness_weight", Recorded, "Fairness is off, as it is by default."),
    ("RespondActivityTaskCompletedByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("RespondActivityTaskFailedByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("RespondActivityTaskCanceledByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("RecordActivityTaskHeartbeatByIdRequest", "workflow_id", Refused, "Empty: standalone activities are not built."),
    ("SignalWorkflowExecutionRequest", "control", NoEffect, "Deprecated by the API."),
];
