//! Retry rules, one test per sentence of them.

use prost_types::Duration as Proto;
use temporalio_protos::temporal::api::failure::v1::{
    ApplicationFailureInfo, CanceledFailureInfo, ChildWorkflowExecutionFailureInfo, TerminatedFailureInfo,
};

use super::*;
use crate::policy::failure::{self, Retryable};

const SECOND: Duration = Duration::from_secs(1);

fn seconds(seconds: i64) -> Option<Proto> {
    Some(Proto { seconds, nanos: 0 })
}

fn policy() -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    fill_defaults(&mut policy);
    policy
}

fn attempt(policy: &RetryPolicy, number: i32) -> Attempt<'_> {
    Attempt { policy: Some(policy), number, now: Timestamp::from_millis(1_000_000), expiration: None }
}

fn application(kind: &str) -> Failure {
    let info = ApplicationFailureInfo { r#type: kind.into(), ..Default::default() };
    Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
}

fn application_with_delay(delay: Proto) -> Failure {
    let info = ApplicationFailureInfo { next_retry_delay: Some(delay), ..Default::default() };
    Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
}

fn delay(decision: RetryDecision) -> Duration {
    match decision {
        RetryDecision::Retry { delay } => delay,
        RetryDecision::Stop(state) => panic!("stopped: {state:?}"),
    }
}

#[test]
fn defaults_fill_only_what_is_open() {
    assert_eq!(
        policy(),
        RetryPolicy {
            initial_interval: seconds(1),
            backoff_coefficient: 2.0,
            maximum_interval: seconds(100),
            maximum_attempts: 0,
            non_retryable_error_types: Vec::new(),
        }
    );
    let mut given = RetryPolicy { initial_interval: seconds(3), backoff_coefficient: 1.5, ..Default::default() };
    fill_defaults(&mut given);
    assert_eq!(given.maximum_interval, seconds(300));
    assert_eq!((given.initial_interval, given.backoff_coefficient), (seconds(3), 1.5));
    let mut given = RetryPolicy { maximum_interval: seconds(7), ..Default::default() };
    fill_defaults(&mut given);
    assert_eq!(given.maximum_interval, seconds(7));
}

#[test]
fn bad_policies_are_refused_with_a_reason() {
    let refused = |change: fn(&mut RetryPolicy)| {
        let mut policy = policy();
        change(&mut policy);
        validate(&mut policy).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|policy| policy.initial_interval = seconds(-1)),
        "invalid InitialInterval set on retry policy: negative duration"
    );
    assert_eq!(
        refused(|policy| policy.maximum_interval = Some(Proto { seconds: 1, nanos: -1 })),
        "invalid MaximumInterval set on retry policy: duration has seconds and nanos with different signs"
    );
    assert_eq!(
        refused(|policy| policy.backoff_coefficient = 0.9),
        "BackoffCoefficient cannot be less than 1 on retry policy."
    );
    assert_eq!(
        refused(|policy| policy.initial_interval = seconds(101)),
        "MaximumInterval cannot be less than InitialInterval on retry policy."
    );
    assert_eq!(refused(|policy| policy.maximum_attempts = -1), "MaximumAttempts cannot be negative on retry policy.");
    assert_eq!(
        refused(|policy| policy.non_retryable_error_types = vec!["Fine".into(), "TemporalTimeout:Sometimes".into()]),
        "Invalid timeout type value: Sometimes."
    );
    assert_eq!(
        refused(|policy| policy.non_retryable_error_types = vec!["TemporalTimeout:Unspecified".into()]),
        "Invalid timeout type value: Unspecified."
    );
}

#[test]
fn negative_intervals_are_not_mistaken_for_open_ones() {
    let mut policy = RetryPolicy { initial_interval: seconds(-1), ..Default::default() };
    fill_defaults(&mut policy);
    assert!(validate(&mut policy).is_err());
}

#[test]
fn good_policies_pass() {
    let types = ["TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat", "TemporalTimeout:TIMEOUT_TYPE_HEARTBEAT"];
    let mut policy = RetryPolicy { non_retryable_error_types: types.map(Into::into).to_vec(), ..policy() };
    assert_eq!(validate(&mut policy), Ok(()));
    // With one attempt the rest is never read.
    let mut once = RetryPolicy { maximum_attempts: 1, backoff_coefficient: 0.1, ..Default::default() };
    assert_eq!(validate(&mut once), Ok(()));
    let mut long = RetryPolicy { initial_interval: seconds(1), maximum_interval: seconds(i64::MAX), ..policy };
    assert_eq!(validate(&mut long), Ok(()));
    assert_eq!(long.maximum_interval, seconds(3_153_600_000));
}

#[test]
fn intervals_double_up_to_the_longest() {
    let policy = policy();
    let delays =
        [1, 2, 3, 7, 8, 1000].map(|number| delay(after_activity_attempt(&attempt(&policy, number), &application("E"))));
    assert_eq!(delays.map(|delay| delay.as_secs()), [1, 2, 4, 64, 100, 100]);
    assert_eq!(delay(after_workflow_run(&attempt(&policy, 3), &application("E"))), 4 * SECOND);
}

#[test]
fn a_coefficient_of_one_and_a_huge_attempt_do_not_overflow() {
    let even = RetryPolicy { backoff_coefficient: 1.0, ..policy() };
    assert_eq!(delay(after_activity_attempt(&attempt(&even, i32::MAX), &application("E"))), SECOND);
    let steep = RetryPolicy { backoff_coefficient: f64::MAX, maximum_interval: None, ..policy() };
    let far = delay(after_activity_attempt(&attempt(&steep, i32::MAX), &application("E")));
    assert!(far > duration::LONGEST);
}

