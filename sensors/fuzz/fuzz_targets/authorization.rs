//! The value of an Authorization or WWW-Authenticate header.

#![no_main]

#[path = "../src/authorization.rs"]
mod authorization;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| authorization::run(bytes));
