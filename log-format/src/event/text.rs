//! Text from outside, kept as it came.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hostile text, as bytes, cut to [`Text::MAX_LENGTH`]. It has no `Display` on purpose: whoever shows it chooses how
/// ([`Text::visible`] for a screen or a log). Copies share the bytes: an event's text stands in the entry and in every fold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Arc<[u8]>);

impl Text {
    /// Bytes kept of one field: enough for every honest user agent seen, and a bound for the others.
    pub const MAX_LENGTH: usize = 256;

    /// Keeps the first [`Text::MAX_LENGTH`] bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().take(Self::MAX_LENGTH).collect())
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One line that can be shown anywhere: invalid UTF-8 becomes `\u{fffd}`; control characters and those that change
    /// the direction or the width of text become visible escapes such as `\u202e`.
    pub fn visible(&self) -> String {
        let mut shown = String::with_capacity(self.0.len());
        for character in String::from_utf8_lossy(&self.0).chars() {
            if is_deceptive(character) {
                shown.push_str(&format!("\\u{:04x}", u32::from(character)));
            } else {
                shown.push(character);
            }
        }
        shown
    }
}

/// Characters that are invisible or rearrange their neighbours: controls, bidirectional marks, zero widths, tags.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xad | 0x061c | 0x115f | 0x1160 | 0x180e | 0x200b..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f
            | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff9..=0xfffb | 0xe0000..=0xe0fff)
}

/// A number of bytes, then the bytes, as one piece.
impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextBytes)
    }
}

struct TextBytes;

impl Visitor<'_> for TextBytes {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a text")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(Arc::from(bytes)))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Text, E> {
        Ok(Text(Arc::from(bytes)))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.visible())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_become_visible() {
        let text = Text::new("a\u{202e}b\r\n\u{1b}[31m\0".as_bytes());
        assert_eq!(text.visible(), "a\\u202eb\\u000d\\u000a\\u001b[31m\\u0000");
        assert_eq!(Text::new(b"\xff").visible(), "\u{fffd}");
        assert_eq!(Text::new("používateľ".as_bytes()).visible(), "používateľ");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(Text::new(&[b'x'; 5_000]).as_bytes().len(), Text::MAX_LENGTH);
    }
}