#[test]
fn attempts_count_the_first_one() {
    let policy = RetryPolicy { maximum_attempts: 3, ..policy() };
    assert_eq!(delay(after_activity_attempt(&attempt(&policy, 2), &application("E"))), 2 * SECOND);
    let stop = RetryDecision::Stop(RetryState::MaximumAttemptsReached);
    assert_eq!(after_activity_attempt(&attempt(&policy, 3), &application("E")), stop);
    assert_eq!(after_workflow_run(&attempt(&policy, 3), &application("E")), stop);
}

#[test]
fn no_attempt_begins_after_the_expiration() {
    let policy = policy();
    let mut attempt = attempt(&policy, 2);
    attempt.expiration = Some(attempt.now + 2 * SECOND);
    assert_eq!(delay(after_activity_attempt(&attempt, &application("E"))), 2 * SECOND);
    attempt.expiration = Some(attempt.now + 2 * SECOND - Duration::from_nanos(1));
    let stop = RetryDecision::Stop(RetryState::Timeout);
    assert_eq!(after_activity_attempt(&attempt, &application("E")), stop);
    assert_eq!(after_workflow_run(&attempt, &application("E")), stop);
}

#[test]
fn without_a_policy_nothing_is_retried() {
    let policy = policy();
    let attempt = Attempt { policy: None, ..attempt(&policy, 1) };
    let stop = RetryDecision::Stop(RetryState::RetryPolicyNotSet);
    assert_eq!(after_activity_attempt(&attempt, &application("E")), stop);
    assert_eq!(after_workflow_run(&attempt, &application("E")), stop);
}

#[test]
fn the_kind_of_failure_decides_first() {
    let listed = ["Fatal".to_owned(), "TemporalTimeout:Heartbeat".to_owned()];
    let retryable = |failure: &Failure| is_retryable(failure, &listed);
    assert!(retryable(&application("Transient")));
    assert!(!retryable(&application("Fatal")));
    let final_one = ApplicationFailureInfo { non_retryable: true, ..Default::default() };
    assert!(!retryable(&Failure {
        failure_info: Some(FailureInfo::ApplicationFailureInfo(final_one)),
        ..Default::default()
    }));
    assert!(!retryable(&Failure {
        failure_info: Some(FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default())),
        ..Default::default()
    }));
    assert!(!retryable(&Failure {
        failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())),
        ..Default::default()
    }));
    assert!(retryable(&failure::activity_attempt_timeout(TimeoutType::StartToClose)));
    assert!(!retryable(&failure::activity_attempt_timeout(TimeoutType::Heartbeat)));
    assert!(is_retryable(&failure::activity_attempt_timeout(TimeoutType::Heartbeat), &[]));
    assert!(!retryable(&failure::activity_attempt_timeout(TimeoutType::ScheduleToStart)));
    assert!(!retryable(&failure::activity_attempt_timeout(TimeoutType::ScheduleToClose)));
    assert!(retryable(&failure::server("x", Retryable::Yes)));
    assert!(!retryable(&failure::server("x", Retryable::No)));
    // Failures without a kind, and wrappers whatever they wrap.
    assert!(retryable(&Failure::default()));
    let child = ChildWorkflowExecutionFailureInfo::default();
    assert!(retryable(&Failure {
        failure_info: Some(FailureInfo::ChildWorkflowExecutionFailureInfo(child)),
        cause: Some(Box::new(application("Fatal"))),
        ..Default::default()
    }));
}

#[test]
fn the_servers_own_deadlines_stop_an_activity_as_timeout() {
    let policy = policy();
    for kind in [TimeoutType::ScheduleToStart, TimeoutType::ScheduleToClose] {
        let failure = failure::activity_attempt_timeout(kind);
        assert_eq!(after_activity_attempt(&attempt(&policy, 1), &failure), RetryDecision::Stop(RetryState::Timeout));
        assert_eq!(
            after_workflow_run(&attempt(&policy, 1), &failure),
            RetryDecision::Stop(RetryState::NonRetryableFailure)
        );
    }
}

#[test]
fn a_requested_delay_overrides_the_interval_and_for_activities_its_maximum() {
    let policy = policy();
    let failure = application_with_delay(Proto { seconds: 500, nanos: 0 });
    assert_eq!(delay(after_activity_attempt(&attempt(&policy, 1), &failure)), 500 * SECOND);
    assert_eq!(delay(after_workflow_run(&attempt(&policy, 1), &failure)), 100 * SECOND);
    let failure = application_with_delay(Proto { seconds: 0, nanos: 1_000_000 });
    assert_eq!(delay(after_activity_attempt(&attempt(&policy, 9), &failure)), Duration::from_millis(1));
    // Attempts and expiration still count.
    let twice = RetryPolicy { maximum_attempts: 2, ..policy.clone() };
    let stop = RetryDecision::Stop(RetryState::MaximumAttemptsReached);
    assert_eq!(after_activity_attempt(&attempt(&twice, 2), &failure), stop);
}

#[test]
fn a_requested_delay_of_zero_or_less_follows_the_reference() {
    let policy = policy();
    let zero = application_with_delay(Proto { seconds: 0, nanos: 0 });
    assert_eq!(after_activity_attempt(&attempt(&policy, 1), &zero), RetryDecision::Stop(RetryState::Timeout));
    let negative = application_with_delay(Proto { seconds: -5, nanos: 0 });
    assert_eq!(delay(after_activity_attempt(&attempt(&policy, 1), &negative)), Duration::ZERO);
}
