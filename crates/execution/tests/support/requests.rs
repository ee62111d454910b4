//! The API's messages from a scenario's words.

use execution::Limits;
use execution::policy::start_policy::Attach;
use execution::workflow::{
    ActivityTarget, CancelActivity, CompleteActivity, CompleteWorkflowTask, FailActivity, FailWorkflowTask, FreshIds,
    Heartbeat, UpdateOptions, WorkflowTaskToken,
};
use temporalio_protos::temporal::api::command::v1 as command;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::common::v1::{
    ActivityType, Callback, Header, Memo, Payload, Payloads, Priority, RetryPolicy, SearchAttributes,
    WorkflowExecution, WorkflowType, callback,
};
use temporalio_protos::temporal::api::enums::v1::{CommandType, WorkflowTaskFailedCause};
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, CanceledFailureInfo, Failure};
use temporalio_protos::temporal::api::sdk::v1::UserMetadata;
use temporalio_protos::temporal::api::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use temporalio_protos::temporal::api::workflow::v1::{
    VersioningOverride, WorkflowExecutionOptions, versioning_override,
};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use temporalio_protos::temporal::api::workflowservice::v1::respond_workflow_task_completed_request::Capabilities;

use super::between;
use super::script::{Call, duration};
use super::update;

pub(crate) fn payloads(text: &str) -> Payloads {
    Payloads { payloads: vec![payload(text)] }
}

fn payload(text: &str) -> Payload {
    Payload { data: text.as_bytes().to_vec(), ..Payload::default() }
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.into(), ..TaskQueue::default() })
}

/// `initial:1s,coefficient:2,max:10s,attempts:3,types:A|B`
pub(crate) fn retry_policy(text: &str) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let proto = |value: &str| {
            let value = duration(value);
            Some(prost_types::Duration { seconds: value.as_secs() as i64, nanos: value.subsec_nanos() as i32 })
        };
        match part.split_once(':') {
            Some(("initial", value)) => policy.initial_interval = proto(value),
            Some(("max", value)) => policy.maximum_interval = proto(value),
            Some(("coefficient", value)) => policy.backoff_coefficient = value.parse().expect("a number"),
            Some(("attempts", value)) => policy.maximum_attempts = value.parse().expect("a number"),
            Some(("types", value)) => policy.non_retryable_error_types = value.split('|').map(Into::into).collect(),
            _ => panic!("retry={part}"),
        }
    }
    policy
}

pub(crate) fn named<Fields: FromIterator<(String, Payload)>>(text: &str) -> Fields {
    let pairs = text.split(',').filter_map(|pair| pair.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), payload(value))).collect()
}

pub(crate) fn start(call: &Call) -> wf::StartWorkflowExecutionRequest {
    wf::StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "wf".into(),
        workflow_type: Some(WorkflowType { name: call.text_or("type", "greet") }),
        task_queue: queue(&call.text_or("queue", "q")),
        input: call.get("input").map(payloads),
        workflow_execution_timeout: call.duration("execution-timeout"),
        workflow_run_timeout: call.duration("run-timeout"),
        workflow_task_timeout: call.duration("task-timeout"),
        identity: "starter".into(),
        request_id: call.text_or("request", "start-request"),
        retry_policy: call.get("retry").map(retry_policy),
        cron_schedule: call.text("cron"),
        memo: call.get("memo").map(|text| Memo { fields: named(text) }),
        workflow_start_delay: call.duration("delay"),
        request_eager_execution: call.has("eager"),
        completion_callbacks: call.get("callback").map(callback).into_iter().collect(),
        priority: call.get("priority").map(priority),
        ..Default::default()
    }
}

fn callback(url: &str) -> Callback {
    Callback {
        variant: Some(callback::Variant::Nexus(callback::Nexus { url: url.into(), ..Default::default() })),
        ..Default::default()
    }
}

/// `2:key:1.5`, as far as given.
fn priority(text: &str) -> Priority {
    let mut parts = text.split(':');
    Priority {
        priority_key: parts.next().map_or(0, |key| key.parse().expect("a number")),
        fairness_key: parts.next().unwrap_or_default().into(),
        fairness_weight: parts.next().map_or(0.0, |weight| weight.parse().expect("a number")),
    }
}

