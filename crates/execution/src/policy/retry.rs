//! Retry policies of activities and workflows: defaults, validity, and the decision whether
//! and when there is another attempt (`reference/protocol.md` 2.5, rows "Retry ...").

use std::time::Duration;

use base::Timestamp;
use temporalio_protos::temporal::api::common::v1::RetryPolicy;
use temporalio_protos::temporal::api::enums::v1::{RetryState, TimeoutType};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;

use super::duration;
use super::failure::timeout_name;
use crate::Rejection;

const INITIAL_INTERVAL: Duration = Duration::from_secs(1);
const BACKOFF_COEFFICIENT: f64 = 2.0;
const MAXIMUM_INTERVAL_COEFFICIENT: u32 = 100;
/// Lets a policy name timeouts among its non-retryable types: `TemporalTimeout:Heartbeat`.
const TIMEOUT_TYPE_PREFIX: &str = "TemporalTimeout:";

/// The attempt that just ended.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// After [`fill_defaults`]. None: never retried.
    pub policy: Option<&'a RetryPolicy>,
    /// Counts from 1.
    pub number: i32,
    pub now: Timestamp,
    /// No attempt may begin after this.
    pub expiration: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryDecision {
    /// The next attempt begins this long after `Attempt::now`.
    Retry { delay: Duration },
    /// No further attempt; the state goes into the closing event.
    Stop(RetryState),
}

/// Sets what the user left open. Activities always get a policy (pass a default one);
/// workflows only when the user gave one.
pub fn fill_defaults(policy: &mut RetryPolicy) {
    if duration::value(policy.initial_interval.as_ref()).is_zero() && !is_negative(policy.initial_interval.as_ref()) {
        policy.initial_interval = Some(duration::proto(INITIAL_INTERVAL));
    }
    if duration::value(policy.maximum_interval.as_ref()).is_zero() && !is_negative(policy.maximum_interval.as_ref()) {
        let initial = duration::value(policy.initial_interval.as_ref());
        policy.maximum_interval = Some(duration::proto(initial.saturating_mul(MAXIMUM_INTERVAL_COEFFICIENT)));
    }
    if policy.backoff_coefficient == 0.0 {
        policy.backoff_coefficient = BACKOFF_COEFFICIENT;
    }
}

/// Checks a policy after [`fill_defaults`] and cuts over-long intervals.
pub fn validate(policy: &mut RetryPolicy) -> Result<(), Rejection> {
    if policy.maximum_attempts == 1 {
        // Retries are off, so the rest is never read.
        return Ok(());
    }
    duration::normalize(&mut policy.initial_interval)
        .map_err(|error| invalid(format!("invalid InitialInterval set on retry policy: {error}")))?;
    if policy.backoff_coefficient < 1.0 {
        return Err(invalid("BackoffCoefficient cannot be less than 1 on retry policy.".into()));
    }
    duration::normalize(&mut policy.maximum_interval)
        .map_err(|error| invalid(format!("invalid MaximumInterval set on retry policy: {error}")))?;
    let maximum = duration::value(policy.maximum_interval.as_ref());
    if !maximum.is_zero() && maximum < duration::value(policy.initial_interval.as_ref()) {
        return Err(invalid("MaximumInterval cannot be less than InitialInterval on retry policy.".into()));
    }
    if policy.maximum_attempts < 0 {
        return Err(invalid("MaximumAttempts cannot be negative on retry policy.".into()));
    }
    for name in &policy.non_retryable_error_types {
        if let Some(timeout) = name.strip_prefix(TIMEOUT_TYPE_PREFIX)
            && !is_timeout_name(timeout)
        {
            return Err(invalid(format!("Invalid timeout type value: {timeout}.")));
        }
    }
    Ok(())
}

/// Whether an activity that was not asked to cancel gets another attempt. (A requested
/// cancel is `Stop(CancelRequested)`, checked by the caller after the missing policy.)
#[must_use]
pub fn after_activity_attempt(attempt: &Attempt<'_>, failure: &Failure) -> RetryDecision {
    let Some(policy) = attempt.policy else { return RetryDecision::Stop(RetryState::RetryPolicyNotSet) };
    if matches!(timeout_type(failure), Some(TimeoutType::ScheduleToStart | TimeoutType::ScheduleToClose)) {
        // The server's own deadlines: not a failure of the attempt.
        return RetryDecision::Stop(RetryState::Timeout);
    }
    if !is_retryable(failure, &policy.non_retryable_error_types) {
        return RetryDecision::Stop(RetryState::NonRetryableFailure);
    }
    match requested_delay_nanos(failure) {
        // What the application asks for also overrides the longest interval.
        Some(delay) => next(attempt, policy, delay, delay),
        None => next(attempt, policy, backoff_nanos(policy, attempt.number), maximum_nanos(policy)),
    }
}

