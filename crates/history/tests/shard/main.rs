//! The runtime on a real single-voter group: everything but matching is the real thing.

mod client;
mod matching;
mod world;

mod crash;
mod histories;
mod queries;
mod retention;
mod starts;
mod workflows;
