//! Netlink messages for nf_tables, byte by byte (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`, `nf_tables.h`).
//!
//! ```text
//! nlmsghdr   length u32 | type u16 | flags u16 | sequence u32 | port u32      in the machine's byte order
//! nfgenmsg   family u8 | version u8 | resource u16                            resource in network byte order
//! attribute  length u16 | type u16 | value | zeros up to a multiple of 4      numbers inside in network byte order
//! ```

use std::time::Duration;

use super::layout::TableFamily;
use super::ranges::{Range, RangeEnd, Side};
use super::sets::{Family, Holds, SetId};

/// Bytes of an nlmsghdr.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of an nfgenmsg.
pub(super) const GENERIC_BYTES: usize = 4;
/// Everything in netlink begins at a multiple of this.
pub(super) const ALIGNMENT: usize = 4;

/// The nf_tables subsystem (`NFNL_SUBSYS_NFTABLES`), the upper byte of its message types.
const SUBSYSTEM: u16 = 10;
/// Opens a transaction (`NFNL_MSG_BATCH_BEGIN`).
const BATCH_BEGIN: u16 = 16;
/// Commits a transaction (`NFNL_MSG_BATCH_END`).
const BATCH_END: u16 = 17;
/// Marks an attribute whose value is attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// Marks the first address after a range (`NFT_SET_ELEM_INTERVAL_END`).
pub(super) const INTERVAL_END: u32 = 1;

/// Message types of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verb {
    /// `NFT_MSG_GETTABLE`
    GetTable = 1,
    /// `NFT_MSG_DELTABLE`
    DeleteTable = 2,
    /// `NFT_MSG_GETCHAIN`
    GetChain = 4,
    /// `NFT_MSG_GETRULE`
    GetRule = 7,
    /// `NFT_MSG_GETSET`
    GetSet = 10,
    /// `NFT_MSG_NEWSETELEM`
    NewElement = 12,
    /// `NFT_MSG_GETSETELEM`
    GetElement = 13,
    /// `NFT_MSG_DELSETELEM`
    DeleteElement = 14,
    /// `NFT_MSG_GETGEN`
    GetGeneration = 16,
    /// `NFT_MSG_GETOBJ`
    GetObject = 19,
}

impl Verb {
    /// The message type on the wire.
    const fn number(self) -> u16 {
        (SUBSYSTEM << 8) | self as u16
    }
}

/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLM_F_ACK`
const ACK: u16 = 4;
/// `NLM_F_ROOT | NLM_F_MATCH`
const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`
const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`
const CREATE: u16 = 0x400;

/// Attribute types, by the message or attribute that they stand in.
pub(super) mod attribute {
    /// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`, `NFTA_SET_ELEM_LIST_TABLE`, `NFTA_OBJ_TABLE`
    pub(crate) const TABLE: u16 = 1;
    /// `NFTA_GEN_ID`
    pub(crate) const GENERATION: u16 = 1;
    /// `NFTA_TABLE_USERDATA`
    pub(crate) const TABLE_USERDATA: u16 = 6;
    /// `NFTA_CHAIN_NAME`
    pub(crate) const CHAIN_NAME: u16 = 3;
    /// `NFTA_CHAIN_HOOK`
    pub(crate) const CHAIN_HOOK: u16 = 4;
    /// `NFTA_HOOK_HOOKNUM`
    pub(crate) const HOOK_NUMBER: u16 = 1;
    /// `NFTA_HOOK_PRIORITY`
    pub(crate) const HOOK_PRIORITY: u16 = 2;
    /// `NFTA_HOOK_DEV`
    pub(crate) const HOOK_DEVICE: u16 = 3;
    /// `NFTA_HOOK_DEVS`
    pub(crate) const HOOK_DEVICES: u16 = 4;
    /// `NFTA_DEVICE_NAME`
    pub(crate) const DEVICE_NAME: u16 = 1;
    /// `NFTA_RULE_CHAIN`
    pub(crate) const RULE_CHAIN: u16 = 2;
    /// `NFTA_RULE_USERDATA`
    pub(crate) const RULE_USERDATA: u16 = 7;
    /// `NFTA_SET_NAME`
    pub(crate) const SET_NAME: u16 = 2;
    /// `NFTA_SET_FLAGS`
    pub(crate) const SET_FLAGS: u16 = 3;
    /// `NFTA_SET_KEY_LEN`
    pub(crate) const SET_KEY_BYTES: u16 = 5;
    /// `NFTA_SET_DESC`
    pub(crate) const SET_DESCRIPTION: u16 = 9;
    /// `NFTA_SET_DESC_SIZE`
    pub(crate) const DESCRIPTION_SIZE: u16 = 1;
    /// `NFTA_SET_ELEM_LIST_SET`
    pub(crate) const LIST_SET: u16 = 2;
    /// `NFTA_SET_ELEM_LIST_ELEMENTS`
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    /// `NFTA_LIST_ELEM`
    pub(crate) const LIST_ELEMENT: u16 = 1;
    /// `NFTA_SET_ELEM_KEY`
    pub(crate) const ELEMENT_KEY: u16 = 1;
    /// `NFTA_SET_ELEM_FLAGS`
    pub(crate) const ELEMENT_FLAGS: u16 = 3;
    /// `NFTA_SET_ELEM_TIMEOUT`
    pub(crate) const ELEMENT_TIMEOUT: u16 = 4;
    /// `NFTA_SET_ELEM_EXPIRATION`
    pub(crate) const ELEMENT_EXPIRATION: u16 = 5;
    /// `NFTA_DATA_VALUE`
    pub(crate) const DATA_VALUE: u16 = 1;
    /// `NFTA_OBJ_NAME`
    pub(crate) const OBJECT_NAME: u16 = 2;
    /// `NFTA_OBJ_TYPE`
    pub(crate) const OBJECT_TYPE: u16 = 3;
    /// `NFTA_OBJ_DATA`
    pub(crate) const OBJECT_DATA: u16 = 4;
    /// `NFTA_COUNTER_BYTES`
    pub(crate) const COUNTER_BYTES: u16 = 1;
    /// `NFTA_COUNTER_PACKETS`
    pub(crate) const COUNTER_PACKETS: u16 = 2;
}