pub(crate) fn complete_task(
    token: WorkflowTaskToken,
    fresh: FreshIds,
    call: &Call,
    more: &[Call],
) -> CompleteWorkflowTask {
    let sticky = call.get("sticky").map(|queue| StickyExecutionAttributes {
        worker_task_queue: self::queue(queue),
        schedule_to_start_timeout: call.duration("sticky-timeout"),
    });
    let request = wf::RespondWorkflowTaskCompletedRequest {
        commands: more.iter().filter_map(command).collect(),
        messages: more.iter().filter_map(update::message).collect(),
        capabilities: call
            .has("may-discard")
            .then_some(Capabilities { discard_speculative_workflow_task_with_events: true }),
        identity: call.text_or("worker", "worker"),
        sticky_attributes: sticky,
        return_new_workflow_task: call.has("return-new"),
        force_create_new_workflow_task: call.has("force-new"),
        namespace: "default".into(),
        ..Default::default()
    };
    CompleteWorkflowTask { token, request, fresh }
}

fn command(call: &Call) -> Option<command::Command> {
    if update::is_update(call) { update::command(call) } else { Some(workflow_command(call)) }
}

pub(crate) fn fail_task(token: WorkflowTaskToken, call: &Call) -> FailWorkflowTask {
    let cause = call.text_or("cause", "WORKFLOW_WORKER_UNHANDLED_FAILURE");
    let cause =
        WorkflowTaskFailedCause::from_str_name(&format!("WORKFLOW_TASK_FAILED_CAUSE_{cause}")).expect("a cause");
    let request = wf::RespondWorkflowTaskFailedRequest {
        cause: cause.into(),
        failure: Some(failure(call)),
        identity: "worker".into(),
        namespace: "default".into(),
        ..Default::default()
    };
    FailWorkflowTask { token, request }
}

pub(crate) fn complete_activity(target: ActivityTarget, call: &Call) -> CompleteActivity {
    let request = wf::RespondActivityTaskCompletedRequest {
        result: call.get("result").map(payloads),
        identity: "activity-worker".into(),
        ..Default::default()
    };
    CompleteActivity { target, request }
}

pub(crate) fn fail_activity(target: ActivityTarget, call: &Call) -> FailActivity {
    let request = wf::RespondActivityTaskFailedRequest {
        failure: Some(failure(call)),
        identity: "activity-worker".into(),
        last_heartbeat_details: call.get("details").map(payloads),
        ..Default::default()
    };
    FailActivity { target, request }
}

pub(crate) fn cancel_activity(target: ActivityTarget, call: &Call) -> CancelActivity {
    let request = wf::RespondActivityTaskCanceledRequest {
        details: call.get("details").map(payloads),
        identity: "activity-worker".into(),
        ..Default::default()
    };
    CancelActivity { target, request }
}

pub(crate) fn heartbeat(target: ActivityTarget, call: &Call) -> Heartbeat {
    let request = wf::RecordActivityTaskHeartbeatRequest {
        details: call.get("details").map(payloads),
        identity: "activity-worker".into(),
        ..Default::default()
    };
    Heartbeat { target, request }
}

pub(crate) fn signal(call: &Call) -> wf::SignalWorkflowExecutionRequest {
    wf::SignalWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(WorkflowExecution { workflow_id: "wf".into(), run_id: String::new() }),
        signal_name: call.words[0].clone(),
        input: call.get("input").map(payloads),
        identity: "client".into(),
        request_id: call.text("request"),
        ..Default::default()
    }
}

/// `request=r callback=url`
pub(crate) fn attach(call: &Call) -> Attach {
    Attach {
        request_id: call.text("request"),
        completion_callbacks: call.get("callback").map(callback).into_iter().collect(),
        links: Vec::new(),
    }
}

/// `type=E message=m non-retryable delay=5s`, or `canceled`.
fn failure(call: &Call) -> Failure {
    let info = if call.has("canceled") {
        FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())
    } else {
        FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: call.text_or("type", "Oops"),
            non_retryable: call.has("non-retryable"),
            next_retry_delay: call.duration("delay"),
            ..Default::default()
        })
    };
    let message = match call.number("message-bytes") {
        Some(bytes) => "m".repeat(bytes),
        None => call.text("message"),
    };
    Failure { message, failure_info: Some(info), ..Failure::default() }
}

