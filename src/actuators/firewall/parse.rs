//! What the kernel answers, read without trust in lengths.

use std::time::Duration;

use super::ranges::{RangeEnd, Side};
use super::wire::{ALIGNMENT, GENERIC_BYTES, HEADER_BYTES, INTERVAL_END, attribute};

/// Upper bits of an attribute's type: nested, byte order.
const TYPE_MASK: u16 = 0x3fff;
/// The type of a comment within user data (`NFTNL_UDATA_TABLE_COMMENT`, `NFTNL_UDATA_RULE_COMMENT`).
const COMMENT: u8 = 0;
/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `NLMSG_DONE`
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`
const DUMP_INTERRUPTED: u16 = 0x10;

/// An answer that does not follow the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("answer of the kernel is cut off within {0}")]
pub struct Malformed(&'static str);

/// One message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The request that it answers.
    pub(super) sequence: u32,
    /// What it says.
    pub(super) body: Body<'a>,
    /// Whether the listing that it belongs to saw a change halfway.
    pub(super) interrupted: bool,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// Accepted.
    Acknowledged,
    /// Refused, with the error's number.
    Refused(i32),
    /// The listing is over.
    Done,
    /// Attributes of a thing.
    Thing(Attributes<'a>),
}

/// The messages of one datagram.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = split_message(self.0);
        self.0 = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message))
    }
}

/// The first message of a datagram, and the rest of it.
fn split_message(datagram: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    const CUT: Malformed = Malformed("a message");
    let length = native_u32(datagram).ok_or(CUT)?;
    let length = usize::try_from(length).map_err(|_| CUT)?;
    let message = datagram.get(..length).ok_or(CUT)?;
    let rest = datagram.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    let kind = message.get(4..).and_then(native_u16).ok_or(CUT)?;
    let flags = message.get(6..).and_then(native_u16).ok_or(CUT)?;
    let sequence = message.get(8..).and_then(native_u32).ok_or(CUT)?;
    let payload = message.get(HEADER_BYTES..).ok_or(CUT)?;
    let body = match kind {
        ERROR | DONE => match (native_u32(payload).unwrap_or(0).cast_signed(), kind) {
            (0, ERROR) => Body::Acknowledged,
            (0.., _) => Body::Done,
            (negative, _) => Body::Refused(negative.saturating_neg()),
        },
        _ => Body::Thing(Attributes(payload.get(GENERIC_BYTES..).ok_or(CUT)?)),
    };
    let interrupted = flags & DUMP_INTERRUPTED != 0;
    Ok((Message { sequence, body, interrupted }, rest))
}

/// Attributes one after the other. What is cut off is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(native_u16(self.0)?);
        let kind = native_u16(self.0.get(2..)?)? & TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a type.
    fn value(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(other, _)| *other == kind).map(|(_, value)| value)
    }

    /// The attributes inside the first attribute of a type; none if it is not there.
    fn inside(self, kind: u16) -> Self {
        Self(self.value(kind).unwrap_or_default())
    }

    /// A text without its closing zero.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.value(kind)?;
        let text = value.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok()
    }

    /// A number of four bytes.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(*self.value(kind)?.first_chunk()?))
    }

    /// A number of eight bytes.
    fn long(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(*self.value(kind)?.first_chunk()?))
    }

    /// The comment within user data.
    pub(super) fn comment(self, kind: u16) -> Option<&'a str> {
        let mut data = self.value(kind)?;
        while let [tag, length, rest @ ..] = data {
            let (value, behind) = rest.split_at_checked(usize::from(*length))?;
            if *tag == COMMENT {
                let text = value.strip_suffix(&[0]).unwrap_or(value);
                return std::str::from_utf8(text).ok();
            }
            data = behind;
        }
        None
    }
}

/// A chain with its hook, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldChain {
    /// The chain's name.
    pub(super) name: String,
    /// Hook number and priority.
    pub(super) hook: Option<(u32, i32)>,
    /// Devices, in no order.
    pub(super) devices: Vec<String>,
}

/// Reads a chain; `None` if it stands in another table.
pub(super) fn chain(of_table: &str, attributes: Attributes<'_>) -> Option<HeldChain> {
    if attributes.text(attribute::TABLE) != Some(of_table) {
        return None;
    }
    let hook = attributes.inside(attribute::CHAIN_HOOK);
    let number = hook.number(attribute::HOOK_NUMBER);
    let priority = hook.number(attribute::HOOK_PRIORITY).map(u32::cast_signed);
    let devices = hook.inside(attribute::HOOK_DEVICES);
    let mut devices: Vec<String> = devices
        .filter(|(kind, _)| *kind == attribute::DEVICE_NAME)
        .filter_map(|(_, name)| text(name))
        .collect();
    devices.extend(hook.text(attribute::HOOK_DEVICE).map(str::to_owned));
    devices.sort();
    devices.dedup();
    Some(HeldChain {
        name: attributes.text(attribute::CHAIN_NAME)?.to_owned(),
        hook: number.zip(priority),
        devices,
    })
}

/// A set's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldSet {
    /// The set's name.
    pub(super) name: String,
    /// `NFT_SET_…` flags.
    pub(super) flags: u32,
    /// Bytes of a key.
    pub(super) key_bytes: u32,
    /// How many elements it may hold; 0: as many as memory takes.
    pub(super) size: u32,
}

/// Reads a set's definition.
pub(super) fn set(attributes: Attributes<'_>) -> Option<HeldSet> {
    let description = attributes.inside(attribute::SET_DESCRIPTION);
    Some(HeldSet {
        name: attributes.text(attribute::SET_NAME)?.to_owned(),
        flags: attributes.number(attribute::SET_FLAGS).unwrap_or(0),
        key_bytes: attributes.number(attribute::SET_KEY_BYTES)?,
        size: description.number(attribute::DESCRIPTION_SIZE).unwrap_or(0),
    })
}

/// A named counter: name, packets, bytes.
pub(super) fn counter(attributes: Attributes<'_>) -> Option<(&str, u64, u64)> {
    let data = attributes.inside(attribute::OBJECT_DATA);
    Some((
        attributes.text(attribute::OBJECT_NAME)?,
        data.long(attribute::COUNTER_PACKETS)?,
        data.long(attribute::COUNTER_BYTES)?,
    ))
}

/// One element of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldElement {
    /// The address, and whether it closes a range.
    pub(super) end: RangeEnd,
    /// How long the kernel keeps it yet; `None`: it has no end.
    pub(super) left: Option<Duration>,
}

/// The elements of one message.
pub(super) fn elements(attributes: Attributes<'_>) -> impl Iterator<Item = HeldElement> {
    attributes
        .inside(attribute::LIST_ELEMENTS)
        .filter(|(kind, _)| *kind == attribute::LIST_ELEMENT)
        .filter_map(|(_, value)| element(Attributes(value)))
}

fn element(attributes: Attributes<'_>) -> Option<HeldElement> {
    let value = attributes.inside(attribute::ELEMENT_KEY).value(attribute::DATA_VALUE)?;
    let at = match value.len() {
        4 => u128::from(u32::from_be_bytes(*value.first_chunk()?)),
        16 => u128::from_be_bytes(*value.first_chunk()?),
        _ => return None,
    };
    let flags = attributes.number(attribute::ELEMENT_FLAGS).unwrap_or(0);
    let side = if flags & INTERVAL_END == 0 { Side::Opening } else { Side::Closing };
    let left = attributes
        .long(attribute::ELEMENT_EXPIRATION)
        .or_else(|| attributes.long(attribute::ELEMENT_TIMEOUT))
        .map(Duration::from_millis);
    Some(HeldElement { end: RangeEnd { at, side }, left })
}

fn text(value: &[u8]) -> Option<String> {
    let text = value.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

fn native_u16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.first_chunk()?))
}

fn native_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error message of the kernel about request 7.
    fn answer(errno: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&36_u32.to_ne_bytes());
        bytes.extend_from_slice(&ERROR.to_ne_bytes());
        bytes.extend_from_slice(&0_u16.to_ne_bytes());
        bytes.extend_from_slice(&7_u32.to_ne_bytes());
        bytes.extend_from_slice(&99_u32.to_ne_bytes());
        bytes.extend_from_slice(&errno.to_ne_bytes());
        bytes.resize(36, 0);
        bytes
    }

    #[test]
    fn an_error_of_zero_is_an_acknowledgement() {
        let datagram = [answer(0), answer(-17)].concat();
        let bodies: Vec<(u32, Body<'_>)> = Messages(&datagram)
            .map(|message| message.map(|message| (message.sequence, message.body)).unwrap())
            .collect();
        assert_eq!(bodies, [(7, Body::Acknowledged), (7, Body::Refused(17))]);
    }

    #[test]
    fn a_datagram_cut_anywhere_neither_panics_nor_goes_on_for_ever() {
        let datagram = [answer(0), answer(-2)].concat();
        for length in 0..datagram.len() {
            let messages: Vec<_> = Messages(&datagram[..length]).collect();
            assert!(messages.len() <= 2, "{length}");
        }
        let zeros = [0; 64];
        assert_eq!(Messages(&zeros).count(), 1);
        assert_eq!(Attributes(&zeros).count(), 0);
    }

    #[test]
    fn attributes_with_a_wrong_length_end_the_list() {
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 1]);
            assert_eq!(Attributes(&bytes).count(), 0, "{length}");
        }
    }

    #[test]
    fn a_comment_is_found_behind_other_user_data() {
        let mut bytes = 16_u16.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&7_u16.to_ne_bytes());
        bytes.extend_from_slice(&[9, 1, 0xff, COMMENT, 5, b'd', b'r', b'o', b'p', 0, 0, 0]);
        assert_eq!(Attributes(&bytes).comment(attribute::RULE_USERDATA), Some("drop"));
    }
}
