//! A record of the registrar's datagrams as capture files: what feeds the sensors where nobody may capture.
//!
//! Each datagram becomes a raw IP packet (link type 101) with synthesised headers and true checksums. The traffic runs
//! on loopback; an [`AddressMap`] puts documentation addresses in its place, so that the sensors see a network.
//!
//! ```text
//! registrar ──record──> bounded queue ──> writer thread ──> file or FIFO        (one queue and thread per output)
//! ```
//! A slow or dead reader costs records, which are counted, and never costs the registrar time.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use log_format::time::Timestamp;

/// Records that wait for one output: about a second of the busiest traffic, 3 MB at most.
const QUEUED_RECORDS: usize = 4_096;
/// Longest datagram recorded. Longer ones are cut in the record, which states the true length, as a capture would.
const SNAP_BYTES: usize = 65_535;
/// Time given to the writers to end. One that waits for a reader of a FIFO is left behind.
const FINISH: Duration = Duration::from_secs(2);
/// Raw IPv4 or IPv6, told apart by the version nibble (LINKTYPE_RAW).
const LINK_TYPE_RAW: u32 = 101;
/// Native order, microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
/// Hop limit of synthesised packets, as a Linux sender's.
const HOPS: u8 = 64;

/// What a tap could not do.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The writer thread did not start.
    #[error("start the writer of {0}")]
    Start(PathBuf, #[source] io::Error),
    /// The two ends are not of one address family, so that no packet could carry the datagram.
    #[error("record a datagram from {0} to {1}: the address families differ")]
    Families(SocketAddr, SocketAddr),
    /// The payload does not fit into an IP packet.
    #[error("record a datagram of {0} bytes")]
    TooLong(usize),
}

/// Which address stands for which in the record.
#[derive(Debug, Clone, Default)]
pub struct AddressMap {
    endpoints: BTreeMap<SocketAddr, SocketAddr>,
    addresses: BTreeMap<IpAddr, IpAddr>,
}

impl AddressMap {
    /// Maps one address and port, for instance a registrar's free port to 5060. Stronger than an address.
    #[must_use]
    pub fn endpoint(mut self, real: SocketAddr, recorded: SocketAddr) -> Self {
        self.endpoints.insert(real, recorded);
        self
    }

    /// Maps an address with any port.
    #[must_use]
    pub fn address(mut self, real: IpAddr, recorded: IpAddr) -> Self {
        self.addresses.insert(real, recorded);
        self
    }

    /// What stands in the record; what is not mapped stands for itself.
    pub fn recorded(&self, real: SocketAddr) -> SocketAddr {
        if let Some(endpoint) = self.endpoints.get(&real) {
            return *endpoint;
        }
        let address = self.addresses.get(&real.ip()).copied().unwrap_or(real.ip());
        SocketAddr::new(address, real.port())
    }
}

