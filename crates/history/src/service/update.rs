//! Waiting for an update to be as far as its caller wants.
//!
//! ```text
//! ask shard ─▶ far enough? ──yes──▶ answer
//!    ▲             │ no: wait for more, 20 s at most; then answer with how far it is
//!    └──lost───────┘
//! ```

use api::Error;
use api::internal::history_request::Request;
use api::internal::{HistoryRequest, HistoryResponse};
use cluster::bind;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::{Link, WorkflowExecution, link};
use temporalio_protos::temporal::api::enums::v1::{EventType, UpdateWorkflowExecutionLifecycleStage as Stage};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::update::v1::{Outcome, UpdateRef, WaitPolicy, outcome};
use temporalio_protos::temporal::api::workflowservice::v1::execute_multi_operation_response as multi;
use temporalio_protos::temporal::api::workflowservice::v1::{
    ExecuteMultiOperationResponse, PollWorkflowExecutionUpdateResponse, StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionResponse,
};
use tokio::time::{Instant, timeout_at};

use super::{Handle, response};
use crate::error;
use crate::shard::{Answer, Progress, QueryQueue, UpdateWait};

/// How often a request may be made anew: each time that a workflow task failed.
const TRIES_MAX: usize = 20;

/// The part of the request that the answer repeats.
struct Asked {
    namespace: String,
    workflow_id: String,
    update_id: String,
    request_id: String,
    stage: Stage,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Update,
    Poll,
    WithStart,
}

impl Handle {
    pub(super) async fn update(
        &self,
        mut request: Box<HistoryRequest>,
        deadline: Instant,
    ) -> Result<HistoryResponse, Error> {
        let asked = asked(&request)?;
        let is_unbound = request.can_bind && bind::names_no_run(&request);
        let give_up = Instant::now() + self.inner.config.history_long_poll;
        let mut closings = 0;
        for _ in 0..TRIES_MAX {
            let answer = self.ask(request.clone(), QueryQueue::StickyFirst, deadline).await?;
            let Answer::Update(wait) = answer else { return response(answer) };
            let UpdateWait { run_id, now, next, start } = *wait;
            if asked.kind == Kind::Poll {
                // The next run of the workflow does not know this update.
                bind::to_run(&mut request, &run_id);
            }
            if is_unbound && asked.kind == Kind::Poll && !is_far_enough(&now, asked.stage) {
                return Ok(bound_to(run_id));
            }
            let wanted = if is_unbound { asked.stage.min(Stage::Accepted) } else { asked.stage };
            let progress = progress(now, next, wanted, give_up.min(deadline)).await?;
            if is_unbound && matches!(progress, Progress::Accepted) && asked.stage == Stage::Completed {
                return Ok(bound_to(run_id));
            }
            if Instant::now() >= deadline && !is_far_enough(&progress, asked.stage) {
                return Err(Error::DeadlineExceeded);
            }
            match progress {
                Progress::Lost => {}
                Progress::Failed(error) => {
                    let was_started = start.as_ref().is_some_and(|start| start.started);
                    if asked.kind != Kind::WithStart {
                        return Err(error);
                    }
                    if was_started || error != error::aborted_by_closing() {
                        return Err(with_start_failed(was_started, error));
                    }
                    // Unlike a plain update it can begin a run of its own.
                    closings += 1;
                    if closings > 1 {
                        return Err(with_start_failed(false, Error::Aborted(error.to_string())));
                    }
                }
                progress => return Ok(encoded(&asked, run_id, start, progress)),
            }
        }
        Err(Error::Unavailable("workflow update was aborted".into()))
    }
}

/// From now on the request is about this run: the update is in its history, and another run, which began
/// meanwhile, must not carry it out a second time.
fn bound_to(run_id: String) -> HistoryResponse {
    HistoryResponse { bind_run_id: run_id, ..HistoryResponse::default() }
}

/// Waits until the update is far enough, or for as long as allowed.
async fn progress(
    now: Progress,
    next: Option<tokio::sync::watch::Receiver<Progress>>,
    wanted: Stage,
    give_up: Instant,
) -> Result<Progress, Error> {
    let Some(mut next) = next else { return Ok(now) };
    let mut progress = now;
    while !is_far_enough(&progress, wanted) {
        match timeout_at(give_up, next.changed()).await {
            Err(_) => break,
            // The term is over: somewhere the update is still known, or it is let in again.
            Ok(Err(_)) => return Err(Error::NotLeader { hint: None }),
            Ok(Ok(())) => progress = next.borrow_and_update().clone(),
        }
    }
    Ok(progress)
}

