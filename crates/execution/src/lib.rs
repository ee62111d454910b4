//! THE CORE: what a workflow does when something happens to it, as pure functions.
//!
//! ```text
//!   &State, Command, now, &Limits ──▶ decide ──▶ Decision { changes, tasks, reply, new_run }
//!   &mut State, &Change           ──▶ apply
//! ```
//!
//! **Invariant:** no async, clock, randomness, I/O, logging or locks. Fresh run ids and
//! jitter arrive inside the command. The same input gives the same [`workflow::Decision`].

pub mod policy;
pub mod workflow;

mod limits;
mod rejection;

pub use limits::Limits;
pub use rejection::Rejection;
