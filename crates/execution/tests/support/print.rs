//! Messages in short form: only what is set, in the order of the fields, with the types of
//! the API that wrap one value reduced to that value.

use std::sync::LazyLock;

use base::Timestamp;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, ReflectMessage, Value};

use super::world::EPOCH;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(env!("TEMPORAL_DESCRIPTORS"));
    DescriptorPool::decode(bytes).expect("the descriptors of the public API")
});

/// `name` is below `temporal.api`, as `history.v1.HistoryEvent`.
pub(crate) fn message(name: &str, message: &impl Message) -> String {
    let descriptor = POOL.get_message_by_name(&format!("temporal.api.{name}")).expect("a message of the public API");
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).expect("encoded just now");
    fields(&message, &[])
}

/// The attributes of a history event, without its id, time and type.
pub(crate) fn event(event: &impl Message) -> (String, String) {
    let descriptor = POOL.get_message_by_name("temporal.api.history.v1.HistoryEvent").expect("is there");
    let message = DynamicMessage::decode(descriptor, event.encode_to_vec().as_slice()).expect("encoded just now");
    let kind = message.get_field_by_name("event_type").expect("a field");
    let kind = match (kind.as_ref(), message.descriptor().get_field_by_name("event_type")) {
        (Value::EnumNumber(number), Some(field)) => {
            camel_case(&enum_value(field.kind().as_enum().expect("an enum"), *number))
        }
        _ => unreachable!(),
    };
    let mut text = String::new();
    for (field, value) in message.fields() {
        match field.containing_oneof() {
            Some(_) => text = format!("{}{text}", fields(value.as_message().expect("attributes"), &[])),
            None if ["event_id", "event_time", "event_type", "task_id", "version"].contains(&field.name()) => {}
            None => text += &format!(" {}={}", field.name(), self::value(&field, value)),
        }
    }
    (kind, text.trim().to_owned())
}

/// Seconds since the clock of the tests began: `+1.5s`.
pub(crate) fn time(time: Timestamp) -> String {
    let sign = if time < EPOCH { '-' } else { '+' };
    let distance = if time < EPOCH { EPOCH.since(time) } else { time.since(EPOCH) };
    format!("{sign}{}", duration(distance.as_secs(), distance.subsec_nanos()))
}

fn duration(seconds: u64, nanos: u32) -> String {
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}

fn fields(message: &DynamicMessage, hidden: &[&str]) -> String {
    let parts: Vec<String> = message
        .fields()
        .filter(|(field, _)| !hidden.contains(&field.name()))
        .map(|(field, value)| format!("{}={}", field.name(), self::value(&field, value)))
        .collect();
    parts.join(" ")
}

fn value(field: &FieldDescriptor, value: &Value) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| self::value(field, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let mut entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}={}", key.as_str().unwrap_or("?"), scalar(value)))
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(" "))
        }
        Value::EnumNumber(number) => enum_value(field.kind().as_enum().expect("an enum"), *number),
        value => scalar(value),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::String(value) => word(value),
        Value::Bytes(value) => format!("{:?}", String::from_utf8_lossy(value)),
        Value::Message(value) => wrapped(value),
        Value::EnumNumber(value) => value.to_string(),
        Value::List(_) | Value::Map(_) => unreachable!("handled by the caller"),
    }
}

fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

fn wrapped(message: &DynamicMessage) -> String {
    let number = |name: &str| message.get_field_by_name(name).and_then(|value| value.as_i64()).unwrap_or(0);
    let nanos = || message.get_field_by_name("nanos").and_then(|value| value.as_i32()).unwrap_or(0);
    let text = |name: &str| {
        let value = message.get_field_by_name(name);
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    match message.descriptor().full_name() {
        "google.protobuf.Duration" => duration(number("seconds").unsigned_abs(), nanos().unsigned_abs()),
        "google.protobuf.Timestamp" => {
            time(Timestamp::from_proto(&prost_types::Timestamp { seconds: number("seconds"), nanos: nanos() }))
        }
        "temporal.api.common.v1.Payload" => match message.get_field_by_name("data") {
            Some(data) => scalar(data.as_ref()),
            None => String::new(),
        },
        "temporal.api.common.v1.Payloads" => match message.get_field_by_name("payloads").as_deref() {
            Some(Value::List(items)) if items.len() == 1 => scalar(&items[0]),
            Some(Value::List(items)) => format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", ")),
            _ => String::new(),
        },
        "temporal.api.common.v1.WorkflowType" | "temporal.api.common.v1.ActivityType" => word(&text("name")),
        "temporal.api.common.v1.WorkflowExecution" => format!("{}/{}", text("workflow_id"), text("run_id")),
        "temporal.api.taskqueue.v1.TaskQueue" if text("normal_name").is_empty() => word(&text("name")),
        "temporal.api.taskqueue.v1.TaskQueue" => format!("{}(sticky of {})", text("name"), text("normal_name")),
        _ => format!("{{{}}}", fields(message, &[])),
    }
}

/// `RetryState` 2 is `NON_RETRYABLE_FAILURE`.
fn enum_value(descriptor: &EnumDescriptor, number: i32) -> String {
    let Some(value) = descriptor.get_value(number) else { return number.to_string() };
    let prefix = screaming_case(descriptor.name()) + "_";
    value.name().trim_start_matches(&prefix).to_owned()
}

fn screaming_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

fn camel_case(name: &str) -> String {
    name.split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect()
}
