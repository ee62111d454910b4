//! Compiles the stored form of group 0 from `proto/`, without protoc.
fn main() {}
