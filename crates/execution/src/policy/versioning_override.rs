//! The versioning override of a run. No worker deployment has a version here, so nothing can
//! be pinned to one; what follows the queue's current version may be asked for.

#![expect(deprecated, reason = "old clients still send the fields that came before")]

use temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentVersion;
use temporalio_protos::temporal::api::enums::v1::VersioningBehavior;
use temporalio_protos::temporal::api::workflow::v1::VersioningOverride;
use temporalio_protos::temporal::api::workflow::v1::versioning_override::{Override, PinnedOverrideBehavior};

use crate::Rejection;

/// What was asked for, in the new way to say it. `queue` is the run's.
pub(crate) fn checked(asked: &VersioningOverride, queue: &str) -> Result<VersioningOverride, Rejection> {
    match &asked.r#override {
        Some(Override::AutoUpgrade(true)) => Ok(auto_upgrade()),
        Some(Override::AutoUpgrade(false)) => Err(invalid("auto-upgrade override must be true")),
        Some(Override::Pinned(pinned)) => match &pinned.version {
            None => Err(invalid("must provide version if override is pinned.")),
            Some(_) if pinned.behavior() == PinnedOverrideBehavior::Unspecified => {
                Err(invalid("must specify pinned override behavior if override is pinned."))
            }
            Some(version) => Err(absent(&shown(version), queue)),
        },
        Some(Override::OneTime(once)) => match &once.target_deployment_version {
            None => Err(invalid("must provide target deployment version if override is one-time.")),
            Some(version) => Err(absent(&shown(version), queue)),
        },
        None => checked_old(asked, queue),
    }
}

/// Whether it names a version.
pub(crate) fn has_target(over: &VersioningOverride) -> bool {
    match &over.r#override {
        Some(Override::AutoUpgrade(_)) => false,
        Some(_) => true,
        None => over.deployment.is_some() || !over.pinned_version.is_empty(),
    }
}

fn auto_upgrade() -> VersioningOverride {
    VersioningOverride { r#override: Some(Override::AutoUpgrade(true)), ..VersioningOverride::default() }
}

fn checked_old(asked: &VersioningOverride, queue: &str) -> Result<VersioningOverride, Rejection> {
    match asked.behavior() {
        VersioningBehavior::AutoUpgrade if asked.deployment.is_some() => {
            Err(invalid("only provide deployment if behavior is 'PINNED'"))
        }
        VersioningBehavior::AutoUpgrade if !asked.pinned_version.is_empty() => {
            Err(invalid("only provide pinned version if behavior is 'PINNED'"))
        }
        VersioningBehavior::AutoUpgrade => Ok(auto_upgrade()),
        VersioningBehavior::Pinned => match (&asked.deployment, asked.pinned_version.as_str()) {
            (Some(deployment), _) => Err(absent(&format!("{}:{}", deployment.series_name, deployment.build_id), queue)),
            (None, "") => {
                Err(invalid("must provide deployment (deprecated) or pinned version if behavior is 'PINNED'"))
            }
            (None, version) => match version.split_once('.') {
                Some((name, build_id)) => Err(absent(&format!("{name}:{build_id}"), queue)),
                None => Err(invalid(&format!(
                    "invalid version string {version:?}, expected format is \"<deployment_name>.<build_id>\""
                ))),
            },
        },
        VersioningBehavior::Unspecified => Err(invalid("override behavior is required")),
    }
}

fn shown(version: &WorkerDeploymentVersion) -> String {
    format!("{}:{}", version.deployment_name, version.build_id)
}

fn absent(version: &str, queue: &str) -> Rejection {
    Rejection::FailedPrecondition(format!(
        "Pinned version '{version}' is not present in task queue '{queue}' of type 'Workflow'"
    ))
}

fn invalid(message: &str) -> Rejection {
    Rejection::InvalidArgument(message.to_owned())
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::workflow::v1::versioning_override::PinnedOverride;

    use super::*;

    #[test]
    fn nothing_can_be_pinned_and_old_forms_become_new_ones() {
        let auto = auto_upgrade();
        assert_eq!(checked(&auto, "q"), Ok(auto.clone()));
        let old = VersioningOverride { behavior: VersioningBehavior::AutoUpgrade.into(), ..Default::default() };
        assert_eq!(checked(&old, "q"), Ok(auto));
        let version = WorkerDeploymentVersion { deployment_name: "d".into(), build_id: "b".into() };
        let pinned = PinnedOverride { behavior: PinnedOverrideBehavior::Pinned.into(), version: Some(version) };
        let pinned = VersioningOverride { r#override: Some(Override::Pinned(pinned)), ..Default::default() };
        assert_eq!(checked(&pinned, "q"), Err(absent("d:b", "q")));
        assert!(has_target(&pinned));
        assert!(matches!(checked(&VersioningOverride::default(), "q"), Err(Rejection::InvalidArgument(_))));
    }
}
