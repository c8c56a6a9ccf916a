//! Adds golden files for new kinds, schemas and cases: `cargo run -p log-format --example golden`. A file that is there
//! is never changed; one that would have to be is an error.
#![expect(clippy::disallowed_methods, reason = "writes the golden files")]
#![expect(clippy::expect_used, reason = "a tool for developers; the samples are constants")]

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for sample in samples::all() {
        add(&folder.join(format!("{}.bin", sample.name)), &sample.bytes)?;
        add(&folder.join(format!("{}.txt", sample.name)), sample.text.as_bytes())?;
    }
    for (name, bytes) in samples::compressed() {
        let path = folder.join(name);
        if !path.exists() {
            fs::write(path, bytes)?;
        }
    }
    Ok(())
}

fn add(path: &Path, contents: &[u8]) -> io::Result<()> {
    match fs::read(path) {
        Ok(found) if found == contents => Ok(()),
        Ok(_) => {
            let refusal =
                format!("{} differs and is not overwritten: raise the schema number", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, refusal))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(path, contents),
        Err(error) => Err(error),
    }
}
