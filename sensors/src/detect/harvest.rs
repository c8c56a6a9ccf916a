//! The TFTP rule: who asks for the files of many phones, or for many files that are no phone's.
//!
//! A phone that starts asks for up to thirty files of one MAC address, and an office for those of a few. So a MAC counts once, and so does
//! every other name; how often one is asked for has a wider limit. Requests have no proven sender: all they may cost is a slower service
//! ([`Sanction::Shape`](log_format::event::Sanction::Shape)). Who acknowledged blocks at a server's transfer port, which only its
//! address was told, is where it says (RFC 1350, 4).

use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;

use super::Subject;
use super::meter::{Meter, Sliding};
use crate::keyed::{Key, Purpose};
use crate::policy::Limits;
use crate::table::{Fill, Table};
use crate::tftp::{self, Packet};

/// Sources that are held.
const CAPACITY: usize = 8_192;
/// Names of one source that are told apart.
const NAMES: usize = 16;
/// Transfers of one source that are followed: the answer to a request comes from another port.
const TRANSFERS: usize = 4;
/// How long a name is known to have been asked for, and a transfer awaited.
const KNOWN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, Default)]
struct Source {
    names: [Name; NAMES],
    transfers: [Transfer; TRANSFERS],
    fresh: Meter,
    all: Meter,
    phones_in_vain: Sliding,
    proven: Sliding,
}

#[derive(Debug, Clone, Copy, Default)]
struct Name {
    hash: u32,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Transfer {
    port: u16,
    is_phone: bool,
    is_answered: bool,
    /// Hash of the address and port from which the server answered; 0 before it has.
    server: u32,
    at: Timestamp,
}

/// What a packet amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harvest {
    /// Too many files.
    TooMany,
    /// The files of too many phones that are not there.
    InVain { phones: u32 },
    /// Files of too many phones by somebody who received some.
    Proven { count: u32 },
}

pub(crate) struct Harvests {
    key: Key,
    sources: Table<Subject, Source>,
}

impl Harvests {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, sources: Table::new(CAPACITY, key) }
    }

    /// A datagram that a source sent to a server's port 69.
    pub(crate) fn asked(
        &mut self,
        (source, port): (IpAddr, u16),
        payload: &[u8],
        limits: &Limits,
        now: Timestamp,
    ) -> Option<Harvest> {
        let Ok(Packet::Request(request)) = tftp::parse(payload) else { return None };
        let mac = tftp::mac_of(request.name);
        let hash = self.key.hash(Purpose::Name).number(u32::from(request.is_write));
        let hash = match mac {
            Some(mac) => hash.bytes(&mac),
            None => hash.bytes(request.name),
        };
        let known = self.sources.entry(Subject::of(source))?;
        let is_fresh = known.note((hash.finish() as u32).max(1), now);
        known.follow(Transfer { port, is_phone: mac.is_some(), is_answered: false, server: 0, at: now });
        // A phone that starts asks for many files; who is to be blocked asks for those of many phones.
        let is_of_few = !is_fresh || known.fresh.take(limits.tftp, now);
        let proven = known.proven.sum(limits.tftp_proven.within, now);
        if is_of_few && known.all.take(limits.tftp_all, now) {
            None
        } else if !is_of_few && limits.tftp_proven.count.max(1) <= proven {
            Some(Harvest::Proven { count: proven })
        } else {
            Some(Harvest::TooMany)
        }
    }

    /// A datagram between other ports: perhaps a transfer that was asked for. `source` is the side that asked. It has shown that it receives
    /// what is sent to it when it acknowledges to the port from which the server has answered: only who reads the answer knows that port
    /// (RFC 1350, 4).
    pub(crate) fn transferred(
        &mut self,
        ((source, port), server): ((IpAddr, u16), (IpAddr, u16)),
        (is_from_source, payload): (bool, &[u8]),
        limits: &Limits,
        now: Timestamp,
    ) -> Option<Harvest> {
        let server = self.key.hash(Purpose::Name).address(server.0).number(u32::from(server.1)).finish();
        let server = (server as u32).max(1);
        let known = self.sources.get_mut(&Subject::of(source))?;
        let place = known.transfers.iter_mut().find(|transfer| {
            transfer.port == port && transfer.at != Timestamp::ZERO && now.since(transfer.at) < KNOWN
        })?;
        if !is_from_source {
            place.server = server;
        }
        match (tftp::parse(payload).ok()?, is_from_source) {
            (Packet::Error { code: 1 }, false) if place.is_phone && !place.is_answered => {
                place.is_answered = true;
                known.phones_in_vain.add(1, limits.tftp_phones.within, now);
                let phones = known.phones_in_vain.sum(limits.tftp_phones.within, now);
                (limits.tftp_phones.count.max(1) <= phones).then_some(Harvest::InVain { phones })
            }
            (Packet::Acknowledgement { .. }, true) if !place.is_answered && place.server == server => {
                place.is_answered = true;
                known.proven.add(1, limits.tftp_proven.within, now);
                None
            }
            _ => None,
        }
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.sources.fill()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.sources.evicted()
    }
}

impl Source {
    /// Notes a name; says whether it is new.
    fn note(&mut self, hash: u32, now: Timestamp) -> bool {
        let is_known = |name: &&mut Name| name.hash == hash && now.since(name.at) < KNOWN;
        if self.names.iter_mut().find(is_known).is_some() {
            return false;
        }
        if let Some(oldest) = self.names.iter_mut().min_by_key(|name| name.at) {
            *oldest = Name { hash, at: now };
        }
        true
    }

