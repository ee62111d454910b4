//! May these search attributes be written? Names must be registered in the namespace and
//! values must fit their types. What is accepted is labelled with its type, by which SDKs
//! decode it.

use std::collections::BTreeMap;

use base::{AttributeType, CustomAttributes, Setter, builtin_attribute};
use serde_json::Value;
use temporalio_protos::temporal::api::common::v1::{Payload, SearchAttributes};

const ENCODING: &str = "encoding";
const JSON: &[u8] = b"json/plain";
const NULL: &[u8] = b"binary/null";
const TYPE: &str = "type";

/// Why not, for the caller.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("Namespace {namespace} has no mapping defined for search attribute {name}")]
    Unknown { namespace: String, name: String },
    #[error("{0}")]
    Invalid(String),
}

impl Problem {
    /// As it is told of a command that starts a run; `ids` name that run.
    pub(crate) fn on(self, command: &str, ids: &str) -> String {
        match self {
            Self::Unknown { .. } => self.to_string(),
            Self::Invalid(text) => format!("invalid SearchAttributes on {command}: {text}. {ids}"),
        }
    }
}

pub(crate) fn check(
    attributes: &mut SearchAttributes,
    custom: &CustomAttributes,
    namespace: &str,
) -> Result<(), Problem> {
    // In order, so that the same request gets the same answer every time.
    let mut names: Vec<String> = attributes.indexed_fields.keys().cloned().collect();
    names.sort_unstable();
    for name in &names {
        if !custom.contains_key(name) && builtin_attribute(name).is_none() {
            return Err(Problem::Unknown { namespace: namespace.to_owned(), name: name.clone() });
        }
    }
    for name in &names {
        let kind = match (custom.get(name), builtin_attribute(name)) {
            (Some(kind), _) => *kind,
            (None, Some((kind, Setter::Anyone))) => kind,
            _ => return Err(Problem::Invalid(format!("{name} attribute can't be set in SearchAttributes"))),
        };
        let Some(payload) = attributes.indexed_fields.get_mut(name) else { continue };
        if !fits(payload, kind) {
            let shown = value_shown(payload);
            let text = format!("invalid value for search attribute {name} of type {}: {shown}", kind.name());
            return Err(Problem::Invalid(text));
        }
        payload.metadata.insert(TYPE.to_owned(), kind.name().into());
    }
    Ok(())
}

/// What a client is shown of the attributes that a run has kept for some time: those that are
/// still registered and fit the type that they have now, labelled with it.
pub(crate) fn shown(attributes: &mut SearchAttributes, custom: &CustomAttributes) {
    attributes.indexed_fields.retain(|name, payload| {
        let kind = base::shown_type(name, &payload.data, custom);
        if let Some(kind) = kind {
            payload.metadata.insert(TYPE.to_owned(), kind.name().into());
        }
        kind.is_some()
    });
}

/// Null and the empty list remove the attribute.
fn fits(payload: &Payload, kind: AttributeType) -> bool {
    match json(payload) {
        None => payload.metadata.get(ENCODING).is_some_and(|encoding| encoding == NULL),
        Some(Value::Null) => true,
        Some(value) => kind.takes(&value),
    }
}

fn json(payload: &Payload) -> Option<Value> {
    let encoding = payload.metadata.get(ENCODING)?;
    if encoding != JSON {
        return None;
    }
    serde_json::from_slice(&payload.data).ok()
}

fn value_shown(payload: &Payload) -> String {
    match json(payload) {
        Some(value) => plain(&value),
        None => format!("value from <{}>", text_format(payload)),
    }
}

