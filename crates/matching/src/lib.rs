//! Task queues: workers park here, shards offer references to waiting tasks, and the
//! matcher pairs them. All of it is soft state: a task lives in its shard until its start
//! is recorded there, so losing this node loses nothing.
//!
//! **Invariant:** never writes anything down, and knows no rule of a workflow: whether a
//! task may still start is for its shard to say.

mod config;
mod describe;
mod key;
mod limiter;
mod matcher;
mod poll;
mod query;
mod registry;
mod service;
mod state;
mod statistics;
mod upstream;

pub use config::{Config, ConfigError};
pub use service::{Handle, Service};
pub use upstream::{ClusterUpstream, Upstream};
