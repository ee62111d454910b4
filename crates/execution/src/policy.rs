//! Rules that several machines share and that need no state of their own: retries, cron,
//! timeouts, the failures that the server itself writes, and who owns a workflow id.
//!
//! Everything here is a function of its arguments. Where the rules come from is named in
//! each file; the messages are part of the public contract.

pub mod activity_options;
pub mod cron;
pub mod duration;
pub mod failure;
pub mod retry;
pub(crate) mod search_attributes;
pub mod start_policy;
pub mod timeouts;
pub(crate) mod versioning_override;
