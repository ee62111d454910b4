//! OperatorService, as far as it is built.

use std::sync::Arc;

use api::Error;
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::operatorservice::v1::{
    ListSearchAttributesRequest, ListSearchAttributesResponse,
};

use crate::call::{Call, encoded};
use crate::validate::{PREDEFINED, SYSTEM};

/// The system's own; custom ones cannot be registered yet.
pub(super) async fn list_search_attributes(
    _: Call,
    _: Option<Arc<Namespace>>,
    _: ListSearchAttributesRequest,
) -> Result<Bytes, Error> {
    let system = SYSTEM.iter().map(|(name, kind)| ((*name).to_owned(), *kind as i32));
    let predefined = PREDEFINED.iter().map(|(name, kind, _)| ((*name).to_owned(), *kind as i32));
    encoded(&ListSearchAttributesResponse {
        system_attributes: system.chain(predefined).collect(),
        ..ListSearchAttributesResponse::default()
    })
}
