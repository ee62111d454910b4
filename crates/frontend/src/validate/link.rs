//! Links: references from one event to another, shown by the Web UI.

use api::Error;
use prost::Message as _;
use temporalio_protos::temporal::api::common::v1::link::{Variant, workflow_event};
use temporalio_protos::temporal::api::common::v1::{Callback, Link, callback};

use super::invalid;
use crate::Limits;

/// How many, how large, and nothing missing that makes a link one.
pub(crate) fn links<'a>(links: impl ExactSizeIterator<Item = &'a Link>, limits: &Limits) -> Result<(), Error> {
    if links.len() > limits.links_max {
        return Err(invalid(format!(
            "cannot attach more than {} links per request, got {}",
            limits.links_max,
            links.len()
        )));
    }
    for link in links {
        let bytes = link.encoded_len();
        if bytes > limits.link_bytes_max {
            return Err(invalid(format!("link exceeds allowed size of {}, got {bytes}", limits.link_bytes_max)));
        }
        variant(link)?;
    }
    Ok(())
}

/// Links that a Nexus callback of the same request carries too are dropped.
pub(crate) fn deduplicate(links: &mut Vec<Link>, callbacks: &[Callback]) {
    links.retain(|link| {
        !callbacks
            .iter()
            .filter(|callback| matches!(callback.variant, Some(callback::Variant::Nexus(_))))
            .any(|callback| callback.links.contains(link))
    });
}

fn variant(link: &Link) -> Result<(), Error> {
    let fields: &[(&str, &str)] = match &link.variant {
        Some(Variant::WorkflowEvent(event)) => &[
            (&event.namespace, "workflow event link must not have an empty namespace field"),
            (&event.workflow_id, "workflow event link must not have an empty workflow ID field"),
            (&event.run_id, "workflow event link must not have an empty run ID field"),
        ],
        Some(Variant::BatchJob(job)) => &[(&job.job_id, "batch job link must not have an empty job ID")],
        Some(Variant::NexusOperation(operation)) => &[
            (&operation.namespace, "nexus operation link must not have an empty namespace field"),
            (&operation.operation_id, "nexus operation link must not have an empty operation ID field"),
            (&operation.run_id, "nexus operation link must not have an empty run ID field"),
        ],
        Some(Variant::Activity(activity)) => &[
            (&activity.namespace, "activity link must not have an empty namespace field"),
            (&activity.activity_id, "activity link must not have an empty activity ID field"),
            (&activity.run_id, "activity link must not have an empty run ID field"),
        ],
        Some(Variant::Workflow(_) | Variant::Callback(_)) | None => return Err(invalid("unsupported link variant")),
    };
    if let Some((_, message)) = fields.iter().find(|(value, _)| value.is_empty()) {
        return Err(invalid(*message));
    }
    if let Some(Variant::WorkflowEvent(event)) = &link.variant
        && let Some(workflow_event::Reference::EventRef(reference)) = &event.reference
        && reference.event_type == 0
        && reference.event_id != 0
    {
        return Err(invalid("workflow event link ref cannot have an unspecified event type and a non-zero event ID"));
    }
    Ok(())
}
