//! Replication of opaque entries: one ordered log, the same on every host, over raft-rs 0.7.
//!
//! It deliberately knows nothing of events, commands, projections or the API: an entry is bytes. Entry types:
//! [`core::Core`], a pure object (inputs in, effects out) that owns raft; around it in [`rt`] the writer thread that owns the
//! write-ahead log and the transport between hosts. The driver that joins them belongs to the host process.
//!
//! Invariants:
//! - Nothing that depends on unsynced state leaves this host (`core/ready.rs` is the one place that orders it).
//! - Same seed, same inputs, same effects: `core` reads no clock, no randomness, no files.
//! - A committed entry is never forgotten and never changes; a disk that cannot promise that ends the process.
//! - A peer is who its certificate says, and speaks for nobody else.
//!
//! Tests: `core/tests.rs` runs whole clusters in memory, also through random failures; `rt/transport/tests.rs` speaks TLS over
//! the loopback; `rt/tests.rs` joins both into three hosts; `tests/advisories.rs` holds what `deny.toml` relies on.

pub mod core;
pub mod rt;
