//! Texts, chains and cuts.

use super::*;

fn chain(levels: usize) -> Failure {
    let cause = (levels > 1).then(|| Box::new(chain(levels - 1)));
    Failure { message: format!("level {levels}"), cause, ..Default::default() }
}

fn depth(failure: &Failure) -> usize {
    1 + failure.cause.as_deref().map_or(0, depth)
}

fn timeout_type_of(failure: &Failure) -> TimeoutType {
    match &failure.failure_info {
        Some(FailureInfo::TimeoutFailureInfo(info)) => info.timeout_type(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_timed_out_attempt_says_which_timeout() {
    let failure = activity_attempt_timeout(TimeoutType::StartToClose);
    assert_eq!(failure.message, "activity StartToClose timeout");
    assert_eq!(failure.source, "Server");
    assert_eq!(timeout_type_of(&failure), TimeoutType::StartToClose);
    assert_eq!(activity_attempt_timeout(TimeoutType::Heartbeat).message, "activity Heartbeat timeout");
}

#[test]
fn the_closing_event_shows_schedule_to_close_when_time_ran_out() {
    let close = |kind, no_time_left| activity_closed_by_timeout(kind, no_time_left, LastAttempt::default());
    for kind in [TimeoutType::StartToClose, TimeoutType::Heartbeat, TimeoutType::ScheduleToClose] {
        let failure = close(kind, NoTimeLeft::Yes);
        assert_eq!(failure.message, RETRY_WOULD_EXCEED_SCHEDULE_TO_CLOSE);
        assert_eq!(timeout_type_of(&failure), TimeoutType::ScheduleToClose);
    }
    assert_eq!(timeout_type_of(&close(TimeoutType::ScheduleToStart, NoTimeLeft::Yes)), TimeoutType::ScheduleToStart);
    assert_eq!(timeout_type_of(&close(TimeoutType::StartToClose, NoTimeLeft::No)), TimeoutType::StartToClose);
}

#[test]
fn the_closing_event_keeps_the_last_failure_and_heartbeat() {
    let last = LastAttempt { failure: Some(chain(2)), heartbeat_details: Some(Payloads::default()) };
    let failure = activity_closed_by_timeout(TimeoutType::Heartbeat, NoTimeLeft::No, last);
    assert_eq!(failure.cause.as_deref(), Some(&chain(2)));
    match failure.failure_info {
        Some(FailureInfo::TimeoutFailureInfo(info)) => assert!(info.last_heartbeat_details.is_some()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_small_failure_is_kept_whole() {
    let failure = chain(3);
    assert_eq!(kept_between_attempts(failure.clone(), failure.encoded_len()), failure);
}

#[test]
fn a_large_failure_becomes_the_cause_of_a_server_failure() {
    let failure = Failure { message: "m".repeat(10_000), ..chain(2) };
    for (kept, non_retryable) in [(kept_between_attempts(failure.clone(), 4096), false), (limited(failure, 4096), true)]
    {
        assert_eq!(kept.message, FAILURE_EXCEEDS_LIMIT);
        assert_eq!(kept.failure_info, Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable })));
        let cause = kept.cause.unwrap();
        // The cut is by estimate.
        assert!(cause.encoded_len() <= 4096 + FIELD_OVERHEAD_BYTES);
        assert!(cause.message.len() > 4000);
        assert_eq!(cause.cause, None);
    }
}

#[test]
fn what_matters_for_retries_survives_the_cut() {
    let info = ApplicationFailureInfo {
        r#type: "Fatal".into(),
        non_retryable: true,
        details: Some(Payloads::default()),
        ..Default::default()
    };
    let failure = Failure {
        message: "m".repeat(100),
        stack_trace: "s".repeat(100),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Default::default()
    };
    let cut = truncated(&failure, 60);
    assert!(cut.encoded_len() <= 60);
    assert_eq!(cut.stack_trace, "");
    match cut.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            assert_eq!((info.r#type.as_str(), info.non_retryable, info.details), ("Fatal", true, None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn cuts_never_split_a_character() {
    let failure = Failure { message: "\u{2299} very \u{229a} long".into(), ..Default::default() };
    for bytes in 0..failure.message.len() {
        let cut = truncated(&failure, bytes);
        assert!(failure.message.starts_with(&cut.message));
        assert!(cut.message.len() <= bytes);
    }
}

#[test]
fn causes_end_by_depth_or_by_room() {
    assert_eq!(depth(&truncated(&chain(100), 100_000)), CAUSES_MAX + 1);
    let cut = truncated(&chain(5), 33);
    assert!(cut.encoded_len() <= 33);
    assert_eq!(depth(&cut), 3);
}
