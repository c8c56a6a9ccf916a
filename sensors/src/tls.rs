//! The shape of a TLS session (RFC 5246, RFC 8446): who only opens sessions and says nothing in them is not a phone.
//!
//! Only record headers are read, and the first byte of a record. Everything else is passed over, so a session costs a few bytes.

/// A record is at most this long: 2^14 bytes and what encryption may add (RFC 5246, 6.2.3).
const MAX_RECORD: usize = 16_384 + 2_048;
/// An encrypted record of TLS 1.3 that is this long or shorter may be an alert: two bytes, the type, the tag.
const MAX_ENCRYPTED_ALERT: usize = 24;
/// No ClientHello is shorter than this, and no Finished is longer.
const MIN_CLIENT_HELLO: usize = 72;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// How a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// As a client opens a session.
    ClientHello,
    /// As a server answers, with a handshake or an alert.
    Server,
    /// Not as TLS.
    Other,
    /// More bytes will tell.
    Unknown,
}

/// Tells how a stream begins from its first six bytes.
pub(crate) fn beginning(bytes: &[u8]) -> Beginning {
    match *bytes {
        [] | [HANDSHAKE | ALERT] | [HANDSHAKE, 3] | [HANDSHAKE, 3, _] | [HANDSHAKE, 3, _, _] => {
            Beginning::Unknown
        }
        [HANDSHAKE, 3, _, _, _] => Beginning::Unknown,
        [HANDSHAKE, 3, _, _, _, 1, ..] => Beginning::ClientHello,
        [HANDSHAKE | ALERT, 3, ..] => Beginning::Server,
        _ => Beginning::Other,
    }
}

/// Follows the records of one direction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    /// A record's header, and the first byte behind it.
    header: [u8; 6],
    held: u8,
    /// Bytes of the record that are passed over.
    left: usize,
    has_other_handshakes: bool,
    has_encrypted: bool,
    has_data: bool,
    has_fatal_alert: bool,
    is_broken: bool,
}

impl Records {
    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_broken {
            let passed = self.left.min(bytes.len());
            self.left -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            if let Some((byte, rest)) = bytes.split_first() {
                if let Some(place) = self.header.get_mut(usize::from(self.held)) {
                    *place = *byte;
                }
                self.held += 1;
                bytes = rest;
                self.read_header();
            }
        }
    }

    /// The sender used the session: a record carries more than the handshake and its end.
    ///
    /// In TLS 1.2 every record of application data does. In TLS 1.3 the client's Finished looks like one, so the first one does not
    /// count unless handshake messages came in clear after the hello, and neither does one that may be an alert.
    pub(crate) const fn has_data(&self) -> bool {
        self.has_data
    }

    /// The sender gave the handshake up with a fatal alert in clear.
    pub(crate) const fn has_fatal_alert(&self) -> bool {
        self.has_fatal_alert
    }

    fn read_header(&mut self) {
        let [kind, major, _, high, low, first] = self.header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let wanted = if self.held < 5 || 0 < length { 6 } else { 5 };
        if self.held < wanted {
            return;
        }
        self.held = 0;
        self.left = length.saturating_sub(1);
        self.is_broken = major != 3 || MAX_RECORD < length;
        match kind {
            HANDSHAKE if first == 1 && MIN_CLIENT_HELLO <= length => {}
            HANDSHAKE => self.has_other_handshakes = true,
            ALERT => self.has_fatal_alert |= first == 2 && length == 2 && !self.has_encrypted,
            APPLICATION_DATA => {
                self.has_data |=
                    self.has_other_handshakes || self.has_encrypted && MAX_ENCRYPTED_ALERT < length;
                self.has_encrypted = true;
            }
            CHANGE_CIPHER_SPEC | HEARTBEAT => {}
            _ => self.is_broken = true,
        }
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
