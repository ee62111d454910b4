//! Messages as text that two servers can be compared by: what no two runs have in common
//! (ids, times, tokens, sizes) is replaced by a name for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

/// A message that fits is shown on one line.
const LINE_CHARS_MAX: usize = 130;

/// Fields that are left out, with the reason: see `testdata/differential/intended.txt`.
#[derive(Clone, Default, Debug)]
pub(crate) struct Ignored(pub(crate) Vec<String>);

impl Ignored {
    fn covers(&self, field: &FieldDescriptor) -> bool {
        let name = field.full_name();
        self.0.iter().any(|ignored| name.strip_suffix(ignored.as_str()).is_some_and(|rest| rest.ends_with('.')))
    }
}

pub(crate) struct Printer<'a> {
    pub(crate) pool: &'a DescriptorPool,
    pub(crate) ignored: &'a Ignored,
    /// Strings of this run, with the names they get: longest first.
    pub(crate) names: Vec<(String, String)>,
    pub(crate) ids: BTreeMap<String, usize>,
    /// Whether events are shown with their attributes.
    pub(crate) full: bool,
}

impl Printer<'_> {
    /// Free text with the strings of this run replaced.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (string, name) in &self.names {
            text = text.replace(string, name);
        }
        self.anonymous(&text)
    }

    /// Replaces UUIDs by numbers in the order of their appearance.
    fn anonymous(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(id) = rest.get(..36).filter(|id| is_uuid(id)) {
                let next = self.ids.len() + 1;
                let number = *self.ids.entry(id.to_owned()).or_insert(next);
                write!(out, "<id{number}>").expect("a string");
                rest = &rest[36..];
                continue;
            }
            let c = rest.chars().next().expect("a character");
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
        out
    }

    /// The fields of a message, one or more lines, each with this indent.
    pub(crate) fn message(&mut self, message: &DynamicMessage, indent: usize) -> String {
        let mut text = String::new();
        for (name, value) in self.fields(message) {
            match value {
                Shown::Event(line) => writeln!(text, "{:indent$}{line}", "").expect("a string"),
                Shown::Scalar(value) => writeln!(text, "{:indent$}{name}: {value}", "").expect("a string"),
                Shown::Message(inner) => {
                    let line = self.line(&inner);
                    if line.chars().count() + name.len() + indent < LINE_CHARS_MAX {
                        writeln!(text, "{:indent$}{name} {{{line}}}", "").expect("a string");
                    } else {
                        writeln!(text, "{:indent$}{name}", "").expect("a string");
                        text.push_str(&self.message(&inner, indent + 2));
                    }
                }
            }
        }
        text
    }

    /// The fields of a message on one line.
    pub(crate) fn line(&mut self, message: &DynamicMessage) -> String {
        let mut parts = Vec::new();
        for (name, value) in self.fields(message) {
            parts.push(match value {
                Shown::Event(line) => line,
                Shown::Scalar(value) => format!("{name}: {value}"),
                Shown::Message(inner) => format!("{name} {{{}}}", self.line(&inner)),
            });
        }
        parts.join(" ")
    }

    fn fields(&mut self, message: &DynamicMessage) -> Vec<(String, Shown)> {
        if let Some(inner) = self.any(message) {
            return vec![(inner.descriptor().name().to_owned(), Shown::Message(inner))];
        }
        let mut fields = Vec::new();
        for (field, value) in message.fields() {
            if self.ignored.covers(&field) {
                continue;
            }
            let name = field.name().to_owned();
            if name == "first_workflow_task_backoff" && follows_the_clock(message) {
                fields.push((name, Shown::Scalar("<wait>".to_owned())));
                continue;
            }
            match value {
                Value::List(values) => {
                    let mut values: Vec<&Value> = values.iter().collect();
                    if name.starts_with("pending_") {
                        // The official server lists them in the order of a hash table.
                        values.sort_by_key(|value| value.as_message().map(prost::Message::encode_to_vec));
                    }
                    for value in values {
                        let shown = self.value(&field, &field.kind(), value);
                        fields.push((name.clone(), shown));
                    }
                }
                Value::Map(values) => {
                    let Kind::Message(entry) = field.kind() else { continue };
                    let mut entries: Vec<_> = values
                        .iter()
                        .map(|(key, value)| {
                            let key = match key {
                                MapKey::String(key) if is_uuid_whole(key) => "<id>".to_owned(),
                                MapKey::String(key) => self.text(key),
                                other => format!("{other:?}"),
                            };
                            (key, value)
                        })
                        .collect();
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                    for (key, value) in entries {
                        let kind = entry.map_entry_value_field().kind();
                        let shown = self.value(&field, &kind, value);
                        fields.push((format!("{name}[{key:?}]"), shown));
                    }
                }
                value => {
                    let shown = self.value(&field, &field.kind(), value);
                    fields.push((name, shown));
                }
            }
        }
        for unknown in message.unknown_fields() {
            fields.push((format!("unknown_{}", unknown.number()), Shown::Scalar("<value>".to_owned())));
        }
        fields
    }

    fn value(&mut self, field: &FieldDescriptor, kind: &Kind, value: &Value) -> Shown {
        match (value, kind) {
            (Value::Message(inner), _) => match inner.descriptor().full_name() {
                "google.protobuf.Timestamp" => Shown::Scalar(shown_time(inner)),
                "google.protobuf.Duration" if field.name() == "execution_duration" => {
                    Shown::Scalar("<duration>".to_owned())
                }
                "google.protobuf.Duration" if field.name() == "current_retry_interval" => {
                    Shown::Scalar(format!("about {}s", seconds(inner)))
                }
                "google.protobuf.Duration" => Shown::Scalar(shown_duration(inner)),
                "temporal.api.history.v1.HistoryEvent" => Shown::Event(self.event(inner)),
                "temporal.api.common.v1.Payloads" => Shown::Scalar(self.payloads(inner)),
                _ => Shown::Message(inner.clone()),
            },
            (Value::EnumNumber(number), Kind::Enum(kind)) => {
                let name = kind.get_value(*number).map_or_else(|| number.to_string(), |value| value.name().to_owned());
                Shown::Scalar(short(kind.name(), &name))
            }
            // Made by the server for itself, unless the client gave one.
            (Value::String(text), _) if field.name().ends_with("request_id") && is_uuid_whole(text) => {
                Shown::Scalar("<id>".to_owned())
            }
            (Value::String(text), _) => Shown::Scalar(format!("{:?}", self.text(text))),
            (Value::Bytes(bytes), _) if field.name().ends_with("token") => {
                Shown::Scalar(if bytes.is_empty() { "<>".to_owned() } else { "<token>".to_owned() })
            }
            (Value::Bytes(bytes), _) => {
                let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
                let text = if text.len() > 200 { format!("<{} bytes>", bytes.len()) } else { text };
                Shown::Scalar(format!("\"{}\"", self.text(&text)))
            }
            (Value::I64(_), _) if field.name().contains("size_bytes") => Shown::Scalar("<size>".to_owned()),
            (value, _) => Shown::Scalar(plain(value)),
        }
    }

    fn payloads(&mut self, payloads: &DynamicMessage) -> String {
        let mut parts = Vec::new();
        for (_, value) in payloads.fields() {
            for payload in value.as_list().into_iter().flatten() {
                parts.push(payload.as_message().map(|payload| self.line(payload)).unwrap_or_default());
            }
        }
        format!("[{}]", parts.join(", "))
    }

    /// `5 ACTIVITY_TASK_SCHEDULED attributes`.
    fn event(&mut self, event: &DynamicMessage) -> String {
        let id = event.get_field_by_name("event_id").map(|id| plain(&id)).unwrap_or_default();
        let kind = event.get_field_by_name("event_type").and_then(|kind| kind.as_enum_number()).unwrap_or_default();
        let name = self
            .pool
            .get_enum_by_name("temporal.api.enums.v1.EventType")
            .and_then(|kinds| kinds.get_value(kind))
            .map_or_else(|| kind.to_string(), |value| short("EventType", value.name()));
        if !self.full {
            return format!("event {id} {name}");
        }
        let mut rest = Vec::new();
        for (field, value) in event.fields() {
            let inner = match (field.name(), value) {
                ("event_id" | "event_type" | "event_time" | "task_id", _) => continue,
                (name, Value::Message(inner)) if name.ends_with("_attributes") => inner.clone(),
                _ => {
                    let mut only = DynamicMessage::new(event.descriptor());
                    only.set_field(&field, value.clone());
                    only
                }
            };
            rest.push(self.line(&inner));
        }
        format!("{id} {name} {}", rest.join(" ")).trim_end().to_owned()
    }

    /// What an `Any` holds, when its type is known.
    fn any(&self, message: &DynamicMessage) -> Option<DynamicMessage> {
        if message.descriptor().full_name() != "google.protobuf.Any" {
            return None;
        }
        let url = message.get_field_by_name("type_url")?;
        let kind = self.pool.get_message_by_name(url.as_str()?.rsplit('/').next()?)?;
        let value = message.get_field_by_name("value")?;
        DynamicMessage::decode(kind, value.as_bytes()?.clone()).ok()
    }
}

