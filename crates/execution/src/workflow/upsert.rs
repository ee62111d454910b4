//! Search attributes and memo that the workflow changes while it runs. A value of null, or of
//! an empty list, removes the field.

use std::sync::Arc;

use prost::Message;
use temporalio_protos::temporal::api::command::v1::{
    ModifyWorkflowPropertiesCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
};
use temporalio_protos::temporal::api::common::v1::{Memo, Payload, SearchAttributes};
use temporalio_protos::temporal::api::enums::v1::WorkflowTaskFailedCause as Cause;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{
    UpsertWorkflowSearchAttributesEventAttributes, WorkflowPropertiesModifiedEventAttributes,
};

use super::State;
use super::commands::{Fail, Turn};
use super::step::Step;
use crate::policy;
use crate::policy::search_attributes::Problem;

/// `UpsertWorkflowSearchAttributes`.
pub(crate) fn search_attributes(state: &mut State, event: &UpsertWorkflowSearchAttributesEventAttributes) {
    let Some(upserted) = &event.search_attributes else { return };
    let merged = merged_search_attributes(state, upserted);
    state.search_attributes = Some(Arc::new(merged));
}

/// `WorkflowPropertiesModified`.
pub(crate) fn memo(state: &mut State, event: &WorkflowPropertiesModifiedEventAttributes) {
    let Some(upserted) = &event.upserted_memo else { return };
    let merged = merged_memo(state, upserted);
    state.memo = Some(Arc::new(merged));
}

/// One search attribute that the server sets on its own; none removes it.
pub(crate) fn search_attribute(state: &mut State, name: &str, value: Option<&Payload>) {
    let mut attributes = state.search_attributes().cloned().unwrap_or_default();
    match value {
        Some(value) => attributes.indexed_fields.insert(name.to_owned(), value.clone()),
        None => attributes.indexed_fields.remove(name),
    };
    state.search_attributes = Some(Arc::new(attributes));
}

pub(crate) fn upsert_search_attributes(
    turn: &mut Turn<'_, '_>,
    command: UpsertWorkflowSearchAttributesCommandAttributes,
) -> Result<(), Fail> {
    let cause = Cause::BadSearchAttributes;
    let name = "UpsertWorkflowSearchAttributesCommand";
    let Some(mut upserted) = command.search_attributes else {
        return Err(Fail::task(cause, format!("SearchAttributes is not set on {name}.")));
    };
    if upserted.indexed_fields.is_empty() {
        return Err(Fail::task(cause, format!("IndexedFields is not set on {name}.")));
    }
    check(&mut upserted, turn.step).map_err(|problem| Fail::task(cause, problem.to_string()))?;
    let bytes: usize = upserted.indexed_fields.iter().map(|(name, value)| name.len() + value.data.len()).sum();
    if bytes > turn.step.limits.blob_bytes_max {
        let message = "UpsertWorkflowSearchAttributesCommandAttributes exceeds size limit.";
        return Err(Fail::run(cause, message));
    }
    turn.event(Attributes::UpsertWorkflowSearchAttributesEventAttributes(
        UpsertWorkflowSearchAttributesEventAttributes {
            workflow_task_completed_event_id: turn.completed_event_id,
            search_attributes: Some(upserted),
        },
    ));
    Ok(())
}

/// Names and types, by what the namespace has registered.
pub(crate) fn check(attributes: &mut SearchAttributes, step: &Step<'_>) -> Result<(), Problem> {
    match &step.limits.search_attributes {
        Some(custom) => policy::search_attributes::check(attributes, custom, &step.state.run.namespace_name),
        None => Ok(()),
    }
}

pub(crate) fn modify_properties(
    turn: &mut Turn<'_, '_>,
    command: ModifyWorkflowPropertiesCommandAttributes,
) -> Result<(), Fail> {
    let cause = Cause::BadModifyWorkflowPropertiesAttributes;
    let name = "ModifyWorkflowPropertiesCommand";
    let Some(upserted) = command.upserted_memo else {
        return Err(Fail::task(cause, format!("UpsertedMemo is not set on {name}.")));
    };
    if upserted.fields.is_empty() {
        return Err(Fail::task(cause, format!("UpsertedMemo.Fields is not set on {name}.")));
    }
    let bytes: usize = upserted.fields.iter().map(|(name, value)| name.len() + value.data.len()).sum();
    if bytes > turn.step.limits.blob_bytes_max {
        return Err(Fail::run(cause, "ModifyWorkflowPropertiesCommandAttributes exceeds size limit."));
    }
    if merged_memo(&turn.step.state, &upserted).encoded_len() > turn.step.limits.memo_bytes_max {
        return Err(Fail::run(cause, "ModifyWorkflowPropertiesCommandAttributes. Memo exceeds size limit."));
    }
    turn.event(Attributes::WorkflowPropertiesModifiedEventAttributes(WorkflowPropertiesModifiedEventAttributes {
        workflow_task_completed_event_id: turn.completed_event_id,
        upserted_memo: Some(upserted),
    }));
    Ok(())
}

/// What a start keeps: fields without a value are left out.
pub(crate) fn without_nil_memo(memo: Option<Memo>) -> Option<Memo> {
    let mut memo = memo?;
    memo.fields.retain(|_, value| !is_nil(value));
    Some(memo).filter(|memo| !memo.fields.is_empty())
}

/// As [`without_nil_memo`].
pub(crate) fn without_nil_search_attributes(attributes: Option<SearchAttributes>) -> Option<SearchAttributes> {
    let mut attributes = attributes?;
    attributes.indexed_fields.retain(|_, value| !is_nil(value));
    Some(attributes).filter(|attributes| !attributes.indexed_fields.is_empty())
}

fn merged_search_attributes(state: &State, upserted: &SearchAttributes) -> SearchAttributes {
    let mut merged = state.search_attributes().cloned().unwrap_or_default();
    for (name, value) in &upserted.indexed_fields {
        if is_nil(value) {
            merged.indexed_fields.remove(name);
        } else {
            merged.indexed_fields.insert(name.clone(), value.clone());
        }
    }
    merged
}

fn merged_memo(state: &State, upserted: &Memo) -> Memo {
    let mut merged = state.memo().cloned().unwrap_or_default();
    for (name, value) in &upserted.fields {
        if is_nil(value) {
            merged.fields.remove(name);
        } else {
            merged.fields.insert(name.clone(), value.clone());
        }
    }
    merged
}

/// Null in any encoding, or the empty list.
fn is_nil(value: &Payload) -> bool {
    matches!(value.data.as_slice(), b"" | b"null" | b"[]")
}
