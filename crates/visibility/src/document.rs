//! One execution as visibility sees it, and its attributes by name.

use base::AttributeType;
use serde_json::Value as Json;
use temporalio_protos::temporal::api::common::v1::Payload;
use temporalio_protos::temporal::api::enums::v1::WorkflowExecutionStatus as Status;
use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionInfo;

use crate::value::Value;

pub(crate) const EXECUTION_STATUS: &str = "ExecutionStatus";
pub(crate) const EXECUTION_DURATION: &str = "ExecutionDuration";

const STATUSES: [(&str, Status); 9] = [
    ("Unspecified", Status::Unspecified),
    ("Running", Status::Running),
    ("Completed", Status::Completed),
    ("Failed", Status::Failed),
    ("Canceled", Status::Canceled),
    ("Terminated", Status::Terminated),
    ("ContinuedAsNew", Status::ContinuedAsNew),
    ("TimedOut", Status::TimedOut),
    ("Paused", Status::Paused),
];

/// What a query can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    System(String, AttributeType),
    /// Predefined or custom.
    Attribute(String, AttributeType),
}

impl Field {
    /// A name that the server knows by itself.
    pub(crate) fn named(name: &str, kind: AttributeType) -> Self {
        if base::SYSTEM_ATTRIBUTES.iter().any(|(system, _)| *system == name) {
            Self::System(name.to_owned(), kind)
        } else {
            Self::Attribute(name.to_owned(), kind)
        }
    }

    pub(crate) fn name(&self) -> &str {
        let (Self::System(name, _) | Self::Attribute(name, _)) = self;
        name
    }

    pub(crate) fn kind(&self) -> AttributeType {
        let (Self::System(_, kind) | Self::Attribute(_, kind)) = self;
        *kind
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) info: WorkflowExecutionInfo,
}

impl Document {
    /// None: it has none.
    pub(crate) fn value(&self, field: &Field) -> Option<Value> {
        match field {
            Field::System(name, _) => self.system(name),
            Field::Attribute(name, kind) => {
                let attributes = self.info.search_attributes.as_ref()?;
                decoded(attributes.indexed_fields.get(name)?, *kind)
            }
        }
    }

    pub(crate) fn start_nanos(&self) -> i128 {
        nanos(self.info.start_time.as_ref()).unwrap_or_default()
    }

    /// None: it is open.
    pub(crate) fn close_nanos(&self) -> Option<i128> {
        nanos(self.info.close_time.as_ref())
    }

    pub(crate) fn run_id(&self) -> &str {
        self.info.execution.as_ref().map_or("", |execution| &execution.run_id)
    }

    fn system(&self, name: &str) -> Option<Value> {
        let info = &self.info;
        let text = |text: &str| Some(Value::Text(text.to_owned())).filter(|_| !text.is_empty());
        let when_closed = |value: i64| info.close_time.as_ref().map(|_| Value::Int(value));
        match name {
            "WorkflowId" => text(info.execution.as_ref().map_or("", |execution| &execution.workflow_id)),
            "RunId" => text(self.run_id()),
            "WorkflowType" => text(info.r#type.as_ref().map_or("", |kind| &kind.name)),
            "StartTime" => nanos(info.start_time.as_ref()).map(Value::Time),
            "ExecutionTime" => nanos(info.execution_time.as_ref()).map(Value::Time),
            "CloseTime" => self.close_nanos().map(Value::Time),
            EXECUTION_STATUS => Some(Value::Int(i64::from(info.status))),
            "TaskQueue" => text(&info.task_queue),
            "HistoryLength" => when_closed(info.history_length),
            EXECUTION_DURATION => {
                let duration = info.execution_duration.as_ref()?;
                Some(Value::Int(duration.seconds.saturating_mul(1_000_000_000).saturating_add(duration.nanos.into())))
            }
            "StateTransitionCount" => when_closed(info.state_transition_count),
            "HistorySizeBytes" => when_closed(info.history_size_bytes),
            "ParentWorkflowId" => text(info.parent_execution.as_ref().map_or("", |parent| &parent.workflow_id)),
            "ParentRunId" => text(info.parent_execution.as_ref().map_or("", |parent| &parent.run_id)),
            "RootWorkflowId" => text(info.root_execution.as_ref().map_or("", |root| &root.workflow_id)),
            "RootRunId" => text(info.root_execution.as_ref().map_or("", |root| &root.run_id)),
            _ => None,
        }
    }
}

pub(crate) fn status_name(number: i32) -> &'static str {
    STATUSES.iter().find(|(_, status)| *status as i32 == number).map_or("Unspecified", |(name, _)| name)
}

pub(crate) fn status_of_name(name: &str) -> Option<Status> {
    STATUSES.iter().find(|(known, status)| *known == name || status.as_str_name() == name).map(|(_, status)| *status)
}

pub(crate) fn status_of_number(number: i64) -> Option<Status> {
    STATUSES.iter().find(|(_, status)| i64::from(*status as i32) == number).map(|(_, status)| *status)
}

/// A value that does not fit its type is as good as none, as it is where it is shown
/// ([`base::shown_type`]).
fn decoded(payload: &Payload, kind: AttributeType) -> Option<Value> {
    let json = serde_json::from_slice(&payload.data).ok()?;
    if kind.takes(&json) { typed(&json, kind) } else { None }
}

fn typed(json: &Json, kind: AttributeType) -> Option<Value> {
    if let Json::Array(items) = json {
        let values: Vec<Value> = items.iter().filter_map(|item| typed(item, kind)).collect();
        return match kind {
            AttributeType::KeywordList => Some(Value::List(values)).filter(|_| !items.is_empty()),
            _ => values.into_iter().next(),
        };
    }
    match kind {
        AttributeType::Text | AttributeType::Keyword | AttributeType::KeywordList => {
            json.as_str().map(|text| Value::Text(text.to_owned()))
        }
        AttributeType::Int => json.as_i64().map(Value::Int),
        AttributeType::Double => json.as_f64().map(Value::Double),
        AttributeType::Bool => json.as_bool().map(Value::Bool),
        AttributeType::Datetime => json.as_str().and_then(Value::time_of),
    }
}

fn nanos(time: Option<&prost_types::Timestamp>) -> Option<i128> {
    time.map(|time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos))
}
