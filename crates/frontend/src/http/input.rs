//! A request over HTTP as the message of its RPC: the body or the query, then what the
//! path says, which goes before both.

use api::Error;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use prost::Message as _;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _,
    Value,
};
use serde_json::value::RawValue;
use serde_path_to_error::Track;

use super::routes::Route;
use super::routes::decode;
use super::shorthand;

/// What the query says about the answer, not about the request.
const OF_THE_ANSWER: [&str; 2] = ["pretty", "noPayloadShorthand"];

/// The encoded message.
pub(super) fn message(
    descriptor: MessageDescriptor,
    route: &Route,
    query: &str,
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut message = match route.rule.body {
        "" => DynamicMessage::new(descriptor),
        _ => from_json(descriptor, body)?,
    };
    if route.rule.body.is_empty() {
        for (name, value) in pairs(query)? {
            if !OF_THE_ANSWER.contains(&name.as_str()) {
                set(&mut message, &name, &value)?;
            }
        }
    }
    for (name, value) in &route.variables {
        set(&mut message, name, value)?;
    }
    Ok(message.encode_to_vec())
}

fn from_json(descriptor: MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, Error> {
    let text = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8".to_owned()))?;
    if text.trim().is_empty() {
        return Ok(DynamicMessage::new(descriptor));
    }
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    let expanded = shorthand::expand(raw, &descriptor).map_err(|error| invalid(error.to_string()))?;
    let mut deserializer = serde_json::Deserializer::from_str(&expanded);
    let mut track = Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    // Unknown fields are errors: what is not understood must not be ignored.
    DynamicMessage::deserialize_with_options(descriptor, deserializer, &DeserializeOptions::new()).map_err(|error| {
        // The position would be one in a text that the client never wrote; the path is of its own.
        let text = error.to_string();
        let problem = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]);
        match track.path().to_string().as_str() {
            "." => invalid(problem.to_owned()),
            path => invalid(format!("{path}: {problem}")),
        }
    })
}

/// The decoded names and values of a query.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Error> {
    let text = |text: &str| {
        decode(&text.replace('+', " "))
            .ok_or_else(|| invalid(format!("the query is not UTF-8 after decoding: {text:?}")))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text(name)?, text(value)?))
        })
        .collect()
}

/// Sets the field at a dotted path of names; a repeated field gets one more value.
fn set(message: &mut DynamicMessage, path: &str, text: &str) -> Result<(), Error> {
    let unknown = || invalid(format!("{path:?} is not a field of the request"));
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let descriptor = message.descriptor();
    let field =
        descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name)).ok_or_else(unknown)?;
    if let Some(rest) = rest {
        return match message.get_field_mut(&field) {
            Value::Message(inner) => set(inner, rest, text),
            _ => Err(unknown()),
        };
    }
    if field.is_map() {
        return Err(invalid(format!("{path:?} cannot be set outside of the body")));
    }
    let value = scalar(&field, text).ok_or_else(|| invalid(format!("{path}: {text:?} is not {}", wanted(&field))))?;
    match message.get_field_mut(&field) {
        Value::List(list) => list.push(value),
        single => *single = value,
    }
    Ok(())
}

fn scalar(field: &FieldDescriptor, text: &str) -> Option<Value> {
    Some(match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bool => Value::Bool(match text {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return None,
        }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(text.parse().ok()?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(text.parse().ok()?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(text.parse().ok()?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(text.parse().ok()?),
        Kind::Float => Value::F32(text.parse().ok()?),
        Kind::Double => Value::F64(text.parse().ok()?),
        Kind::Bytes => Value::Bytes(STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()?.into()),
        Kind::Enum(kind) => Value::EnumNumber(enum_number(&kind, text)?),
        // Times, durations and masks are strings in JSON, wrapped values their value.
        Kind::Message(message) => {
            let quoted = serde_json::Value::from(text).to_string();
            let parsed = [quoted.as_str(), text].into_iter().find_map(|json| {
                DynamicMessage::deserialize(message.clone(), &mut serde_json::Deserializer::from_str(json)).ok()
            });
            Value::Message(parsed.filter(|_| message.full_name().starts_with("google.protobuf."))?)
        }
    })
}

fn enum_number(kind: &EnumDescriptor, text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let name = shorthand::enum_name(kind, text).unwrap_or_else(|| text.to_owned());
    kind.get_value_by_name(&name).map(|value| value.number())
}

fn wanted(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Bool => "true or false".to_owned(),
        Kind::Bytes => "base64".to_owned(),
        Kind::Enum(kind) => format!("a value of {}", kind.name()),
        Kind::Message(message) => format!("a {}", message.full_name()),
        _ => "a number in range".to_owned(),
    }
}

fn invalid(problem: String) -> Error {
    Error::InvalidArgument(problem)
}
