//! `grpc.health.v1` and server reflection: what probes and `grpcurl` ask.

use std::convert::Infallible;
use std::sync::OnceLock;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::util::BoxCloneSyncService;
use tower::{Service as _, ServiceExt as _};

use crate::grpc::ResponseBody;

/// The names that probes may ask for; the empty one stands for the whole server.
const HEALTH_NAMES: [&str; 3] =
    ["", "temporal.api.workflowservice.v1.WorkflowService", "temporal.api.operatorservice.v1.OperatorService"];

/// Whether each of [`HEALTH_NAMES`] serves.
type Health = [bool; HEALTH_NAMES.len()];

const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION_V1: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The services that tonic serves.
pub(crate) struct Ops {
    reporter: HealthReporter,
    health: HealthServer<HealthService>,
    told: tokio::sync::Mutex<Option<Health>>,
    /// Built when it is first asked for: decoding all descriptors takes a while.
    reflection: OnceLock<Option<Reflection>>,
}

#[derive(Clone)]
struct Reflection {
    v1: Inner,
    v1alpha: Inner,
}

impl Ops {
    pub(crate) fn new() -> Self {
        let reporter = HealthReporter::new();
        // The Java SDK compresses even its health check.
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        Self { reporter, health, told: tokio::sync::Mutex::default(), reflection: OnceLock::new() }
    }

    /// Tells what `serving` finds, in the order of [`HEALTH_NAMES`]. Who watches hears only of
    /// changes. One after the other, so that what is found last is what is told last; the
    /// reporter never waits for anybody but its readers.
    pub(crate) async fn set_health(&self, serving: impl FnOnce() -> Health) {
        let mut told = self.told.lock().await;
        let serving = serving();
        if *told == Some(serving) {
            return;
        }
        *told = Some(serving);
        for (name, serving) in HEALTH_NAMES.into_iter().zip(serving) {
            let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// `None` when the request is for none of these services.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Option<Response<ResponseBody>> {
        let service = request.uri().path().strip_prefix('/')?.split('/').next()?;
        let inner = match service {
            HEALTH => Inner::new(self.health.clone()),
            REFLECTION_V1 => self.reflection()?.v1,
            REFLECTION_V1ALPHA => self.reflection()?.v1alpha,
            _ => return None,
        };
        Some(run(inner, request).await)
    }

    fn reflection(&self) -> Option<Reflection> {
        self.reflection
            .get_or_init(|| {
                build_reflection()
                    .inspect_err(|error| tracing::error!(%error, "server reflection is not available"))
                    .ok()
            })
            .clone()
    }
}

async fn run(mut inner: Inner, request: Request<Incoming>) -> Response<ResponseBody> {
    let request = request.map(Body::new);
    let response = match inner.ready().await {
        Ok(ready) => ready.call(request).await,
        Err(never) => match never {},
    };
    match response {
        Ok(response) => response.map(ResponseBody::Tonic),
        Err(never) => match never {},
    }
}

fn build_reflection() -> Result<Reflection, tonic_reflection::server::Error> {
    let builder = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(api::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        for name in [HEALTH, REFLECTION_V1, REFLECTION_V1ALPHA] {
            builder = builder.with_service_name(name);
        }
        for name in HEALTH_NAMES.into_iter().filter(|name| !name.is_empty()) {
            builder = builder.with_service_name(name);
        }
        builder
    };
    let gzip = CompressionEncoding::Gzip;
    Ok(Reflection {
        v1: Inner::new(builder().build_v1()?.accept_compressed(gzip).send_compressed(gzip)),
        v1alpha: Inner::new(builder().build_v1alpha()?.accept_compressed(gzip).send_compressed(gzip)),
    })
}
