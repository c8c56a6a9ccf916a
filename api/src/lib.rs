//! The HTTP API under `/api/v1`, its live stream, and the console's files.
//!
//! It deliberately knows nothing of consensus, sensors, stores or the kernel: what it shows comes through
//! [`ports::Reads`], what people wish goes out through [`ports::Submit`]. Entry type: [`Server`].
//!
//! Invariants: it writes nothing and keeps nothing but login sessions; every route stands in one table that says who may
//! call it; the console's files know no more than any other client of the API; everything that a stranger can hold open is
//! bounded ([`Limits`]).
//!
//! Tests: beside the code, and in `tests/` of this crate's `src` over real connections.

mod app;
mod auth;
mod connections;
mod console;
mod dto;
mod error;
mod events;
mod limits;
pub mod offline;
pub mod ports;
mod request;
mod routes;
mod server;
mod stall;
#[cfg(test)]
mod tests;
mod tls;
mod write;

pub use app::Config;
pub use auth::{LocalToken, NotALocalToken};
pub use limits::Limits;
pub use server::{CertificateSetter, Server, SessionSources, StartError};
pub use tls::{Transport, TransportError};
