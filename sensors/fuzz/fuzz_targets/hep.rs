//! A report of a telephone system.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sensors::fuzzing::hep(bytes));
