//! Whole nodes in one process over loopback TCP, with services that only say who they are.

mod alone;
mod failures;
mod harness;
mod metadata;
mod routing;
