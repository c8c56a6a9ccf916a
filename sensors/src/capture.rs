//! Live capture from a network device through libpcap.
//!
//! Immediate mode: a packet is handed over when it arrives, because a buffer that waits costs the defence its head start. The
//! buffer in the kernel is large, because bursts are when detection matters. The handle does not block: libpcap's own wait
//! ignores its time limit in immediate mode, so this module polls. Under load it does not ask to be woken for every packet, which costs
//! the kernel more than the packet itself: it looks again after a moment.

use log_format::event::PortRange;
use pcap::{Active, Capture, Precision};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::frame::{Frame, LinkType};
use crate::pcap_file::frame;
use crate::policy::TFTP;

/// Buffer sizes tried in turn, in MiB: the largest lost nothing at a million frames a second, the smallest is for small machines.
const BUFFERS_MIB: [i32; 4] = [64, 16, 4, 2];
/// Bytes of a frame that are kept. The kernel's buffer has a place of this size for each frame, 4,096 in the largest, so that a host whose
/// processor was elsewhere for 10 ms loses nothing at 400,000 a second. Longer messages come over UDP in fragments; of TCP segments that
/// the kernel has joined, what is behind is missed.
const SNAP_LENGTH: i32 = 16_384;
/// Frames between two looks that found none, from which on there is load.
const BUSY: u32 = 16;
/// How long it looks elsewhere under load: an eighth of the largest buffer at a million frames a second.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };
/// How long [`LiveCapture::next`] waits before it lets its caller look around.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What can go wrong with a live capture.
#[derive(Debug, thiserror::Error)]
pub enum OpenCapture {
    /// No such device, or no right to capture (CAP_NET_RAW).
    #[error("open capture on {device}")]
    Open {
        /// Which.
        device: String,
        /// Why.
        source: pcap::Error,
    },
    /// libpcap refuses the filter.
    #[error("set capture filter on {device}")]
    Filter {
        /// Which.
        device: String,
        /// Why.
        source: pcap::Error,
    },
    /// The system does not tell when packets come.
    #[error("wait for packets on {device}")]
    Wait {
        /// Which.
        device: String,
        /// Why.
        source: Errno,
    },
    /// The device went away.
    #[error("read from {device}")]
    Read {
        /// Which.
        device: String,
        /// Why.
        source: pcap::Error,
    },
}

/// What the kernel could not hand over, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops {
    /// Packets that passed the filter.
    pub received: u32,
    /// Lost because the buffer was full.
    pub by_buffer: u32,
    /// Lost by the device.
    pub by_device: u32,
}

/// An open capture on a device.
pub struct LiveCapture {
    capture: Capture<Active>,
    device: String,
    link: LinkType,
    count: u64,
    buffer_mib: i32,
    /// Whether the last read found nothing: only then is it worth waiting.
    is_dry: bool,
    /// Frames since the last read that found nothing.
    since_dry: u32,
}

impl LiveCapture {
    /// Opens a device (`any` for all) for SIP on these ports.
    pub fn open(device: &str, ports: &[PortRange]) -> Result<Self, OpenCapture> {
        let (capture, buffer_mib) = activate(device)?;
        let link = LinkType::from_number(capture.get_datalink().0);
        let device = device.to_owned();
        let mut opened = Self { capture, device, link, count: 0, buffer_mib, is_dry: true, since_dry: 0 };
        opened.set_ports(ports)?;
        Ok(opened)
    }

    /// Changes the ports while capturing.
    pub fn set_ports(&mut self, ports: &[PortRange]) -> Result<(), OpenCapture> {
        let program = filter(self.link, ports);
        self.capture
            .filter(&program, true)
            .map_err(|source| OpenCapture::Filter { device: self.device.clone(), source })
    }

    /// The next frame; `None` if none came for a moment, so that the caller can stop or do something else.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame borrows from the capture, as no Iterator's item can"
    )]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, OpenCapture> {
        if self.is_dry {
            self.wait()?;
            self.since_dry = 0;
        }
        match self.capture.next_packet() {
            Ok(packet) => {
                self.is_dry = false;
                self.count += 1;
                self.since_dry = self.since_dry.saturating_add(1);
                Ok(Some(frame(&packet, self.link, self.count)))
            }
            Err(pcap::Error::TimeoutExpired) => {
                self.is_dry = true;
                Ok(None)
            }
            Err(source) => Err(OpenCapture::Read { device: self.device.clone(), source }),
        }
    }

    /// Waits for a packet, or for a moment.
    fn wait(&self) -> Result<(), OpenCapture> {
        let waited = if BUSY <= self.since_dry {
            poll(&mut [], Some(&PAUSE))
        } else {
            poll(&mut [PollFd::new(&self.capture, PollFlags::IN)], Some(&WAIT))
        };
        match waited {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(source) => Err(OpenCapture::Wait { device: self.device.clone(), source }),
        }
    }

    /// What was lost so far.
    pub fn drops(&mut self) -> Result<Drops, OpenCapture> {
        let statistics = self
            .capture
            .stats()
            .map_err(|source| OpenCapture::Read { device: self.device.clone(), source })?;
        Ok(Drops {
            received: statistics.received,
            by_buffer: statistics.dropped,
            by_device: statistics.if_dropped,
        })
    }

    /// The size of the kernel's buffer that was granted, in MiB.
    pub const fn buffer_mib(&self) -> i32 {
        self.buffer_mib
    }
}

