//! The public face of a node: gRPC for SDKs, the CLI and the Web UI, and JSON over HTTP. It checks requests,
//! resolves namespaces, and passes the rest to the shard or the task queue that knows.
//!
//! ```text
//! HTTP/2 ─▶ server ─▶ grpc (framing) ─▶ service ─▶ call (decode, namespace, version) ─▶ handlers
//!                                                                                          │ Backend
//!                                                                                          ▼
//!                                                                     Router ─▶ history, matching
//! ```
//!
//! A response that history or matching has encoded goes out as it is; nothing here decodes it.
//!
//! **Invariant:** no workflow semantics, no state but metrics, nothing that must survive a
//! restart. Knows history and matching only through the messages of `api::internal`.

mod backend;
mod call;
mod capabilities;
mod config;
mod grpc;
mod handlers;
mod http;
mod metrics;
mod ops;
mod output;
mod request;
mod room;
mod server;
mod service;
mod token;
mod validate;
mod version;

pub mod compatibility;

pub use self::http::{HttpApi, HttpConfig};
pub use backend::{Backend, ClusterBackend};
pub use capabilities::SERVER_VERSION;
pub use config::{CallbackAddress, Config, ConfigError, Limits};
pub use metrics::{LATENCY_BOUNDS_MS, Metrics, OperationMetrics};
pub use server::ServeError;
pub use service::Service;
