//! A cluster that remembers what it was asked and answers what it was told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::Error;
use api::internal::{
    HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse, PartitionKey, VisibilityRequest,
    VisibilityResponse, matching_response,
};
use async_trait::async_trait;
use base::{NamespaceId, NodeId, SeededEntropy, SystemClock};
use bytes::Bytes;
use cluster::{Namespace, NamespaceChange, TaskQueueSettings};
use frontend::{Backend, Config, Service};
use http::HeaderMap;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use temporalio_protos::temporal::api::namespace::v1::NamespaceConfig;
use tokio::time::Instant;
use tonic::Status;

pub(crate) const DEFAULT_ID: &str = "00000000-0000-4000-8000-000000000001";
pub(crate) const OLD_ID: &str = "00000000-0000-4000-8000-000000000002";

#[derive(Default)]
pub(crate) struct Fake {
    namespaces: Mutex<Vec<Arc<Namespace>>>,
    task_queues: Mutex<Vec<Arc<TaskQueueSettings>>>,
    pub(crate) history: Mutex<Vec<HistoryRequest>>,
    pub(crate) matching: Mutex<Vec<(Option<NodeId>, MatchingRequest)>>,
    /// Taken from the front; when it is empty, every answer is an empty response.
    pub(crate) answers: Mutex<VecDeque<Result<Bytes, Error>>>,
    /// Polls wait for ever.
    pub(crate) park: Mutex<bool>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        let fake = Self::default();
        *fake.namespaces.lock().unwrap() = vec![
            Arc::new(namespace("default", DEFAULT_ID, NamespaceState::Registered)),
            Arc::new(namespace("old", OLD_ID, NamespaceState::Deprecated)),
        ];
        Arc::new(fake)
    }

    pub(crate) fn service(self: &Arc<Self>) -> Service {
        let config = Config { cluster_id: "cluster".to_owned(), ..Config::default() };
        let backend: Arc<dyn Backend> = Arc::clone(self) as _;
        Service::new(config, backend, Arc::new(SystemClock), Arc::new(SeededEntropy::new(1)))
    }

    pub(crate) fn will_answer(&self, answer: Result<Bytes, Error>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// Nothing was passed on.
    pub(crate) fn untouched(&self) -> bool {
        self.history.lock().unwrap().is_empty() && self.matching.lock().unwrap().is_empty()
    }

    fn answer(&self) -> Result<Bytes, Error> {
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(Bytes::new()))
    }
}

pub(crate) fn namespace(name: &str, id: &str, state: NamespaceState) -> Namespace {
    Namespace {
        id: NamespaceId::from(id),
        name: name.to_owned(),
        state,
        description: String::new(),
        owner_email: String::new(),
        data: std::collections::BTreeMap::new(),
        retention: Duration::from_secs(86_400),
        config: NamespaceConfig::default(),
        version: 1,
    }
}

#[async_trait]
impl Backend for Fake {
    async fn history(&self, request: Box<HistoryRequest>, _: Instant) -> Result<HistoryResponse, Error> {
        self.history.lock().unwrap().push(*request);
        Ok(HistoryResponse { body: self.answer()?, ..HistoryResponse::default() })
    }

    async fn matching(&self, request: Box<MatchingRequest>, _: Instant) -> Result<MatchingResponse, Error> {
        self.matching.lock().unwrap().push((None, *request));
        if *self.park.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        Ok(MatchingResponse { response: Some(matching_response::Response::Body(self.answer()?)) })
    }

    async fn matching_at(
        &self,
        node: NodeId,
        request: Box<MatchingRequest>,
        _: Instant,
    ) -> Result<MatchingResponse, Error> {
        self.matching.lock().unwrap().push((Some(node), *request));
        Ok(MatchingResponse { response: None })
    }

    async fn visibility(&self, _: VisibilityRequest, _: Instant) -> Result<VisibilityResponse, Error> {
        Ok(VisibilityResponse { body: self.answer()? })
    }

    fn live_nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1), NodeId(2)]
    }

    fn partition_address(&self, _: &PartitionKey) -> String {
        "node-1".to_owned()
    }

    fn task_queue(&self, namespace_id: &str, name: &str) -> Option<Arc<TaskQueueSettings>> {
        let task_queues = self.task_queues.lock().unwrap();
        task_queues.iter().find(|known| known.namespace_id.as_str() == namespace_id && known.name == name).cloned()
    }

    async fn update_task_queue(&self, settings: &TaskQueueSettings, version: u64, _: Instant) -> Result<(), Error> {
        let mut task_queues = self.task_queues.lock().unwrap();
        let known = task_queues.iter().position(|known| known.name == settings.name);
        if known.map_or(0, |known| task_queues[known].version) != version {
            return Err(Error::FailedPrecondition("another version".to_owned()));
        }
        known.map(|known| task_queues.remove(known));
        task_queues.push(Arc::new(TaskQueueSettings { version: version + 1, ..settings.clone() }));
        Ok(())
    }

    fn shard_count(&self) -> usize {
        4
    }

    fn namespace_by_name(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.lock().unwrap().iter().find(|namespace| namespace.name == name).cloned()
    }

    fn namespace_by_id(&self, id: &str) -> Option<Arc<Namespace>> {
        self.namespaces.lock().unwrap().iter().find(|namespace| namespace.id.as_str() == id).cloned()
    }

    fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let mut list = self.namespaces.lock().unwrap().clone();
        list.sort_by(|a, b| a.id.cmp(&b.id));
        list
    }

    async fn change_namespace(&self, change: NamespaceChange, _: Instant) -> Result<(), Error> {
        let mut list = self.namespaces.lock().unwrap();
        match change {
            NamespaceChange::Register(namespace) => {
                if list.iter().any(|known| known.name == namespace.name) {
                    return Err(Error::NamespaceAlreadyExists("taken".to_owned()));
                }
                list.push(Arc::new(namespace));
            }
            NamespaceChange::Update { namespace, version } => {
                let known = list.iter_mut().find(|known| known.id == namespace.id).expect("known");
                if known.version != version {
                    return Err(Error::FailedPrecondition("another version".to_owned()));
                }
                *known = Arc::new(Namespace { version: version + 1, ..namespace });
            }
        }
        Ok(())
    }
}

pub(crate) const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";

/// Ten seconds, no metadata.
pub(crate) async fn call(service: &Service, name: &str, request: &impl Message) -> Result<Bytes, Status> {
    let path = format!("/{WORKFLOW_SERVICE}/{name}");
    let body = request.encode_to_vec().into();
    service.call(&path, &HeaderMap::new(), body, Some(Duration::from_secs(10))).await
}

/// Calls and decodes.
pub(crate) async fn ask<R: Message + Default>(service: &Service, name: &str, request: &impl Message) -> R {
    R::decode(call(service, name, request).await.expect("an answer")).expect("a response")
}
