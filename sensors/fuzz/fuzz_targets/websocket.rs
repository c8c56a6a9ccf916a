//! A WebSocket's frames and its opening.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sensors::fuzzing::websocket(bytes));
