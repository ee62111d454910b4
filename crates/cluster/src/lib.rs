//! The cluster as one thing: who is alive, where a cell lives, what every node knows
//! (group 0: namespaces, settings of task queues and the shard map), and the [`Router`] through which history,
//! matching and frontend meet.
//!
//! **Invariant:** liveness and leader hints are only hints; safety comes from Raft. Knows
//! nothing of workflow rules.

mod balance;
mod elections;
mod formation;
mod join;
mod learners;
mod liveness;
mod metadata;
mod namespace;
mod node;
mod peer;
mod placement;
mod room;
mod router;
mod service;
mod services;
mod starts;
mod task_queue;

pub use join::Join;
pub use namespace::{Namespace, NamespaceChange, Namespaces, SYSTEM_NAMESPACE};
pub use node::{Config, Member, Node, NodeError};
pub use room::DiskShortage;
pub use router::{PartitionOwner, Router, bind};
pub use service::{ActivityReservation, HistoryService, MatchingService, VisibilityService};
pub use storage::SpaceLevel;
pub use task_queue::TaskQueueSettings;

use services::Services;
