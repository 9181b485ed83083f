//! Compiles the trimmed Gitaly protos with protox, so that no `protoc` is needed on the machine.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["gitaly.proto"], [root])?;
    tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_SANDBOX").is_some())
        .build_client(true)
        .compile_fds(descriptors)?;
    Ok(())
}