fn workflow_command(call: &Call) -> command::Command {
    let (kind, attributes) = attributes(call);
    command::Command {
        command_type: kind.into(),
        attributes: attributes.filter(|_| !call.has("no-attributes")),
        user_metadata: call.get("summary").map(|text| UserMetadata { summary: Some(payload(text)), details: None }),
        ..Default::default()
    }
}

fn attributes(call: &Call) -> (CommandType, Option<Attributes>) {
    let id = || call.text("id");
    let (kind, attributes) = match call.verb.as_str() {
        "activity" => {
            (CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(activity(call)))
        }
        "cancel-activity" => (
            CommandType::RequestCancelActivityTask,
            Attributes::RequestCancelActivityTaskCommandAttributes(
                command::RequestCancelActivityTaskCommandAttributes {
                    scheduled_event_id: call.number("scheduled").unwrap_or(0),
                },
            ),
        ),
        "timer" => (
            CommandType::StartTimer,
            Attributes::StartTimerCommandAttributes(command::StartTimerCommandAttributes {
                timer_id: id(),
                start_to_fire_timeout: call.duration("after"),
            }),
        ),
        "cancel-timer" => (
            CommandType::CancelTimer,
            Attributes::CancelTimerCommandAttributes(command::CancelTimerCommandAttributes { timer_id: id() }),
        ),
        "marker" => (
            CommandType::RecordMarker,
            Attributes::RecordMarkerCommandAttributes(command::RecordMarkerCommandAttributes {
                marker_name: call.text("name"),
                details: call.get("details").map(|text| ("data".into(), payloads(text))).into_iter().collect(),
                header: call.get("header").map(|text| Header { fields: named(text) }),
                failure: call.has("failed").then(|| failure(call)),
            }),
        ),
        "upsert" => (
            CommandType::UpsertWorkflowSearchAttributes,
            Attributes::UpsertWorkflowSearchAttributesCommandAttributes(
                command::UpsertWorkflowSearchAttributesCommandAttributes {
                    search_attributes: Some(SearchAttributes { indexed_fields: named(&call.text("fields")) }),
                },
            ),
        ),
        "memo" => (
            CommandType::ModifyWorkflowProperties,
            Attributes::ModifyWorkflowPropertiesCommandAttributes(command::ModifyWorkflowPropertiesCommandAttributes {
                upserted_memo: Some(Memo { fields: named(&call.text("fields")) }),
            }),
        ),
        _ => return closing(call),
    };
    (kind, Some(attributes))
}

fn closing(call: &Call) -> (CommandType, Option<Attributes>) {
    let (kind, attributes) = match call.verb.as_str() {
        "complete" => (
            CommandType::CompleteWorkflowExecution,
            Attributes::CompleteWorkflowExecutionCommandAttributes(
                command::CompleteWorkflowExecutionCommandAttributes { result: call.get("result").map(payloads) },
            ),
        ),
        "fail" => (
            CommandType::FailWorkflowExecution,
            Attributes::FailWorkflowExecutionCommandAttributes(command::FailWorkflowExecutionCommandAttributes {
                failure: (!call.has("no-failure")).then(|| failure(call)),
            }),
        ),
        "cancel" => (
            CommandType::CancelWorkflowExecution,
            Attributes::CancelWorkflowExecutionCommandAttributes(command::CancelWorkflowExecutionCommandAttributes {
                details: call.get("details").map(payloads),
            }),
        ),
        "continue-as-new" => (
            CommandType::ContinueAsNewWorkflowExecution,
            Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(
                command::ContinueAsNewWorkflowExecutionCommandAttributes {
                    workflow_type: call.get("type").map(|name| WorkflowType { name: name.into() }),
                    task_queue: call.get("queue").and_then(queue),
                    input: call.get("input").map(payloads),
                    ..Default::default()
                },
            ),
        ),
        "unknown" => return (CommandType::Unspecified, None),
        _ => between::workflow_command(call).unwrap_or_else(|| panic!("unknown workflow command {}", call.verb)),
    };
    (kind, Some(attributes))
}

fn activity(call: &Call) -> command::ScheduleActivityTaskCommandAttributes {
    command::ScheduleActivityTaskCommandAttributes {
        activity_id: call.text("id"),
        activity_type: Some(ActivityType { name: call.text_or("type", "charge") }),
        task_queue: queue(&call.text_or("queue", "q")),
        input: call.get("input").map(payloads),
        schedule_to_close_timeout: call.duration("schedule-to-close"),
        schedule_to_start_timeout: call.duration("schedule-to-start"),
        start_to_close_timeout: call.duration("start-to-close"),
        heartbeat_timeout: call.duration("heartbeat"),
        retry_policy: call.get("retry").map(retry_policy),
        request_eager_execution: call.has("eager"),
        priority: call.get("priority").map(priority),
        ..Default::default()
    }
}

