//! Looks whether the console was built; it never builds it. The Rust build and its tests need no Node.
//!
//! With `PALISADE_REQUIRE_CONSOLE=1` (releases, the whole test run) a missing console is an error; without, the binary
//! carries a page that says how to build it.

#![expect(clippy::disallowed_methods, reason = "a build script reads its environment")]

use std::path::Path;
use std::{env, fs};

const DIST: &str = "console/dist";

fn main() -> Result<(), String> {
    // Cargo holds a missing path for changed at every build; an empty folder is not missing.
    drop(fs::create_dir_all(DIST));
    println!("cargo:rerun-if-changed={DIST}");
    println!("cargo:rerun-if-env-changed=PALISADE_REQUIRE_CONSOLE");
    if Path::new(DIST).join("index.html").is_file() {
        return Ok(());
    }
    let advice = "the console is not built: run `npm ci && npm run build` in api/console";
    if env::var("PALISADE_REQUIRE_CONSOLE").is_ok_and(|value| value == "1") {
        return Err(advice.to_owned());
    }
    println!("cargo:warning={advice}");
    Ok(())
}
