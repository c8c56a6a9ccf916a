//! What goes over the wire, converted by hand from and to the domain's types: the wire's names and shapes are a promise
//! of their own (`golden/openapi.json`).

pub(crate) mod attack;
pub(crate) mod block;
pub(crate) mod explanation;
pub(crate) mod host;
pub(crate) mod list;
pub(crate) mod live;
pub(crate) mod membership;
pub(crate) mod projection;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod summary;

use log_format::event::Text;
use serde::Serialize;

/// Characters shown of a text that strangers wrote; the rest becomes an ellipsis.
const LONGEST_SHOWN: usize = 200;

/// The answer to a write.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    /// The entry that carries what was done; this host has applied it.
    pub(crate) log_index: u64,
}

/// Hostile text as one line that can be shown anywhere, and never a long one.
pub(crate) fn shown(text: &Text) -> String {
    cut(&text.visible())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => [text.get(..end).unwrap_or_default(), "…"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_ends_in_an_ellipsis_at_a_character() {
        assert_eq!(cut(&"ž".repeat(LONGEST_SHOWN)).chars().count(), LONGEST_SHOWN);
        let cut = cut(&"ž".repeat(LONGEST_SHOWN + 1));
        assert_eq!(cut.chars().count(), LONGEST_SHOWN + 1);
        assert!(cut.ends_with("ž…"));
    }

    #[test]
    fn hostile_text_is_made_visible_before_it_is_cut() {
        let text = Text::new(&[b"\x1b]0;".as_slice(), &[0; 252]].concat());
        assert!(shown(&text).starts_with("\\u001b]0;\\u0000"));
        assert_eq!(shown(&text).chars().count(), LONGEST_SHOWN + 1);
    }
}
