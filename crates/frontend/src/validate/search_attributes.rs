//! Search attributes of a start. Which custom ones are registered is not known yet, so
//! any custom name passes; the system's own cannot be set.

use api::Error;
use prost::Message as _;
use temporalio_protos::temporal::api::common::v1::SearchAttributes;
use temporalio_protos::temporal::api::enums::v1::IndexedValueType as Type;

use super::invalid;
use crate::Limits;

/// What every execution has, and its type.
pub(crate) const SYSTEM: [(&str, Type); 16] = [
    ("WorkflowId", Type::Keyword),
    ("RunId", Type::Keyword),
    ("WorkflowType", Type::Keyword),
    ("StartTime", Type::Datetime),
    ("ExecutionTime", Type::Datetime),
    ("CloseTime", Type::Datetime),
    ("ExecutionStatus", Type::Keyword),
    ("TaskQueue", Type::Keyword),
    ("HistoryLength", Type::Int),
    ("ExecutionDuration", Type::Int),
    ("StateTransitionCount", Type::Int),
    ("HistorySizeBytes", Type::Int),
    ("ParentWorkflowId", Type::Keyword),
    ("ParentRunId", Type::Keyword),
    ("RootWorkflowId", Type::Keyword),
    ("RootRunId", Type::Keyword),
];

/// Set by the server and by SDKs, and whether a request may set them.
pub(crate) const PREDEFINED: [(&str, Type, Setter); 17] = [
    ("TemporalChangeVersion", Type::KeywordList, Setter::Anyone),
    ("BinaryChecksums", Type::KeywordList, Setter::Anyone),
    ("BuildIds", Type::KeywordList, Setter::Anyone),
    ("BatcherNamespace", Type::Keyword, Setter::Anyone),
    ("BatcherUser", Type::Keyword, Setter::Anyone),
    ("TemporalScheduledStartTime", Type::Datetime, Setter::Anyone),
    ("TemporalScheduledById", Type::Keyword, Setter::Anyone),
    ("TemporalSchedulePaused", Type::Bool, Setter::Anyone),
    ("TemporalNamespaceDivision", Type::Keyword, Setter::Anyone),
    ("TemporalPauseInfo", Type::KeywordList, Setter::Anyone),
    ("TemporalReportedProblems", Type::KeywordList, Setter::Anyone),
    ("TemporalWorkerDeploymentVersion", Type::Keyword, Setter::Server),
    ("TemporalWorkflowVersioningBehavior", Type::Keyword, Setter::Server),
    ("TemporalWorkerDeployment", Type::Keyword, Setter::Server),
    ("TemporalUsedWorkerDeploymentVersions", Type::KeywordList, Setter::Server),
    ("TemporalExternalPayloadCount", Type::Int, Setter::Server),
    ("TemporalExternalPayloadSizeBytes", Type::Int, Setter::Server),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Setter {
    Anyone,
    Server,
}

pub(crate) fn search_attributes(attributes: Option<&SearchAttributes>, limits: &Limits) -> Result<(), Error> {
    let Some(attributes) = attributes else { return Ok(()) };
    let count = attributes.indexed_fields.len();
    if count > limits.search_attributes_max {
        return Err(invalid(format!(
            "number of search attributes {count} exceeds limit {}",
            limits.search_attributes_max
        )));
    }
    // In order, so that the same request gets the same answer every time.
    let mut fields: Vec<_> = attributes.indexed_fields.iter().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    if let Some((name, _)) = fields.iter().find(|(name, _)| only_server(name)) {
        return Err(invalid(format!("{name} attribute can't be set in SearchAttributes")));
    }
    for (name, payload) in fields {
        let bytes = payload.data.len();
        if bytes > limits.search_attribute_bytes_max {
            return Err(invalid(format!(
                "search attribute {name} value size {bytes} exceeds size limit {}",
                limits.search_attribute_bytes_max
            )));
        }
    }
    let bytes = attributes.encoded_len();
    if bytes > limits.search_attributes_bytes_max {
        return Err(invalid(format!(
            "total size of search attributes {bytes} exceeds size limit {}",
            limits.search_attributes_bytes_max
        )));
    }
    Ok(())
}

fn only_server(name: &str) -> bool {
    SYSTEM.iter().any(|(system, _)| *system == name)
        || PREDEFINED.iter().any(|(known, _, setter)| *known == name && *setter == Setter::Server)
}
