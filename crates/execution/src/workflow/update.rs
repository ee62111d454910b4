//! Workflow updates: requests that a worker answers, or rejects without a trace.
//!
//! ```text
//!  AdmitUpdate ─▶ admitted ──task starts──▶ sent ──Rejection, nothing──▶ gone
//!   (leader's memory only)                    └──Acceptance──▶ accepted ──Response──▶ completed
//!                                                          (event)                  (event)
//! ```
//! | what happens | admitted | sent | accepted |
//! |---|---|---|---|
//! | the leader is lost | asked again | asked again | stays |
//! | the task's completion is refused | asked again | WorkflowNotReady | stays |
//! | the task fails or times out otherwise | stays | sent again | stays |
//! | the run is closed | NotFound | NotFound | the outcome is a failure |
//! | another run follows | ResourceExhausted | ResourceExhausted | the outcome is a failure |
//!
//! An update id is known from its admission on, and once it is accepted for as long as the run
//! is: who asks with the same id joins.

mod message;

pub(crate) use message::{handle, type_name};

use std::sync::Arc;

use prost::{Message, Name};
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use temporalio_protos::temporal::api::failure::v1::ApplicationFailureInfo;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::history::v1::WorkflowExecutionUpdateAcceptedEventAttributes;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::protocol::v1 as protocol;
use temporalio_protos::temporal::api::update::v1::Request;
use temporalio_protos::temporal::api::workflowservice::v1::UpdateWorkflowExecutionRequest;

use super::decision::{UpdateEnd, UpdateStage};
use super::state::Admitted;
use super::step::Step;
use super::workflow_task::{Resend, speculative};
use super::{Note, Reply, Soft, State, attach, close, signal, stored};
use crate::Rejection;

/// From this attempt on a workflow task counts as failing, and updates fail at once.
const FAILING_ATTEMPT: i32 = 3;
const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

/// `UpdateWorkflowExecution`, less the waiting.
pub(crate) fn admit(step: &mut Step<'_>, asked: UpdateWorkflowExecutionRequest) -> Result<Reply, Rejection> {
    close::check_chain(step, &asked.first_execution_run_id)?;
    let request = asked.request.unwrap_or_default();
    let id = request.meta.as_ref().map_or("", |meta| &meta.update_id);
    let state = &step.state;
    let stage = state.update_stage(id);
    if state.is_paused() {
        return Err(Rejection::FailedPrecondition("Workflow is paused. Cannot update the workflow.".into()));
    }
    if !state.is_running() {
        return if stage == UpdateStage::Unknown { Err(close::completed()) } else { Ok(Reply::Update(stage)) };
    }
    if state.core.workflow_task_attempt >= FAILING_ATTEMPT {
        return Err(Rejection::WorkflowNotReady(
            "Unable to perform workflow execution update due to Workflow Task in failed state.".into(),
        ));
    }
    signal::check_closing(state)?;
    if stage != UpdateStage::Unknown {
        return Ok(Reply::Update(stage));
    }
    check_in_flight(step)?;
    check_total(step)?;
    check_bytes(step, &request)?;
    remember(step, id.into(), Some(request));
    speculative::schedule_unwritten(step);
    Ok(Reply::Update(UpdateStage::Admitted))
}

impl State {
    /// How far the update with this id is.
    #[must_use]
    pub fn update_stage(&self, id: &str) -> UpdateStage {
        match self.updates.get(id) {
            Some(row) if row.completed_event_id != 0 => UpdateStage::Completed { event_id: row.completed_event_id },
            Some(row) if row.accepted_event_id != 0 && self.is_running() => UpdateStage::Accepted,
            Some(row) if row.accepted_event_id != 0 => UpdateStage::Failed(Box::new(closed_before_completion())),
            _ if self.is_running() && find(self, id).is_some() => UpdateStage::Admitted,
            _ => UpdateStage::Unknown,
        }
    }
}

/// What callers are told whose update was not accepted when another run followed: clients
/// try again, and reach that one.
#[must_use]
pub fn aborted_by_continuing() -> Rejection {
    signal::closing()
}

/// What callers are told whose update was not accepted when the run was closed for good.
#[must_use]
pub fn aborted_by_closing() -> Rejection {
    Rejection::NotFound("workflow update was aborted by closing workflow".into())
}

