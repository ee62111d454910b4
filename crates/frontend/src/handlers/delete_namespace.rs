//! DeleteNamespace: the namespace gets another name at once, so that its own is free, and
//! every shard removes what it holds of it in the background.

use api::Error;
use bytes::Bytes;
use cluster::{NamespaceChange, SYSTEM_NAMESPACE};
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use temporalio_protos::temporal::api::operatorservice::v1::{DeleteNamespaceRequest, DeleteNamespaceResponse};

use crate::call::{Call, encoded, no_such_namespace};
use crate::validate::{self, invalid};

/// Characters of the namespace's id that the new name ends with; more if that is taken.
const SUFFIX_LENGTH_MIN: usize = 5;

pub(super) async fn delete_namespace(call: Call, (): (), mut request: DeleteNamespaceRequest) -> Result<Bytes, Error> {
    let backend = call.backend();
    let found = match (request.namespace.as_str(), request.namespace_id.as_str()) {
        ("", "") => return Err(invalid("Namespace not set on request.")),
        ("", id) => backend.namespace_by_id(id).ok_or_else(|| no_such_namespace(&call, id)),
        (name, "") => backend.namespace_by_name(name).ok_or_else(|| no_such_namespace(&call, name)),
        _ => Err(invalid("Only one of namespace name or Id should be set on request.")),
    }?;
    validate::cap(&mut request.namespace_delete_delay)
        .map_err(|cause| invalid(format!("An invalid NamespaceDeleteDelay is set on request. cause: {cause}")))?;
    if found.name == SYSTEM_NAMESPACE {
        return Err(Error::FailedPrecondition("unable to delete system namespace".to_owned()));
    }
    if found.state == NamespaceState::Deleted {
        return encoded(&DeleteNamespaceResponse { deleted_namespace: found.name.clone() });
    }
    let id = found.id.as_str();
    let names = (SUFFIX_LENGTH_MIN..=id.len()).filter_map(|length| id.get(..length));
    let mut names = names.map(|suffix| format!("{}-deleted-{suffix}", found.name));
    let name = names.find(|name| backend.namespace_by_name(name).is_none());
    let name = name.ok_or_else(|| Error::Internal("every name for the deleted namespace is taken".to_owned()))?;
    let mut deleted = (*found).clone();
    deleted.name.clone_from(&name);
    deleted.state = NamespaceState::Deleted;
    let change = NamespaceChange::Update { namespace: deleted, version: found.version };
    backend.change_namespace(change, call.deadline).await?;
    encoded(&DeleteNamespaceResponse { deleted_namespace: name })
}
