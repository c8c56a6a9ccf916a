//! One captured frame, as the capture shells hand it over.

use log_format::time::Timestamp;

/// A frame as it was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When, to the nanosecond if the source knows.
    pub at: Timestamp,
    /// What it begins with.
    pub link: LinkType,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was on the wire.
    pub original_length: u32,
    /// Its place in its capture, from 1.
    pub number: u64,
}

/// What a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// The header of Linux's `any` device, version 1.
    LinuxCooked,
    /// The same, version 2.
    LinuxCooked2,
    /// An IP header.
    RawIp,
    /// An address family in four bytes, in either byte order.
    Loopback,
    /// Something that is not decoded.
    Other(i32),
}

impl LinkType {
    /// From the number that libpcap gives: a DLT or a LINKTYPE, which agree where they matter here.
    pub const fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Ethernet,
            113 => Self::LinuxCooked,
            276 => Self::LinuxCooked2,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            0 | 108 => Self::Loopback,
            other => Self::Other(other),
        }
    }
}
