//! Generates the code of `proto/host.proto`; pure Rust, no `protoc`.
#![expect(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
    {
        println!("cargo::rerun-if-changed=proto/host.proto");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    protobuf_codegen_pure::Codegen::new().out_dir(&out).input("proto/host.proto").include("proto").run()?;
    // Inner attributes and docs are not allowed where the file is included.
    let generated = fs::read_to_string(out.join("host.rs"))?;
    let kept: Vec<&str> =
        generated.lines().filter(|line| !line.starts_with("#![") && !line.starts_with("//!")).collect();
    fs::write(out.join("host_included.rs"), kept.join("\n"))?;
    Ok(())
}
