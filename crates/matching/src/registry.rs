//! Which workers there are, by their own heartbeats: what `ListWorkers` and its siblings
//! show. Soft state of one node per namespace, like a partition; when the namespace moves
//! to another node, the workers' next heartbeats fill the new one.
//!
//! ```text
//! heartbeat ─▶ known ──(silent for the time to live, or room is needed)──▶ forgotten
//!                └── heartbeat with status SHUTDOWN ──▶ forgotten
//! ```

mod query;

use std::collections::BTreeMap;
use std::time::Duration;

use api::Error;
use api::internal::WorkerPageToken;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::WorkerStatus;
use temporalio_protos::temporal::api::worker::v1::{WorkerHeartbeat, WorkerInfo, WorkerListInfo};
use temporalio_protos::temporal::api::workflowservice::v1::{
    CountWorkersRequest, CountWorkersResponse, DescribeWorkerRequest, DescribeWorkerResponse, ListWorkersRequest,
    ListWorkersResponse,
};

use self::query::Query;

/// Begins the names of queues whose workers are the server's own.
const INTERNAL_QUEUE_PREFIX: &str = "temporal-sys-";

/// A page ends at this size, so that it fits the 4 MiB that clients receive. Every worker
/// is in it twice.
const PAGE_BYTES_MAX: usize = 3 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub workers_max: usize,
    pub bytes_max: usize,
    pub time_to_live: Duration,
}

struct Known {
    heartbeat: WorkerHeartbeat,
    bytes: usize,
    seen: Duration,
    /// Its place in `order`.
    number: u64,
}

/// By namespace id and worker instance key.
type WorkerKey = (String, String);

/// Times are counted from the start of the service.
pub(crate) struct Registry {
    bounds: Bounds,
    workers: BTreeMap<WorkerKey, Known>,
    /// The one silent for longest first.
    order: BTreeMap<u64, WorkerKey>,
    bytes: usize,
    last_number: u64,
}

impl Registry {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, workers: BTreeMap::new(), order: BTreeMap::new(), bytes: 0, last_number: 0 }
    }

    pub(crate) fn record(&mut self, namespace_id: &str, heartbeats: Vec<WorkerHeartbeat>, now: Duration) {
        for heartbeat in heartbeats {
            let key = (namespace_id.to_owned(), heartbeat.worker_instance_key.clone());
            self.forget(&key);
            if heartbeat.status() == WorkerStatus::Shutdown {
                continue;
            }
            self.last_number += 1;
            let number = self.last_number;
            let bytes = heartbeat.encoded_len();
            self.bytes += bytes;
            self.order.insert(number, key.clone());
            self.workers.insert(key, Known { heartbeat, bytes, seen: now, number });
        }
        self.make_room();
    }

    /// Forgets whoever was silent for too long.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(key) = self.order.first_key_value().map(|(_, key)| key.clone()) {
            let expired = self.workers.get(&key).is_none_or(|known| now >= known.seen + self.bounds.time_to_live);
            if !expired {
                return;
            }
            self.forget(&key);
        }
    }

    /// # Errors
    /// The query or the page token makes no sense.
    pub(crate) fn list(&self, namespace_id: &str, request: &ListWorkersRequest) -> Result<ListWorkersResponse, Error> {
        let query = Query::parse(&request.query)?;
        let workers = self.matching(namespace_id, &query, request.include_system_workers);
        let mut response = ListWorkersResponse::default();
        let after = page_start(&request.next_page_token)?;
        let page_max = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for heartbeat in workers {
            if after.as_ref().is_some_and(|after| heartbeat.worker_instance_key <= *after) {
                continue;
            }
            if response.workers.len() >= page_max || bytes >= PAGE_BYTES_MAX {
                let last = response.workers.last().map(|worker| worker.worker_instance_key.clone());
                let token = WorkerPageToken { last_worker_instance_key: last.unwrap_or_default(), is_token: true };
                response.next_page_token = token.encode_to_vec();
                break;
            }
            bytes += 2 * heartbeat.encoded_len();
            response.workers.push(list_info(heartbeat));
            #[expect(deprecated, reason = "older tools read the old field")]
            response.workers_info.push(WorkerInfo { worker_heartbeat: Some(heartbeat.clone()) });
        }
        Ok(response)
    }

    /// # Errors
    /// The query makes no sense.
    pub(crate) fn count(
        &self,
        namespace_id: &str,
        request: &CountWorkersRequest,
    ) -> Result<CountWorkersResponse, Error> {
        let query = Query::parse(&request.query)?;
        let count = self.matching(namespace_id, &query, request.include_system_workers).count();
        Ok(CountWorkersResponse { count: i64::try_from(count).unwrap_or(i64::MAX) })
    }

    /// # Errors
    /// There is no such worker.
    pub(crate) fn describe(
        &self,
        namespace_id: &str,
        request: DescribeWorkerRequest,
    ) -> Result<DescribeWorkerResponse, Error> {
        let key = (namespace_id.to_owned(), request.worker_instance_key);
        match self.workers.get(&key) {
            Some(known) => {
                let worker_info = Some(WorkerInfo { worker_heartbeat: Some(known.heartbeat.clone()) });
                Ok(DescribeWorkerResponse { worker_info })
            }
            None => Err(Error::NotFound(format!("Worker {} not found", key.1))),
        }
    }

    /// Ordered by instance key.
    fn matching<'a>(
        &'a self,
        namespace_id: &'a str,
        query: &'a Query,
        include_system: bool,
    ) -> impl Iterator<Item = &'a WorkerHeartbeat> {
        self.workers
            .range((namespace_id.to_owned(), String::new())..)
            .take_while(move |((id, _), _)| id == namespace_id)
            .map(|(_, known)| &known.heartbeat)
            .filter(move |heartbeat| include_system || !heartbeat.task_queue.starts_with(INTERNAL_QUEUE_PREFIX))
            .filter(|heartbeat| query.matches(heartbeat))
    }

    fn make_room(&mut self) {
        while self.workers.len() > self.bounds.workers_max || self.bytes > self.bounds.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, key: &WorkerKey) {
        if let Some(known) = self.workers.remove(key) {
            self.bytes -= known.bytes;
            self.order.remove(&known.number);
        }
    }
}

fn page_start(token: &[u8]) -> Result<Option<String>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let token =
        WorkerPageToken::decode(token).map_err(|_| Error::InvalidArgument("invalid next_page_token".to_owned()))?;
    Ok(Some(token.last_worker_instance_key))
}

fn list_info(heartbeat: &WorkerHeartbeat) -> WorkerListInfo {
    let host = heartbeat.host_info.clone().unwrap_or_default();
    WorkerListInfo {
        worker_instance_key: heartbeat.worker_instance_key.clone(),
        worker_identity: heartbeat.worker_identity.clone(),
        task_queue: heartbeat.task_queue.clone(),
        deployment_version: heartbeat.deployment_version.clone(),
        sdk_name: heartbeat.sdk_name.clone(),
        sdk_version: heartbeat.sdk_version.clone(),
        status: heartbeat.status,
        start_time: heartbeat.start_time,
        host_name: host.host_name,
        worker_grouping_key: host.worker_grouping_key,
        process_id: host.process_id,
        plugins: heartbeat.plugins.clone(),
        drivers: heartbeat.drivers.clone(),
    }
}

#[cfg(test)]
mod tests;
