//! What is refused says so: each field that the table of fields calls refused, set in a
//! request that is right otherwise.

use std::collections::BTreeSet;

use api::METHODS;
use api::internal::WorkflowTaskToken;
use frontend::compatibility::{EVERYWHERE, FIELDS, Treatment};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};

use crate::fake::{DEFAULT_ID, Fake, call};

/// Refused further in, where runs are: the core's own tests and the differential scenarios
/// show it.
const BY_THE_CORE: [(&str, &str); 6] = [
    ("VersioningOverride", "pinned"),
    ("VersioningOverride", "one_time"),
    ("VersioningOverride", "deployment"),
    ("VersioningOverride", "pinned_version"),
    ("Command", "schedule_nexus_operation_command_attributes"),
    ("Command", "request_cancel_nexus_operation_command_attributes"),
];

/// Message and field, an RPC, its request without namespace and task token, and a part of the
/// message that refuses it.
const CASES: &[(&str, &str, &str, &str, &str)] = &[
    (
        "*",
        "time_skipping_config",
        "StartWorkflowExecution",
        "START time_skipping_config{enabled:true}",
        "Time-Skipping",
    ),
    (
        "*",
        "time_skipping_config",
        "SignalWithStartWorkflowExecution",
        "START signal_name:'s' time_skipping_config{enabled:true}",
        "Time-Skipping",
    ),
    (
        "*",
        "time_skipping_config",
        "UpdateWorkflowExecutionOptions",
        "workflow_execution{workflow_id:'w'} update_mask{paths:'time_skipping_config'} \
         workflow_execution_options{time_skipping_config{enabled:true}}",
        "Time-Skipping",
    ),
    ("Callback", "nexus_handler", "StartWorkflowExecution", "START completion_callbacks{nexus_handler{}}", "variant"),
    ("RegisterNamespaceRequest", "is_global_namespace", "RegisterNamespace", "is_global_namespace:true", "global"),
    ("UpdateNamespaceRequest", "promote_namespace", "UpdateNamespace", "promote_namespace:true", "promote"),
    (
        "WorkerVersionCapabilities",
        "use_versioning",
        "PollWorkflowTaskQueue",
        "task_queue{name:'q'} worker_version_capabilities{build_id:'b' use_versioning:true}",
        "versioning",
    ),
    (
        "WorkerVersionCapabilities",
        "use_versioning",
        "PollActivityTaskQueue",
        "task_queue{name:'q'} worker_version_capabilities{build_id:'b' use_versioning:true}",
        "versioning",
    ),
    (
        "WorkerVersionStamp",
        "use_versioning",
        "RespondWorkflowTaskCompleted",
        "worker_version_stamp{build_id:'b' use_versioning:true}",
        "versioning",
    ),
    (
        "WorkerDeploymentOptions",
        "worker_versioning_mode",
        "PollWorkflowTaskQueue",
        "task_queue{name:'q'} VERSIONED",
        "Deployment",
    ),
    (
        "WorkerDeploymentOptions",
        "worker_versioning_mode",
        "PollActivityTaskQueue",
        "task_queue{name:'q'} VERSIONED",
        "Deployment",
    ),
    ("WorkerDeploymentOptions", "worker_versioning_mode", "RespondWorkflowTaskCompleted", "VERSIONED", "Deployment"),
    (
        "RespondWorkflowTaskCompletedRequest",
        "deployment",
        "RespondWorkflowTaskCompleted",
        "versioning_behavior:VERSIONING_BEHAVIOR_PINNED deployment{series_name:'d' build_id:'b'}",
        "Deployment",
    ),
    (
        "RespondWorkflowTaskCompletedRequest",
        "intermediate_page",
        "RespondWorkflowTaskCompleted",
        "intermediate_page:true",
        "pagination",
    ),
    (
        "RespondWorkflowTaskCompletedRequest",
        "page_number",
        "RespondWorkflowTaskCompleted",
        "page_number:1",
        "pagination",
    ),
    (
        "Request",
        "completion_callbacks",
        "UpdateWorkflowExecution",
        "workflow_execution{workflow_id:'w'} request{meta{update_id:'u'} input{name:'n'} \
         completion_callbacks{nexus{url:'http://h/p'}}}",
        "callbacks",
    ),
    ("RespondActivityTaskCompletedByIdRequest", "workflow_id", "RespondActivityTaskCompletedById", "ACTIVITY", "not"),
    ("RespondActivityTaskFailedByIdRequest", "workflow_id", "RespondActivityTaskFailedById", "ACTIVITY", "not"),
    ("RespondActivityTaskCanceledByIdRequest", "workflow_id", "RespondActivityTaskCanceledById", "ACTIVITY", "not"),
    ("RecordActivityTaskHeartbeatByIdRequest", "workflow_id", "RecordActivityTaskHeartbeatById", "ACTIVITY", "not"),
    ("PauseActivityExecutionRequest", "workflow_id", "PauseActivityExecution", "ACTIVITY", "tandalone"),
    ("UnpauseActivityExecutionRequest", "workflow_id", "UnpauseActivityExecution", "ACTIVITY", "tandalone"),
    ("ResetActivityExecutionRequest", "workflow_id", "ResetActivityExecution", "ACTIVITY", "tandalone"),
    ("UpdateActivityExecutionOptionsRequest", "workflow_id", "UpdateActivityExecutionOptions", "ACTIVITY", "tandalone"),
];

fn request(pool: &DescriptorPool, rpc: &str, text: &str) -> DynamicMessage {
    let text = text
        .replace("START", "workflow_id:'w' workflow_type{name:'t'} task_queue{name:'q'} request_id:'r'")
        .replace("VERSIONED", "deployment_options{deployment_name:'d' build_id:'b' worker_versioning_mode:2}")
        .replace("ACTIVITY", "activity_id:'a' request_id:'r' identity:'i'");
    let method = METHODS.iter().find(|method| method.name == rpc).expect("an RPC");
    let service = pool.get_service_by_name(method.service).expect("a service");
    let method = service.methods().find(|method| method.name() == rpc).expect("a method");
    let input = method.input();
    let known = |name: &str| input.get_field_by_name(name).is_some();
    let parts = text.split_whitespace().filter(|part| *part != "request_id:'r'" || known("request_id"));
    let text = parts.collect::<Vec<_>>().join(" ");
    let mut request = DynamicMessage::parse_text_format(input.clone(), &text).expect(&text);
    request.set_field_by_name("namespace", Value::String("default".to_owned()));
    if known("task_token") {
        let token =
            WorkflowTaskToken { namespace_id: DEFAULT_ID.into(), workflow_id: "w".into(), ..Default::default() };
        request.set_field_by_name("task_token", Value::Bytes(token.encode_to_vec().into()));
    }
    request
}

#[tokio::test]
async fn refused_fields_are_refused() {
    let pool = DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors are sound");
    for (_, field, rpc, text, expected) in CASES {
        let fake = Fake::new();
        let status = call(&fake.service(), rpc, &request(&pool, rpc, text)).await.expect_err(field);
        assert!(status.message().contains(expected), "{rpc} {field}: {}", status.message());
        assert!(fake.untouched(), "{rpc} {field} went further");
    }
}

#[test]
fn every_refused_field_has_a_case() {
    let refused = EVERYWHERE.iter().chain(FIELDS).filter(|row| row.2 == Treatment::Refused);
    let refused: BTreeSet<_> = refused.map(|row| (row.0, row.1)).collect();
    let shown: BTreeSet<_> = CASES.iter().map(|case| (case.0, case.1)).chain(BY_THE_CORE).collect();
    assert_eq!(refused, shown);
}
