//! Compiles the peer protocol; needs no `protoc`.

use std::path::PathBuf;

use protobuf_codegen_pure::{Codegen, Customize};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/peer.proto");
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells a build script where to write through the environment"
    )]
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    Codegen::new()
        .out_dir(&out_dir)
        .include("proto")
        .input("proto/peer.proto")
        .customize(Customize {
            carllerche_bytes_for_bytes: Some(true),
            gen_mod_rs: Some(true),
            ..Customize::default()
        })
        .run()?;
    Ok(())
}
