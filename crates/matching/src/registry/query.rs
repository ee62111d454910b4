//! The filter of `ListWorkers` and `CountWorkers`: the condition of an SQL `WHERE`, over the
//! few columns that a heartbeat has.
//!
//! What is no SQL is refused. What is SQL but means nothing here (another column, `LIKE`, a
//! number for a text) matches no worker: the incumbent finds out while it looks at each
//! worker and swallows the error, and tools have come to expect an empty list.

mod meaning;

use api::Error;
use base::Timestamp;
use temporalio_protos::temporal::api::enums::v1::WorkerStatus;
use temporalio_protos::temporal::api::worker::v1::WorkerHeartbeat;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Text {
    InstanceKey,
    Identity,
    HostName,
    TaskQueue,
    DeploymentName,
    BuildId,
    SdkName,
    SdkVersion,
    Status,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Time {
    Start,
    Heartbeat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    StartsWith,
    NotStartsWith,
}

/// A condition that can be asked of a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Text {
        column: Text,
        operator: Operator,
        value: String,
    },
    TextIsNull {
        column: Text,
        negated: bool,
    },
    Time {
        column: Time,
        operator: Operator,
        value: Timestamp,
    },
    TimeIsNull {
        column: Time,
        negated: bool,
    },
    TimeBetween {
        column: Time,
        from: Timestamp,
        to: Timestamp,
        negated: bool,
    },
    /// Well formed, but nothing that a worker could be asked.
    Meaningless,
}

/// The question cannot be answered; see the head of the file.
struct NoAnswer;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Query(Option<Condition>);

impl Query {
    /// # Errors
    /// It is no condition.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let trimmed = text.trim();
        let lower = trimmed.to_ascii_lowercase();
        if lower.starts_with("where ") || lower.starts_with("select ") {
            return Err(Error::InvalidArgument(format!("invalid filter: {trimmed}")));
        }
        meaning::parse(trimmed).map(|condition| Self(Some(condition)))
    }

    pub(super) fn matches(&self, heartbeat: &WorkerHeartbeat) -> bool {
        self.0.as_ref().is_none_or(|condition| condition.holds(heartbeat).unwrap_or(false))
    }
}

impl Condition {
    fn holds(&self, heartbeat: &WorkerHeartbeat) -> Result<bool, NoAnswer> {
        match self {
            Self::And(left, right) => Ok(left.holds(heartbeat)? && right.holds(heartbeat)?),
            Self::Or(left, right) => Ok(left.holds(heartbeat)? || right.holds(heartbeat)?),
            Self::Text { column, operator, value } => compare_text(&column.of(heartbeat), *operator, value),
            Self::TextIsNull { column, negated } => Ok(column.of(heartbeat).is_empty() != *negated),
            // A time that was not told compares as the beginning of time.
            Self::Time { column, operator, value } => {
                compare_time(column.of(heartbeat).unwrap_or(Timestamp::ZERO), *operator, *value)
            }
            Self::TimeIsNull { column, negated } => Ok(column.of(heartbeat).is_none() != *negated),
            Self::TimeBetween { column, from, to, negated } => {
                Ok(column.of(heartbeat).is_some_and(|time| (*from <= time && time <= *to) != *negated))
            }
            Self::Meaningless => Err(NoAnswer),
        }
    }
}

fn compare_text(actual: &str, operator: Operator, value: &str) -> Result<bool, NoAnswer> {
    if value.is_empty() {
        return Err(NoAnswer);
    }
    match operator {
        Operator::Equal => Ok(actual == value),
        Operator::NotEqual => Ok(actual != value),
        Operator::StartsWith => Ok(actual.starts_with(value)),
        Operator::NotStartsWith => Ok(!actual.starts_with(value)),
        _ => Err(NoAnswer),
    }
}

fn compare_time(actual: Timestamp, operator: Operator, value: Timestamp) -> Result<bool, NoAnswer> {
    match operator {
        Operator::Equal => Ok(actual == value),
        Operator::NotEqual => Ok(actual != value),
        Operator::Less => Ok(actual < value),
        Operator::LessOrEqual => Ok(actual <= value),
        Operator::Greater => Ok(actual > value),
        Operator::GreaterOrEqual => Ok(actual >= value),
        Operator::StartsWith | Operator::NotStartsWith => Err(NoAnswer),
    }
}

impl Text {
    /// Names are case-sensitive, except for the one that is a keyword of SQL.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "WorkerInstanceKey" => Self::InstanceKey,
            "WorkerIdentity" => Self::Identity,
            "HostName" => Self::HostName,
            "TaskQueue" => Self::TaskQueue,
            "DeploymentName" => Self::DeploymentName,
            "BuildId" => Self::BuildId,
            "SdkName" => Self::SdkName,
            "SdkVersion" => Self::SdkVersion,
            "WorkerStatus" => Self::Status,
            _ if name.eq_ignore_ascii_case("status") => Self::Status,
            _ => return None,
        })
    }

    fn of(self, heartbeat: &WorkerHeartbeat) -> std::borrow::Cow<'_, str> {
        let version = heartbeat.deployment_version.as_ref();
        let text = match self {
            Self::InstanceKey => &heartbeat.worker_instance_key,
            Self::Identity => &heartbeat.worker_identity,
            Self::HostName => heartbeat.host_info.as_ref().map_or("", |host| &host.host_name),
            Self::TaskQueue => &heartbeat.task_queue,
            Self::DeploymentName => version.map_or("", |version| &version.deployment_name),
            Self::BuildId => version.map_or("", |version| &version.build_id),
            Self::SdkName => &heartbeat.sdk_name,
            Self::SdkVersion => &heartbeat.sdk_version,
            Self::Status => match WorkerStatus::try_from(heartbeat.status) {
                Ok(WorkerStatus::Unspecified) => "Unspecified",
                Ok(WorkerStatus::Running) => "Running",
                Ok(WorkerStatus::ShuttingDown) => "ShuttingDown",
                Ok(WorkerStatus::Shutdown) => "Shutdown",
                Err(_) => return heartbeat.status.to_string().into(),
            },
        };
        text.into()
    }
}

impl Time {
    fn named(name: &str) -> Option<Self> {
        match name {
            "StartTime" => Some(Self::Start),
            "HeartbeatTime" => Some(Self::Heartbeat),
            _ => None,
        }
    }

    fn of(self, heartbeat: &WorkerHeartbeat) -> Option<Timestamp> {
        let time = match self {
            Self::Start => &heartbeat.start_time,
            Self::Heartbeat => &heartbeat.heartbeat_time,
        };
        time.as_ref().map(Timestamp::from_proto)
    }
}
