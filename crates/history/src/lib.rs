//! The shard runtime: load, decide, propose, reply at commit, then act.
//!
//! ```text
//!  request ─▶ Handle ─▶ bounded queue ─▶ one loop per shard and term (shard::leader)
//!                                          │ load run: cache ▸ KV
//!                                          │ execution::workflow::decide
//!                                          │ apply to the cache (the overlay), pack rows into a batch
//!                                          ▼
//!                                        consensus::Group::propose, a few in flight
//!                                          │ at commit
//!                                          ├─▶ replies, waiting readers
//!                                          └─▶ tasks to matching, wake-ups armed
//! ```
//!
//! **Invariant:** nothing that is not committed is ever shown; everything in memory can be
//! rebuilt from the rows, and is, whenever the term changes.

mod config;
mod errand;
mod error;
mod run;
mod service;
mod shard;
mod table;
mod wire;

pub use config::{Config, ConfigError};
pub use service::{Handle, Service};
pub use table::pending::workflow as pending_workflow;
pub use table::visible::VisibleRows;
