//! Compiles the admin protocol from `proto/`, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/perpetuo/admin");
    let descriptors = protox::compile(["perpetuo/admin/v1/admin.proto"], ["../../proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