/// The updates that a task carries.
pub(crate) fn messages(state: &State, started_event_id: i64, resend: Resend) -> Vec<protocol::Message> {
    let sent_now = state.admitted.iter().filter(|update| resend == Resend::Yes || !update.sent);
    let with_request = sent_now.filter_map(|update| Some((update, update.request.as_ref()?)));
    with_request
        .map(|(update, request)| protocol::Message {
            id: request_message_id(&update.id),
            protocol_instance_id: update.id.to_string(),
            body: Some(prost_types::Any {
                type_url: format!("{TYPE_URL_PREFIX}{}", Request::full_name()),
                value: request.encode_to_vec(),
            }),
            // All that happened before the task started comes before the update.
            sequencing_id: Some(protocol::message::SequencingId::EventId(started_event_id - 1)),
        })
        .collect()
}

/// The task that starts carries all updates.
pub(crate) fn note_sent(step: &mut Step<'_>) {
    if has_unsent(&step.state) {
        step.soft(Soft::UpdatesSent);
    }
}

/// Updates came that no task has carried yet.
pub(crate) fn has_unsent(state: &State) -> bool {
    state.admitted.iter().any(|update| !update.sent)
}

/// A worker must answer the updates that its task carried. One that does not know of updates
/// would be asked for ever.
pub(crate) fn reject_unanswered(step: &mut Step<'_>) {
    let sent: Vec<_> = step.state.admitted.iter().filter(|update| update.sent).cloned().collect();
    for update in sent {
        reject(step, &update, unprocessed());
    }
}

/// The server did not accept what the worker answered. An update that the worker has seen
/// must not be tried again by the server for ever; the others were not to blame.
pub(crate) fn lose_all(step: &mut Step<'_>) {
    for update in step.state.admitted.iter().cloned().collect::<Vec<_>>() {
        step.soft(Soft::UpdateEnded { id: update.id.to_string(), end: UpdateEnd::Lost });
    }
}

pub(crate) fn abort_for_failed_task(step: &mut Step<'_>) {
    for update in step.state.admitted.iter().cloned().collect::<Vec<_>>() {
        let end = if update.sent {
            UpdateEnd::Refused(Rejection::WorkflowNotReady(
                "Unable to perform workflow execution update due to unexpected workflow task failure.".into(),
            ))
        } else {
            UpdateEnd::Lost
        };
        step.soft(Soft::UpdateEnded { id: update.id.to_string(), end });
    }
}

/// The update that an event is about.
pub(crate) fn id_of(attributes: &Attributes) -> Option<&str> {
    use Attributes as A;
    match attributes {
        A::WorkflowExecutionUpdateAdmittedEventAttributes(a) => {
            a.request.as_ref()?.meta.as_ref().map(|meta| meta.update_id.as_str())
        }
        A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => Some(&a.protocol_instance_id),
        A::WorkflowExecutionUpdateCompletedEventAttributes(a) => a.meta.as_ref().map(|meta| meta.update_id.as_str()),
        _ => None,
    }
}

pub(crate) fn apply(state: &mut State, event_id: i64, attributes: &Attributes) {
    use Attributes as A;
    let Some(id) = id_of(attributes) else { return };
    let mut row = state.updates.get(id).copied().unwrap_or_default();
    match attributes {
        A::WorkflowExecutionUpdateAdmittedEventAttributes(_) => row.admitted_event_id = event_id,
        A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
            row.accepted_event_id = event_id;
            forget(state, id);
            attach::remember(state, request_id(a), Some(event_id));
        }
        _ => row.completed_event_id = event_id,
    }
    put(state, id, row);
}

/// The request id that a client gave its update, if any.
pub(crate) fn request_id(accepted: &WorkflowExecutionUpdateAcceptedEventAttributes) -> &str {
    accepted.accepted_request.as_ref().map_or("", |request| &request.request_id)
}

/// Takes in a row, stored or new.
pub(crate) fn put(state: &mut State, id: &str, row: stored::Update) {
    let id: Arc<str> = id.into();
    if row.accepted_event_id == 0 {
        let admitted_event_id = row.admitted_event_id;
        let update = Admitted { id: Arc::clone(&id), request: None, admitted_event_id, sent: false };
        Arc::make_mut(&mut state.admitted).push(Arc::new(update));
    } else if row.completed_event_id == 0 {
        state.open_updates.insert_mut(Arc::clone(&id));
    } else {
        state.open_updates.remove_mut(&id);
    }
    state.updates.insert_mut(id, row);
}

