//! The registry of workers: their heartbeats, and who asks for them. It lives with one
//! node per namespace.

use std::sync::Arc;

use api::Error;
use api::internal::{PartitionKey, TaskKind, matching_request};
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::worker::v1::WorkerHeartbeat;
use temporalio_protos::temporal::api::workflowservice::v1::{
    CountWorkersRequest, DescribeWorkerRequest, ListWorkersRequest, RecordWorkerHeartbeatRequest,
    RecordWorkerHeartbeatResponse,
};

use crate::call::{Call, encoded};

/// What the node that keeps the workers of a namespace is found by. No queue has this key:
/// queues have names.
fn registry(namespace: &Namespace) -> PartitionKey {
    PartitionKey {
        namespace_id: namespace.id.as_str().to_owned(),
        kind: TaskKind::Unspecified as i32,
        ..PartitionKey::default()
    }
}

pub(super) async fn record_heartbeat(
    call: Call,
    namespace: Arc<Namespace>,
    request: RecordWorkerHeartbeatRequest,
) -> Result<Bytes, Error> {
    call.matching(&namespace, registry(&namespace), matching_request::Request::RecordHeartbeat(request)).await?;
    encoded(&RecordWorkerHeartbeatResponse::default())
}

/// The last words of a worker. Nothing depends on them.
pub(super) async fn record_last_heartbeat(call: &Call, namespace: &Namespace, heartbeat: WorkerHeartbeat) {
    let request = RecordWorkerHeartbeatRequest {
        namespace: namespace.name.clone(),
        worker_heartbeat: vec![heartbeat],
        ..RecordWorkerHeartbeatRequest::default()
    };
    let recorded =
        call.matching(namespace, registry(namespace), matching_request::Request::RecordHeartbeat(request)).await;
    if let Err(error) = recorded {
        tracing::debug!(%error, "a worker's last heartbeat was not recorded");
    }
}

pub(super) async fn list(call: Call, namespace: Arc<Namespace>, request: ListWorkersRequest) -> Result<Bytes, Error> {
    call.matching(&namespace, registry(&namespace), matching_request::Request::ListWorkers(request)).await
}

pub(super) async fn count(call: Call, namespace: Arc<Namespace>, request: CountWorkersRequest) -> Result<Bytes, Error> {
    call.matching(&namespace, registry(&namespace), matching_request::Request::CountWorkers(request)).await
}

pub(super) async fn describe(
    call: Call,
    namespace: Arc<Namespace>,
    request: DescribeWorkerRequest,
) -> Result<Bytes, Error> {
    call.matching(&namespace, registry(&namespace), matching_request::Request::DescribeWorker(request)).await
}
