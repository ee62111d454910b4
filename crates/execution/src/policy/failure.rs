//! Failures that the server writes itself, and cutting down those of others.

use prost::Message;
use temporalio_protos::temporal::api::common::v1::Payloads;
use temporalio_protos::temporal::api::enums::v1::TimeoutType;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{
    ApplicationFailureInfo, Failure, ServerFailureInfo, TimeoutFailureInfo,
};

pub const RETRY_WOULD_EXCEED_SCHEDULE_TO_CLOSE: &str =
    "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying";
pub const FAILURE_EXCEEDS_LIMIT: &str = "Failure exceeds size limit.";
pub const HISTORY_SIZE_EXCEEDS_LIMIT: &str = "Workflow history size exceeds limit.";
pub const HISTORY_COUNT_EXCEEDS_LIMIT: &str = "Workflow history count exceeds limit.";

const SOURCE_SERVER: &str = "Server";
const CAUSES_MAX: usize = 20;
/// What the encoding of a field costs besides its bytes.
const FIELD_OVERHEAD_BYTES: usize = 4;

/// The name used in messages and in `TemporalTimeout:...` of retry policies.
#[must_use]
pub fn timeout_name(kind: TimeoutType) -> &'static str {
    match kind {
        TimeoutType::Unspecified => "Unspecified",
        TimeoutType::StartToClose => "StartToClose",
        TimeoutType::ScheduleToStart => "ScheduleToStart",
        TimeoutType::ScheduleToClose => "ScheduleToClose",
        TimeoutType::Heartbeat => "Heartbeat",
    }
}

#[must_use]
pub fn timeout(message: impl Into<String>, kind: TimeoutType) -> Failure {
    let info = TimeoutFailureInfo { timeout_type: kind.into(), last_heartbeat_details: None };
    Failure {
        message: message.into(),
        source: SOURCE_SERVER.into(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(info)),
        ..Failure::default()
    }
}

/// A run that reached its run or execution timeout.
#[must_use]
pub fn workflow_timeout() -> Failure {
    timeout("workflow timeout", TimeoutType::StartToClose)
}

/// The failure of one timed-out attempt: what decides about the retry, and what the next
/// attempt sees as its last failure.
#[must_use]
pub fn activity_attempt_timeout(kind: TimeoutType) -> Failure {
    timeout(format!("activity {} timeout", timeout_name(kind)), kind)
}

/// The failure of the closing `ActivityTaskTimedOut` event.
///
/// When an attempt ran out and there is no time left for another (`no_time_left`), the event
/// shows schedule-to-close instead; the failure of the previous attempt is the cause.
#[must_use]
pub fn activity_closed_by_timeout(kind: TimeoutType, no_time_left: NoTimeLeft, last: LastAttempt) -> Failure {
    let mut failure = match (no_time_left, kind) {
        (NoTimeLeft::Yes, kind) if kind != TimeoutType::ScheduleToStart => {
            timeout(RETRY_WOULD_EXCEED_SCHEDULE_TO_CLOSE, TimeoutType::ScheduleToClose)
        }
        _ => activity_attempt_timeout(kind),
    };
    if let Some(FailureInfo::TimeoutFailureInfo(info)) = &mut failure.failure_info {
        info.last_heartbeat_details = last.heartbeat_details;
    }
    failure.cause = last.failure.map(Box::new);
    failure
}

/// Whether the retry policy stopped with `RetryState::Timeout`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoTimeLeft {
    Yes,
    No,
}

/// What is known of the attempts before the one that timed out.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LastAttempt {
    pub failure: Option<Failure>,
    pub heartbeat_details: Option<Payloads>,
}

#[must_use]
pub fn server(message: impl Into<String>, retryable: Retryable) -> Failure {
    let info = ServerFailureInfo { non_retryable: retryable == Retryable::No };
    Failure { message: message.into(), failure_info: Some(FailureInfo::ServerFailureInfo(info)), ..Failure::default() }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retryable {
    Yes,
    No,
}

/// What of a retryable failure is kept between attempts: all of it, or, when it is larger
/// than `bytes_max`, a server failure whose cause is as much of it as fits.
#[must_use]
pub fn kept_between_attempts(failure: Failure, bytes_max: usize) -> Failure {
    replaced_when_too_large(failure, bytes_max, Retryable::Yes)
}

/// A worker's failure that is too large for an event: it is final.
#[must_use]
pub fn limited(failure: Failure, bytes_max: usize) -> Failure {
    replaced_when_too_large(failure, bytes_max, Retryable::No)
}

fn replaced_when_too_large(failure: Failure, bytes_max: usize, retryable: Retryable) -> Failure {
    if failure.encoded_len() <= bytes_max {
        return failure;
    }
    let mut replacement = server(FAILURE_EXCEEDS_LIMIT, retryable);
    replacement.cause = Some(Box::new(truncated(&failure, bytes_max)));
    replacement
}

/// At most about `bytes_max` of the failure: type, source, message, stack trace, then causes.
#[must_use]
pub fn truncated(failure: &Failure, bytes_max: usize) -> Failure {
    truncated_to_depth(failure, bytes_max, CAUSES_MAX)
}

fn truncated_to_depth(failure: &Failure, bytes_max: usize, depth: usize) -> Failure {
    let mut room = Room(bytes_max);
    let failure_info = match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            let kept = ApplicationFailureInfo {
                r#type: room.take(&info.r#type),
                non_retryable: info.non_retryable,
                ..ApplicationFailureInfo::default()
            };
            room.spend(2 * FIELD_OVERHEAD_BYTES);
            Some(FailureInfo::ApplicationFailureInfo(kept))
        }
        Some(FailureInfo::ServerFailureInfo(info)) => {
            room.spend(FIELD_OVERHEAD_BYTES);
            Some(FailureInfo::ServerFailureInfo(*info))
        }
        _ => None,
    };
    let mut kept = Failure {
        failure_info,
        source: room.take(&failure.source),
        message: room.take(&failure.message),
        stack_trace: room.take(&failure.stack_trace),
        ..Failure::default()
    };
    if let Some(cause) = &failure.cause
        && room.0 > FIELD_OVERHEAD_BYTES
        && depth > 0
    {
        kept.cause = Some(Box::new(truncated_to_depth(cause, room.0 - FIELD_OVERHEAD_BYTES, depth - 1)));
    }
    kept
}

/// Bytes left to give away.
struct Room(usize);

impl Room {
    fn take(&mut self, text: &str) -> String {
        let text = &text[..text.floor_char_boundary(self.0)];
        if !text.is_empty() {
            self.spend(text.len() + FIELD_OVERHEAD_BYTES);
        }
        text.to_owned()
    }

    fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests;
