//! A gRPC client for encoded messages, over real sockets.

use std::time::Duration;

use api::Raw;
use bytes::Bytes;
use http::HeaderMap;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    gzip: Option<CompressionEncoding>,
}

impl Client {
    pub(crate) async fn connect(address: String) -> Self {
        let endpoint = tonic::transport::Endpoint::from_shared(address).expect("an address");
        Self { channel: endpoint.connect().await.expect("a server"), gzip: None }
    }

    pub(crate) fn gzip(&self) -> Self {
        Self { gzip: Some(CompressionEncoding::Gzip), ..self.clone() }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) async fn call(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        if let Some(encoding) = self.gzip {
            grpc = grpc.send_compressed(encoding).accept_compressed(encoding);
        }
        grpc.ready().await.expect("a connection");
        let mut request = Request::new(body);
        *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        grpc.unary(request, path.parse().expect("a path"), Raw).await.map(tonic::Response::into_inner)
    }
}