/// `NFT_OBJECT_COUNTER`
const COUNTER_OBJECT: u32 = 1;

/// A table in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// Its family.
    pub(super) family: TableFamily,
    /// Its name.
    pub(super) table: &'a str,
}

/// Whether an element comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Add it; refused if it is there.
    Add {
        /// When the kernel forgets it again.
        timeout: Option<Duration>,
    },
    /// Add it without a time, unless it is there.
    Touch,
    /// Remove it; refused if it is not there.
    Remove,
}

/// What the kernel answers to a message that it accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    None,
    /// An acknowledgement.
    Acknowledge,
}

/// One change of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ElementStep {
    /// The set.
    pub(super) set: SetId,
    /// The range; in sets of single addresses its first one.
    pub(super) range: Range,
    /// Add or remove.
    pub(super) step: Step,
}

/// Writes messages one after the other.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

/// Where something began whose length is not yet known.
#[derive(Debug, Clone, Copy)]
struct Begun(usize);

impl Encoder {
    /// What was written so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Opens a transaction.
    pub(super) fn begin_batch(&mut self, sequence: u32) {
        let begun = self.begin(BATCH_BEGIN, REQUEST, sequence);
        self.generic(0, SUBSYSTEM);
        self.end_message(begun);
    }

    /// Commits a transaction.
    pub(super) fn end_batch(&mut self, sequence: u32) {
        let begun = self.begin(BATCH_END, REQUEST, sequence);
        self.generic(0, SUBSYSTEM);
        self.end_message(begun);
    }

    /// One change of a set, within a transaction.
    pub(super) fn element(&mut self, place: Place<'_>, change: ElementStep, sequence: u32, answer: Answer) {
        let (verb, flags, timeout) = match change.step {
            Step::Add { timeout } => (Verb::NewElement, CREATE | EXCLUSIVE, timeout),
            Step::Touch => (Verb::NewElement, CREATE, None),
            Step::Remove => (Verb::DeleteElement, 0, None),
        };
        let begun = self.begin(verb.number(), REQUEST | flags | flag(answer), sequence);
        self.generic(place.family.number(), 0);
        self.text(attribute::TABLE, place.table);
        self.text(attribute::LIST_SET, change.set.name());
        let list = self.begin_nest(attribute::LIST_ELEMENTS);
        let family = change.set.family;
        let ends = match change.set.holds() {
            Holds::TimedAddresses | Holds::Addresses => 1,
            Holds::Ranges => 2,
        };
        for end in change.range.ends(family).take(ends) {
            self.end_of_range(family, end, timeout);
        }
        self.end_attribute(list);
        self.end_message(begun);
    }

    /// Deletes a table with everything in it, within a transaction.
    pub(super) fn delete_table(&mut self, place: Place<'_>, sequence: u32) {
        let begun = self.begin(Verb::DeleteTable.number(), REQUEST | ACK, sequence);
        self.generic(place.family.number(), 0);
        self.text(attribute::TABLE, place.table);
        self.end_message(begun);
    }

