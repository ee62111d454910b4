//! Compiles the internal protocol of this crate from `proto/`, without protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Relative to this crate: a build directory may be shared by several clones.
    let root = Path::new("../../proto");
    println!("cargo:rerun-if-changed={}", root.join("perpetuo/consensus").display());
    let files = ["perpetuo/consensus/v1/log.proto", "perpetuo/consensus/v1/rpc.proto"];
    let descriptors = protox::compile(files, [root])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
