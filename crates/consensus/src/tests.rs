//! Whole groups, from one node to three, over a network, disks and stores in memory.

mod cluster;
mod harness;
mod single;
mod suite;