enum Shown {
    Scalar(String),
    Event(String),
    Message(DynamicMessage),
}

/// Whether a start event waits for an hour of the day, so that how long depends on when.
fn follows_the_clock(message: &DynamicMessage) -> bool {
    let schedule = message.get_field_by_name("cron_schedule");
    schedule.is_some_and(|text| text.as_str().is_some_and(|text| !text.is_empty() && !text.starts_with("@every")))
}

fn is_uuid_whole(text: &str) -> bool {
    text.len() == 36 && is_uuid(text)
}

fn is_uuid(text: &str) -> bool {
    text.char_indices().all(|(at, c)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    })
}

/// Only whether it is a time: the earliest there is stands for none in some fields.
fn shown_time(message: &DynamicMessage) -> String {
    match seconds(message) {
        ..0 => "<year 1>".to_owned(),
        0 => "<1970>".to_owned(),
        _ => "<time>".to_owned(),
    }
}

fn seconds(message: &DynamicMessage) -> i64 {
    message.get_field_by_name("seconds").and_then(|seconds| seconds.as_i64()).unwrap_or_default()
}

/// What is not in whole milliseconds was measured: it is rounded up to seconds.
fn shown_duration(message: &DynamicMessage) -> String {
    let seconds = seconds(message);
    let nanos = message.get_field_by_name("nanos").and_then(|nanos| nanos.as_i32()).unwrap_or_default();
    match nanos {
        0 => format!("{seconds}s"),
        _ if nanos % 1_000_000 == 0 => format!("{seconds}s+{}ms", nanos / 1_000_000),
        _ => format!("<up to {}s>", seconds + 1),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

/// `EVENT_TYPE_TIMER_FIRED` of `EventType` -> `TIMER_FIRED`.
fn short(kind: &str, value: &str) -> String {
    let mut prefix = String::new();
    for c in kind.chars() {
        if c.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(c.to_ascii_uppercase());
    }
    prefix.push('_');
    value.strip_prefix(&prefix).unwrap_or(value).to_owned()
}
