//! The vocabulary of every other crate: ids, time, placement cells, the form of search
//! conditions, and the seams [`Clock`] and [`Entropy`]. It holds no behaviour that a reader would look for
//! elsewhere and never grows helpers.

mod cell;
pub mod condition;
mod entropy;
mod ids;
mod net;
mod search_attribute;
mod time;

pub use cell::{CELLS, Cell, CellRange, cell_of};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use ids::{NamespaceId, NodeId, RunId, ShardId, Term, WorkflowId};
pub use net::{Accepted, Certified, Io, Listener, Net, TcpNet, host_of};
pub use search_attribute::{
    AttributeType, CustomAttributes, PREDEFINED_ATTRIBUTES, SYSTEM_ATTRIBUTES, Setter, builtin_attribute,
    custom_attributes, is_reserved_attribute, name_slot, shown_type,
};
pub use time::{Clock, SystemClock, Timestamp};
