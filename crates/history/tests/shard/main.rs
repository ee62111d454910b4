//! The runtime on a real single-voter group: everything but matching is the real thing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod client;
mod matching;
mod world;

mod big;
mod bound;
mod children;
mod crash;
mod dispatch;
mod failover;
mod histories;
mod pages;
mod queries;
mod reset_children;
mod resets;
mod retention;
mod starts;
mod tokens;
mod updates;
mod workflows;
