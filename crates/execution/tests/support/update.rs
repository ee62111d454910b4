//! Updates in a scenario's words.
//!
//! ```text
//! > update u name=n first-run=r input=1     a client asks
//! + accept u                               a message and the command that gives its place
//! + respond u result=x | failure=E         the same
//! + reject u failure=E                     a message only
//!   no-command                             only the message
//!   message=id                             the message's own id
//!   kind=Name                              the body is said to be of this type
//!   resurrect                              the request rides along
//! + command message=id                     only the command
//! ```

use prost::{Message, Name};
use temporalio_protos::temporal::api::command::v1 as command;
use temporalio_protos::temporal::api::enums::v1::CommandType;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::protocol::v1 as protocol;
use temporalio_protos::temporal::api::update::v1::{
    Acceptance, Input, Meta, Outcome, Rejection, Request, Response, outcome,
};
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::requests::payloads;
use super::script::Call;

pub(crate) fn admit(call: &Call) -> wf::UpdateWorkflowExecutionRequest {
    wf::UpdateWorkflowExecutionRequest {
        namespace: "default".into(),
        first_execution_run_id: call.text("first-run"),
        request: Some(request(call)),
        ..Default::default()
    }
}

/// Whether the line of a completion is about an update.
pub(crate) fn is_update(call: &Call) -> bool {
    ["accept", "respond", "reject", "command"].contains(&call.verb.as_str())
}

pub(crate) fn message(call: &Call) -> Option<protocol::Message> {
    let id = call.words.first().cloned().unwrap_or_default();
    let rides_along = call.has("resurrect").then(|| request(call));
    let (name, value) = match call.verb.as_str() {
        "accept" => {
            let body = Acceptance {
                accepted_request_message_id: if call.has("no-ids") { String::new() } else { format!("{id}/request") },
                accepted_request_sequencing_event_id: if call.has("no-ids") { 0 } else { 1 },
                accepted_request: rides_along,
            };
            (Acceptance::full_name(), body.encode_to_vec())
        }
        "respond" => (Response::full_name(), response(call, &id).encode_to_vec()),
        "reject" => {
            let body = Rejection {
                rejected_request_message_id: format!("{id}/request"),
                rejected_request_sequencing_event_id: 1,
                rejected_request: rides_along,
                failure: call.get("failure").map(failure),
            };
            (Rejection::full_name(), body.encode_to_vec())
        }
        _ => return None,
    };
    let name = call.text_or("kind", &name);
    Some(protocol::Message {
        id: message_id(call),
        protocol_instance_id: id,
        body: (!call.has("no-body"))
            .then(|| prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value }),
        sequencing_id: None,
    })
}

pub(crate) fn command(call: &Call) -> Option<command::Command> {
    if call.verb == "reject" || call.has("no-command") {
        return None;
    }
    let attributes = command::ProtocolMessageCommandAttributes { message_id: message_id(call) };
    Some(command::Command {
        command_type: CommandType::ProtocolMessage.into(),
        attributes: Some(command::command::Attributes::ProtocolMessageCommandAttributes(attributes)),
        ..Default::default()
    })
}

fn message_id(call: &Call) -> String {
    let id = call.words.first().cloned().unwrap_or_default();
    call.text_or("message", &format!("{id}/{}", call.verb))
}

fn request(call: &Call) -> Request {
    let update_id = call.words.first().cloned().unwrap_or_default();
    Request {
        meta: Some(Meta { update_id, identity: "client".into() }),
        input: Some(Input {
            name: call.text_or("name", "set"),
            args: call.get("input").map(payloads),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn response(call: &Call, id: &str) -> Response {
    let value = match call.get("failure") {
        Some(text) => outcome::Value::Failure(failure(text)),
        None => outcome::Value::Success(payloads(&call.text("result"))),
    };
    Response {
        meta: (!call.has("no-meta")).then(|| Meta { update_id: call.text_or("meta", id), identity: "client".into() }),
        outcome: (!call.has("no-outcome")).then_some(Outcome { value: Some(value) }),
    }
}

fn failure(text: &str) -> Failure {
    Failure { message: text.into(), ..Failure::default() }
}
