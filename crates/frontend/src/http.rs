//! The public API over HTTP with JSON: every RPC that has a rule of `google.api.http`, on
//! a port of its own. A request becomes the encoded message of its RPC and takes the way
//! of every gRPC call; its answer becomes JSON.
//!
//! ```text
//! verb, path ─▶ routes ─▶ input (body, query, path ─▶ message) ─▶ Service::call ─▶ output ─▶ JSON
//! ```
//! `?pretty` indents, `?noPayloadShorthand` shows payloads as protobuf does; `Accept:
//! application/json+pretty+no-payload-shorthand` says the same.

mod input;
mod json;
mod output;
mod routes;
mod server;
mod shorthand;

use std::sync::Arc;

use base::Listener;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{SERVER_VERSION, ServeError, Service};
use output::Form;
use routes::{Missing, Route, Routes};

const JSON: &str = "application/json";
/// What a caller is taken for that does not say what it is.
const CLIENT_NAME: &str = "temporal-server-http";
/// The headers that mean the same over HTTP as in a call's metadata.
const FORWARDED: [&str; 6] =
    ["authorization", "authorization-extras", "client-name", "client-version", "x-forwarded-for", "traceparent"];
/// In front of the name of any other header that is meant as metadata.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// The settings of the HTTP API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpConfig {
    /// Origins whose pages may call from a browser; `*` is all of them. Default none.
    pub cors_origins: Vec<String>,
    /// Connections served at once; more are closed at once. Default 1000.
    pub connections_max: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { cors_origins: Vec::new(), connections_max: 1000 }
    }
}

/// The HTTP API of a node. Cheap to clone.
#[derive(Clone)]
pub struct HttpApi {
    inner: Arc<Inner>,
}

struct Inner {
    service: Service,
    config: HttpConfig,
    pool: DescriptorPool,
    /// Request and response of each of [`api::METHODS`].
    messages: Vec<(MessageDescriptor, MessageDescriptor)>,
    routes: Routes,
}

impl HttpApi {
    #[must_use]
    pub fn new(service: Service, config: HttpConfig) -> Self {
        let pool = DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors were decoded by the build");
        let messages = api::METHODS.iter().map(|method| {
            let service = pool.get_service_by_name(method.service).expect("the table is made of the descriptors");
            let found = service.methods().find(|candidate| candidate.name() == method.name);
            found.map(|method| (method.input(), method.output())).expect("the table is made of the descriptors")
        });
        let messages = messages.collect();
        Self { inner: Arc::new(Inner { service, config, pool, messages, routes: Routes::new("/") }) }
    }

    /// Serves on the listener until `shutdown`, then lets calls finish for
    /// [`crate::Config::shutdown_grace`].
    ///
    /// # Errors
    /// Only when the listener is unusable from the start.
    pub async fn serve(&self, listener: Box<dyn Listener>, shutdown: CancellationToken) -> Result<(), ServeError> {
        server::serve(self.clone(), listener, shutdown).await
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let origin = self.allowed_origin(request.headers());
        let mut response = match origin {
            Some(_) if request.method() == http::Method::OPTIONS => preflight(request.headers()),
            _ => self.answer(request).await,
        };
        if let Some(origin) = origin {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let form = form(&request);
        let path = request.uri().path();
        if let Some(document) = document(request.method(), path) {
            return document;
        }
        let status = match self.inner.routes.find(request.method().as_str(), path) {
            Ok(route) => match self.call(route, request, form).await {
                Ok(text) => return output::response(StatusCode::OK, JSON, text),
                Err(status) => status,
            },
            Err(Missing::Path) => Status::not_found("Not Found"),
            Err(Missing::Verb) => Status::unimplemented("Method Not Allowed"),
        };
        let body = output::error(&self.inner.pool, &status, form);
        output::response(output::http_code(status.code()), JSON, body)
    }

    async fn call(&self, route: Route, request: Request<Incoming>, form: Form) -> Result<String, Status> {
        let Inner { service, messages, .. } = &*self.inner;
        let (parts, body) = request.into_parts();
        let config = service.config();
        // What trickles in must not hold its connection for ever.
        let body = tokio::time::timeout(config.call_timeout_max, read(body, config.limits.request_bytes_max)).await;
        let body = body.unwrap_or_else(|_| Err(Status::deadline_exceeded("the body did not arrive in time")))?;
        let timeout = crate::grpc::timeout(&parts.headers)?;
        let headers = metadata(&parts.headers);
        let (input, output) = messages[route.rule.method].clone();
        let query = parts.uri.query().unwrap_or_default();
        let message = input::message(input, &route, query, &body)?;
        let answer = service.call(api::METHODS[route.rule.method].path, &headers, message.into(), timeout).await?;
        output::message(output, answer, form)
    }

    /// The origin of a page in a browser, when it may call.
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let allowed = |known: &String| known == "*" || known.as_bytes() == origin.as_bytes();
        self.inner.config.cors_origins.iter().any(allowed).then(|| origin.clone())
    }
}

/// As large as a gRPC message may be.
async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, Status> {
    let collected = Limited::new(body, bytes_max).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            return Status::invalid_argument(format!("http: request body too large (the limit is {bytes_max} bytes)"));
        }
        Status::cancelled(format!("the request broke off: {error}"))
    })
}

fn form<B>(request: &Request<B>) -> Form {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let query = request.uri().query().unwrap_or_default();
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    Form {
        pretty: asks("pretty") || accept.contains("+pretty"),
        payload_shorthand: !(asks("noPayloadShorthand") || accept.contains("+no-payload-shorthand")),
    }
}

/// The headers of an HTTP request as the metadata of a call.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        let forwarded = FORWARDED.contains(&name.as_str()).then(|| name.clone());
        let named = || name.as_str().strip_prefix(METADATA_PREFIX).and_then(|name| HeaderName::try_from(name).ok());
        if let Some(name) = forwarded.or_else(named) {
            metadata.insert(name, value.clone());
        }
    }
    if !metadata.contains_key("client-name") {
        metadata.insert("client-name", HeaderValue::from_static(CLIENT_NAME));
        metadata.insert("client-version", HeaderValue::from_static(SERVER_VERSION));
    }
    metadata
}

/// The API's own description.
fn document(verb: &http::Method, path: &str) -> Option<Response<Full<Bytes>>> {
    let (content_type, document) = match path {
        "/swagger.json" | "/api/v1/swagger.json" => (JSON, api::OPENAPI_V2_GZIP),
        "/openapi.yaml" | "/api/v1/openapi.yaml" => ("application/yaml", api::OPENAPI_V3_GZIP),
        _ => return None,
    };
    if verb != http::Method::GET {
        return None;
    }
    let mut response = output::response(StatusCode::OK, content_type, Bytes::from_static(document));
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Some(response)
}

/// What a browser asks before it lets a page call.
fn preflight(asked: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