fn activate(device: &str) -> Result<(Capture<Active>, i32), OpenCapture> {
    let mut refused = pcap::Error::InvalidString;
    for mib in BUFFERS_MIB {
        let opened = Capture::from_device(device).and_then(|capture| {
            capture
                .immediate_mode(true)
                .buffer_size(mib * 1024 * 1024)
                .snaplen(SNAP_LENGTH)
                .promisc(true)
                .precision(Precision::Nano)
                .open()?
                .setnonblock()
        });
        match opened {
            Ok(capture) => return Ok((capture, mib)),
            Err(error) => refused = error,
        }
    }
    Err(OpenCapture::Open { device: device.to_owned(), source: refused })
}

/// What carries packets of any port: IP in IP, GRE. The kernel's filter cannot look into them.
const TUNNELS: [u8; 3] = [4, 41, 47];

/// The kernel's filter: these ports over UDP and TCP; fragments, which have no ports; tunnels and PPPoE sessions, whole; on
/// Ethernet also inside one or two VLAN tags. `vlan` moves every later offset of the expression, so the plain case comes first.
pub fn filter(link: LinkType, ports: &[PortRange]) -> String {
    let has_tftp = ports.iter().any(|range| (range.first..=range.last).contains(&TFTP));
    let ports: Vec<String> =
        ports.iter().map(|range| format!("portrange {}-{}", range.first, range.last)).collect();
    let ports = if ports.is_empty() { "portrange 5060-5060".to_owned() } else { ports.join(" or ") };
    let tunnels =
        TUNNELS.map(|protocol| format!("(ip proto {protocol}) or (ip6 proto {protocol})")).join(" or ");
    let wanted =
        format!("((udp or tcp) and ({ports})) or (ip[6:2] & 0x3fff != 0) or (ip6 proto 44) or {tunnels}");
    // Between the ports of a TFTP transfer: acknowledgements, which have four bytes, and errors.
    let transfers = "(udp[4:2] = 12 and udp[8:2] = 4) or (udp[8:2] = 5)";
    let wanted = if has_tftp { format!("{wanted} or {transfers}") } else { wanted };
    match link {
        LinkType::Ethernet => {
            let wanted = format!("{wanted} or (ether proto 0x8864)");
            format!("{wanted} or (vlan and ({wanted} or (vlan and ({wanted}))))")
        }
        LinkType::LinuxCooked
        | LinkType::LinuxCooked2
        | LinkType::RawIp
        | LinkType::Loopback
        | LinkType::Other(_) => wanted,
    }
}

#[cfg(test)]
mod tests {
    use pcap::Linktype;

    use super::*;

    const PORTS: [PortRange; 2] =
        [PortRange { first: 5060, last: 5061 }, PortRange { first: 6000, last: 6000 }];

    fn compile(link: Linktype, program: &str) -> pcap::BpfProgram {
        Capture::dead(link).unwrap().compile(program, true).unwrap()
    }

    fn ethernet(tags: &[u8], port: u16, fragment: u8) -> Vec<u8> {
        let mut bytes = [&[2_u8; 12][..], tags, &[8, 0]].concat();
        bytes.extend_from_slice(&[
            0x45, 0, 0, 28, 0, 1, 0, fragment, 64, 17, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0x30, 0x39,
        ]);
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes.extend_from_slice(&[0, 8, 0, 0]);
        bytes
    }

    #[test]
    fn the_filter_lets_through_the_ports_in_any_tag_and_fragments() {
        let program = compile(Linktype::ETHERNET, &filter(LinkType::Ethernet, &PORTS));
        for tags in [&[][..], &[0x81, 0, 0, 1], &[0x81, 0, 0, 1, 0x81, 0, 0, 2]] {
            for (port, is_wanted) in [(5060, true), (5061, true), (6000, true), (5062, false), (53, false)] {
                assert_eq!(program.filter(&ethernet(tags, port, 0)), is_wanted, "{tags:?} {port}");
            }
            assert!(program.filter(&ethernet(tags, 53, 8)));
            let mut other = ethernet(tags, 53, 0);
            for (protocol, is_wanted) in [(4, true), (41, true), (47, true), (1, false)] {
                other[12 + tags.len() + 2 + 9] = protocol;
                assert_eq!(program.filter(&other), is_wanted, "{tags:?} {protocol}");
            }
            let session = [&[2_u8; 12][..], tags, &[0x88, 0x64, 0x11, 0, 0, 1, 0, 2, 0, 0x21]].concat();
            assert!(program.filter(&session), "{tags:?}");
        }
    }

    #[test]
    fn the_filter_lets_through_what_transfers_over_tftp_tell_of_their_success() {
        let udp = |operation: u8, payload: u8| {
            let mut bytes = ethernet(&[], 40_000, 0);
            bytes[14 + 20 + 5] = 8 + payload;
            bytes.extend_from_slice(&[0, operation, 0, 1, 0, 0, 0, 0][..usize::from(payload)]);
            bytes
        };
        let with =
            compile(Linktype::ETHERNET, &filter(LinkType::Ethernet, &[PortRange { first: 69, last: 69 }]));
        let without = compile(Linktype::ETHERNET, &filter(LinkType::Ethernet, &PORTS));
        for (operation, payload, is_wanted) in [(4, 4, true), (5, 8, true), (3, 8, false), (4, 8, false)] {
            assert_eq!(with.filter(&udp(operation, payload)), is_wanted, "{operation} {payload}");
            assert!(!without.filter(&udp(operation, payload)));
        }
    }

    #[test]
    fn the_filter_compiles_for_every_link_type() {
        for (number, link) in [
            (113, LinkType::LinuxCooked),
            (276, LinkType::LinuxCooked2),
            (12, LinkType::RawIp),
            (0, LinkType::Loopback),
        ] {
            compile(Linktype(number), &filter(link, &PORTS));
            compile(Linktype(number), &filter(link, &[]));
        }
    }
}
