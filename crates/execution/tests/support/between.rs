//! What runs ask of each other, from a scenario's words.

#![allow(deprecated, reason = "old workers still send the fields that the protocol calls deprecated")]

use execution::workflow::{
    ByWorkflow, ChildClosed, Command, Errand, ErrandOutcome, ErrandRequest, FinishErrand, Parent, State, Task,
};
use temporalio_protos::temporal::api::command::v1 as command;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::common::v1::{
    Header, Memo, Priority, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
};
use temporalio_protos::temporal::api::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause as CancelCause, CommandType, ParentClosePolicy, RetryState,
    SignalExternalWorkflowExecutionFailedCause as SignalCause, StartChildWorkflowExecutionFailedCause as ChildCause,
    WorkflowIdReusePolicy,
};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
use temporalio_protos::temporal::api::history::v1::{
    HistoryEvent, WorkflowExecutionCanceledEventAttributes, WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionFailedEventAttributes, WorkflowExecutionTerminatedEventAttributes,
    WorkflowExecutionTimedOutEventAttributes,
};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::print;
use super::requests::{named, payloads, retry_policy};
use super::script::Call;

fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() }
}

/// `start child`
pub(crate) fn parent(call: &Call) -> Option<Parent> {
    call.has("child").then(|| Parent {
        namespace_id: "namespace-id".into(),
        namespace: "default".into(),
        execution: execution("parent", "parent-run"),
        initiated_event_id: 5,
        root: execution("root", "root-run"),
        source_version_stamp: None,
    })
}

/// The commands of this file that other runs give; none for another verb.
pub(crate) fn command(call: &Call, state: &State) -> Option<Command> {
    let command = match call.verb.as_str() {
        "errand" => Command::FinishErrand(Box::new(finish(call, state))),
        "child-closed" => Command::ChildClosed(Box::new(child_closed(call, state))),
        "schedule-first-task" => Command::ScheduleFirstTask,
        "signal-by" => {
            let request = super::requests::signal(call);
            let request = wf::SignalWorkflowExecutionRequest { identity: "history-service".into(), ..request };
            Command::SignalByWorkflow(Box::new(by(call, request)))
        }
        "cancel-by" => {
            let request = wf::RequestCancelWorkflowExecutionRequest {
                identity: "history-service".into(),
                request_id: call.text("request"),
                reason: call.text("reason"),
                first_execution_run_id: call.text("first-run"),
                ..Default::default()
            };
            Command::CancelByWorkflow(Box::new(by(call, request)))
        }
        "terminate-by" => {
            let request = wf::TerminateWorkflowExecutionRequest {
                identity: "history-service".into(),
                reason: "by parent close policy".into(),
                first_execution_run_id: call.text("first-run"),
                ..Default::default()
            };
            Command::TerminateByWorkflow(Box::new(by(call, request)))
        }
        _ => return None,
    };
    Some(command)
}

/// `from=other`, else from the parent.
fn by<R>(call: &Call, request: R) -> ByWorkflow<R> {
    ByWorkflow {
        source: execution(&call.text_or("from", "parent"), "parent-run"),
        source_event_id: call.number("event").unwrap_or(0),
        child_only: call.has("child-only"),
        request,
    }
}

/// `errand start-child 5 run=r`, `errand signal 5 refused=...`, `errand report`; `errand next`
/// is the first that is wanted.
fn finish(call: &Call, state: &State) -> FinishErrand {
    let id: i64 = call.words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let wanted = state.tasks().into_iter().find_map(|task| match task {
        Task::Errand(errand) => Some(errand),
        _ => None,
    });
    let errand = match call.words[0].as_str() {
        "start-child" => Errand::StartChild(id),
        "schedule-child" => Errand::ScheduleChild(id),
        "ask-child" => Errand::AskChild(id),
        "close-child" => Errand::CloseChild(id),
        "drop-child" => Errand::DropChild(id),
        "signal" => Errand::SignalExternal(id),
        "cancel" => Errand::CancelExternal(id),
        "report" => Errand::Report,
        "next" => wanted.unwrap_or(Errand::Report),
        kind => panic!("unknown errand {kind}"),
    };
    let refused = call.has("refused") || call.get("refused").is_some();
    let cause = |prefix: &str| format!("{prefix}_FAILED_CAUSE_{}", call.text("refused"));
    let outcome = match errand {
        Errand::StartChild(id) if !refused => {
            ErrandOutcome::ChildStarted { run_id: call.text_or("run", &format!("child-run-{id}")) }
        }
        Errand::StartChild(_) => ErrandOutcome::ChildRefused(
            ChildCause::from_str_name(&cause("START_CHILD_WORKFLOW_EXECUTION"))
                .unwrap_or(ChildCause::WorkflowAlreadyExists),
        ),
        Errand::SignalExternal(_) if refused => ErrandOutcome::SignalRefused(
            SignalCause::from_str_name(&cause("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION"))
                .unwrap_or(SignalCause::ExternalWorkflowExecutionNotFound),
        ),
        Errand::CancelExternal(_) if refused => ErrandOutcome::CancelRefused(
            CancelCause::from_str_name(&cause("CANCEL_EXTERNAL_WORKFLOW_EXECUTION"))
                .unwrap_or(CancelCause::ExternalWorkflowExecutionNotFound),
        ),
        Errand::AskChild(_) if call.has("gone") || refused => ErrandOutcome::ChildGone,
        Errand::AskChild(id) if call.get("ended").is_some() => {
            let told = ended(call, id, &call.text("ended"));
            ErrandOutcome::ChildEnded { child: told.child, closing_event: Box::new(told.closing_event) }
        }
        _ => ErrandOutcome::Done,
    };
    FinishErrand { errand, outcome }
}

