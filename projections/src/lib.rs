//! Everything derived from the log: decision models ([`decide`]), read models ([`read`]) and plans ([`plan`]).
//!
//! It is pure. It deliberately knows no clock, randomness, file, network or thread, and nothing of consensus,
//! sensors or HTTP: time is an argument, identities come with the command, the world is somebody else's.
//!
//! Entry types: [`decide::Model`] with [`decide::decide`] (the leader alone calls it), [`read::ReadModels`]
//! (every host folds it and answers queries from it), [`plan::firewall::FirewallPlan`] (what the kernel
//! should hold), [`frame::Checkpoint`] (a state put aside, so that a start folds the tail alone).
//!
//! Invariants, each with a test in `tests/`:
//! - `evolve` is total, infallible and sees no clock; the same log gives the same [`read::state_hash`] on every host;
//! - `decide` changes nothing, and emits only what `evolve` and the log's codec can take;
//! - an address that may never be blocked is in no plan's blocked sets, whatever the order of commands;
//! - unproven evidence never ends in a permanent denial;
//! - a log whose erased attack data is missing folds to the same state as the whole log;
//! - a checkpoint taken up equals the state put aside, and damaged bytes are refused;
//! - a command takes effect once, however often it is submitted.

mod address;
mod book;
pub mod decide;
mod digest;
pub mod frame;
mod networks;
pub mod plan;
pub mod read;

pub use address::{Untouchable, canonical, canonical_network};
pub use read::state_hash;
