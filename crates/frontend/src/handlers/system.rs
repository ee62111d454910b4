//! What this server is and can do: the first call of every client.

use api::Error;
use bytes::Bytes;
use temporalio_protos::temporal::api::workflowservice::v1::{
    GetClusterInfoRequest, GetClusterInfoResponse, GetSystemInfoRequest, GetSystemInfoResponse,
};

use crate::call::{Call, encoded};
use crate::capabilities::{self, SERVER_VERSION, SUPPORTED_CLIENTS};

/// What holds the rows of visibility. The Web UI looks for the name of another store here.
const VISIBILITY_STORE: &str = "perpetuo";

pub(super) async fn get_system_info(_: Call, (): (), _: GetSystemInfoRequest) -> Result<Bytes, Error> {
    encoded(&GetSystemInfoResponse {
        server_version: SERVER_VERSION.to_owned(),
        capabilities: Some(capabilities::system()),
    })
}

pub(super) async fn get_cluster_info(call: Call, (): (), _: GetClusterInfoRequest) -> Result<Bytes, Error> {
    let config = &call.state.config;
    let pairs = SUPPORTED_CLIENTS.iter().map(|(name, versions)| ((*name).to_owned(), (*versions).to_owned()));
    encoded(&GetClusterInfoResponse {
        supported_clients: pairs.collect(),
        server_version: SERVER_VERSION.to_owned(),
        cluster_id: config.cluster_id.clone(),
        // Nobody looks for newer releases, so there is nothing to recommend.
        version_info: None,
        cluster_name: config.cluster_name.clone(),
        history_shard_count: i32::try_from(call.backend().shard_count()).unwrap_or(i32::MAX),
        persistence_store: config.persistence_store.clone(),
        visibility_store: VISIBILITY_STORE.to_owned(),
        initial_failover_version: 1,
        failover_version_increment: 10,
    })
}
