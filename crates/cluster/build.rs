//! Compiles the stored form of group 0 from `proto/`, without protoc.

use std::path::Path;
use std::{env, fs};

use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

#[expect(clippy::disallowed_methods, reason = "a build script learns from cargo through the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/perpetuo/cluster");
    let descriptors = fs::read(env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?)?;
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(Path::new("../../proto").to_owned()));
    resolver.add(DescriptorSetFileResolver::new(prost::Message::decode(descriptors.as_slice())?));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_files(["perpetuo/cluster/v1/metadata.proto"])?;
    prost_build::Config::new()
        .compile_well_known_types()
        .extern_path(".temporal.api", "::temporalio_protos::temporal::api")
        .extern_path(".google.protobuf", "::prost_types")
        // Equal records must encode to equal bytes on every node.
        .btree_map(["."])
        .bytes(["."])
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
