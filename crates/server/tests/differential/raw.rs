//! gRPC with encoded messages: bytes out, bytes in.

use std::time::Duration;

use api::Raw;
use bytes::Bytes;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self { channel: endpoint.connect().await.unwrap_or_else(|error| panic!("no server at {address}: {error}")) }
    }

    pub(crate) async fn call(
        &self,
        path: &str,
        client: Option<&(String, String)>,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(body);
        request.set_timeout(timeout);
        if let Some((name, version)) = client {
            let metadata = request.metadata_mut();
            metadata.insert("client-name", MetadataValue::try_from(name).expect("a name"));
            metadata.insert("client-version", MetadataValue::try_from(version).expect("a version"));
        }
        grpc.unary(request, path.parse().expect("a path"), Raw).await.map(tonic::Response::into_inner)
    }
}
