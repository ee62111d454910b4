//! `UpdateWorkflowExecutionOptions`: what can be changed of an open run.
//!
//! ```text
//!  open ──UpdateOptions──▶ OptionsUpdated with all options as they are now (no workflow task)
//!                          nothing when nothing changes
//!  closed: refused
//! ```
//! The mask names the fields that are taken from the request; the rest stays. Of versioning
//! overrides only the one to follow the queue's current version can be had: no worker
//! deployment has versions here that could be pinned.

use temporalio_protos::temporal::api::common::v1::Priority;
use temporalio_protos::temporal::api::enums::v1::VersioningBehavior;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, WorkflowExecutionOptionsUpdatedEventAttributes};
use temporalio_protos::temporal::api::workflow::v1::versioning_override::{Override, PinnedOverrideBehavior};
use temporalio_protos::temporal::api::workflow::v1::{
    VersioningOverride, WorkflowExecutionOptions, WorkflowExecutionVersioningInfo,
};

use super::draft::draft;
use super::step::Step;
use super::{Reply, State, activity, close, predefined};
use crate::Rejection;
use crate::policy::versioning_override;

#[derive(Clone, Debug)]
pub struct UpdateOptions {
    pub options: WorkflowExecutionOptions,
    /// The paths of the field mask.
    pub paths: Vec<String>,
    pub identity: String,
}

/// Every field that a mask may name.
const PATHS: [&str; 21] = [
    "versioning_override",
    "versioning_override.pinned",
    "versioning_override.pinned.behavior",
    "versioning_override.pinned.version",
    "versioning_override.pinned.version.build_id",
    "versioning_override.pinned.version.deployment_name",
    "versioning_override.auto_upgrade",
    "versioning_override.one_time",
    "versioning_override.behavior",
    "versioning_override.deployment",
    "versioning_override.deployment.series_name",
    "versioning_override.deployment.build_id",
    "versioning_override.pinned_version",
    "priority",
    "priority.priority_key",
    "priority.fairness_key",
    "priority.fairness_weight",
    "time_skipping_config",
    "time_skipping_config.enabled",
    "time_skipping_config.fast_forward_config",
    "time_skipping_config.disable_propagation",
];

/// The first path that names no field, in the words of the official server.
pub fn check_mask(paths: &[String]) -> Result<(), String> {
    match paths.iter().find(|path| !PATHS.contains(&path.as_str())) {
        None => Ok(()),
        Some(path) => Err(format!(
            "proto: invalid path {path:?} for message \"temporal.api.workflow.v1.WorkflowExecutionOptions\""
        )),
    }
}

pub(crate) fn update(step: &mut Step<'_>, command: UpdateOptions) -> Result<Reply, Rejection> {
    if !step.state.is_running() {
        return Err(close::completed());
    }
    let asked = command.options.versioning_override.as_ref();
    let checked = asked.map(|asked| checked_override(&step.state, asked)).transpose()?;
    let options = merged(&step.state, &command)?;
    let overrides = options.versioning_override.as_ref();
    if options.priority.as_ref() != step.state.priority() || overrides != step.state.versioning_override() {
        let is_new = overrides.is_some() && overrides == asked;
        let attributes = WorkflowExecutionOptionsUpdatedEventAttributes {
            identity: command.identity,
            priority: options.priority.clone(),
            unset_versioning_override: overrides.is_none(),
            versioning_override: if is_new { checked } else { overrides.cloned() },
            ..WorkflowExecutionOptionsUpdatedEventAttributes::default()
        };
        let mut event = draft(step.now, Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(attributes));
        event.worker_may_ignore = true;
        step.happened(event);
        predefined::override_changed(step);
    }
    Ok(Reply::Options(Box::new(options)))
}

/// Folds in the event. An absent priority says nothing: once set it cannot be taken away.
pub(crate) fn apply(state: &mut State, updated: &WorkflowExecutionOptionsUpdatedEventAttributes) {
    let taken_away = updated.unset_versioning_override && state.versioning_override().is_some();
    if taken_away || updated.versioning_override.is_some() {
        state.core.versioning_override_changed = true;
        state.core.versioning_override.clone_from(&updated.versioning_override);
    }
    if updated.priority.is_none() || updated.priority.as_ref() == state.priority() {
        return;
    }
    state.core.priority.clone_from(&updated.priority);
    // Tasks are offered again, with the new priority.
    state.core.workflow_task_stamp += i64::from(state.core.workflow_task.is_some());
    activity::offer_again(state);
}

