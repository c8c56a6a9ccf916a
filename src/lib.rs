//! The host process as a library: composition and actuators, no rules.
//!
//! `node` is one host as a pure object; `runtime` is the shell that drives it; `actuators` change the world; `cli` is the
//! command line; `demo` makes the traffic that shows it all. Rules live in `projections` and `sensors`.

pub mod actuators;
pub mod audit;
pub mod chapters;
pub mod checkpoints;
pub mod cli;
pub mod config;
pub mod demo;
mod infrastructure;
mod names;
pub mod node;
mod policy;
pub mod provision;
pub mod recover;
pub mod runtime;
pub mod spooling;
pub mod witness;