/// `child-closed 5 completed result=x id=c first=r`; `child-closed pending completed` is of the
/// first child that did not end.
fn child_closed(call: &Call, state: &State) -> ChildClosed {
    let pending = || state.describe(None).pending_children.first().map(|child| child.initiated_id);
    let id: i64 = call.words[0].parse().ok().or_else(pending).unwrap_or(0);
    ended(call, id, &call.words[1])
}

/// `completed result=x id=c first=r run=r`
fn ended(call: &Call, id: i64, kind: &str) -> ChildClosed {
    let first_execution_run_id = call.text_or("first", &format!("child-run-{id}"));
    let attributes = match kind {
        "completed" => A::WorkflowExecutionCompletedEventAttributes(WorkflowExecutionCompletedEventAttributes {
            result: call.get("result").map(payloads),
            ..Default::default()
        }),
        "failed" => A::WorkflowExecutionFailedEventAttributes(WorkflowExecutionFailedEventAttributes {
            failure: Some(Failure { message: "no luck".into(), ..Failure::default() }),
            retry_state: RetryState::RetryPolicyNotSet.into(),
            ..Default::default()
        }),
        "canceled" => A::WorkflowExecutionCanceledEventAttributes(WorkflowExecutionCanceledEventAttributes {
            details: call.get("details").map(payloads),
            ..Default::default()
        }),
        "timed-out" => A::WorkflowExecutionTimedOutEventAttributes(WorkflowExecutionTimedOutEventAttributes {
            retry_state: RetryState::Timeout.into(),
            ..Default::default()
        }),
        "terminated" => {
            A::WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes::default())
        }
        kind => panic!("no child ends {kind}"),
    };
    ChildClosed {
        parent: execution("wf", "run-1"),
        initiated_event_id: id,
        child: execution(&call.text_or("id", "c"), &call.text_or("run", &first_execution_run_id)),
        first_execution_run_id,
        closing_event: HistoryEvent { attributes: Some(attributes), ..HistoryEvent::default() },
    }
}

/// The commands of workers of this file; none for another verb.
pub(crate) fn workflow_command(call: &Call) -> Option<(CommandType, Attributes)> {
    let command = match call.verb.as_str() {
        "child" => (
            CommandType::StartChildWorkflowExecution,
            Attributes::StartChildWorkflowExecutionCommandAttributes(start_child(call)),
        ),
        "signal-external" => (
            CommandType::SignalExternalWorkflowExecution,
            Attributes::SignalExternalWorkflowExecutionCommandAttributes(
                command::SignalExternalWorkflowExecutionCommandAttributes {
                    namespace: call.text("namespace"),
                    execution: (!call.has("no-execution")).then(|| execution(&call.text("id"), &call.text("run"))),
                    signal_name: call.text("signal"),
                    input: call.get("input").map(payloads),
                    control: call.text("control"),
                    child_workflow_only: call.has("child-only"),
                    header: call.get("header").map(|text| Header { fields: named(text) }),
                },
            ),
        ),
        "cancel-external" => (
            CommandType::RequestCancelExternalWorkflowExecution,
            Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(
                command::RequestCancelExternalWorkflowExecutionCommandAttributes {
                    namespace: call.text("namespace"),
                    workflow_id: call.text("id"),
                    run_id: call.text("run"),
                    control: call.text("control"),
                    child_workflow_only: call.has("child-only"),
                    reason: call.text("reason"),
                },
            ),
        ),
        _ => return None,
    };
    Some(command)
}

