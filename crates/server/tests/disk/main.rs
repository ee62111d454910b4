//! What becomes of a node whose disk fails: every row of `docs/operations/disk.md`. The
//! faults of a device are injected through the seams into a whole node in this process; a
//! full disk and a read-only one are real small file systems under the real binary.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod cluster;
mod injected;
mod process;
mod small;