    /// Asks for one table.
    pub(super) fn get_table(&mut self, place: Place<'_>, sequence: u32) {
        let begun = self.begin(Verb::GetTable.number(), REQUEST | ACK, sequence);
        self.generic(place.family.number(), 0);
        self.text(attribute::TABLE, place.table);
        self.end_message(begun);
    }

    /// Asks how often the rules of this namespace were changed.
    pub(super) fn get_generation(&mut self, sequence: u32) {
        let begun = self.begin(Verb::GetGeneration.number(), REQUEST | ACK, sequence);
        self.generic(0, 0);
        self.end_message(begun);
    }

    /// Asks for everything of a kind in a table. (The kernel lists chains of all tables of the family.)
    pub(super) fn dump(&mut self, verb: Verb, place: Place<'_>, sequence: u32) {
        let begun = self.begin(verb.number(), REQUEST | DUMP, sequence);
        self.generic(place.family.number(), 0);
        self.text(attribute::TABLE, place.table);
        if verb == Verb::GetObject {
            self.attribute(attribute::OBJECT_TYPE, &COUNTER_OBJECT.to_be_bytes());
        }
        self.end_message(begun);
    }

    /// Asks for the elements of a set.
    pub(super) fn dump_elements(&mut self, place: Place<'_>, set: &str, sequence: u32) {
        let begun = self.begin(Verb::GetElement.number(), REQUEST | DUMP, sequence);
        self.generic(place.family.number(), 0);
        self.text(attribute::TABLE, place.table);
        self.text(attribute::LIST_SET, set);
        self.end_message(begun);
    }

    /// One element of a set.
    fn end_of_range(&mut self, family: Family, end: RangeEnd, timeout: Option<Duration>) {
        let element = self.begin_nest(attribute::LIST_ELEMENT);
        let key = self.begin_nest(attribute::ELEMENT_KEY);
        match family {
            Family::V4 => {
                let low = u32::try_from(end.at).unwrap_or(u32::MAX);
                self.attribute(attribute::DATA_VALUE, &low.to_be_bytes());
            }
            Family::V6 => self.attribute(attribute::DATA_VALUE, &end.at.to_be_bytes()),
        }
        self.end_attribute(key);
        if end.side == Side::Closing {
            self.attribute(attribute::ELEMENT_FLAGS, &INTERVAL_END.to_be_bytes());
        }
        if let Some(timeout) = timeout {
            self.attribute(attribute::ELEMENT_TIMEOUT, &milliseconds(timeout).to_be_bytes());
        }
        self.end_attribute(element);
    }

    /// The nlmsghdr of a message.
    fn begin(&mut self, kind: u16, flags: u16, sequence: u32) -> Begun {
        let begun = Begun(self.bytes.len());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        begun
    }

    /// The nfgenmsg of a message.
    fn generic(&mut self, family: u8, resource: u16) {
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
    }

    /// Writes the length of a message.
    fn end_message(&mut self, begun: Begun) {
        let length = u32::try_from(self.bytes.len().saturating_sub(begun.0)).unwrap_or(u32::MAX);
        self.patch(begun, &length.to_ne_bytes());
    }

    /// A text with its closing zero.
    fn text(&mut self, kind: u16, text: &str) {
        let begun = self.begin_attribute(kind);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.end_attribute(begun);
    }

    /// A plain value.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let begun = self.begin_attribute(kind);
        self.bytes.extend_from_slice(value);
        self.end_attribute(begun);
    }

    /// An attribute that holds attributes.
    fn begin_nest(&mut self, kind: u16) -> Begun {
        self.begin_attribute(kind | NESTED)
    }

    fn begin_attribute(&mut self, kind: u16) -> Begun {
        let begun = Begun(self.bytes.len());
        self.bytes.extend_from_slice(&0_u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        begun
    }

    /// Writes the length of an attribute, and the zeros behind it.
    fn end_attribute(&mut self, begun: Begun) {
        let length = u16::try_from(self.bytes.len().saturating_sub(begun.0)).unwrap_or(u16::MAX);
        self.patch(begun, &length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn patch(&mut self, begun: Begun, value: &[u8]) {
        let field = self.bytes.get_mut(begun.0..);
        if let Some(field) = field.and_then(|rest| rest.get_mut(..value.len())) {
            field.copy_from_slice(value);
        }
    }
}

/// A timeout as the kernel reads it.
fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}

const fn flag(answer: Answer) -> u16 {
    match answer {
        Answer::None => 0,
        Answer::Acknowledge => ACK,
    }
}

#[cfg(test)]
mod tests;
