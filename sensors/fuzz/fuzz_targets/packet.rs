//! A captured frame.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sensors::fuzzing::packet(bytes));
