//! What happens when an activity's time comes: the next attempt is offered, or one of its
//! four timeouts ends the attempt.

use temporalio_protos::temporal::api::enums::v1::{RetryState, TimeoutType};
use temporalio_protos::temporal::api::history::v1::ActivityTaskTimedOutEventAttributes;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::super::deadlines::ActivityDue;
use super::super::step::Step;
use super::super::{Note, workflow_task};
use super::{retry_or_stop, write_end};
use crate::policy::failure::{self, LastAttempt, NoTimeLeft};

pub(crate) fn due(step: &mut Step<'_>, scheduled_event_id: i64, due: ActivityDue) {
    let kind = match due {
        ActivityDue::Ready => {
            step.note(Note::ActivityReady { scheduled_event_id });
            return;
        }
        ActivityDue::StartToClose => TimeoutType::StartToClose,
        ActivityDue::ScheduleToStart => TimeoutType::ScheduleToStart,
        ActivityDue::ScheduleToClose => TimeoutType::ScheduleToClose,
        ActivityDue::Heartbeat => TimeoutType::Heartbeat,
    };
    let attempt = failure::activity_attempt_timeout(kind);
    let Some(state) = retry_or_stop(step, scheduled_event_id, &attempt) else { return };
    let row = &step.state.activities.get(&scheduled_event_id).expect("a due activity is pending").row;
    let last = LastAttempt { failure: row.last_failure.clone(), heartbeat_details: row.last_heartbeat_details.clone() };
    let no_time_left = if state == RetryState::Timeout { NoTimeLeft::Yes } else { NoTimeLeft::No };
    let failure = failure::activity_closed_by_timeout(kind, no_time_left, last);
    write_end(step, scheduled_event_id, None, |started_event_id| {
        Attributes::ActivityTaskTimedOutEventAttributes(ActivityTaskTimedOutEventAttributes {
            failure: Some(failure),
            scheduled_event_id,
            started_event_id,
            retry_state: state.into(),
        })
    });
    workflow_task::schedule(step);
}