fn is_far_enough(progress: &Progress, wanted: Stage) -> bool {
    match progress {
        Progress::Admitted => matches!(wanted, Stage::Unspecified | Stage::Admitted),
        Progress::Accepted => wanted != Stage::Completed,
        Progress::Completed(_) | Progress::Failed(_) | Progress::Lost => true,
    }
}

fn asked(request: &HistoryRequest) -> Result<Asked, Error> {
    let (update, kind) = match &request.request {
        Some(Request::Update(update)) => (update, Kind::Update),
        Some(Request::UpdateWithStart(request)) => {
            (request.update.as_ref().ok_or_else(|| error::malformed("Update"))?, Kind::WithStart)
        }
        Some(Request::PollUpdate(poll)) => {
            let reference = poll.update_ref.clone().unwrap_or_default();
            return Ok(Asked {
                namespace: request.namespace.clone(),
                workflow_id: reference.workflow_execution.unwrap_or_default().workflow_id,
                update_id: reference.update_id,
                request_id: String::new(),
                stage: poll.wait_policy.as_ref().map_or(Stage::Unspecified, WaitPolicy::lifecycle_stage),
                kind: Kind::Poll,
            });
        }
        _ => return Err(Error::Internal("not an update".into())),
    };
    let inner = update.request.clone().unwrap_or_default();
    Ok(Asked {
        namespace: request.namespace.clone(),
        workflow_id: update.workflow_execution.clone().unwrap_or_default().workflow_id,
        update_id: inner.meta.unwrap_or_default().update_id,
        request_id: inner.request_id,
        stage: update.wait_policy.as_ref().map_or(Stage::Completed, WaitPolicy::lifecycle_stage),
        kind,
    })
}

fn encoded(
    asked: &Asked,
    run_id: String,
    start: Option<StartWorkflowExecutionResponse>,
    progress: Progress,
) -> HistoryResponse {
    let (stage, outcome) = match progress {
        Progress::Completed(outcome) => (Stage::Completed, Some(*outcome)),
        Progress::Accepted => (Stage::Accepted, None),
        Progress::Admitted | Progress::Failed(_) | Progress::Lost => (Stage::Admitted, None),
    };
    let execution = WorkflowExecution { workflow_id: asked.workflow_id.clone(), run_id };
    let link = link_to_update(asked, &execution, stage, outcome.as_ref());
    let update_ref = Some(UpdateRef { workflow_execution: Some(execution), update_id: asked.update_id.clone() });
    let body = match asked.kind {
        Kind::Poll => PollWorkflowExecutionUpdateResponse { outcome, stage: stage.into(), update_ref }.encode_to_vec(),
        Kind::Update => {
            UpdateWorkflowExecutionResponse { update_ref, outcome, stage: stage.into(), link }.encode_to_vec()
        }
        Kind::WithStart => {
            // A start without a link found the update completed; then it is not linked either.
            let link = link.filter(|_| start.as_ref().is_some_and(|start| start.link.is_some()));
            let update = UpdateWorkflowExecutionResponse { update_ref, outcome, stage: stage.into(), link };
            let part = |part| multi::Response { response: Some(part) };
            let start = part(multi::response::Response::StartWorkflow(start.unwrap_or_default()));
            let update = part(multi::response::Response::UpdateWorkflow(update));
            ExecuteMultiOperationResponse { responses: vec![start, update] }.encode_to_vec()
        }
    };
    HistoryResponse { body: body.into(), ..HistoryResponse::default() }
}

/// To the event that accepted the update; a failed one may have left none.
fn link_to_update(
    asked: &Asked,
    execution: &WorkflowExecution,
    stage: Stage,
    outcome: Option<&Outcome>,
) -> Option<Link> {
    use link::workflow_event::{Reference, RequestIdReference};
    let WorkflowExecution { workflow_id, run_id } = execution.clone();
    let namespace = asked.namespace.clone();
    let variant = match (stage, outcome.and_then(|outcome| outcome.value.as_ref())) {
        // Refused without a word it looks like accepted.
        (Stage::Completed, Some(outcome::Value::Failure(failure))) if *failure != Failure::default() => {
            link::Variant::Workflow(link::Workflow { namespace, workflow_id, run_id, reason: "Update rejected".into() })
        }
        (Stage::Accepted | Stage::Completed, _) => link::Variant::WorkflowEvent(link::WorkflowEvent {
            namespace,
            workflow_id,
            run_id,
            reference: Some(Reference::RequestIdRef(RequestIdReference {
                request_id: asked.request_id.clone(),
                event_type: EventType::WorkflowExecutionUpdateAccepted.into(),
            })),
        }),
        _ => return None,
    };
    Some(Link { variant: Some(variant) })
}

fn with_start_failed(was_started: bool, error: Error) -> Error {
    error::multi_operation((!was_started).then_some(Error::OperationAborted), Some(error))
}
