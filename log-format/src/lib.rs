//! What Palisade writes down: identifiers, times, events, the envelope around them, the write-ahead log that holds them on
//! disk, and the sealed chapters that keep them. `FORMAT.md` has every byte.
//!
//! It deliberately knows nothing of async, JSON, clocks or who calls it; files only through the `disk::Disk` trait.
//! Entry types: [`event::Event`] and [`envelope::Envelope`]; on disk, the write-ahead log and
//! [`chapter`].
//!
//! Invariants: bytes once written decode for ever (`golden/`); a decoder allocates no more than its limit; recovery never
//! takes a damaged batch for a good one, and never forgets an acknowledged one.

pub mod chapter;
pub mod codec;
pub mod disk;
pub mod envelope;
pub mod event;
pub mod history;
pub mod ids;
pub mod merkle;
#[cfg(bug)]
pub mod planted;
pub mod recover;
pub mod render;
pub mod repair;
pub mod reserve;
pub mod seal;
pub mod spool;
pub mod time;
mod upcast;
pub mod verify;
pub mod wal;
