//! A thin gRPC client for unary calls by path: no generated stubs, no SDK. Used by the
//! tools that speak only the public API, like any client.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// One connection. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    grpc: tonic::client::Grpc<Channel>,
}

impl Client {
    /// Connects at the first call, and again whenever the connection broke.
    pub(crate) fn lazy(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("{address:?} is not HOST:PORT"))?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true);
        Ok(Self { grpc: tonic::client::Grpc::new(endpoint.connect_lazy()).max_decoding_message_size(64 << 20) })
    }

    /// Calls `path` (`/package.Service/Method`).
    pub(crate) async fn call<Req, Res>(&self, path: &str, request: Req, timeout: Duration) -> Result<Res, Status>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        let path = PathAndQuery::from_str(path).map_err(|_| Status::internal("malformed path"))?;
        let mut request = Request::new(request);
        request.set_timeout(timeout);
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| Status::unavailable(format!("cannot connect: {error}")))?;
        let call = grpc.unary(request, path, ProstCodec::<Req, Res>::default());
        let response =
            tokio::time::timeout(timeout, call).await.map_err(|_| Status::deadline_exceeded("no answer in time"))?;
        Ok(response?.into_inner())
    }

    /// Calls a method of the public WorkflowService.
    pub(crate) async fn workflow<Req, Res>(&self, method: &str, request: Req, timeout: Duration) -> Result<Res, Status>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        self.call(&format!("/temporal.api.workflowservice.v1.WorkflowService/{method}"), request, timeout).await
    }
}
