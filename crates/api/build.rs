//! Generates, without protoc: our internal messages from `proto/`, and the table of every
//! public RPC from the descriptor set that `temporalio-protos` publishes.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script everything through the environment")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_reflect::DescriptorPool;
use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

const SERVICES: [&str; 2] =
    ["temporal.api.workflowservice.v1.WorkflowService", "temporal.api.operatorservice.v1.OperatorService"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let proto = Path::new("../../proto");
    println!("cargo:rerun-if-changed=../../proto/perpetuo/internal");
    let descriptors = fs::read(env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?)?;
    let pool = DescriptorPool::decode(descriptors.as_slice())?;
    fs::write(out.join("methods.rs"), method_table(&pool))?;
    fs::write(out.join("descriptors.bin"), &descriptors)?;

    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(proto.to_owned()));
    resolver.add(DescriptorSetFileResolver::new(prost::Message::decode(descriptors.as_slice())?));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_files(["perpetuo/internal/v1/peer.proto", "perpetuo/internal/v1/visibility.proto"])?;
    prost_build::Config::new()
        .compile_well_known_types()
        .extern_path(".temporal.api", "::temporalio_protos::temporal::api")
        .extern_path(".google.protobuf", "::prost_types")
        .bytes(["."])
        // A request is as large as the largest kind of request.
        .boxed(".perpetuo.internal.v1.Frame.body.history")
        .boxed(".perpetuo.internal.v1.Frame.body.matching")
        .boxed(".perpetuo.internal.v1.StartChild.request")
        .boxed(".perpetuo.internal.v1.ChildClosed.closing_event")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// One `Method` per RPC, in the descriptor's order.
fn method_table(pool: &DescriptorPool) -> String {
    let mut code = String::from("pub const METHODS: &[Method] = &[\n");
    for service_name in SERVICES {
        let service = pool.get_service_by_name(service_name).expect("the descriptor set has the service");
        for method in service.methods() {
            writeln!(
                code,
                "    Method {{ service: {service_name:?}, name: {:?}, path: \"/{service_name}/{}\" }},",
                method.name(),
                method.name(),
            )
            .expect("writing to a string");
        }
    }
    code.push_str("];\n");
    code
}
