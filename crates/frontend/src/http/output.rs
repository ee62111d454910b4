//! Answers: the message of an RPC as JSON, and an error as the JSON of `google.rpc.Status`.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use serde_json::value::RawValue;
use tonic::{Code, Status};

use super::{json, shorthand};

/// How a client wants its JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    pub(super) pretty: bool,
    pub(super) payload_shorthand: bool,
}

/// A message of ours that is not JSON is a defect of ours.
pub(super) fn message(descriptor: MessageDescriptor, encoded: Bytes, form: Form) -> Result<String, Status> {
    let defect = |error: &dyn std::fmt::Display| {
        tracing::error!(message = descriptor.full_name(), %error, "an answer cannot be told as JSON");
        Status::internal("the answer cannot be told as JSON")
    };
    let message = DynamicMessage::decode(descriptor.clone(), encoded).map_err(|error| defect(&error))?;
    let text = serde_json::to_string(&message).map_err(|error| defect(&error))?;
    Ok(match (form.payload_shorthand, form.pretty) {
        (true, pretty) => {
            let raw: &RawValue = serde_json::from_str(&text).map_err(|error| defect(&error))?;
            let short = shorthand::shorten(raw, &descriptor).map_err(|error| defect(&error))?;
            if pretty { json::pretty(&short) } else { short }
        }
        (false, true) => json::pretty(&text),
        (false, false) => text,
    })
}

/// `{"code":5,"message":"...","details":[...]}`.
pub(super) fn error(pool: &DescriptorPool, status: &Status, form: Form) -> String {
    let rpc_status = pool.get_message_by_name("google.rpc.Status");
    let decoded = rpc_status.and_then(|descriptor| {
        let mut message = DynamicMessage::decode(descriptor, Bytes::copy_from_slice(status.details())).ok()?;
        message.try_set_field_by_name("code", Value::I32(status.code() as i32)).ok()?;
        message.try_set_field_by_name("message", Value::String(status.message().to_owned())).ok()?;
        serde_json::to_string(&message).ok()
    });
    // A detail that is unknown here must not hide the error itself.
    let text = decoded.unwrap_or_else(|| {
        serde_json::json!({ "code": status.code() as i32, "message": status.message() }).to_string()
    });
    if form.pretty { json::pretty(&text) } else { text }
}

pub(super) fn response(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What HTTP calls the codes of gRPC.
pub(super) fn http_code(code: Code) -> StatusCode {
    let number = match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::Unauthenticated => 401,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
