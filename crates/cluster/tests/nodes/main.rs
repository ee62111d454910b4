//! Whole nodes in one process over loopback TCP, with services that only say who they are.

#![expect(clippy::unwrap_used, reason = "test code")]

mod alone;
mod disks;
mod failures;
mod harness;
mod joining;
mod metadata;
mod routing;
