//! Search attributes that the server keeps on its own, with no event in history.
//!
//! ```text
//!  BuildIds                  which worker builds worked on the run; from the first completed task on
//!  BinaryChecksums           those of the reset points, by which old workers name their builds
//!  TemporalWorkflowVersioningBehavior   that of an override; "unversioned" is no build meanwhile
//!  TemporalWorkerDeployment  that of the worker that completed the last task, also without versions
//!  TemporalReportedProblems  set while workflow tasks fail several times in a row
//!  TemporalPauseInfo         what is paused: the run and why, types of activities
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;

use temporalio_protos::temporal::api::common::v1::{Payload, WorkerVersionStamp};
use temporalio_protos::temporal::api::enums::v1::{TimeoutType, VersioningBehavior, WorkflowTaskFailedCause};
use temporalio_protos::temporal::api::history::v1::WorkflowTaskCompletedEventAttributes;

use super::state::Activity;
use super::step::Step;
use super::{Note, workflow_task};
use crate::policy::failure;

const BUILD_IDS: &str = "BuildIds";
const BINARY_CHECKSUMS: &str = "BinaryChecksums";
const WORKER_DEPLOYMENT: &str = "TemporalWorkerDeployment";
const VERSIONING_BEHAVIOR: &str = "TemporalWorkflowVersioningBehavior";
const PAUSE_INFO: &str = "TemporalPauseInfo";
const REPORTED_PROBLEMS: &str = "TemporalReportedProblems";
/// So many failed tasks in a row are a problem to report.
const PROBLEMS_MIN: i32 = 5;
/// Builds that no longer fit are not added.
const VALUE_BYTES_MAX: usize = 2 << 10;

/// A worker completed a task: its build is known and it has no problem.
pub(crate) fn task_completed(step: &mut Step<'_>, completed: &WorkflowTaskCompletedEventAttributes) {
    add_build(step, completed);
    show_checksums(step);
    show_deployment(step, &completed.worker_deployment_name);
    if value(step, REPORTED_PROBLEMS).is_some() {
        step.note(Note::SearchAttribute { name: REPORTED_PROBLEMS.to_owned(), value: None });
    }
}

/// A task failed or timed out.
pub(crate) fn task_failed(step: &mut Step<'_>) {
    let core = &step.state.core;
    if core.workflow_task_attempts_since_success < PROBLEMS_MIN || !step.state.is_running() {
        return;
    }
    let problems = match (core.last_task_failed_cause(), core.last_task_timeout_type()) {
        (WorkflowTaskFailedCause::Unspecified, TimeoutType::Unspecified) => return,
        (WorkflowTaskFailedCause::Unspecified, kind) => {
            let name = failure::timeout_name(kind);
            ["category=WorkflowTaskTimedOut".to_owned(), format!("cause=WorkflowTaskTimedOutCause{name}")]
        }
        (cause, _) => {
            let name = workflow_task::cause_name(cause);
            ["category=WorkflowTaskFailed".to_owned(), format!("cause=WorkflowTaskFailedCause{name}")]
        }
    };
    let problems = format!("[{},{}]", json(&problems[0]), json(&problems[1]));
    set(step, REPORTED_PROBLEMS, problems);
}

/// Something was paused or goes on.
pub(crate) fn pauses_changed(step: &mut Step<'_>) {
    let paused = step.state.activities.values().filter(|activity| activity.row.pause.is_some());
    let name = |activity: &Activity| activity.input.activity_type.as_ref().map_or_else(String::new, |t| t.name.clone());
    let types: BTreeSet<String> = paused.map(name).collect();
    let run = step.state.core.pause.as_ref();
    let mut entries: Vec<String> =
        run.iter().map(|_| json(&format!("Workflow:{}", step.state.run.workflow_id))).collect();
    let reason = run.map(|pause| &pause.reason).filter(|reason| !reason.is_empty());
    entries.extend(reason.map(|reason| json(&format!("Reason:{reason}"))));
    entries.extend(types.iter().map(|name| json(&format!("property:activityType={name}"))));
    if entries.is_empty() && value(step, PAUSE_INFO).is_none() {
        return;
    }
    if entries.is_empty() {
        return step.note(Note::SearchAttribute { name: PAUSE_INFO.to_owned(), value: None });
    }
    set(step, PAUSE_INFO, format!("[{}]", entries.join(",")));
}

