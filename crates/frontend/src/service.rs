//! [`Service`]: one table from paths to handlers, reached over HTTP/2 or in process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Error, METHODS};
use base::{Clock, Entropy, Listener};
use bytes::Bytes;
use cluster::SpaceLevel;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::call::{Call, Handler, State};
use crate::grpc::{self, Encoding, ResponseBody};
use crate::ops::Ops;
use crate::{Backend, Config, Metrics, ServeError, handlers, server};

/// The frontend of a node. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<State>,
    /// The index of each path in [`METHODS`] and in `handlers`.
    paths: HashMap<&'static str, usize>,
    handlers: Vec<Option<Handler>>,
    metrics: Metrics,
    ops: Ops,
    /// Whether `serve` was called.
    serving: AtomicBool,
    /// The room on the disk of this node.
    disk: Mutex<SpaceLevel>,
}

impl Service {
    #[must_use]
    pub fn new(config: Config, backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let state = State { config, backend, clock, entropy, draining: CancellationToken::new() };
        Self {
            inner: Arc::new(Inner {
                state: Arc::new(state),
                paths: METHODS.iter().enumerate().map(|(index, method)| (method.path, index)).collect(),
                handlers: METHODS.iter().map(|method| handlers::find(method.name)).collect(),
                metrics: Metrics::default(),
                ops: Ops::new(),
                serving: AtomicBool::new(false),
                disk: Mutex::default(),
            }),
        }
    }

    /// Serves gRPC on the listener until `shutdown`, then drains and lets calls finish for
    /// [`Config::shutdown_grace`].
    ///
    /// # Errors
    /// Only when the listener is unusable from the start.
    pub async fn serve(&self, listener: Box<dyn Listener>, shutdown: CancellationToken) -> Result<(), ServeError> {
        self.inner.serving.store(true, Ordering::Relaxed);
        self.refresh_health().await;
        server::serve(self.clone(), listener, shutdown).await
    }

    /// Reports "not serving" to health checks and ends parked polls with empty answers, so
    /// that workers go to other nodes. Other calls are still served.
    pub async fn drain(&self) {
        self.inner.state.draining.cancel();
        self.refresh_health().await;
    }

    /// What this node knows of its own disk. To be told regularly.
    pub async fn report_disk(&self, level: SpaceLevel) {
        *self.inner.disk.lock().unwrap_or_else(PoisonError::into_inner) = level;
        self.refresh_health().await;
    }

    /// Tells health checks how it stands. The whole
    /// server serves while new work is taken; WorkflowService as long as work that was begun
    /// can go on here; OperatorService until the end, since it can make room.
    async fn refresh_health(&self) {
        let Inner { state, ops, serving, disk, .. } = &*self.inner;
        let health = || {
            let own = *disk.lock().unwrap_or_else(PoisonError::into_inner);
            let cluster = state.backend.disk_shortage().map_or(SpaceLevel::Ample, |shortage| shortage.level);
            let level = own.max(cluster);
            let is_up = serving.load(Ordering::Relaxed) && !state.draining.is_cancelled();
            [is_up && level < SpaceLevel::Low, is_up && level < SpaceLevel::Critical, is_up]
        };
        ops.set_health(health).await;
    }

    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.state.config
    }

    /// One call without a network: what HTTP/2 does after reading the message. `headers`
    /// is the metadata, `timeout` what the caller allows.
    ///
    /// # Errors
    /// The status a client would see.
    pub async fn call(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Status> {
        let Some(&method) = self.inner.paths.get(path) else { return Err(unknown(path)) };
        let started = Instant::now();
        let result = self.dispatch(method, headers, body, timeout, started).await;
        let code = result.as_ref().err().map_or(Code::Ok, Error::code);
        self.inner.metrics.record(method, code, started.elapsed());
        result.map_err(|error| status_of(&error, METHODS[method].name))
    }

    async fn dispatch(
        &self,
        method: usize,
        headers: &HeaderMap,
        body: Bytes,
        timeout: Option<Duration>,
        started: Instant,
    ) -> Result<Bytes, Error> {
        let name = METHODS[method].name;
        let Some(handler) = self.inner.handlers[method] else {
            return Err(Error::Unimplemented(format!("{name} is not implemented by this server.")));
        };
        let config = &self.inner.state.config;
        let allowed = timeout.unwrap_or_else(|| patience(name, config)).min(config.call_timeout_max);
        let client = headers.get("client-name").and_then(|name| name.to_str().ok());
        let call = Call {
            state: Arc::clone(&self.inner.state),
            name,
            deadline: started + allowed,
            timeout,
            written_events_only: matches!(client, Some("temporal-cli" | "temporal-ui")),
            follows_next_run: handlers::follows_next_run(headers),
        };
        let deadline = call.deadline;
        tokio::time::timeout_at(deadline, handler(call, headers, body)).await.unwrap_or(Err(Error::DeadlineExceeded))
    }

    /// One HTTP/2 request.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if request.method() != Method::POST {
            return grpc::plain(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST requests\n");
        }
        let grpc_type = request.headers().get(http::header::CONTENT_TYPE).is_some_and(|value| {
            value.as_bytes().starts_with(b"application/grpc") && !value.as_bytes().starts_with(b"application/grpc-web")
        });
        if !grpc_type {
            return grpc::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type must be application/grpc\n");
        }
        if !self.inner.paths.contains_key(request.uri().path()) {
            let status = unknown(request.uri().path());
            return Box::pin(self.inner.ops.handle(request)).await.unwrap_or_else(|| grpc::failure(&status));
        }
        let (parts, body) = request.into_parts();
        match self.unary(&parts, body).await {
            Ok((message, encoding)) => grpc::response(message, encoding),
            Err(status) => grpc::failure(&status),
        }
    }

    async fn unary(&self, parts: &http::request::Parts, body: Incoming) -> Result<(Bytes, Encoding), Status> {
        let timeout = grpc::timeout(&parts.headers)?;
        let encoding = Encoding::of_request(&parts.headers)?;
        let config = self.config();
        let message = grpc::read_message(body, encoding, config.limits.request_bytes_max);
        // A request that trickles in must not hold its stream for ever.
        let message = tokio::time::timeout(timeout.unwrap_or(config.call_timeout_max), message)
            .await
            .unwrap_or_else(|_| Err(Error::DeadlineExceeded.into()))?;
        let answer = self.call(parts.uri.path(), &parts.headers, message, timeout).await?;
        Ok((answer, encoding))
    }
}

/// The words of gRPC-Go, by which clients recognise an older server.
fn unknown(path: &str) -> Status {
    match path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
        Some((service, method)) if METHODS.iter().any(|known| known.service == service) => {
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        }
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

/// How long a call may take whose client does not say. Who waits for an update is answered
/// within 20 s, whatever became of it.
fn patience(name: &str, config: &Config) -> Duration {
    const UPDATE: Duration = Duration::from_secs(30);
    match name {
        "UpdateWorkflowExecution" | "PollWorkflowExecutionUpdate" | "ExecuteMultiOperation" => {
            config.call_timeout_default.max(UPDATE)
        }
        _ => config.call_timeout_default,
    }
}

/// Internal errors leave their text in the log, under the hash that the client is shown.
fn status_of(error: &Error, operation: &str) -> Status {
    if let Error::Internal(text) = error {
        tracing::error!(operation, hash = api::message_hash(text), error = %text, "internal error");
    }
    Status::from(error)
}
