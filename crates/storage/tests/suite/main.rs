//! The contract of storage, tested from outside: one binary, since linking three engines
//! takes longer than the tests.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod disk;
mod engines;
mod kv_conformance;
mod kv_model;
mod pair;
mod random;
mod sigkill;
mod wal_basics;
mod wal_corruption;
mod wal_model;
mod wal_power_cut;
mod wal_segments;
mod wal_threads;
