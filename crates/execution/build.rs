//! Compiles the stored form of the state from `proto/`, without protoc. The public API's
//! messages come from the descriptor set that `temporalio-protos` publishes.

use std::path::PathBuf;
use std::{env, fs};

use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

#[expect(clippy::disallowed_methods, reason = "a build script is told its inputs by the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/perpetuo/execution");
    let descriptors = env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?;
    // The text scenarios print messages by their descriptors.
    println!("cargo:rustc-env=TEMPORAL_DESCRIPTORS={descriptors}");
    let descriptors = fs::read(descriptors)?;
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(PathBuf::from("../../proto")));
    resolver.add(DescriptorSetFileResolver::new(prost::Message::decode(descriptors.as_slice())?));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_files(["perpetuo/execution/v1/state.proto"])?;
    prost_build::Config::new()
        .compile_well_known_types()
        .extern_path(".temporal.api", "::temporalio_protos::temporal::api")
        .extern_path(".google.protobuf", "::prost_types")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
