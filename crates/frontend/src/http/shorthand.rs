//! The two places where the HTTP API's JSON is friendlier than protobuf's own form:
//!
//! - A payload may be the plain JSON that it holds. `json/plain` is its data, `json/protobuf`
//!   its data with `_protoMessageType`, `binary/null` is `null`, several payloads are an array.
//!   Whatever does not fit is an object with `metadata` and `data`, in both directions.
//! - An enum's value may come as `AllowDuplicate` instead of `WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE`.
//!
//! Both directions walk the text along the descriptor of its message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::value::RawValue;

use super::json::{array, compact, is_null, object, push_string, string};

const PAYLOAD: &str = "temporal.api.common.v1.Payload";
const PAYLOADS: &str = "temporal.api.common.v1.Payloads";
const MESSAGE_TYPE: &str = "_protoMessageType";
/// As deep as protobuf lets messages nest.
const DEPTH_MAX: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Expand,
    Shorten,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message is nested more than {DEPTH_MAX} levels deep")]
pub(super) struct TooDeep;

/// What a client wrote, in protobuf's own JSON form.
pub(super) fn expand(raw: &RawValue, message: &MessageDescriptor) -> Result<String, TooDeep> {
    walk(raw, message, Direction::Expand)
}

/// Protobuf's own JSON form, as clients like to read it.
pub(super) fn shorten(raw: &RawValue, message: &MessageDescriptor) -> Result<String, TooDeep> {
    walk(raw, message, Direction::Shorten)
}

fn walk(raw: &RawValue, message: &MessageDescriptor, direction: Direction) -> Result<String, TooDeep> {
    let mut walk = Walk { direction, depth: 0, out: String::with_capacity(raw.get().len()) };
    walk.message(raw, message)?;
    Ok(walk.out)
}

struct Walk {
    direction: Direction,
    depth: usize,
    out: String,
}

impl Walk {
    fn message(&mut self, raw: &RawValue, message: &MessageDescriptor) -> Result<(), TooDeep> {
        match message.full_name() {
            PAYLOAD => {
                self.payload(raw);
                return Ok(());
            }
            PAYLOADS => return self.payloads(raw),
            // These have forms of their own, without payloads or enums of ours.
            name if name.starts_with("google.protobuf.") => {
                self.out.push_str(raw.get());
                return Ok(());
            }
            _ => {}
        }
        let Some(members) = object(raw) else {
            self.out.push_str(raw.get());
            return Ok(());
        };
        if self.depth == DEPTH_MAX {
            return Err(TooDeep);
        }
        self.depth += 1;
        self.between('{', '}', members.0, |walk, (name, value)| {
            push_string(&mut walk.out, &name);
            walk.out.push(':');
            match message.get_field_by_json_name(&name).or_else(|| message.get_field_by_name(&name)) {
                Some(field) => walk.field(value, &field),
                None => {
                    walk.out.push_str(value.get());
                    Ok(())
                }
            }
        })?;
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, raw: &RawValue, field: &FieldDescriptor) -> Result<(), TooDeep> {
        if field.is_map()
            && let Some(members) = object(raw)
            && let Kind::Message(entry) = field.kind()
        {
            let kind = entry.map_entry_value_field().kind();
            return self.between('{', '}', members.0, |walk, (key, value)| {
                push_string(&mut walk.out, &key);
                walk.out.push(':');
                walk.value(value, &kind)
            });
        }
        if field.is_list()
            && let Some(items) = array(raw)
        {
            let kind = field.kind();
            return self.between('[', ']', items, |walk, item| walk.value(item, &kind));
        }
        // An unset field, not a payload without data.
        if is_null(raw) {
            self.out.push_str("null");
            return Ok(());
        }
        self.value(raw, &field.kind())
    }

