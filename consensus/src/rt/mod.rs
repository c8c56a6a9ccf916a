//! The threads and sockets around the core.
//!
//! ```text
//!   host process: driver thread                  writer thread              tokio
//!   ───────────────────────────                  ─────────────              ─────
//!   inbox ─> Core ─> Persist ────── submit ────> batch, fsync
//!     ^       │                                   1. persisted = n
//!     │       └── Send ─────────────┐             2. send `then` ─────────> Transport ─> peers
//!     ├──────────── wake ───────────┼──────────── 3. wake                      │
//!     └─────────────────────────────┼──────────────────────────────────────────┘
//!                                   └────────────────────────────────────────> Transport
//! ```
//!
//! One turn of the driver: take what the inbox holds; *then* look at [`writer::Writer::persisted`] and, if it rose, hand the
//! core [`Input::Persisted`](crate::core::Input::Persisted) before the rest. In that order the core never sees an answer to a
//! message before the persistence that let the message go.

#![expect(
    clippy::disallowed_methods,
    reason = "the shell of consensus: it owns the writer's thread, the sockets and their timers"
)]

pub mod bulk;
mod frame;
pub mod join;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod transport;
pub mod writer;

mod proto {
    //! Generated from `proto/peer.proto`.
    #![expect(
        unreachable_pub,
        unused_parens,
        mismatched_lifetime_syntaxes,
        renamed_and_removed_lints,
        clippy::allow_attributes,
        clippy::panic,
        clippy::unwrap_used,
        reason = "the generator's style"
    )]
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

/// An error with all its sources, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
