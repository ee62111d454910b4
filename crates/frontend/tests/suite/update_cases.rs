//! Updates, alone and with a start, that are wrong in one way each.

use temporalio_protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::update::v1::{Input, Meta, Request, UpdateRef, WaitPolicy};
use temporalio_protos::temporal::api::workflowservice::v1::execute_multi_operation_request as multi;
use temporalio_protos::temporal::api::workflowservice::v1::*;

use crate::cases::{Case, case};

const LONG_BYTES: usize = 1001;
const ADMITTED: i32 = 1;

fn start() -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn update() -> UpdateWorkflowExecutionRequest {
    UpdateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(WorkflowExecution { workflow_id: "w".into(), run_id: String::new() }),
        wait_policy: Some(WaitPolicy { lifecycle_stage: 2 }),
        request: Some(Request {
            meta: Some(Meta { update_id: "u".into(), ..Default::default() }),
            input: Some(Input { name: "set".into(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn both(start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest) -> ExecuteMultiOperationRequest {
    use multi::operation::Operation;
    let operation = |operation| multi::Operation { operation: Some(operation) };
    ExecuteMultiOperationRequest {
        namespace: "default".into(),
        operations: vec![operation(Operation::StartWorkflow(start)), operation(Operation::UpdateWorkflow(update))],
        ..Default::default()
    }
}

pub(crate) fn updates() -> Vec<Case> {
    let alone = |what, change: fn(&mut UpdateWorkflowExecutionRequest)| {
        let mut request = update();
        change(&mut request);
        case("UpdateWorkflowExecution", what, request)
    };
    let poll = |what, update_ref| {
        let request =
            PollWorkflowExecutionUpdateRequest { namespace: "default".into(), update_ref, ..Default::default() };
        case("PollWorkflowExecutionUpdate", what, request)
    };
    vec![
        alone("no execution", |r| r.workflow_execution = None),
        alone("no request", |r| r.request = None),
        alone("no meta", |r| r.request.as_mut().unwrap().meta = None),
        alone("no input", |r| r.request.as_mut().unwrap().input = None),
        alone("no name", |r| r.request.as_mut().unwrap().input = Some(Input::default())),
        alone("long update id", |r| {
            let meta = Meta { update_id: "x".repeat(LONG_BYTES), ..Default::default() };
            r.request.as_mut().unwrap().meta = Some(meta);
        }),
        alone("wait for admitted", |r| r.wait_policy = Some(WaitPolicy { lifecycle_stage: ADMITTED })),
        poll("no reference", None),
        poll("no workflow id", Some(UpdateRef::default())),
    ]
}

pub(crate) fn updates_with_start() -> Vec<Case> {
    let wrong = |what, change: fn(&mut StartWorkflowExecutionRequest, &mut UpdateWorkflowExecutionRequest)| {
        let (mut start, mut update) = (start(), update());
        change(&mut start, &mut update);
        case("ExecuteMultiOperation", what, both(start, update))
    };
    let few = |what, count| {
        let mut request = both(start(), update());
        request.operations.truncate(count);
        case("ExecuteMultiOperation", what, request)
    };
    vec![
        few("nothing to do", 0),
        few("only a start", 1),
        wrong("cron", |start, _| start.cron_schedule = "* * * * *".into()),
        wrong("eager", |start, _| start.request_eager_execution = true),
        wrong("delay", |start, _| {
            start.workflow_start_delay = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        }),
        wrong("no workflow type", |start, _| start.workflow_type = None),
        wrong("another namespace", |start, _| start.namespace = "other".into()),
        wrong("first run", |_, update| update.first_execution_run_id = "r".into()),
        wrong("a run", |_, update| {
            let run_id = "2ceb0dab-9897-44d2-81bb-69a0be5ade8a".into();
            update.workflow_execution = Some(WorkflowExecution { workflow_id: "w".into(), run_id });
        }),
        wrong("another workflow", |_, update| {
            update.workflow_execution = Some(WorkflowExecution { workflow_id: "v".into(), run_id: String::new() });
        }),
        wrong("wait for admitted", |_, update| update.wait_policy = Some(WaitPolicy { lifecycle_stage: ADMITTED })),
        wrong("both are wrong", |start, update| {
            start.workflow_type = None;
            update.request = None;
        }),
    ]
}
