//! Namespaces: facts of group 0, of which every node has a copy.

use std::sync::Arc;

use api::Error;
use base::NamespaceId;
use bytes::Bytes;
use cluster::{Namespace, NamespaceChange};
use prost_types::Duration;
use temporalio_protos::temporal::api::enums::v1::{ArchivalState, NamespaceState, ReplicationState};
use temporalio_protos::temporal::api::namespace::v1::{
    BadBinaries, NamespaceConfig, NamespaceInfo, UpdateNamespaceInfo,
};
use temporalio_protos::temporal::api::replication::v1::{ClusterReplicationConfig, NamespaceReplicationConfig};
use temporalio_protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, DescribeNamespaceResponse, ListNamespacesRequest, ListNamespacesResponse,
    RegisterNamespaceRequest, RegisterNamespaceResponse, UpdateNamespaceRequest, UpdateNamespaceResponse,
};

use crate::call::{Call, encoded, no_such_namespace};
use crate::{capabilities, validate};

const PAGE_DEFAULT: usize = 100;

pub(super) async fn register(call: Call, (): (), request: RegisterNamespaceRequest) -> Result<Bytes, Error> {
    if request.is_global_namespace {
        return Err(validate::invalid("Cannot register global namespace when not enabled"));
    }
    let retention = retention(request.workflow_execution_retention_period, &call)?;
    if call.backend().namespace_by_name(&request.namespace).is_some() {
        return Err(already_exists(&request.namespace));
    }
    let clusters: Vec<&str> = request.clusters.iter().map(|cluster| cluster.cluster_name.as_str()).collect();
    only_cluster(&request.active_cluster_name, &clusters, &call)?;
    let namespace = Namespace {
        id: NamespaceId::new(call.state.entropy.uuid()),
        name: request.namespace.clone(),
        state: NamespaceState::Registered,
        description: request.description,
        owner_email: request.owner_email,
        data: request.data.into_iter().collect(),
        retention,
        config: NamespaceConfig {
            history_archival_state: ArchivalState::Disabled as i32,
            visibility_archival_state: ArchivalState::Disabled as i32,
            bad_binaries: Some(BadBinaries::default()),
            ..NamespaceConfig::default()
        },
        version: 0,
    };
    match call.backend().change_namespace(NamespaceChange::Register(namespace), call.deadline).await {
        // Another node may have been faster.
        Err(Error::NamespaceAlreadyExists(_)) => Err(already_exists(&request.namespace)),
        Err(error) => Err(error),
        Ok(()) => encoded(&RegisterNamespaceResponse::default()),
    }
}

pub(super) async fn describe(call: Call, (): (), request: DescribeNamespaceRequest) -> Result<Bytes, Error> {
    let found = match (request.namespace.as_str(), request.id.as_str()) {
        ("", id) => call.backend().namespace_by_id(id).ok_or_else(|| no_such_namespace(&call, id)),
        (name, "") => call.backend().namespace_by_name(name).ok_or_else(|| no_such_namespace(&call, name)),
        _ => Err(validate::invalid("GetNamespace operation failed.  Both ID and Name specified in request.")),
    }?;
    encoded(&description(&found, &call))
}

pub(super) async fn list(call: Call, (): (), request: ListNamespacesRequest) -> Result<Bytes, Error> {
    let page = match usize::try_from(request.page_size) {
        Ok(0) | Err(_) => PAGE_DEFAULT,
        Ok(asked) => asked.min(call.limits().namespace_page_max),
    };
    // The token is the last id of the page before, which stays a good place to go on
    // from even when that namespace is gone.
    let after =
        std::str::from_utf8(&request.next_page_token).map_err(|_| validate::invalid("Invalid NextPageToken."))?;
    let deleted_too = request.namespace_filter.is_some_and(|filter| filter.include_deleted);
    let mut found = call.backend().namespaces();
    found.retain(|namespace| {
        namespace.id.as_str() > after && (deleted_too || namespace.state != NamespaceState::Deleted)
    });
    let more = found.len() > page;
    found.truncate(page);
    let last = found.last().map(|namespace| namespace.id.as_str().as_bytes().to_vec());
    encoded(&ListNamespacesResponse {
        namespaces: found.iter().map(|namespace| description(namespace, &call)).collect(),
        next_page_token: if more { last.unwrap_or_default() } else { Vec::new() },
    })
}

pub(super) async fn update(
    call: Call,
    namespace: Arc<Namespace>,
    request: UpdateNamespaceRequest,
) -> Result<Bytes, Error> {
    if request.promote_namespace {
        return Err(validate::invalid(format!(
            "global namespace is not enabled on this cluster, cannot update global namespace or promote local \
             namespace: {}",
            namespace.name
        )));
    }
    let mut changed = (*namespace).clone();
    if let Some(info) = request.update_info {
        update_info(&mut changed, info)?;
    }
    if let Some(config) = request.config {
        update_config(&mut changed, config, &call)?;
    }
    if !request.delete_bad_binary.is_empty() {
        let binaries = changed.config.bad_binaries.get_or_insert_default();
        if binaries.binaries.remove(&request.delete_bad_binary).is_none() {
            return Err(validate::invalid(format!(
                "Bad binary checksum {} doesn't exists.",
                request.delete_bad_binary
            )));
        }
    }
    if let Some(replication) = &request.replication_config {
        let clusters: Vec<&str> = replication.clusters.iter().map(|cluster| cluster.cluster_name.as_str()).collect();
        only_cluster(&replication.active_cluster_name, &clusters, &call)?;
    }
    if changed != *namespace {
        let version = namespace.version;
        let change = NamespaceChange::Update { namespace: changed.clone(), version };
        call.backend().change_namespace(change, call.deadline).await.map_err(|error| match error {
            // Someone else changed it meanwhile; the same request may be made again.
            Error::FailedPrecondition(text) => Error::Unavailable(text),
            error => error,
        })?;
    }
    let DescribeNamespaceResponse { namespace_info, config, replication_config, .. } = description(&changed, &call);
    encoded(&UpdateNamespaceResponse { namespace_info, config, replication_config, ..Default::default() })
}

