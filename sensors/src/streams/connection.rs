//! A connection: both its directions, and who opened it.

use std::net::IpAddr;

use super::cutter::{Cut, Cutter};
use super::order::Order;
use super::{Direction, StreamItem, TlsEnded, Transport};

pub(super) type End = (IpAddr, u16);

/// Both ends, the lower one first: one name for both directions.
pub(super) type Ends = (End, End);

/// Which of both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Low,
    High,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// A connection that was opened.
#[derive(Clone, Copy)]
pub(super) struct HalfOpen {
    pub(super) client: Side,
    /// The numbers of both SYNs.
    pub(super) opened: u32,
    pub(super) answered: Option<u32>,
}

pub(super) struct Connection {
    pub(super) client: Side,
    pub(super) low: Half,
    pub(super) high: Half,
    /// It counts against its client's share.
    pub(super) is_settled: bool,
    pub(super) is_tls_told: bool,
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Half {
    pub(super) order: Order,
    pub(super) cutter: Cutter,
    /// The number of its SYN.
    pub(super) opened: Option<u32>,
    pub(super) is_proven: bool,
}

impl Connection {
    pub(super) fn held(&self) -> usize {
        let of = |half: &Half| half.order.held() + half.cutter.held();
        of(&self.low) + of(&self.high)
    }

    pub(super) const fn is_proven(&self) -> bool {
        self.low.is_proven || self.high.is_proven
    }

    pub(super) const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Low => &mut self.low,
            Side::High => &mut self.high,
        }
    }

    /// This side's and the other's.
    pub(super) const fn halves_mut(&mut self, side: Side) -> (&mut Half, &mut Half) {
        match side {
            Side::Low => (&mut self.low, &mut self.high),
            Side::High => (&mut self.high, &mut self.low),
        }
    }

    /// Lets go of everything that waits.
    pub(super) fn let_go(&mut self) {
        for half in [&mut self.low, &mut self.high] {
            half.order.drop_early();
            half.cutter.give_up();
        }
    }

    /// The next thing that this side sent.
    pub(super) fn take(&mut self, side: Side) -> Option<StreamItem> {
        let is_client = self.client == side;
        let (own, other) = self.halves_mut(side);
        loop {
            let is_proven = own.is_proven;
            let message = |bytes, transport| StreamItem::Message { bytes, is_proven, transport };
            return Some(match own.cutter.take(own.order.is_over())? {
                Cut::Message(bytes) => message(bytes, Transport::Tcp),
                Cut::WebSocketMessage(bytes) => message(bytes, Transport::WebSocket),
                Cut::NotSip(line) if is_client => StreamItem::NotSip { line, is_proven },
                Cut::ClientHello if is_client => StreamItem::TlsClientHello { is_proven },
                // A server that speaks something else has been asked in it.
                Cut::NotSip(_) | Cut::ClientHello => continue,
                Cut::UpgradeAsked => {
                    other.cutter.expect_answer();
                    continue;
                }
                Cut::UpgradeRefused(status) => {
                    other.cutter.start_over();
                    StreamItem::UpgradeRefused { status, is_proven: other.is_proven }
                }
            });
        }
    }

    /// The session that ends now, once.
    pub(super) fn tls_ended(&mut self, ends: &Ends) -> Option<TlsEnded> {
        let (client, server) = (self.client, self.client.other());
        let (own, other) = self.halves_mut(client);
        let (records, is_proven) = (own.cutter.tls()?, own.is_proven);
        let has_alert = other.cutter.tls().is_some_and(|records| records.has_fatal_alert());
        let (has_data, has_failed) = (records.has_data(), has_alert || records.has_fatal_alert());
        let is_told = std::mem::replace(&mut self.is_tls_told, true);
        let (client, server) = (end(ends, client), end(ends, server));
        (!is_told).then_some(TlsEnded { client, server, is_proven, has_data, has_failed })
    }
}

pub(super) fn ends_of(direction: &Direction) -> (Ends, Side) {
    let (source, destination) = ((direction.0, direction.1), (direction.2, direction.3));
    if source <= destination {
        ((source, destination), Side::Low)
    } else {
        ((destination, source), Side::High)
    }
}

pub(super) const fn end(ends: &Ends, side: Side) -> End {
    match side {
        Side::Low => ends.0,
        Side::High => ends.1,
    }
}
