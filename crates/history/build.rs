//! Compiles the values of history's tables from `proto/`, without protoc.

use std::path::Path;

use protox::Compiler;
use protox::file::{ChainFileResolver, IncludeFileResolver};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/perpetuo/history");
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(Path::new("../../proto").to_owned()));
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_files(["perpetuo/history/v1/tables.proto"])?;
    prost_build::Config::new().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