/// There may be another versioning override, or none any more.
pub(crate) fn override_changed(step: &mut Step<'_>) {
    let is_shown = value(step, VERSIONING_BEHAVIOR).is_some();
    if step.state.versioning_override().is_some() {
        set_as(step, VERSIONING_BEHAVIOR, "Keyword", json("AutoUpgrade"));
        add_build(step, &WorkflowTaskCompletedEventAttributes::default());
    } else if is_shown {
        step.note(Note::SearchAttribute { name: VERSIONING_BEHAVIOR.to_owned(), value: None });
        add_build(step, &WorkflowTaskCompletedEventAttributes::default());
    }
}

fn add_build(step: &mut Step<'_>, completed: &WorkflowTaskCompletedEventAttributes) {
    let stamp = completed.worker_version.as_ref();
    let versioned = stamp.is_some_and(|stamp| stamp.use_versioning);
    if versioned || completed.versioning_behavior() != VersioningBehavior::Unspecified {
        return;
    }
    const NONE: &str = "\"unversioned\"";
    let known = value(step, BUILD_IDS).unwrap_or("[]");
    let known = known.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or_default();
    let others = known.strip_prefix(NONE).unwrap_or(known).trim_start_matches(',');
    let is_overridden = step.state.versioning_override().is_some();
    let mut list = if is_overridden { String::new() } else { NONE.to_owned() };
    let build = stamp.filter(|stamp| !stamp.build_id.is_empty()).map(build_name);
    for item in [others, build.as_deref().unwrap_or_default()] {
        // Quotes inside a name are escaped, so that a quoted name is found only as a whole.
        let is_new = !item.is_empty() && !list.contains(item);
        if is_new && list.len() + item.len() < VALUE_BYTES_MAX {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(item);
        }
    }
    if !list.is_empty() {
        set(step, BUILD_IDS, format!("[{list}]"));
    } else if !known.is_empty() {
        step.note(Note::SearchAttribute { name: BUILD_IDS.to_owned(), value: None });
    }
}

fn show_checksums(step: &mut Step<'_>) {
    let checksums = step.state.reset_points.points.iter().map(|point| &point.binary_checksum);
    let checksums: Vec<_> = checksums.filter(|checksum| !checksum.is_empty()).map(|checksum| json(checksum)).collect();
    if !checksums.is_empty() {
        set(step, BINARY_CHECKSUMS, format!("[{}]", checksums.join(",")));
    }
}

fn show_deployment(step: &mut Step<'_>, name: &str) {
    if !name.is_empty() {
        set_as(step, WORKER_DEPLOYMENT, "Keyword", json(name));
    } else if value(step, WORKER_DEPLOYMENT).is_some() {
        step.note(Note::SearchAttribute { name: WORKER_DEPLOYMENT.to_owned(), value: None });
    }
}

fn build_name(stamp: &WorkerVersionStamp) -> String {
    json(&format!("unversioned:{}", stamp.build_id))
}

/// The JSON text of a search attribute.
fn value<'a>(step: &'a Step<'_>, name: &str) -> Option<&'a str> {
    let payload = step.state.search_attributes()?.indexed_fields.get(name)?;
    std::str::from_utf8(&payload.data).ok()
}

fn set(step: &mut Step<'_>, name: &str, json: String) {
    set_as(step, name, "KeywordList", json);
}

fn set_as(step: &mut Step<'_>, name: &str, kind: &str, json: String) {
    if value(step, name) == Some(&json) {
        return;
    }
    let mut payload = Payload { data: json.into_bytes(), ..Payload::default() };
    payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
    payload.metadata.insert("type".to_owned(), kind.as_bytes().to_vec());
    step.note(Note::SearchAttribute { name: name.to_owned(), value: Some(Box::new(payload)) });
}

fn json(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter < ' ' => {
                write!(quoted, "\\u{:04x}", u32::from(letter)).expect("a string grows");
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