    fn between<T>(
        &mut self,
        open: char,
        close: char,
        items: Vec<T>,
        mut each: impl FnMut(&mut Self, T) -> Result<(), TooDeep>,
    ) -> Result<(), TooDeep> {
        self.out.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            each(self, item)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn value(&mut self, raw: &RawValue, kind: &Kind) -> Result<(), TooDeep> {
        match kind {
            Kind::Message(message) => return self.message(raw, message),
            Kind::Enum(kind) if self.direction == Direction::Expand => match string(raw) {
                Some(name) => push_string(&mut self.out, &enum_name(kind, &name).unwrap_or(name)),
                None => self.out.push_str(raw.get()),
            },
            _ => self.out.push_str(raw.get()),
        }
        Ok(())
    }

    fn payloads(&mut self, raw: &RawValue) -> Result<(), TooDeep> {
        if self.direction == Direction::Expand
            && let Some(items) = array(raw)
        {
            self.out.push_str("{\"payloads\":");
            self.list_of_payloads(items)?;
            self.out.push('}');
            return Ok(());
        }
        let members = object(raw);
        let Some(items) = members.as_ref().and_then(|members| members.get("payloads")).and_then(array) else {
            self.out.push_str(raw.get());
            return Ok(());
        };
        let plain = self.direction == Direction::Shorten && items.iter().all(|item| shortened(item).is_some());
        if !plain {
            self.out.push_str("{\"payloads\":");
        }
        self.list_of_payloads(items)?;
        if !plain {
            self.out.push('}');
        }
        Ok(())
    }

    fn list_of_payloads(&mut self, items: Vec<&RawValue>) -> Result<(), TooDeep> {
        self.between('[', ']', items, |walk, item| {
            walk.payload(item);
            Ok(())
        })
    }

    fn payload(&mut self, raw: &RawValue) {
        match self.direction {
            Direction::Expand => self.out.push_str(&expanded(raw)),
            Direction::Shorten => match shortened(raw) {
                Some(short) => self.out.push_str(&short),
                None => self.out.push_str(raw.get()),
            },
        }
    }
}

/// `AllowDuplicate` or `ALLOW_DUPLICATE` as the value's whole name.
pub(super) fn enum_name(kind: &EnumDescriptor, name: &str) -> Option<String> {
    if kind.get_value_by_name(name).is_some() {
        return None;
    }
    let wanted: String = name.chars().filter(|char| *char != '_').collect();
    // The prefix of the values is what the zero value has in front of UNSPECIFIED.
    let zero = kind.default_value();
    let prefix = zero.name().strip_suffix("UNSPECIFIED").unwrap_or_default();
    kind.values().map(|value| value.name().to_owned()).find(|value| {
        let short = value.strip_prefix(prefix).unwrap_or(value).replace('_', "");
        short.eq_ignore_ascii_case(&wanted)
    })
}

/// Whether an object is a payload as protobuf writes it, and not JSON that stands for one.
fn is_whole_payload(raw: &RawValue) -> bool {
    let Some(members) = object(raw) else { return false };
    let known = |name: &str| matches!(name, "metadata" | "data" | "externalPayloads" | "external_payloads");
    members.0.iter().all(|(name, _)| known(name))
        && members.get("metadata").and_then(object).is_some_and(|metadata| {
            metadata.get("encoding").is_some() && metadata.0.iter().all(|(_, value)| string(value).is_some())
        })
}

fn expanded(raw: &RawValue) -> String {
    if is_whole_payload(raw) {
        return raw.get().to_owned();
    }
    if is_null(raw) {
        return format!("{{\"metadata\":{{\"encoding\":\"{}\"}}}}", BASE64.encode("binary/null"));
    }
    let message_type = object(raw).and_then(|members| members.get(MESSAGE_TYPE).and_then(string));
    let (encoding, data, more) = match message_type {
        Some(message_type) => {
            let data = without_message_type(raw);
            ("json/protobuf", data, format!(",\"messageType\":\"{}\"", BASE64.encode(message_type)))
        }
        None => ("json/plain", compact(raw.get()), String::new()),
    };
    format!(
        "{{\"metadata\":{{\"encoding\":\"{}\"{more}}},\"data\":\"{}\"}}",
        BASE64.encode(encoding),
        BASE64.encode(data)
    )
}

fn without_message_type(raw: &RawValue) -> String {
    let members = object(raw).map(|members| members.0).unwrap_or_default();
    let members = members.into_iter().filter(|(name, _)| name != MESSAGE_TYPE);
    let members: Vec<String> = members.map(|(name, value)| member(&name, value)).collect();
    format!("{{{}}}", members.join(","))
}

fn member(name: &str, value: &RawValue) -> String {
    let mut out = String::new();
    push_string(&mut out, name);
    out.push(':');
    out.push_str(&compact(value.get()));
    out
}

/// The JSON that a payload holds; `None` when the payload would not come back the same.
fn shortened(raw: &RawValue) -> Option<String> {
    let members = object(raw)?;
    let text = |raw: &RawValue| {
        string(raw).and_then(|text| BASE64.decode(text).ok()).and_then(|bytes| String::from_utf8(bytes).ok())
    };
    let metadata = object(members.get("metadata")?)?;
    let encoding = text(metadata.get("encoding")?)?;
    let data = match members.get("data") {
        Some(data) => text(data)?,
        None => String::new(),
    };
    if members.0.iter().any(|(name, _)| !matches!(name.as_ref(), "metadata" | "data")) {
        return None;
    }
    match (encoding.as_str(), metadata.0.len()) {
        ("binary/null", 1) => data.is_empty().then(|| "null".to_owned()),
        ("json/plain", 1) => {
            let value: &RawValue = serde_json::from_str(&data).ok()?;
            let ambiguous = is_null(value)
                || is_whole_payload(value)
                || object(value).is_some_and(|members| members.get(MESSAGE_TYPE).is_some());
            (!ambiguous).then(|| compact(value.get()))
        }
        ("json/protobuf", 2) => {
            let message_type = text(metadata.get("messageType")?)?;
            let value: &RawValue = serde_json::from_str(&data).ok()?;
            let members = object(value).filter(|members| members.get(MESSAGE_TYPE).is_none())?;
            let mut out = format!("{{\"{MESSAGE_TYPE}\":");
            push_string(&mut out, &message_type);
            for (name, value) in members.0 {
                out.push(',');
                out.push_str(&member(&name, value));
            }
            out.push('}');
            Some(out)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
