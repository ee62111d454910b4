//! Raft groups over one WAL. The only crate that names openraft; its types stay inside.
//!
//! A group replicates *batches of writes*, not commands: the leader has decided
//! everything, a follower only writes. Applying an entry checks its fence (term, sequence,
//! epoch) and puts its writes and the applied index into the KV in one atomic batch.
//!
//! **Invariant:** knows no sockets (the [`Transport`] seam) and nothing of workflows.

mod codec;
mod group;
mod handler;
mod host;
mod install;
mod keys;
mod log;
mod machine;
mod network;
mod pipeline;
mod proposal;
mod role;
mod runtime;
mod snapshot;
#[cfg(test)]
mod tests;
mod transport;
mod types;

pub use group::{Group, GroupStatus, ProposeError, Proposed, Role};
pub use host::{ApplyObserver, Config, Host, HostError};
pub use proposal::{Fence, Proposal};
pub use transport::{RaftHandler, Transport, TransportError};
