//! Compiles the internal protocol of this crate from `proto/`, without protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.join("perpetuo/consensus").display());
    let files = ["perpetuo/consensus/v1/log.proto", "perpetuo/consensus/v1/rpc.proto"];
    let descriptors = protox::compile(files, [&root])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
