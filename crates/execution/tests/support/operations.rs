//! Operators' requests about activities: `id:a`, `type:charge` or `all`, then what to do.

use temporalio_protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_protos::temporal::api::common::v1::Priority;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::requests::retry_policy;
use super::script::Call;

/// `word` is the first one: `id:a` is `("id", "a")`, `all` is `("all", "")`.
fn which(call: &Call) -> (&str, String) {
    let word = call.words.first().map_or("", String::as_str);
    word.split_once(':').map_or((word, String::new()), |(kind, name)| (kind, name.to_owned()))
}

pub(crate) fn pause(call: &Call) -> wf::PauseActivityRequest {
    use wf::pause_activity_request::Activity;
    let activity = match which(call) {
        ("id", id) => Some(Activity::Id(id)),
        ("type", name) => Some(Activity::Type(name)),
        _ => None,
    };
    wf::PauseActivityRequest {
        activity,
        identity: "operator".into(),
        reason: call.text("reason"),
        request_id: call.text("request"),
        ..Default::default()
    }
}

pub(crate) fn unpause(call: &Call) -> wf::UnpauseActivityRequest {
    use wf::unpause_activity_request::Activity;
    let activity = match which(call) {
        ("id", id) => Some(Activity::Id(id)),
        ("type", name) => Some(Activity::Type(name)),
        ("all", _) => Some(Activity::UnpauseAll(true)),
        _ => None,
    };
    wf::UnpauseActivityRequest {
        activity,
        identity: "operator".into(),
        reset_attempts: call.has("attempts"),
        reset_heartbeat: call.has("heartbeat"),
        jitter: call.duration("jitter"),
        ..Default::default()
    }
}

pub(crate) fn reset(call: &Call) -> wf::ResetActivityRequest {
    use wf::reset_activity_request::Activity;
    let activity = match which(call) {
        ("id", id) => Some(Activity::Id(id)),
        ("type", name) => Some(Activity::Type(name)),
        ("all", _) => Some(Activity::MatchAll(true)),
        _ => None,
    };
    wf::ResetActivityRequest {
        activity,
        identity: "operator".into(),
        reset_heartbeat: call.has("heartbeat"),
        keep_paused: call.has("keep-paused"),
        restore_original_options: call.has("restore"),
        jitter: call.duration("jitter"),
        ..Default::default()
    }
}

/// `mask=task_queue.name,priority queue=other start-to-close=9s retry=attempts:3 priority=2`
pub(crate) fn update_options(call: &Call) -> wf::UpdateActivityOptionsRequest {
    use wf::update_activity_options_request::Activity;
    let activity = match which(call) {
        ("id", id) => Some(Activity::Id(id)),
        ("type", name) => Some(Activity::Type(name)),
        ("all", _) => Some(Activity::MatchAll(true)),
        _ => None,
    };
    let options = ActivityOptions {
        task_queue: call.get("queue").map(|name| TaskQueue { name: name.into(), ..TaskQueue::default() }),
        schedule_to_close_timeout: call.duration("schedule-to-close"),
        schedule_to_start_timeout: call.duration("schedule-to-start"),
        start_to_close_timeout: call.duration("start-to-close"),
        heartbeat_timeout: call.duration("heartbeat"),
        retry_policy: call.get("retry").map(retry_policy),
        priority: call.number("priority").map(|priority_key| Priority { priority_key, ..Priority::default() }),
        ..ActivityOptions::default()
    };
    let mask = |text: &str| prost_types::FieldMask { paths: text.split(',').map(Into::into).collect() };
    wf::UpdateActivityOptionsRequest {
        activity,
        identity: "operator".into(),
        activity_options: (!call.has("no-options")).then_some(options),
        update_mask: call.get("mask").map(mask),
        restore_original: call.has("restore"),
        ..Default::default()
    }
}
