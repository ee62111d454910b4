//! What a worker says about updates in the messages of its completion.
//!
//! ```text
//!  Acceptance ─▶ UpdateAccepted      at the place of its ProtocolMessage command,
//!  Response   ─▶ UpdateCompleted     or after all commands
//!  Rejection  ─▶ nothing
//!  after a command that closes the run: a Rejection counts, everything else is void
//!  anything unexpected ─▶ the workflow task fails (BadUpdateWorkflowExecutionMessage)
//! ```

use std::sync::Arc;

use prost::{Message, Name};
use prost_types::Any;
use temporalio_protos::temporal::api::enums::v1::WorkflowTaskFailedCause as Cause;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes,
};
use temporalio_protos::temporal::api::protocol::v1 as protocol;
use temporalio_protos::temporal::api::update::v1::{Acceptance, Rejection as UpdateRejection, Request, Response};

use super::super::commands::{Fail, Turn};
use super::super::stored;
use super::{check_total, find, reject, remember, request_message_id};
use crate::Rejection;

const CAUSE: Cause = Cause::BadUpdateWorkflowExecutionMessage;
const PROTOCOL: &str = "temporal.api.update.v1";

/// The body of a message.
enum Body {
    Acceptance(Acceptance),
    Rejection(UpdateRejection),
    Response(Response),
}

/// Carries out one message.
pub(crate) fn handle(turn: &mut Turn<'_, '_>, message: &protocol::Message) -> Result<(), Fail> {
    let any = message.body.as_ref().ok_or_else(|| invalid_request("nil message body"))?;
    let name = type_name(any);
    if name.is_empty() {
        return Err(invalid_request("no message name specified"));
    }
    let (protocol, short) = name
        .rsplit_once('.')
        .ok_or_else(|| invalid_request(&format!("failed to extract protocol type: no . found in {name:?}")))?;
    if any.encoded_len() > turn.step.limits.blob_bytes_max {
        return Err(Fail::run(CAUSE, format!("Message type {name} exceeds size limit.")));
    }
    if protocol != PROTOCOL {
        return Err(Fail::task(CAUSE, format!("unsupported protocol type {protocol}")));
    }
    let id = &message.protocol_instance_id;
    let is_known = turn.step.state.updates.contains_key(id.as_str()) || find(&turn.step.state, id).is_some();
    if !is_known && !resurrect(turn, id, any)? {
        let text = format!(
            "update {id} wasn't found on the server. This is most likely a transient error which will be resolved \
             automatically by retries"
        );
        return Err(Fail::task(CAUSE, text));
    }
    let body = decode(any).map_err(|text| Fail::task(CAUSE, text))?;
    match body {
        // Nothing can be written any more.
        Some(Body::Acceptance(_) | Body::Response(_)) | None if !turn.step.state.is_running() => Ok(()),
        Some(Body::Acceptance(acceptance)) => accept(turn, id, &acceptance),
        Some(Body::Rejection(rejection)) => refuse(turn, id, rejection),
        Some(Body::Response(response)) => complete(turn, id, response),
        None => Err(Fail::task(CAUSE, format!("Message type *update.{short} not supported"))),
    }
}

/// The full name of the message in there.
pub(crate) fn type_name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// The server forgot the update, but the worker sent its request along.
fn resurrect(turn: &mut Turn<'_, '_>, id: &str, any: &Any) -> Result<bool, Fail> {
    check_total(turn.step).map_err(Fail::request)?;
    let request: Option<Request> = match decode(any).map_err(|text| Fail::task(CAUSE, text))? {
        Some(Body::Acceptance(acceptance)) => acceptance.accepted_request,
        Some(Body::Rejection(rejection)) => rejection.rejected_request,
        Some(Body::Response(_)) | None => None,
    };
    let is_there = request.is_some();
    if is_there && turn.step.state.is_running() {
        remember(turn.step, id.into(), request);
    }
    Ok(is_there)
}

