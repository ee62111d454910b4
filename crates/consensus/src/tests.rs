//! Whole groups, from one node to three, over a network, disks and stores in memory.

mod chaos;
mod cluster;
mod determinism;
mod harness;
mod lease;
mod single;
mod snapshot;
mod suite;
mod threads;
