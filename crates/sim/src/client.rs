//! Calls to the simulated cluster, as clients make them.

use std::str::FromStr as _;
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::program::NAMESPACE;
use crate::run::{GRPC_PORT, NODES, node_name};

pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(3);
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// Calls a node drawn at random, over a fresh connection after each failure: a TCP
/// connection of the simulation does not survive a cut link.
pub(crate) struct Client {
    rng: StdRng,
    channels: Vec<Option<Channel>>,
    name: Option<&'static str>,
}

impl Client {
    pub(crate) fn worker(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), channels: vec![None; NODES], name: None }
    }

    /// Under this name a reader is shown nothing that is not written.
    pub(crate) fn user(seed: u64) -> Self {
        Self { name: Some("temporal-cli"), ..Self::worker(seed) }
    }

    pub(crate) async fn call<Req, Res>(&mut self, method: &str, request: Req, timeout: Duration) -> Result<Res, Status>
    where
        Req: Message + Clone + 'static,
        Res: Message + Default + 'static,
    {
        let first = self.rng.random_range(0..NODES);
        let mut result = Err(Status::unavailable("no node accepts connections"));
        // Where nobody listens nothing was asked: the next node is as good.
        for node in (0..NODES).map(|turn| (first + turn) % NODES) {
            result = Box::pin(self.call_at(node, method, request.clone(), timeout)).await;
            if !result.as_ref().is_err_and(is_refused_connection) {
                break;
            }
        }
        result
    }

    async fn call_at<Req, Res>(
        &mut self,
        node: usize,
        method: &str,
        request: Req,
        timeout: Duration,
    ) -> Result<Res, Status>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        let channel = self.channels[node].get_or_insert_with(|| channel(node)).clone();
        let result = tokio::time::timeout(timeout, unary(channel, method, request, self.name, timeout)).await;
        let result = result.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        if result.as_ref().is_err_and(|status| !definite(status)) {
            self.channels[node] = None;
        }
        result
    }

    /// The same request again and again, until there is a definite answer.
    pub(crate) async fn insist<Req, Res>(&mut self, method: &str, request: Req) -> Result<Res, Status>
    where
        Req: Message + Clone + 'static,
        Res: Message + Default + 'static,
    {
        loop {
            match self.call(method, request.clone(), CALL_TIMEOUT).await {
                Err(status) if !definite(&status) => tokio::time::sleep(RETRY_PAUSE).await,
                answer => return answer,
            }
        }
    }
}

/// Whether the cluster has decided: neither busy, nor lost, nor late.
pub(crate) fn definite(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::AlreadyExists | Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented
    )
}

fn is_refused_connection(status: &Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if kind == Some(std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn channel(node: usize) -> Channel {
    let connector = tower::service_fn(move |_: Uri| async move {
        let stream = turmoil::net::TcpStream::connect((node_name(node), GRPC_PORT)).await?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    Endpoint::from_static("http://perpetuo").connect_timeout(CALL_TIMEOUT).connect_with_connector_lazy(connector)
}

async fn unary<Req, Res>(
    channel: Channel,
    method: &str,
    request: Req,
    name: Option<&'static str>,
    timeout: Duration,
) -> Result<Res, Status>
where
    Req: Message + 'static,
    Res: Message + Default + 'static,
{
    let path = format!("/temporal.api.workflowservice.v1.WorkflowService/{method}");
    let path = PathAndQuery::from_str(&path).map_err(|_| Status::internal("malformed path"))?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(request);
    request.set_timeout(timeout);
    if let Some(name) = name {
        request.metadata_mut().insert("client-name", MetadataValue::from_static(name));
    }
    Ok(grpc.unary(request, path, ProstCodec::<Req, Res>::default()).await?.into_inner())
}

/// The events from `next_page_token` on, the beginning if it is empty.
pub(crate) async fn pages(
    client: &mut Client,
    execution: WorkflowExecution,
    next_page_token: Vec<u8>,
) -> Result<Vec<HistoryEvent>, Status> {
    let mut request = wf::GetWorkflowExecutionHistoryRequest {
        namespace: NAMESPACE.to_owned(),
        execution: Some(execution),
        next_page_token,
        ..Default::default()
    };
    let mut events = Vec::new();
    loop {
        let page: wf::GetWorkflowExecutionHistoryResponse =
            client.call("GetWorkflowExecutionHistory", request.clone(), CALL_TIMEOUT).await?;
        events.extend(page.history.unwrap_or_default().events);
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        request.next_page_token = page.next_page_token;
    }
}

pub(crate) fn is_close(event: &HistoryEvent) -> bool {
    use temporalio_protos::temporal::api::enums::v1::EventType as E;
    matches!(
        event.event_type(),
        E::WorkflowExecutionCompleted
            | E::WorkflowExecutionFailed
            | E::WorkflowExecutionTimedOut
            | E::WorkflowExecutionCanceled
            | E::WorkflowExecutionTerminated
            | E::WorkflowExecutionContinuedAsNew
    )
}