/// `blob_bytes_max=100`
pub(crate) fn limit(limits: &mut Limits, call: &Call) {
    let given = limits.clone();
    *limits = Limits {
        id_bytes_max: call.number("id_bytes_max").unwrap_or(given.id_bytes_max),
        blob_bytes_max: call.number("blob_bytes_max").unwrap_or(given.blob_bytes_max),
        history_size_bytes_max: call.number("history_size_bytes_max").unwrap_or(given.history_size_bytes_max),
        history_events_max: call.number("history_events_max").unwrap_or(given.history_events_max),
        history_events_suggest_continue_as_new: call
            .number("history_events_suggest_continue_as_new")
            .unwrap_or(given.history_events_suggest_continue_as_new),
        pending_children_max: call.number("pending_children_max").unwrap_or(given.pending_children_max),
        pending_signals_max: call.number("pending_signals_max").unwrap_or(given.pending_signals_max),
        pending_cancels_max: call.number("pending_cancels_max").unwrap_or(given.pending_cancels_max),
        memo_bytes_max: call.number("memo_bytes_max").unwrap_or(given.memo_bytes_max),
        pending_activities_max: call.number("pending_activities_max").unwrap_or(given.pending_activities_max),
        request_ids_max: call.number("request_ids_max").unwrap_or(given.request_ids_max),
        callbacks_max: call.number("callbacks_max").unwrap_or(given.callbacks_max),
        state_bytes_max: call.number("state_bytes_max").unwrap_or(given.state_bytes_max),
        transaction_bytes_max: call.number("transaction_bytes_max").unwrap_or(given.transaction_bytes_max),
        buffered_events_bytes_max: call.number("buffered_events_bytes_max").unwrap_or(given.buffered_events_bytes_max),
        updates_in_flight_max: call.number("updates_in_flight_max").unwrap_or(given.updates_in_flight_max),
        updates_in_flight_bytes_max: call
            .number("updates_in_flight_bytes_max")
            .unwrap_or(given.updates_in_flight_bytes_max),
        updates_max: call.number("updates_max").unwrap_or(given.updates_max),
        updates_suggest_continue_as_new: call
            .number("updates_suggest_continue_as_new")
            .unwrap_or(given.updates_suggest_continue_as_new),
        signals_max: call.number("signals_max").unwrap_or(given.signals_max),
        buffered_events_max: call.number("buffered_events_max").unwrap_or(given.buffered_events_max),
        activity_failure_bytes_max: call
            .number("activity_failure_bytes_max")
            .unwrap_or(given.activity_failure_bytes_max),
        workflow_task_heartbeat_max: call
            .get("workflow_task_heartbeat_max")
            .map_or(given.workflow_task_heartbeat_max, duration),
        ..given
    };
}

pub(crate) fn pause(call: &Call) -> wf::PauseWorkflowExecutionRequest {
    wf::PauseWorkflowExecutionRequest {
        identity: "operator".into(),
        reason: call.text("reason"),
        request_id: call.text("request"),
        ..Default::default()
    }
}

pub(crate) fn unpause(call: &Call) -> wf::UnpauseWorkflowExecutionRequest {
    wf::UnpauseWorkflowExecutionRequest {
        identity: "operator".into(),
        reason: call.text("reason"),
        request_id: call.text("request"),
        ..Default::default()
    }
}

pub(crate) fn update_options(call: &Call) -> UpdateOptions {
    let priority = call.number("key").map(|priority_key| Priority {
        priority_key,
        fairness_key: call.text("fairness"),
        ..Default::default()
    });
    let versioning_override = call.has("auto-upgrade").then(|| VersioningOverride {
        r#override: Some(versioning_override::Override::AutoUpgrade(true)),
        ..Default::default()
    });
    UpdateOptions {
        options: WorkflowExecutionOptions { priority, versioning_override, ..Default::default() },
        paths: call.text("mask").split(',').map(str::to_owned).collect(),
        identity: "operator".into(),
    }
}
