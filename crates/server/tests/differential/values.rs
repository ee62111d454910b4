//! `$name` and `$reply.path[0].field` in the text of a request; `.key` is the only key of a map.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, Value};

/// Puts values where they are named. `Err` names what is not there.
pub(crate) fn fill(
    text: &str,
    names: &[(String, String)],
    replies: &BTreeMap<String, DynamicMessage>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let end = after.find(|c: char| !c.is_alphanumeric() && !"_.[]-".contains(c)).unwrap_or(after.len());
        let mut path = &after[..end];
        if let Some((string, name)) = names.iter().find(|(_, name)| {
            path.strip_prefix(&name[1..]).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        }) {
            out.push_str(string);
            rest = &after[name.len() - 1..];
            continue;
        }
        path = path.trim_end_matches(['.', '-']);
        let (reply, path_in_reply) = path.split_once('.').unwrap_or((path, ""));
        let reply = replies.get(reply).ok_or_else(|| format!("${path}"))?;
        let value = find(Value::Message(reply.clone()), path_in_reply).ok_or_else(|| format!("${path}"))?;
        out.push_str(&literal(&value));
        rest = &after[path.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

fn find(value: Value, path: &str) -> Option<Value> {
    if path.is_empty() {
        return Some(value);
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let (field, index) = match first.split_once('[') {
        Some((field, index)) => (field, Some(index.trim_end_matches(']').parse::<isize>().ok()?)),
        None => (first, None),
    };
    if let (Value::Map(entries), "key") = (&value, field) {
        return match entries.keys().next()? {
            prost_reflect::MapKey::String(key) => Some(Value::String(key.clone())),
            _ => None,
        };
    }
    let inner = value.as_message()?.get_field_by_name(field)?.into_owned();
    let inner = match index {
        None => inner,
        Some(index) => {
            let list = inner.as_list()?;
            let at = if index < 0 { list.len().checked_sub(index.unsigned_abs())? } else { index.unsigned_abs() };
            list.get(at)?.clone()
        }
    };
    find(inner, rest)
}

/// The value in protobuf text format.
fn literal(value: &Value) -> String {
    match value {
        Value::Message(message) => format!("{{{}}}", message.to_text_format()),
        Value::String(text) => quoted(text.as_bytes()),
        Value::Bytes(bytes) => quoted(bytes),
        Value::Bool(value) => value.to_string(),
        Value::I32(value) | Value::EnumNumber(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::List(values) => format!("[{}]", values.iter().map(literal).collect::<Vec<_>>().join(",")),
        Value::Map(_) => String::new(),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{escaped}\"")
}
