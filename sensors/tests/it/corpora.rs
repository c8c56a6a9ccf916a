//! The fuzzer's corpora, replayed by the ordinary compiler: what was once found stays found. `make fuzz` looks for more.

use std::path::Path;

use crate::playback::files;

#[path = "../../fuzz/src/authorization.rs"]
mod authorization;
#[path = "../../fuzz/src/datagram.rs"]
mod datagram;

/// A fuzz target's name and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("authorization", authorization::run),
    ("datagram", datagram::run),
    ("dns", sensors::fuzzing::dns),
    ("hep", sensors::fuzzing::hep),
    ("packet", sensors::fuzzing::packet),
    ("reassembly", sensors::fuzzing::reassembly),
    ("stream", sensors::fuzzing::stream),
    ("tftp", sensors::fuzzing::tftp),
    ("websocket", sensors::fuzzing::websocket),
];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test is a shell: it reads the inputs")]
fn every_input_that_the_fuzzer_kept_is_taken() {
    for (name, run) in TARGETS {
        let inputs = files(&folder().join("corpus").join(name));
        assert!(5 <= inputs.len(), "{name}: {} inputs", inputs.len());
        for input in inputs {
            let bytes = std::fs::read(&input).unwrap();
            // Cut off everywhere in a short one, here and there in a long one.
            let step = bytes.len() / 200 + 1;
            for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
                run(&bytes[..end]);
            }
        }
    }
}

/// Corpora, targets and the table above name the same; the fuzzer runs the product's own crates, not copies.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test is a shell: it reads the package's description")]
fn the_fuzz_package_has_these_targets_over_the_product() {
    let names: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> Vec<String> {
        let stem = |path: &std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        files(&self::folder().join(folder)).iter().map(stem).collect()
    };
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
    let package = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for line in ["sensors = { path = \"..\" }", "sip = { path = \"../sip\" }"] {
        assert!(package.lines().any(|found| found == line), "the fuzz package lacks {line}");
    }
    for name in names {
        assert!(package.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not built");
    }
}