    fn follow(&mut self, transfer: Transfer) {
        if let Some(oldest) =
            self.transfers.iter_mut().min_by_key(|known| (known.port != transfer.port, known.at))
        {
            *oldest = transfer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    fn request(name: &str) -> Vec<u8> {
        [b"\x00\x01", name.as_bytes(), b"\x00octet\x00"].concat()
    }

    /// Requests, each from another port, at these times; which of them were too many.
    fn too_many(names: impl IntoIterator<Item = (u64, String)>) -> Vec<usize> {
        let mut harvests = Harvests::new(Key::new([1; 16]));
        let limits = Limits::default();
        (0..)
            .zip(names)
            .filter_map(|(place, (second, name))| {
                let port = 1_024 + u16::try_from(place).unwrap();
                harvests.asked((SOURCE, port), &request(&name), &limits, at(second)).map(|_| place)
            })
            .collect()
    }

    #[test]
    fn the_eleventh_phone_or_name_within_a_minute_is_one_too_many() {
        let macs = (0..14).map(|number| (number, format!("SEP0011223344{number:02x}.cnf.xml")));
        assert_eq!(too_many(macs).first(), Some(&11), "two more may come while ten seconds pass");
        let at_once = (0..14).map(|number| (0, format!("evil{number}.cfg")));
        assert_eq!(too_many(at_once), [10, 11, 12, 13]);
        let slow = (0..40).map(|number| (number * 7, format!("cfg000b820000{number:02x}.xml")));
        assert_eq!(too_many(slow), [0; 0]);
    }

    #[test]
    fn a_phone_that_starts_may_ask_for_all_its_files_and_an_office_too() {
        let files = |mac: &str| {
            (0..10).map(|number| (0, format!("{mac}-file{number}.cfg"))).collect::<Vec<(u64, String)>>()
        };
        let office: Vec<_> = (0..6).flat_map(|phone| files(&format!("0004f20000{phone:02x}"))).collect();
        assert_eq!(too_many(office), [0; 0]);
        let endless = (0..80).map(|_| (0, "000b82aabbcc.cfg".to_owned()));
        assert_eq!(too_many(endless).first(), Some(&60));
    }

    #[test]
    fn files_of_phones_that_are_not_there_are_counted_by_the_answers() {
        let mut harvests = Harvests::new(Key::new([1; 16]));
        let limits = Limits::default();
        let missing = b"\x00\x05\x00\x01File not found\x00";
        let mut told = Vec::new();
        for number in 0..8_u16 {
            let (port, second) = (2_000 + number, u64::from(number) * 20);
            let name = format!("cfg000b8200{number:04x}.xml");
            assert_eq!(harvests.asked((SOURCE, port), &request(&name), &limits, at(second)), None);
            told.push(harvests.transferred(
                ((SOURCE, port), (SERVER, 40_000)),
                (false, missing),
                &limits,
                at(second),
            ));
        }
        assert_eq!(told.iter().position(Option::is_some), Some(4));
        assert_eq!(told.get(4).copied().flatten(), Some(Harvest::InVain { phones: 5 }));
    }

    /// Forty phones' files are asked for, the server answers from a port of its own, and acknowledgements go to this one.
    fn acknowledged(to: impl Fn(u16) -> (IpAddr, u16), is_early: bool) -> Option<Harvest> {
        let mut harvests = Harvests::new(Key::new([1; 16]));
        let limits = Limits::default();
        let mut last = None;
        for number in 0..40_u16 {
            let (client, server, now) =
                ((SOURCE, 3_000 + number), (SERVER, 40_000 + number), at(u64::from(number)));
            last = harvests.asked(client, &request(&format!("file{number}.cfg")), &limits, now).or(last);
            let packets =
                [(server, (false, &b"\x00\x03\x00\x01data"[..])), (to(number), (true, b"\x00\x04\x00\x01"))];
            let order = if is_early { [1, 0] } else { [0, 1] };
            for (server, packet) in order.map(|place| packets[place]) {
                harvests.transferred((client, server), packet, &limits, now);
            }
        }
        last
    }

    #[test]
    fn who_acknowledges_blocks_to_the_servers_port_has_received_them() {
        let last = acknowledged(|number| (SERVER, 40_000 + number), false);
        assert!(matches!(last, Some(Harvest::Proven { count: 20.. })), "{last:?}");
    }

    #[test]
    fn an_acknowledgement_that_anybody_can_make_up_is_no_proof() {
        let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));
        for to in [|_| (SERVER, 12_345), |_| (SERVER, 69)] {
            assert_eq!(acknowledged(to, false), Some(Harvest::TooMany));
        }
        assert_eq!(acknowledged(move |number| (elsewhere, 40_000 + number), false), Some(Harvest::TooMany));
        let early = acknowledged(|number| (SERVER, 40_000 + number), true);
        assert_eq!(early, Some(Harvest::TooMany), "before the server has answered");
    }

    #[test]
    fn many_files_of_few_phones_are_never_a_proof() {
        let mut harvests = Harvests::new(Key::new([1; 16]));
        let limits = Limits::default();
        let mut last = None;
        for number in 0..100_u16 {
            let (client, server) = ((SOURCE, 3_000 + number), (SERVER, 40_000 + number));
            let name = format!("0004f20000{:02x}-{number}.cfg", number % 6);
            last = harvests.asked(client, &request(&name), &limits, at(0)).or(last);
            harvests.transferred((client, server), (false, b"\x00\x03\x00\x01data"), &limits, at(0));
            harvests.transferred((client, server), (true, b"\x00\x04\x00\x01"), &limits, at(0));
        }
        assert_eq!(last, Some(Harvest::TooMany));
    }
}