fn accept(turn: &mut Turn<'_, '_>, id: &str, acceptance: &Acceptance) -> Result<(), Fail> {
    let Some(update) = find(&turn.step.state, id).map(Arc::clone) else {
        return Err(unexpected(turn, id, "Acceptance"));
    };
    let unset = if acceptance.accepted_request_sequencing_event_id == 0 {
        Some("accepted_request_sequencing_event_id")
    } else if acceptance.accepted_request_message_id.is_empty() {
        Some("accepted_request_message_id")
    } else {
        None
    };
    if let Some(field) = unset {
        return Err(not_set("Acceptance", field));
    }
    turn.step.event(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(
        WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: id.to_owned(),
            accepted_request_message_id: request_message_id(id),
            accepted_request_sequencing_event_id: acceptance.accepted_request_sequencing_event_id,
            accepted_request: update.request.as_deref().cloned(),
        },
    ));
    Ok(())
}

fn refuse(turn: &mut Turn<'_, '_>, id: &str, rejection: UpdateRejection) -> Result<(), Fail> {
    match find(&turn.step.state, id).map(Arc::clone) {
        Some(update) => {
            reject(turn.step, &update, rejection.failure.unwrap_or_default());
            Ok(())
        }
        None => Err(unexpected(turn, id, "Rejection")),
    }
}

fn complete(turn: &mut Turn<'_, '_>, id: &str, response: Response) -> Result<(), Fail> {
    let row = turn.step.state.updates.get(id).copied().unwrap_or_default();
    if row.accepted_event_id == 0 || row.completed_event_id != 0 {
        return Err(unexpected(turn, id, "Response"));
    }
    let Some(meta) = response.meta else { return Err(not_set("Response", "meta")) };
    if meta.update_id.is_empty() {
        return Err(not_set("Response", "meta.update_id"));
    }
    if meta.update_id != id {
        return Err(Fail::task(CAUSE, format!("invalid *update.Response: meta.update_id != {id}")));
    }
    let Some(outcome) = response.outcome else { return Err(not_set("Response", "outcome")) };
    turn.step.event(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(
        WorkflowExecutionUpdateCompletedEventAttributes {
            meta: Some(meta),
            accepted_event_id: row.accepted_event_id,
            outcome: Some(outcome),
        },
    ));
    Ok(())
}

/// None: a message of another type.
fn decode(any: &Any) -> Result<Option<Body>, String> {
    let name = type_name(any);
    let bytes = any.value.as_slice();
    let body = if name == Acceptance::full_name() {
        Acceptance::decode(bytes).map(Body::Acceptance)
    } else if name == UpdateRejection::full_name() {
        UpdateRejection::decode(bytes).map(Body::Rejection)
    } else if name == Response::full_name() {
        Response::decode(bytes).map(Body::Response)
    } else {
        return Ok(None);
    };
    body.map(Some).map_err(|error| format!("unable to unmarshal request: {error}"))
}

/// The message does not fit how far the update is.
fn unexpected(turn: &Turn<'_, '_>, id: &str, message: &str) -> Fail {
    let row = turn.step.state.updates.get(id).copied().unwrap_or_default();
    let update = find(&turn.step.state, id);
    let state = state_name(&row, update.is_some_and(|update| update.sent), turn.completed_event_id);
    let text = format!(
        "invalid state transition attempted for Update {id}: received *update.{message} message while in state {state}"
    );
    Fail::task(CAUSE, text)
}

/// What the incumbent calls it. What this completion did is provisional.
fn state_name(row: &stored::Update, is_sent: bool, completed_event_id: i64) -> &'static str {
    match (row.accepted_event_id, row.completed_event_id) {
        (_, completed) if completed > completed_event_id => "ProvisionallyCompleted",
        (_, completed) if completed != 0 => "Completed",
        (accepted, _) if accepted > completed_event_id => "ProvisionallyAccepted",
        (accepted, _) if accepted != 0 => "Accepted",
        _ if is_sent => "Sent",
        _ => "Admitted",
    }
}

fn not_set(message: &str, field: &str) -> Fail {
    Fail::task(CAUSE, format!("invalid *update.{message}: {field} is not set"))
}

fn invalid_request(message: &str) -> Fail {
    Fail::request(Rejection::InvalidArgument(message.to_owned()))
}
