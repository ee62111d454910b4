//! Generates, without protoc: our internal messages from `proto/`, the table of every
//! public RPC from the descriptor set that `temporalio-protos` publishes, and from that
//! crate's sources what the set has lost: the HTTP rules and the OpenAPI documents.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script everything through the environment")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

const SERVICES: [&str; 2] =
    ["temporal.api.workflowservice.v1.WorkflowService", "temporal.api.operatorservice.v1.OperatorService"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let proto = Path::new("../../proto");
    println!("cargo:rerun-if-changed=../../proto/perpetuo/internal");
    let descriptors = PathBuf::from(env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?);
    let sources = public_sources(&descriptors)?;
    let descriptors = fs::read(descriptors)?;
    let pool = DescriptorPool::decode(descriptors.as_slice())?;
    fs::write(out.join("methods.rs"), method_table(&pool))?;
    fs::write(out.join("descriptors.bin"), &descriptors)?;
    fs::write(out.join("http_rules.rs"), http_rules(&sources)?)?;
    for document in ["openapiv2.json", "openapiv3.yaml"] {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&fs::read(sources.join("api_upstream/openapi").join(document))?)?;
        fs::write(out.join(format!("{document}.gz")), encoder.finish()?)?;
    }

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
        // Equal messages must be equal bytes.
        .btree_map([".perpetuo.internal.v1.Roster"])
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

/// The `.proto` files that `temporalio-protos` was built from. Its descriptor set has no
/// options, and cargo tells a build script no other path; but that crate's own build script
/// was compiled just before, into a neighbouring folder, and its dep-info says from where.
fn public_sources(descriptors: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let builds = descriptors.ancestors().nth(3).ok_or("the descriptor set lies outside of a build directory")?;
    for build in fs::read_dir(builds)? {
        let build = build?;
        if !build.file_name().to_string_lossy().starts_with("temporalio-protos-") {
            continue;
        }
        for file in fs::read_dir(build.path())? {
            let file = file?.path();
            if file.extension().is_none_or(|extension| extension != "d") {
                continue;
            }
            let dep_info = fs::read_to_string(&file)?;
            let script = dep_info.split_whitespace().map(Path::new).find(|path| path.ends_with("build.rs"));
            if let Some(protos) = script.map(|script| script.with_file_name("protos")).filter(|path| path.is_dir()) {
                return Ok(protos);
            }
        }
    }
    Err(format!("no dep-info of temporalio-protos below {}", builds.display()).into())
}

/// One `HttpRule` per binding of `google.api.http`.
fn http_rules(sources: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut compiler = Compiler::new([sources.join("api_upstream"), sources.to_owned()])?;
    compiler.include_imports(true);
    compiler.open_files([
        "temporal/api/workflowservice/v1/service.proto",
        "temporal/api/operatorservice/v1/service.proto",
    ])?;
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice())?;
    let http = pool.get_extension_by_name("google.api.http").ok_or("the sources do not import google.api.http")?;
    let mut code = String::from("pub const HTTP_RULES: &[HttpRule] = &[\n");
    let mut index = 0;
    for service_name in SERVICES {
        let service = pool.get_service_by_name(service_name).ok_or("the sources lack a service")?;
        for method in service.methods() {
            let options = method.options();
            if let Value::Message(rule) = options.get_extension(&http).as_ref() {
                write_rule(&mut code, rule, index)?;
                let more = rule.get_field_by_name("additional_bindings");
                for rule in
                    more.iter().flat_map(|more| more.as_list().unwrap_or_default()).filter_map(Value::as_message)
                {
                    write_rule(&mut code, rule, index)?;
                }
            }
            index += 1;
        }
    }
    code.push_str("];\n");
    Ok(code)
}

fn write_rule(code: &mut String, rule: &DynamicMessage, method: usize) -> std::fmt::Result {
    for verb in ["get", "put", "post", "delete", "patch"] {
        if rule.has_field_by_name(verb)
            && let Some(template) = rule.get_field_by_name(verb)
            && let Some(body) = rule.get_field_by_name("body")
        {
            writeln!(
                code,
                "    HttpRule {{ verb: {:?}, template: {:?}, body: {:?}, method: {method} }},",
                verb.to_uppercase(),
                template.as_str().unwrap_or_default(),
                body.as_str().unwrap_or_default(),
            )?;
        }
    }
    Ok(())
}
