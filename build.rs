//! Generates the code of `proto/host.proto`; pure Rust, no `protoc`.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script where to write through the environment"
)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/host.proto");
    let out = std::env::var("OUT_DIR")?;
    let customize = protobuf_codegen_pure::Customize { gen_mod_rs: Some(true), ..Default::default() };
    let mut generator = protobuf_codegen_pure::Codegen::new();
    generator.out_dir(out).input("proto/host.proto").include("proto").customize(customize).run()?;
    Ok(())
}