/// Whether pending tasks are offered again because of this event, which is not folded in yet.
pub(crate) fn reprioritizes(state: &State, event: &HistoryEvent) -> bool {
    use Attributes as A;
    match &event.attributes {
        Some(A::WorkflowExecutionOptionsUpdatedEventAttributes(a)) => {
            a.priority.is_some() && a.priority.as_ref() != state.priority()
        }
        _ => false,
    }
}

/// Whether the event may have touched all pending activities.
pub(crate) fn changes_priority(event: &HistoryEvent) -> bool {
    use Attributes as A;
    matches!(&event.attributes, Some(A::WorkflowExecutionOptionsUpdatedEventAttributes(a)) if a.priority.is_some())
}

impl State {
    /// As the run was started or as it was changed to.
    pub(crate) fn priority(&self) -> Option<&Priority> {
        self.core.priority.as_ref().or_else(|| self.start().priority.as_ref())
    }

    /// As the run was started or as it was changed to.
    pub(crate) fn versioning_override(&self) -> Option<&VersioningOverride> {
        if self.core.versioning_override_changed {
            self.core.versioning_override.as_ref()
        } else {
            self.start().versioning_override.as_ref()
        }
    }

    /// Present once there was an override.
    pub(crate) fn versioning_info(&self) -> Option<WorkflowExecutionVersioningInfo> {
        let now = self.versioning_override();
        let ever = self.core.versioning_override_changed || now.is_some();
        #[expect(deprecated, reason = "old clients still read it")]
        let shown = now.map(|over| VersioningOverride { behavior: behavior(over).into(), ..over.clone() });
        ever.then(|| WorkflowExecutionVersioningInfo {
            versioning_override: shown,
            ..WorkflowExecutionVersioningInfo::default()
        })
    }
}

/// The override as it is written. A pinned one may leave out the version to which the run is
/// pinned already; none is.
fn checked_override(state: &State, asked: &VersioningOverride) -> Result<VersioningOverride, Rejection> {
    if let Some(Override::Pinned(pinned)) = &asked.r#override
        && pinned.version.is_none()
        && pinned.behavior() != PinnedOverrideBehavior::Unspecified
    {
        let now = state.versioning_override().map_or("Unspecified", |_| "AutoUpgrade");
        let id = &state.run.workflow_id;
        return Err(Rejection::FailedPrecondition(format!(
            "must specify a specific pinned override version because workflow with id {id} has behavior {now} and is \
             not yet pinned to any version"
        )));
    }
    versioning_override::checked(asked, state.normal_queue())
}

fn behavior(over: &VersioningOverride) -> VersioningBehavior {
    match &over.r#override {
        Some(Override::AutoUpgrade(_)) => VersioningBehavior::AutoUpgrade,
        _ => VersioningBehavior::Pinned,
    }
}

fn merged(state: &State, command: &UpdateOptions) -> Result<WorkflowExecutionOptions, Rejection> {
    let invalid = |message: &str| Rejection::InvalidArgument(format!("error applying update_options: {message}"));
    check_mask(&command.paths).map_err(|message| invalid(&message))?;
    let has = |path: &str| command.paths.iter().any(|named| named == path);
    if has("versioning_override.deployment") != has("versioning_override.behavior") {
        return Err(invalid("versioning_override fields must be updated together"));
    }
    let is_part = |path: &&String| {
        let part = path.strip_prefix("versioning_override.");
        part.is_some_and(|part| part != "deployment" && part != "behavior")
    };
    if command.paths.iter().any(|path| is_part(&path)) {
        return Err(invalid("versioning_override doesn't support partial updates"));
    }
    let is_named = command.paths.iter().any(|path| path.starts_with("versioning_override"));
    let versioning_override =
        if is_named { command.options.versioning_override.clone() } else { state.versioning_override().cloned() };
    if command.paths.iter().any(|path| path.starts_with("time_skipping_config.")) {
        return Err(invalid("time_skipping_config doesn't support partial update"));
    }
    let from = command.options.priority.clone();
    let mut priority = state.priority().cloned();
    if has("priority") {
        priority.clone_from(&from);
    }
    let from = from.unwrap_or_default();
    if has("priority.priority_key") {
        priority.get_or_insert_default().priority_key = from.priority_key;
    }
    if has("priority.fairness_key") {
        priority.get_or_insert_default().fairness_key.clone_from(&from.fairness_key);
    }
    if has("priority.fairness_weight") {
        priority.get_or_insert_default().fairness_weight = from.fairness_weight;
    }
    Ok(WorkflowExecutionOptions { priority, versioning_override, ..WorkflowExecutionOptions::default() })
}
