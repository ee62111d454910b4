//! The messages of `proto/perpetuo/execution/v1/state.proto`: the stored form of a run, also
//! used in memory for the items of its state.
#![allow(clippy::all, unreachable_pub, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/perpetuo.execution.v1.rs"));
