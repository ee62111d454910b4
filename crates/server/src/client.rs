//! A thin gRPC client for unary calls by path: no generated stubs, no SDK. Used by the
//! tools that speak only the public API, like any client.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::{Net as _, TcpNet};
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::tls::{self, Heard};

const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{address:?} is not HOST:PORT"))?
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true))
}

/// One connection. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    grpc: tonic::client::Grpc<Channel>,
    heard: Heard,
}

impl Client {
    /// Connects at the first call, and again whenever the connection broke.
    pub(crate) fn lazy(address: &str) -> anyhow::Result<Self> {
        let channel = endpoint(address)?.connect_lazy();
        Ok(Self {
            grpc: tonic::client::Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            heard: Heard::default(),
        })
    }

    /// The same over TLS, to a server that must prove that it is the host of the address.
    pub(crate) fn over_tls(address: &str, config: Arc<ClientConfig>) -> anyhow::Result<Self> {
        let heard = Heard::default();
        let connector = tower::service_fn({
            let (address, heard) = (address.to_owned(), Arc::clone(&heard));
            move |_: Uri| {
                let (address, config, heard) = (address.clone(), Arc::clone(&config), Arc::clone(&heard));
                async move {
                    let io = TcpNet.connect(&address).await?;
                    let connected = tls::connect(config, io, base::host_of(&address), heard).await;
                    connected.map(TokioIo::new).map_err(std::io::Error::other)
                }
            }
        });
        let channel = endpoint(address)?.connect_with_connector_lazy(connector);
        Ok(Self { grpc: tonic::client::Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX), heard })
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
        grpc.ready().await.map_err(|error| Status::unavailable(format!("cannot connect: {}", chain(&error))))?;
        let call = grpc.unary(request, path, ProstCodec::<Req, Res>::default());
        let response =
            tokio::time::timeout(timeout, call).await.map_err(|_| Status::deadline_exceeded("no answer in time"))?;
        response.map(tonic::Response::into_inner).map_err(|status| {
            // The connection knows better than the call that it took with it.
            let heard = self.heard.lock().expect("no panic while held").take();
            heard.map_or(status, |reason| Status::unavailable(format!("the server hung up: {reason}")))
        })
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

/// All that an error has to say: the reason is most often at its end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
