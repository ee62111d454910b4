//! The wire: Temporal's public RPCs as a table from their descriptors, our internal
//! messages, and the one table from errors to gRPC codes and Temporal's error details.
//!
//! **Invariant:** knows no state, no store and no rule of a workflow.

mod call_error;
mod error;
mod method;
mod raw;
mod status;

/// Messages between our own nodes and crates.
pub mod internal {
    #![expect(clippy::all, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/perpetuo.internal.v1.rs"));
}

pub use error::Error;
pub use method::{DESCRIPTORS, HTTP_RULES, HttpRule, METHODS, Method, OPENAPI_V2_GZIP, OPENAPI_V3_GZIP};
pub use raw::Raw;
pub use status::{MESSAGE_BYTES_MAX, RESOURCE_EXHAUSTED_CAUSE_HEADER, RESOURCE_EXHAUSTED_SCOPE_HEADER, message_hash};
