//! The binary as users run it: real processes, real ports, real files.

mod configuration;
mod handles;
mod process;
mod restart;
mod start_dev;
mod three_nodes;
