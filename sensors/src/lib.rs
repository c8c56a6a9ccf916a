//! From packets to observations: what is an attack, seen from beside the wire.
//!
//! Entry: [`Engine`]. It is fed [`Frame`]s in the order in which they were captured and answers with [`Finding`]s. Frames come
//! from [`LiveCapture`] or [`PcapFile`], the two shells of this crate; everything else is pure: time is the frame's, the secret
//! of the hashes is an argument.
//!
//! It deliberately does not know what becomes of a finding: who is allowed, what is already blocked, what other hosts saw.
//!
//! Invariants: blame falls on the source address in the IP header and on nothing that the packet says of itself; a plain
//! challenge is never a strike; nothing unproven is due more than a soft block; every table is bounded and makes room in
//! constant time; no packet, however malformed, stops the engine.
//!
//! Tests: rules and tables beside their modules; whole captures in `corpus/`, run by `tests/`.

mod capture;
mod detect;
pub mod dns;
mod engine;
mod fragments;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod hep;
mod keyed;
mod observation;
mod packet;
mod pcap_file;
mod policy;
mod proof;
mod statistics;
mod streams;
mod table;
pub mod tftp;
mod timeline;
mod tls;
mod transaction;
mod tunnel;
mod websocket;

pub use capture::{Drops, LiveCapture, OpenCapture, filter};
pub use engine::Engine;
pub use frame::{Frame, LinkType};
pub use observation::{Finding, Note, Verdict};
pub use pcap_file::{PcapFile, ReadCapture};
pub use policy::{Limit, Limits, Mode, Modes, Policy, Rate};
pub use proof::FilterSize;
pub use statistics::Statistics;
pub use table::Fill;