fn start_child(call: &Call) -> command::StartChildWorkflowExecutionCommandAttributes {
    let reuse = |name: &str| WorkflowIdReusePolicy::from_str_name(&format!("WORKFLOW_ID_REUSE_POLICY_{name}"));
    let policy = |name: &str| ParentClosePolicy::from_str_name(&format!("PARENT_CLOSE_POLICY_{name}"));
    command::StartChildWorkflowExecutionCommandAttributes {
        namespace: call.text("namespace"),
        workflow_id: call.text("id"),
        workflow_type: (!call.has("no-type")).then(|| WorkflowType { name: call.text_or("type", "kid") }),
        task_queue: call.get("queue").map(|name| TaskQueue { name: name.into(), ..Default::default() }),
        input: call.get("input").map(payloads),
        workflow_execution_timeout: call.duration("execution-timeout"),
        workflow_run_timeout: call.duration("run-timeout"),
        workflow_task_timeout: call.duration("task-timeout"),
        parent_close_policy: call.get("policy").and_then(policy).unwrap_or_default().into(),
        control: call.text("control"),
        workflow_id_reuse_policy: call.get("reuse").and_then(reuse).unwrap_or_default().into(),
        retry_policy: call.get("retry").map(retry_policy as fn(&str) -> RetryPolicy),
        cron_schedule: call.text("cron"),
        header: call.get("header").map(|text| Header { fields: named(text) }),
        memo: call.get("memo").map(|text| Memo { fields: named(text) }),
        search_attributes: call.get("fields").map(|text| SearchAttributes { indexed_fields: named(text) }),
        inherit_build_id: call.has("inherit-build-id"),
        priority: call.number("priority").map(|key| Priority { priority_key: key, ..Priority::default() }),
        ..Default::default()
    }
}

/// The errands of the state, each with what is asked of the other run.
pub(crate) fn requests(state: &State) -> String {
    let mut text = String::new();
    for task in state.tasks() {
        let Task::Errand(errand) = task else { continue };
        let request = state.errand_request(errand).expect("a wanted errand has a request");
        text += &format!("{errand:?} {}\n", request_text(&request));
    }
    text
}

fn request_text(request: &ErrandRequest) -> String {
    fn from<R>(by: &ByWorkflow<R>) -> String {
        let only = if by.child_only { " child-only" } else { "" };
        format!("by {}/{} #{}{only}", by.source.workflow_id, by.source.run_id, by.source_event_id)
    }
    match request {
        ErrandRequest::StartChild(start) => {
            let request = print::message("workflowservice.v1.StartWorkflowExecutionRequest", &start.request);
            let parent = &start.parent;
            format!(
                "{request} parent={}/{} #{} root={}/{}",
                parent.execution.workflow_id,
                parent.execution.run_id,
                parent.initiated_event_id,
                parent.root.workflow_id,
                parent.root.run_id
            )
        }
        ErrandRequest::ScheduleFirstTask(child) => format!("{}/{}", child.workflow_id, child.run_id),
        ErrandRequest::AskChild { workflow_id, first_execution_run_id } => {
            format!("{workflow_id} first={first_execution_run_id}")
        }
        ErrandRequest::Terminate(by) => {
            let request = print::message("workflowservice.v1.TerminateWorkflowExecutionRequest", &by.request);
            format!("{request} {}", from(by))
        }
        ErrandRequest::RequestCancel(by) => {
            let request = print::message("workflowservice.v1.RequestCancelWorkflowExecutionRequest", &by.request);
            format!("{request} {}", from(by))
        }
        ErrandRequest::Signal(by) => {
            let request = print::message("workflowservice.v1.SignalWorkflowExecutionRequest", &by.request);
            format!("{request} {}", from(by))
        }
        ErrandRequest::DropChild { workflow_id, request_id } => format!("{workflow_id} request={request_id}"),
        ErrandRequest::Report(closed) => {
            let (kind, attributes) = print::event(&closed.closing_event);
            format!(
                "to {}/{} #{} of {}/{} first={}: {kind} {attributes}",
                closed.parent.workflow_id,
                closed.parent.run_id,
                closed.initiated_event_id,
                closed.child.workflow_id,
                closed.child.run_id,
                closed.first_execution_run_id
            )
        }
        ErrandRequest::Itself => "means itself".into(),
    }
}