/// Writes datagrams to one or more outputs. Clones share the outputs.
#[derive(Debug, Clone)]
pub struct Tap {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    map: AddressMap,
    outputs: Mutex<Vec<Output>>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Output {
    records: SyncSender<Arc<[u8]>>,
    finished: Receiver<()>,
}

impl Tap {
    /// A tap into these files or FIFOs. A FIFO is opened by its writer, which waits for the reader.
    ///
    /// # Errors
    /// When a writer thread does not start.
    pub fn open(map: AddressMap, paths: &[PathBuf]) -> Result<Self, TapError> {
        let outputs = paths.iter().map(|path| Output::open(path)).collect::<Result<_, _>>()?;
        let shared = Shared { map, outputs: Mutex::new(outputs), dropped: AtomicU64::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Records one datagram.
    ///
    /// # Errors
    /// When no IP packet could carry it; the caller counts that.
    pub fn record(
        &self,
        at: Timestamp,
        ends: (SocketAddr, SocketAddr),
        payload: &[u8],
    ) -> Result<(), TapError> {
        let ends = (self.shared.map.recorded(ends.0), self.shared.map.recorded(ends.1));
        let record: Arc<[u8]> = record(at, &packet(ends, payload)?).into();
        let mut outputs = self.shared.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.retain(|output| match output.records.try_send(Arc::clone(&record)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        Ok(())
    }

    /// Records that found an output's queue full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits and closes the outputs. One without a reader is given up after two seconds.
    pub fn finish(&self) {
        let outputs =
            std::mem::take(&mut *self.shared.outputs.lock().unwrap_or_else(PoisonError::into_inner));
        for Output { records, finished } in outputs {
            drop(records);
            // An error means that the writer has ended already: nothing is left to wait for.
            let _ended = finished.recv_timeout(FINISH);
        }
    }
}

impl Output {
    fn open(path: &Path) -> Result<Self, TapError> {
        let (records, queue) = mpsc::sync_channel(QUEUED_RECORDS);
        let (finish, finished) = mpsc::sync_channel(1);
        let target = path.to_owned();
        thread::Builder::new()
            .name("tap".to_owned())
            .spawn(move || {
                // A reader that goes away ends this output and no other; dropping the queue tells the recorder.
                let _written = write_all(&target, &queue);
                let _told = finish.send(());
            })
            .map_err(|error| TapError::Start(path.to_owned(), error))?;
        Ok(Self { records, finished })
    }
}

fn write_all(path: &Path, queue: &Receiver<Arc<[u8]>>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(&file_header())?;
    for record in queue {
        // One write per packet: a reader of a FIFO sees it at once, and whole.
        file.write_all(&record)?;
    }
    Ok(())
}

/// The first 24 bytes of a capture file.
fn file_header() -> Vec<u8> {
    let mut header = Vec::with_capacity(24);
    header.extend_from_slice(&MAGIC.to_ne_bytes());
    header.extend_from_slice(&2_u16.to_ne_bytes());
    header.extend_from_slice(&4_u16.to_ne_bytes());
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(&(SNAP_BYTES as u32).to_ne_bytes());
    header.extend_from_slice(&LINK_TYPE_RAW.to_ne_bytes());
    header
}

/// A packet behind its record header.
fn record(at: Timestamp, packet: &[u8]) -> Vec<u8> {
    let micros = at.nanos() / 1_000;
    let kept = packet.get(..SNAP_BYTES).unwrap_or(packet);
    let mut record = Vec::with_capacity(16 + kept.len());
    // The file format ends in 2106.
    record.extend_from_slice(&((micros / 1_000_000) as u32).to_ne_bytes());
    record.extend_from_slice(&((micros % 1_000_000) as u32).to_ne_bytes());
    record.extend_from_slice(&(kept.len() as u32).to_ne_bytes());
    record.extend_from_slice(&(packet.len() as u32).to_ne_bytes());
    record.extend_from_slice(kept);
    record
}

/// The IP packet that carries this payload between these ends (source, target).
fn packet((source, target): (SocketAddr, SocketAddr), payload: &[u8]) -> Result<Vec<u8>, TapError> {
    let builder = match (source.ip(), target.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOPS),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            return Err(TapError::Families(source, target));
        }
    };
    let builder = builder.udp(source.port(), target.port());
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut packet, payload).map_err(|_too_long| TapError::TooLong(payload.len()))?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_endpoint_is_mapped_before_its_address_and_strangers_stay() {
        let map = AddressMap::default()
            .address("127.0.0.10".parse().unwrap(), "198.51.100.10".parse().unwrap())
            .endpoint(end("127.0.0.10:41000"), end("198.51.100.10:5060"));
        assert_eq!(map.recorded(end("127.0.0.10:41000")), end("198.51.100.10:5060"));
        assert_eq!(map.recorded(end("127.0.0.10:5")), end("198.51.100.10:5"));
        assert_eq!(map.recorded(end("127.0.0.9:5")), end("127.0.0.9:5"));
    }

    #[test]
    fn packets_of_both_families_carry_true_checksums() {
        for ends in [
            (end("192.0.2.66:5071"), end("198.51.100.10:5060")),
            (end("[2001:db8::66]:5071"), end("[2001:db8::10]:5060")),
        ] {
            let bytes = packet(ends, b"OPTIONS").unwrap();
            let sliced = SlicedPacket::from_ip(&bytes).unwrap();
            let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
            assert_eq!(
                (udp.source_port(), udp.destination_port(), udp.payload()),
                (5071, 5060, &b"OPTIONS"[..])
            );
            let header = udp.to_header();
            let expected = match sliced.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    let ip = ip.header().to_header();
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    header.calc_checksum_ipv4(&ip, udp.payload()).unwrap()
                }
                NetSlice::Ipv6(ip) => {
                    header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap()
                }
                NetSlice::Arp(_) => panic!("not an IP packet"),
            };
            assert_eq!(header.checksum, expected);
        }
    }

    #[test]
    fn mixed_families_and_endless_payloads_are_refused() {
        let mixed = packet((end("192.0.2.66:1"), end("[2001:db8::10]:2")), b"");
        assert!(matches!(mixed, Err(TapError::Families(_, _))));
        let long = packet((end("192.0.2.66:1"), end("192.0.2.67:2")), &[0; 65_600]);
        assert!(matches!(long, Err(TapError::TooLong(65_600))));
    }

    #[test]
    fn a_record_states_time_and_length() {
        let bytes = record(Timestamp::from_nanos(7_000_005_999), &[9; 3]);
        let fields: Vec<u32> =
            bytes.chunks(4).take(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(fields, [7, 5, 3, 3]);
        assert_eq!(bytes[16..], [9; 3]);
    }
}
