//! History's tables. One file each; a key is `cell (2 bytes BE) | table id (1 byte) | ...`.
//!
//! ```text
//! CURRENT  ns, workflow id                    -> CurrentRun
//! STATE    ns, workflow id, run id, row key   -> a row of execution::workflow::State
//! HISTORY  ns, workflow id, run id, event id  -> encoded History (the events of one decision)
//! TIMER    fire time, ns, workflow id, run id -> empty
//! PENDING  ns, workflow id, run id            -> empty
//! VISIBLE  ns, workflow id, run id            -> WorkflowExecutionInfo, for lists
//! ```
//!
//! Integers are big-endian, so that byte order is their order. Ids are self-delimiting
//! (see [`key`]), so that one run's rows share a prefix that no other run has.

pub(crate) mod current;
pub(crate) mod event;
pub(crate) mod key;
pub(crate) mod pending;
pub(crate) mod state;
pub(crate) mod timer;
pub(crate) mod visible;

/// The values' messages, generated from `proto/perpetuo/history/v1`.
pub(crate) mod value {
    #![expect(unreachable_pub, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/perpetuo.history.v1.rs"));
}

#[cfg(test)]
mod tests;
