//! The console in a real browser, over a real demo: Playwright drives Chromium through `tests/console`.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are shells: they start programs and read the environment"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use crate::demo::Demo;
use crate::support::{may_make_namespaces, not_run};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
const CHROMIUM: &str = "/usr/bin/chromium";
const TEST: &str = "the_console_shows_an_attacker_blocked_on_three_hosts";
const ON_A_WIRE: &str = "the_console_shows_an_attacker_blocked_on_three_hosts, on a wire";

#[test]
fn the_console_shows_an_attacker_blocked_on_three_hosts() {
    if !has_browser() {
        return;
    }
    // On a wire the kernels drop the attacker; on loopback the hosts watch him.
    let (words, attacker, enforcing): (&[&str], _, _) = if may_make_namespaces(ON_A_WIRE) {
        (&[], "10.77.0.66", 3)
    } else {
        (&["--unprivileged"], "198.51.100.66", 0)
    };
    let mut demo = Demo::start(words);
    let command = password_command(&demo.wait_for_line("prints another"));
    demo.wait_for_blocked(attacker, enforcing);
    // Its output is not kept back: the sum of its last line belongs to the sum of all tests.
    let tests = Command::new("npx")
        .args(["playwright", "test"])
        .current_dir(TESTS)
        .env("PALISADE_CONSOLE", demo.console())
        .env("PALISADE_ONE_TIME_PASSWORDS", command)
        .env("PALISADE_ATTACKER", attacker)
        .env("PALISADE_ENFORCING", enforcing.to_string())
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(tests.success(), "the console's tests: {tests}");
}

/// Whether the browser and the tests' modules are installed. Continuous integration installs them, so there they must be.
fn has_browser() -> bool {
    let modules = Path::new(TESTS).join("node_modules");
    let missing = [modules.as_path(), Path::new(CHROMIUM)].into_iter().find(|path| !path.exists());
    let Some(missing) = missing else { return true };
    let why = format!("{} is missing: run scripts/setup.sh test", missing.display());
    assert!(std::env::var_os("CI").is_none(), "{why}");
    not_run(TEST, why);
    false
}

/// The command that the demo prints between backticks.
fn password_command(line: &str) -> String {
    line.split('`').nth(1).unwrap().to_owned()
}
