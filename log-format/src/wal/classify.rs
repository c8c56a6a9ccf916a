//! Labels an entry with the retention classes inside it, so that chapters can be cut without decoding payloads.

use super::bytes::Fields;
use crate::envelope;
use crate::event::Class;

/// What a record says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    /// One bit for each class among the events: `1 << (class code - 1)`.
    pub(crate) classes: u8,
    /// The envelope's version.
    pub(crate) schema: u16,
}

impl Label {
    /// Of bytes that are no envelope.
    pub(crate) const NONE: Self = Self { classes: 0, schema: 0 };
}

/// Reads the envelope's frame, not its payloads: unknown kinds and schemas have a class too. The same bytes give the
/// same label; repair relies on it.
pub(crate) fn label(data: &[u8]) -> Label {
    scan(data).unwrap_or(Label::NONE)
}

fn scan(data: &[u8]) -> Option<Label> {
    let mut fields = Fields::new(data);
    let version = fields.u8()?;
    if version != envelope::VERSION {
        return None;
    }
    fields.slice(envelope::HEADER_LENGTH - 3)?;
    let count = fields.u16()?;
    let mut classes = 0;
    for _ in 0..count {
        let _kind_and_schema = fields.u32()?;
        let class = Class::from_code(fields.u8()?)?;
        classes |= bit(class);
        let _observed_at = fields.u64()?;
        if class.is_erasable() {
            let _salt = fields.array::<16>()?;
        }
        let length = usize::try_from(fields.u32()?).ok()?;
        fields.slice(length)?;
    }
    let schema = u16::from(version);
    (fields.left() == 0).then_some(Label { classes, schema })
}

const fn bit(class: Class) -> u8 {
    match class {
        Class::Audit => 1,
        Class::Control => 2,
        Class::Attack => 4,
    }
}
