//! OperatorService, as far as it is built.
//!
//! A custom search attribute is a name given to one of the namespace's slots of its type.

use std::sync::Arc;

use api::Error;
use base::{AttributeType, PREDEFINED_ATTRIBUTES, SYSTEM_ATTRIBUTES, builtin_attribute};
use bytes::Bytes;
use cluster::{Namespace, NamespaceChange};
use temporalio_protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_protos::temporal::api::operatorservice::v1::{
    AddSearchAttributesRequest, AddSearchAttributesResponse, ListSearchAttributesRequest, ListSearchAttributesResponse,
    RemoveSearchAttributesRequest, RemoveSearchAttributesResponse,
};

use crate::call::{Call, encoded};
use crate::validate::invalid;

pub(super) async fn list_search_attributes(
    _: Call,
    namespace: Option<Arc<Namespace>>,
    _: ListSearchAttributesRequest,
) -> Result<Bytes, Error> {
    let system = SYSTEM_ATTRIBUTES.iter().map(|(name, kind)| ((*name).to_owned(), *kind as i32));
    let predefined = PREDEFINED_ATTRIBUTES.iter().map(|(name, kind, _)| ((*name).to_owned(), *kind as i32));
    let custom = namespace.map(|namespace| base::custom_attributes(&namespace.config.custom_search_attribute_aliases));
    encoded(&ListSearchAttributesResponse {
        custom_attributes: custom.into_iter().flatten().map(|(name, kind)| (name, kind as i32)).collect(),
        system_attributes: system.chain(predefined).collect(),
        ..ListSearchAttributesResponse::default()
    })
}

pub(super) async fn add_search_attributes(
    call: Call,
    namespace: Option<Arc<Namespace>>,
    request: AddSearchAttributesRequest,
) -> Result<Bytes, Error> {
    // In order, so that the same request gets the same answer every time.
    let mut asked: Vec<(String, i32)> = request.search_attributes.into_iter().collect();
    asked.sort_unstable();
    if asked.is_empty() {
        return Err(not_set());
    }
    for (name, kind) in &asked {
        if base::is_reserved_attribute(name) {
            return Err(invalid(format!("Search attribute {name} is reserved by system.")));
        }
        if IndexedValueType::try_from(*kind).is_err() {
            return Err(invalid(format!("Unknown search attribute type: {kind}.")));
        }
    }
    let namespace = namespace.ok_or_else(|| invalid("Namespace is not set on request."))?;
    let mut changed = (*namespace).clone();
    let aliases = &mut changed.config.custom_search_attribute_aliases;
    for (name, kind) in asked {
        if aliases.values().any(|taken| *taken == name) {
            continue;
        }
        let kind = AttributeType::from_number(kind);
        if !kind.is_some_and(|kind| base::name_slot(aliases, &name, kind)) {
            let (slots, kind) = kind.map_or((0, "Unspecified"), |kind| (kind.slots(), kind.name()));
            return Err(invalid(format!(
                "Unable to create search attributes: cannot have more than {slots} search attribute of type {kind}."
            )));
        }
    }
    save(&call, &namespace, changed).await?;
    encoded(&AddSearchAttributesResponse {})
}

pub(super) async fn remove_search_attributes(
    call: Call,
    namespace: Option<Arc<Namespace>>,
    request: RemoveSearchAttributesRequest,
) -> Result<Bytes, Error> {
    if request.search_attributes.is_empty() {
        return Err(not_set());
    }
    let namespace = namespace.ok_or_else(|| invalid("Namespace is not set on request."))?;
    let mut changed = (*namespace).clone();
    let aliases = &mut changed.config.custom_search_attribute_aliases;
    for name in &request.search_attributes {
        if builtin_attribute(name).is_some() && !aliases.values().any(|alias| alias == name) {
            return Err(invalid(format!("Unable to remove non-custom search attributes: {name}.")));
        }
        aliases.retain(|_, alias| alias != name);
    }
    save(&call, &namespace, changed).await?;
    encoded(&RemoveSearchAttributesResponse {})
}

async fn save(call: &Call, before: &Namespace, after: Namespace) -> Result<(), Error> {
    if after == *before {
        return Ok(());
    }
    let version = before.version;
    call.backend().change_namespace(NamespaceChange::Update { namespace: after, version }, call.deadline).await
}

fn not_set() -> Error {
    invalid("SearchAttributes are not set on request.")
}
