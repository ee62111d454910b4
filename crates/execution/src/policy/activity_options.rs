//! Which options of an activity a field mask names, and laying them over others.

use prost_types::FieldMask;
use temporalio_protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_protos::temporal::api::common::v1::{Priority, RetryPolicy};

use crate::Rejection;

/// Copies what `mask` names. Paths may be in snake or camel case; unknown ones name nothing.
pub fn merge(into: &mut ActivityOptions, from: &ActivityOptions, mask: &FieldMask) -> Result<(), Rejection> {
    for path in ORDER.iter().filter(|path| names(mask, path)) {
        merge_path(into, from, path)?;
    }
    Ok(())
}

/// Whether the mask names a part of the retry policy.
#[must_use]
pub fn names_part_of_retry_policy(mask: &FieldMask) -> bool {
    mask.paths.iter().any(|path| camel_case(path).starts_with("retryPolicy."))
}

/// A whole before its parts, so that the parts win.
const ORDER: [&str; 15] = [
    "taskQueue.name",
    "scheduleToCloseTimeout",
    "scheduleToStartTimeout",
    "startToCloseTimeout",
    "heartbeatTimeout",
    "priority",
    "priority.priorityKey",
    "priority.fairnessKey",
    "priority.fairnessWeight",
    "retryPolicy",
    "retryPolicy.initialInterval",
    "retryPolicy.backoffCoefficient",
    "retryPolicy.maximumInterval",
    "retryPolicy.maximumAttempts",
    "startDelay",
];

fn names(mask: &FieldMask, path: &str) -> bool {
    mask.paths.iter().any(|given| camel_case(given) == path)
}

fn merge_path(into: &mut ActivityOptions, from: &ActivityOptions, path: &str) -> Result<(), Rejection> {
    match path {
        "taskQueue.name" => {
            let name = given(from.task_queue.as_ref(), "TaskQueue")?.name.clone();
            into.task_queue.get_or_insert_default().name = name;
        }
        "scheduleToCloseTimeout" => into.schedule_to_close_timeout = from.schedule_to_close_timeout,
        "scheduleToStartTimeout" => into.schedule_to_start_timeout = from.schedule_to_start_timeout,
        "startToCloseTimeout" => into.start_to_close_timeout = from.start_to_close_timeout,
        "heartbeatTimeout" => into.heartbeat_timeout = from.heartbeat_timeout,
        "priority" => into.priority.clone_from(&from.priority),
        "retryPolicy" => into.retry_policy = Some(given(from.retry_policy.as_ref(), "RetryPolicy")?.clone()),
        "startDelay" => into.start_delay = from.start_delay,
        _ if path.starts_with("priority.") => {
            let from = given(from.priority.as_ref(), "Priority")?;
            merge_priority(into.priority.get_or_insert_default(), from, path);
        }
        _ => {
            let from = given(from.retry_policy.as_ref(), "RetryPolicy")?;
            merge_retry_policy(into.retry_policy.get_or_insert_default(), from, path);
        }
    }
    Ok(())
}

fn merge_priority(into: &mut Priority, from: &Priority, path: &str) {
    match path {
        "priority.priorityKey" => into.priority_key = from.priority_key,
        "priority.fairnessKey" => into.fairness_key.clone_from(&from.fairness_key),
        _ => into.fairness_weight = from.fairness_weight,
    }
}

fn merge_retry_policy(into: &mut RetryPolicy, from: &RetryPolicy, path: &str) {
    match path {
        "retryPolicy.initialInterval" => into.initial_interval = from.initial_interval,
        "retryPolicy.backoffCoefficient" => into.backoff_coefficient = from.backoff_coefficient,
        "retryPolicy.maximumInterval" => into.maximum_interval = from.maximum_interval,
        _ => into.maximum_attempts = from.maximum_attempts,
    }
}

fn given<'a, T>(value: Option<&'a T>, what: &str) -> Result<&'a T, Rejection> {
    value.ok_or_else(|| Rejection::InvalidArgument(format!("{what} is not provided")))
}

/// `task_queue.name` and `TaskQueue.Name` are `taskQueue.name`.
fn camel_case(path: &str) -> String {
    let part = |part: &str| {
        let words = part.split('_').enumerate().map(|(index, word)| match (index, word.split_at_checked(1)) {
            (_, None) => String::new(),
            (0, Some((first, rest))) => first.to_lowercase() + rest,
            (_, Some((first, rest))) => first.to_uppercase() + &rest.to_lowercase(),
        });
        words.collect::<String>()
    };
    path.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }
    }

    #[test]
    fn paths_in_any_case_name_the_same_field() {
        for path in ["task_queue.name", "taskQueue.name", "TaskQueue.Name"] {
            assert_eq!(camel_case(path), "taskQueue.name");
        }
        assert_eq!(camel_case("schedule_to_close_timeout"), "scheduleToCloseTimeout");
    }

    #[test]
    fn parts_win_over_their_whole() {
        let from = ActivityOptions {
            retry_policy: Some(RetryPolicy { maximum_attempts: 3, backoff_coefficient: 2.0, ..RetryPolicy::default() }),
            ..ActivityOptions::default()
        };
        let mut into = ActivityOptions {
            retry_policy: Some(RetryPolicy { maximum_attempts: 9, backoff_coefficient: 7.0, ..RetryPolicy::default() }),
            ..ActivityOptions::default()
        };
        merge(&mut into, &from, &mask(&["retry_policy.maximum_attempts", "unknown"])).expect("merges");
        let policy = into.retry_policy.clone().expect("there is one");
        assert_eq!((policy.maximum_attempts, policy.backoff_coefficient), (3, 7.0));
        merge(&mut into, &from, &mask(&["retry_policy"])).expect("merges");
        assert_eq!(into.retry_policy, from.retry_policy);
    }

    #[test]
    fn what_the_mask_names_must_be_given() {
        let empty = ActivityOptions::default();
        for (path, missing) in
            [("task_queue.name", "TaskQueue"), ("priority.fairness_key", "Priority"), ("retry_policy", "RetryPolicy")]
        {
            let refused = merge(&mut ActivityOptions::default(), &empty, &mask(&[path])).expect_err("refused");
            assert_eq!(refused.to_string(), format!("{missing} is not provided"));
        }
    }
}
