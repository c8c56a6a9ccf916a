//! A datagram on a SIP port, through the whole engine.

#![no_main]

#[path = "../src/datagram.rs"]
mod datagram;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datagram::run(bytes));