fn update_info(namespace: &mut Namespace, info: UpdateNamespaceInfo) -> Result<(), Error> {
    let state = info.state();
    if !info.description.is_empty() {
        namespace.description = info.description;
    }
    if !info.owner_email.is_empty() {
        namespace.owner_email = info.owner_email;
    }
    namespace.data.extend(info.data);
    if state != NamespaceState::Unspecified && state != namespace.state {
        let allowed = matches!(
            (namespace.state, state),
            (NamespaceState::Registered, NamespaceState::Deprecated | NamespaceState::Deleted)
                | (NamespaceState::Deprecated, NamespaceState::Deleted)
        );
        if !allowed {
            return Err(validate::invalid("Invalid namespace state update."));
        }
        namespace.state = state;
    }
    Ok(())
}

fn update_config(namespace: &mut Namespace, config: NamespaceConfig, call: &Call) -> Result<(), Error> {
    if config.workflow_execution_retention_ttl.is_some() {
        namespace.retention = retention(config.workflow_execution_retention_ttl, call)?;
    }
    if let Some(bad) = config.bad_binaries {
        let now = call.state.clock.now().to_proto();
        let known = &mut namespace.config.bad_binaries.get_or_insert_default().binaries;
        known.extend(bad.binaries.into_iter().map(|(checksum, mut info)| {
            info.create_time = Some(now);
            (checksum, info)
        }));
        if known.len() > call.limits().bad_binaries_max {
            return Err(validate::invalid(format!(
                "Total resetBinaries cannot exceed the max limit: {}",
                call.limits().bad_binaries_max
            )));
        }
    }
    let aliases = &mut namespace.config.custom_search_attribute_aliases;
    for (field, alias) in config.custom_search_attribute_aliases {
        if alias.is_empty() {
            aliases.remove(&field);
        } else if !aliases.values().any(|known| *known == alias) {
            if aliases.contains_key(&field) {
                return Err(validate::invalid("Custom search attribute field name already allocated."));
            }
            aliases.insert(field, alias);
        }
    }
    Ok(())
}

fn already_exists(name: &str) -> Error {
    Error::NamespaceAlreadyExists(format!("Namespace {name:?} already exists"))
}

fn retention(mut asked: Option<Duration>, call: &Call) -> Result<std::time::Duration, Error> {
    let invalid = || validate::invalid("A valid retention period is not set on request.");
    validate::cap(&mut asked).map_err(|_| invalid())?;
    let asked = asked.unwrap_or_default();
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(asked.seconds), u64::try_from(asked.nanos)) else {
        return Err(invalid());
    };
    let retention = std::time::Duration::from_secs(seconds) + std::time::Duration::from_nanos(nanos);
    if retention < call.state.config.retention_min { Err(invalid()) } else { Ok(retention) }
}

/// There is one cluster, so a namespace can be in no other.
fn only_cluster(active: &str, clusters: &[&str], call: &Call) -> Result<(), Error> {
    let ours = call.state.config.cluster_name.as_str();
    let named = std::iter::once(active).filter(|name| !name.is_empty()).chain(clusters.iter().copied());
    for name in named {
        if name != ours {
            return Err(validate::invalid(format!("Invalid cluster name: {name}")));
        }
    }
    if clusters.len() > 1 {
        return Err(validate::invalid("Invalid local namespace clusters"));
    }
    Ok(())
}

fn description(namespace: &Namespace, call: &Call) -> DescribeNamespaceResponse {
    let cluster_name = call.state.config.cluster_name.clone();
    DescribeNamespaceResponse {
        namespace_info: Some(NamespaceInfo {
            name: namespace.name.clone(),
            state: namespace.state as i32,
            description: namespace.description.clone(),
            owner_email: namespace.owner_email.clone(),
            data: namespace.data.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            id: namespace.id.as_str().to_owned(),
            capabilities: Some(capabilities::namespace()),
            limits: Some(capabilities::namespace_limits(call.limits())),
            supports_schedules: capabilities::system().supports_schedules,
        }),
        config: Some(described_config(namespace)),
        replication_config: Some(NamespaceReplicationConfig {
            active_cluster_name: cluster_name.clone(),
            clusters: vec![ClusterReplicationConfig { cluster_name, ..ClusterReplicationConfig::default() }],
            state: ReplicationState::Normal as i32,
        }),
        ..DescribeNamespaceResponse::default()
    }
}

/// Namespaces that the server made by itself have an empty config; to clients all look alike.
fn described_config(namespace: &Namespace) -> NamespaceConfig {
    let mut config = namespace.config.clone();
    config.workflow_execution_retention_ttl = Some(Duration {
        seconds: i64::try_from(namespace.retention.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(namespace.retention.subsec_nanos()).expect("below a second"),
    });
    config.bad_binaries.get_or_insert_default();
    for state in [&mut config.history_archival_state, &mut config.visibility_archival_state] {
        if *state == ArchivalState::Unspecified as i32 {
            *state = ArchivalState::Disabled as i32;
        }
    }
    config
}
