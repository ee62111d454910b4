//! The versioning override of a start. No worker deployment has a version here, so nothing
//! can be pinned to one; what follows the queue's current version may be asked for.

#![expect(deprecated, reason = "old clients still send the fields that came before")]

use api::Error;
use temporalio_protos::temporal::api::enums::v1::VersioningBehavior;
use temporalio_protos::temporal::api::workflow::v1::VersioningOverride;
use temporalio_protos::temporal::api::workflow::v1::versioning_override::{Override, PinnedOverrideBehavior};

use super::invalid;

/// Old ways to say it are written in the new way.
pub(super) fn versioning_override(asked: Option<&mut VersioningOverride>, queue: &str) -> Result<(), Error> {
    let Some(asked) = asked else { return Ok(()) };
    match &asked.r#override {
        Some(Override::AutoUpgrade(true)) => Ok(()),
        Some(Override::AutoUpgrade(false)) => Err(invalid("auto-upgrade override must be true")),
        Some(Override::Pinned(pinned)) => {
            let Some(version) = &pinned.version else {
                return Err(invalid("must provide version if override is pinned."));
            };
            if pinned.behavior() == PinnedOverrideBehavior::Unspecified {
                return Err(invalid("must specify pinned override behavior if override is pinned."));
            }
            Err(absent(&format!("{}:{}", version.deployment_name, version.build_id), queue))
        }
        Some(Override::OneTime(once)) => {
            let version = once.target_deployment_version.clone().unwrap_or_default();
            Err(absent(&format!("{}:{}", version.deployment_name, version.build_id), queue))
        }
        None => match asked.behavior() {
            VersioningBehavior::AutoUpgrade => {
                *asked = VersioningOverride {
                    r#override: Some(Override::AutoUpgrade(true)),
                    ..VersioningOverride::default()
                };
                Ok(())
            }
            VersioningBehavior::Pinned => Err(absent(&asked.pinned_version.replacen('.', ":", 1), queue)),
            VersioningBehavior::Unspecified => Err(invalid("override behavior is required")),
        },
    }
}

fn absent(version: &str, queue: &str) -> Error {
    Error::FailedPrecondition(format!(
        "Pinned version '{version}' is not present in task queue '{queue}' of type 'Workflow'"
    ))
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentVersion;
    use temporalio_protos::temporal::api::workflow::v1::versioning_override::PinnedOverride;

    use super::*;

    fn checked(mut asked: VersioningOverride) -> Result<VersioningOverride, String> {
        versioning_override(Some(&mut asked), "q").map_err(|error| error.to_string())?;
        Ok(asked)
    }

    #[test]
    fn nothing_can_be_pinned_and_old_forms_become_new_ones() {
        let auto = VersioningOverride { r#override: Some(Override::AutoUpgrade(true)), ..Default::default() };
        assert_eq!(checked(auto.clone()), Ok(auto.clone()));
        let old = VersioningOverride { behavior: VersioningBehavior::AutoUpgrade.into(), ..Default::default() };
        assert_eq!(checked(old), Ok(auto));
        let version = WorkerDeploymentVersion { deployment_name: "d".into(), build_id: "b".into() };
        let pinned = PinnedOverride { behavior: PinnedOverrideBehavior::Pinned.into(), version: Some(version) };
        let pinned = VersioningOverride { r#override: Some(Override::Pinned(pinned)), ..Default::default() };
        let refused = checked(pinned).expect_err("there is no such version");
        assert!(
            refused.contains("Pinned version 'd:b' is not present in task queue 'q' of type 'Workflow'"),
            "{refused}"
        );
        assert!(checked(VersioningOverride::default()).is_err());
    }
}
