//! Captures from files: pcap and pcapng, in micro- and nanoseconds, and pipes of either.
use std::path::{Path, PathBuf};

use log_format::time::Timestamp;
use pcap::{Capture, Offline, Precision};

use crate::frame::{Frame, LinkType};

/// What can go wrong with a capture file.
#[derive(Debug, thiserror::Error)]
pub enum ReadCapture {
    /// It is not there, not readable or not a capture.
    #[error("open capture file {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pcap::Error,
    },
    /// A packet is cut off or damaged.
    #[error("read packet {number} of capture file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Which packet, from 1.
        number: u64,
        /// Why.
        source: pcap::Error,
    },
}

/// An open capture file. Of a pipe, packets come as they are written.
pub struct PcapFile {
    capture: Capture<Offline>,
    path: PathBuf,
    link: LinkType,
    count: u64,
}

impl PcapFile {
    /// Opens a file; of a pipe, waits for the writer.
    pub fn open(path: &Path) -> Result<Self, ReadCapture> {
        let capture = Capture::from_file_with_precision(path, Precision::Nano)
            .map_err(|source| ReadCapture::Open { path: path.to_owned(), source })?;
        let link = LinkType::from_number(capture.get_datalink().0);
        Ok(Self { capture, path: path.to_owned(), link, count: 0 })
    }

    /// The next frame; `None` at the end.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame borrows from the file, as no Iterator's item can"
    )]
    pub fn next(&mut self) -> Option<Result<Frame<'_>, ReadCapture>> {
        let number = self.count + 1;
        match self.capture.next_packet() {
            Ok(packet) => {
                self.count = number;
                Some(Ok(frame(&packet, self.link, number)))
            }
            Err(pcap::Error::NoMorePackets) => None,
            Err(source) => Some(Err(ReadCapture::Read { path: self.path.clone(), number, source })),
        }
    }
}

/// With nanosecond precision, libpcap puts nanoseconds where the type says microseconds. A time before 1970 is 1970.
pub(crate) fn frame<'a>(packet: &pcap::Packet<'a>, link: LinkType, number: u64) -> Frame<'a> {
    let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
    Frame {
        at: Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)),
        link,
        bytes: packet.data,
        original_length: packet.header.len,
        number,
    }
}
