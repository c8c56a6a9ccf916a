//! The traffic of the demo: a registrar, phones, attackers, and the namespaces in which they meet.
//!
//! These are real programs over real sockets, small enough to read, and the integration tests run the same ones. They
//! deliberately know nothing of Palisade's node, log or firewall: what they cause must be seen on the wire.
//!
//! Every program is a function with typed options that returns its figures; each ends when its [`stop::Stop`] says so.
//! The parts that decide anything ([`registrar::core`], [`phones::Phone`], [`attackers`]' message layouts, the analysis
//! in [`probe`]) take time and randomness as arguments; sockets and clocks stay in the loops around them.
//!
//! Invariants: nothing is sent anywhere but to the addresses in the options; every table, thread count and packet
//! count has a named bound. Tests: beside the code, and `tests/it/traffic.rs` over real sockets and namespaces.

pub mod attackers;
mod clock;
pub mod dice;
pub mod namespaces;
pub mod phones;
pub mod probe;
pub mod registrar;
pub mod relay;
pub mod stop;
pub mod tap;
mod wire;