/// Whether a workflow run that failed or timed out gets a successor by its retry policy.
#[must_use]
pub fn after_workflow_run(attempt: &Attempt<'_>, failure: &Failure) -> RetryDecision {
    let Some(policy) = attempt.policy else { return RetryDecision::Stop(RetryState::RetryPolicyNotSet) };
    if !is_retryable(failure, &policy.non_retryable_error_types) {
        return RetryDecision::Stop(RetryState::NonRetryableFailure);
    }
    let interval = requested_delay_nanos(failure).unwrap_or_else(|| backoff_nanos(policy, attempt.number));
    next(attempt, policy, interval, maximum_nanos(policy))
}

/// Whether the kind of failure allows a retry at all.
#[must_use]
pub fn is_retryable(failure: &Failure, non_retryable_types: &[String]) -> bool {
    let listed = |name: &str| non_retryable_types.iter().any(|listed| listed == name);
    match &failure.failure_info {
        Some(FailureInfo::TerminatedFailureInfo(_) | FailureInfo::CanceledFailureInfo(_)) => false,
        Some(FailureInfo::TimeoutFailureInfo(info)) => match info.timeout_type() {
            kind @ (TimeoutType::StartToClose | TimeoutType::Heartbeat) => {
                !listed(&format!("{TIMEOUT_TYPE_PREFIX}{}", timeout_name(kind)))
            }
            _ => false,
        },
        Some(FailureInfo::ServerFailureInfo(info)) => !info.non_retryable,
        Some(FailureInfo::ApplicationFailureInfo(info)) => !info.non_retryable && !listed(&info.r#type),
        _ => true,
    }
}

/// How long the policy waits before this attempt, as a change of options computes it anew.
#[must_use]
pub fn interval(policy: &RetryPolicy, attempt: i32) -> Duration {
    let (interval, maximum) = (backoff_nanos(policy, attempt), maximum_nanos(policy));
    let interval = if maximum != 0 && (interval <= 0 || interval > maximum) { maximum } else { interval };
    Duration::from_nanos(u64::try_from(interval).unwrap_or(0))
}

/// `interval` and `maximum` in nanoseconds; a maximum of zero is none.
fn next(attempt: &Attempt<'_>, policy: &RetryPolicy, interval: i64, maximum: i64) -> RetryDecision {
    if policy.maximum_attempts > 0 && attempt.number.max(1) >= policy.maximum_attempts {
        return RetryDecision::Stop(RetryState::MaximumAttemptsReached);
    }
    if maximum == 0 && interval <= 0 {
        return RetryDecision::Stop(RetryState::Timeout);
    }
    let interval = if maximum != 0 && (interval <= 0 || interval > maximum) { maximum } else { interval };
    let delay = Duration::from_nanos(u64::try_from(interval).unwrap_or(0));
    if attempt.expiration.is_some_and(|expiration| attempt.now + delay > expiration) {
        return RetryDecision::Stop(RetryState::Timeout);
    }
    RetryDecision::Retry { delay }
}

fn backoff_nanos(policy: &RetryPolicy, attempt: i32) -> i64 {
    let initial = policy.initial_interval.as_ref().map_or(0, duration::signed_nanos);
    #[expect(clippy::cast_precision_loss, reason = "an interval is not needed to the nanosecond")]
    let nanos = initial as f64 * policy.backoff_coefficient.powi(attempt.max(1) - 1);
    // The cast saturates, and the rest of the rule treats the largest value as "too long".
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let nanos = nanos as i64;
    nanos.max(0)
}

fn maximum_nanos(policy: &RetryPolicy) -> i64 {
    policy.maximum_interval.as_ref().map_or(0, duration::signed_nanos)
}

fn requested_delay_nanos(failure: &Failure) -> Option<i64> {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => info.next_retry_delay.as_ref().map(duration::signed_nanos),
        _ => None,
    }
}

fn timeout_type(failure: &Failure) -> Option<TimeoutType> {
    match &failure.failure_info {
        Some(FailureInfo::TimeoutFailureInfo(info)) => Some(info.timeout_type()),
        _ => None,
    }
}

fn is_timeout_name(name: &str) -> bool {
    [TimeoutType::StartToClose, TimeoutType::ScheduleToStart, TimeoutType::ScheduleToClose, TimeoutType::Heartbeat]
        .iter()
        .any(|kind| name == timeout_name(*kind) || name == kind.as_str_name())
}

fn is_negative(value: Option<&prost_types::Duration>) -> bool {
    value.is_some_and(|value| duration::signed_nanos(value) < 0)
}

fn invalid(message: String) -> Rejection {
    Rejection::InvalidArgument(message)
}

#[cfg(test)]
mod tests;
