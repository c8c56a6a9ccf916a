//! What a client sends on a connection, cut in many ways.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sensors::fuzzing::stream(bytes));
