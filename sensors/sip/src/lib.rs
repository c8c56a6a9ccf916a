//! A reader of SIP messages (RFC 3261) for a sensor: it takes what one datagram holds and lends slices of it.
//!
//! It knows the dozen headers that detection needs and nothing of where packets come from. It never panics, never
//! allocates while reading, and looks at each byte a bounded number of times. It reads what user agents really send:
//! compact names, folded lines, odd case, blanks before the colon, bare line feeds, several User-Agent headers.
//!
//! Entry: [`parse`]. What makes a message unreadable is a [`ParseError`] with its place; what is merely wrong is
//! kept beside the message as a [`Defect`]. [`builder`], [`digest`] and [`hostile`] write messages: for the traffic programs,
//! benchmarks and tests.
//!
//! Tests: beside each module; hostile and random input in `tests/`.

#![forbid(unsafe_code)]

mod address;
mod auth;
pub mod builder;
mod defect;
pub mod digest;
mod few;
mod header;
pub mod hostile;
mod message;
mod scan;
mod shape;
mod start_line;
mod via;

pub use address::{NameAddr, Uri};
pub use auth::{Challenge, Credentials, unescaped};
pub use defect::{Defect, Defects, ErrorKind, ParseError};
pub use few::Few;
pub use header::{Header, HeaderName, Headers};
pub use message::{CSeq, MAX_HEADERS, MAX_SCANNED, Message, parse};
pub use shape::{Shape, shape};
pub use start_line::StartLine;
pub use via::Via;