/// The payload as a message in text format.
fn text_format(payload: &Payload) -> String {
    let metadata: BTreeMap<_, _> = payload.metadata.iter().collect();
    let metadata = metadata.into_iter().map(|(key, value)| {
        format!("metadata:{{key:{key:?} value:{:?}}}", String::from_utf8_lossy(value)) //
    });
    let data = Some(&payload.data).filter(|data| !data.is_empty());
    let data = data.map(|data| format!("data:{:?}", String::from_utf8_lossy(data)));
    metadata.chain(data).collect::<Vec<_>>().join(" ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(json: &str) -> Payload {
        let metadata = [(ENCODING.to_owned(), JSON.to_vec())];
        Payload { metadata: metadata.into_iter().collect(), data: json.as_bytes().to_vec(), ..Payload::default() }
    }

    fn checked(name: &str, json: &str) -> Result<(), String> {
        checked_payload(name, payload(json)).map_err(|problem| problem.to_string())
    }

    fn checked_payload(name: &str, payload: Payload) -> Result<(), Problem> {
        let named =
            [("Count", AttributeType::Int), ("Color", AttributeType::Keyword), ("Due", AttributeType::Datetime)];
        let more = [("Tags", AttributeType::KeywordList), ("Ratio", AttributeType::Double)];
        let custom = named.into_iter().chain(more).map(|(name, kind)| (name.to_owned(), kind)).collect();
        let fields = [(name.to_owned(), payload)];
        let mut attributes = SearchAttributes { indexed_fields: fields.into_iter().collect() };
        check(&mut attributes, &custom, "default")?;
        let label = attributes.indexed_fields[name].metadata.get(TYPE).cloned();
        assert!(label.is_some(), "what is accepted has its type on it");
        Ok(())
    }

    #[test]
    fn registered_names_and_fitting_values_pass() {
        for (name, json) in [
            ("Count", "1"),
            ("Count", "[1]"),
            ("Count", "null"),
            ("Color", "\"red\""),
            ("Due", "\"2026-01-01T00:00:00Z\""),
            ("Tags", "[\"a\",\"b\"]"),
            ("Tags", "[]"),
            ("Ratio", "1"),
            ("BuildIds", "[\"x\"]"),
        ] {
            assert_eq!(checked(name, json), Ok(()), "{name} {json}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_shown_as_it_came() {
        let shown = "metadata:{key:\"encoding\" value:\"json/plain\"} data:\"{\"";
        let expected = format!("invalid value for search attribute Count of type Int: value from <{shown}>");
        assert_eq!(checked("Count", "{"), Err(expected.clone()));
        let problem = checked_payload("Count", payload("{")).unwrap_err();
        assert_eq!(problem.on("X", "WorkflowId=w"), format!("invalid SearchAttributes on X: {expected}. WorkflowId=w"));
    }

    #[test]
    fn what_is_registered_no_longer_or_as_another_type_is_not_shown() {
        let fields = [("Gone", "1"), ("Count", "1"), ("Color", "7"), ("Tags", "[\"a\"]"), ("BuildIds", "[\"x\"]")];
        let fields = fields.map(|(name, json)| (name.to_owned(), payload(json)));
        let mut attributes = SearchAttributes { indexed_fields: fields.into_iter().collect() };
        let custom = [
            ("Count".to_owned(), AttributeType::Double),
            ("Color".to_owned(), AttributeType::Keyword),
            ("Tags".to_owned(), AttributeType::Keyword),
        ];
        shown(&mut attributes, &custom.into_iter().collect());
        let labels: BTreeMap<_, _> = attributes
            .indexed_fields
            .iter()
            .map(|(name, payload)| (name.as_str(), String::from_utf8_lossy(&payload.metadata[TYPE]).into_owned()))
            .collect();
        let expected = [("BuildIds", "KeywordList"), ("Count", "Double"), ("Tags", "Keyword")];
        assert_eq!(labels, expected.map(|(name, kind)| (name, kind.to_owned())).into_iter().collect());
    }

    #[test]
    fn everything_else_is_refused() {
        let invalid =
            |name: &str, kind, value| format!("invalid value for search attribute {name} of type {kind}: {value}");
        for (name, json, expected) in [
            ("Nope", "1", "Namespace default has no mapping defined for search attribute Nope".to_owned()),
            ("WorkflowId", "\"x\"", "WorkflowId attribute can't be set in SearchAttributes".to_owned()),
            ("Count", "\"x\"", invalid("Count", "Int", "x")),
            ("Count", "[1,2]", invalid("Count", "Int", "[1 2]")),
            ("Count", "1.5", invalid("Count", "Int", "1.5")),
            ("Color", "1", invalid("Color", "Keyword", "1")),
            ("Due", "\"soon\"", invalid("Due", "Datetime", "soon")),
            ("Tags", "\"x\"", invalid("Tags", "KeywordList", "x")),
            ("Tags", "[1]", invalid("Tags", "KeywordList", "[1]")),
        ] {
            assert_eq!(checked(name, json), Err(expected), "{name} {json}");
        }
    }
}