/// After all rows were taken in, in whatever order.
pub(crate) fn order_admitted(state: &mut State) {
    if state.admitted.is_empty() {
        return;
    }
    Arc::make_mut(&mut state.admitted).sort_by_key(|update| update.admitted_event_id);
}

pub(crate) fn sent(state: &mut State) {
    for update in Arc::make_mut(&mut state.admitted) {
        if !update.sent {
            Arc::make_mut(update).sent = true;
        }
    }
}

/// It is no longer on its way to a worker.
pub(crate) fn forget(state: &mut State, id: &str) {
    if find(state, id).is_some() {
        Arc::make_mut(&mut state.admitted).retain(|update| &*update.id != id);
    }
}

fn find<'a>(state: &'a State, id: &str) -> Option<&'a Arc<Admitted>> {
    state.admitted.iter().find(|update| &*update.id == id)
}

fn remember(step: &mut Step<'_>, id: Arc<str>, request: Option<Request>) {
    let request = request.map(Arc::new);
    step.soft(Soft::UpdateAdmitted(Arc::new(Admitted { id, request, admitted_event_id: 0, sent: false })));
}

fn reject(step: &mut Step<'_>, update: &Admitted, failure: Failure) {
    if update.admitted_event_id != 0 {
        step.note(Note::UpdateForgotten { id: update.id.to_string() });
    }
    step.soft(Soft::UpdateEnded { id: update.id.to_string(), end: UpdateEnd::Rejected(Box::new(failure)) });
}

/// The id of the message that carries the request.
fn request_message_id(id: &str) -> String {
    format!("{id}/request")
}

fn check_in_flight(step: &Step<'_>) -> Result<(), Rejection> {
    let limit = step.limits.updates_in_flight_max;
    if step.state.admitted.len() + step.state.open_updates.size() < limit {
        return Ok(());
    }
    let message = format!("limit on number of concurrent in-flight updates has been reached ({limit})");
    Err(too_many(message))
}

fn check_total(step: &Step<'_>) -> Result<(), Rejection> {
    let limit = step.limits.updates_max;
    let by_event = step.state.admitted.iter().filter(|update| update.admitted_event_id != 0).count();
    if step.state.updates.size() + step.state.admitted.len() - by_event < limit {
        return Ok(());
    }
    Err(Rejection::FailedPrecondition(format!(
        "The limit on the total number of distinct updates in this workflow has been reached ({limit}). Make sure any \
         duplicate updates share an Update ID so the server can deduplicate them, and consider rejecting updates that \
         you aren't going to process. You can also Continue-as-New to avoid this; we recommend you check \
         Continue-as-New Suggested in your Workflow."
    )))
}

fn check_bytes(step: &Step<'_>, request: &Request) -> Result<(), Rejection> {
    let limit = step.limits.updates_in_flight_bytes_max;
    let admitted = step
        .state
        .admitted
        .iter()
        .map(|update| 2 * update.id.len() + update.request.as_ref().map_or(0, |request| request.encoded_len()));
    let accepted = step.state.open_updates.iter().map(|id| 2 * id.len());
    if admitted.chain(accepted).sum::<usize>() + request.encoded_len() < limit {
        return Ok(());
    }
    Err(too_many(format!("limit on total payload size of in-flight updates has been reached ({limit} bytes)")))
}

fn too_many(message: String) -> Rejection {
    Rejection::ResourceExhausted {
        message,
        cause: ResourceExhaustedCause::ConcurrentLimit.into(),
        scope: ResourceExhaustedScope::Namespace.into(),
    }
}

fn unprocessed() -> Failure {
    final_failure(
        "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported \
         by the worker.",
        "UnprocessedUpdate",
    )
}

fn closed_before_completion() -> Failure {
    final_failure(
        "Workflow Update failed because the Workflow completed before the Update completed.",
        "AcceptedUpdateCompletedWorkflow",
    )
}

fn final_failure(message: &str, kind: &str) -> Failure {
    let info = ApplicationFailureInfo { r#type: kind.into(), non_retryable: true, ..ApplicationFailureInfo::default() };
    Failure {
        message: message.into(),
        source: "Server".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Failure::default()
    }
}
