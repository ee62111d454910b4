//! Compiles the internal protocol of this crate from `proto/`, without protoc.
fn main() {}
