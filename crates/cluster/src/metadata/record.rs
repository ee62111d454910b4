//! [`Namespace`] as it is stored and sent.

use std::time::Duration;

use base::NamespaceId;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;

use super::proto::NamespaceRecord;
use crate::Namespace;

pub(crate) fn to_record(namespace: &Namespace) -> NamespaceRecord {
    NamespaceRecord {
        id: namespace.id.as_str().to_owned(),
        name: namespace.name.clone(),
        state: namespace.state.into(),
        description: namespace.description.clone(),
        owner_email: namespace.owner_email.clone(),
        data: namespace.data.clone(),
        retention: Some(prost_types::Duration {
            seconds: i64::try_from(namespace.retention.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(namespace.retention.subsec_nanos()).unwrap_or_default(),
        }),
        config: Some(namespace.config.clone()),
        version: namespace.version,
    }
}

pub(crate) fn from_record(record: NamespaceRecord) -> Namespace {
    let retention = record.retention.unwrap_or_default();
    let seconds = u64::try_from(retention.seconds).unwrap_or_default();
    let nanos = u32::try_from(retention.nanos).unwrap_or_default();
    Namespace {
        id: NamespaceId::from(record.id),
        name: record.name,
        state: NamespaceState::try_from(record.state).unwrap_or_default(),
        description: record.description,
        owner_email: record.owner_email,
        data: record.data,
        retention: Duration::new(seconds, nanos),
        config: record.config.unwrap_or_default(),
        version: record.version,
    }
}
