//! What people type into a search box, and which part of the result they want to see.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::Text;

use crate::address::{canonical, canonical_network};

/// Characters of a search text at most; no address or user agent that is kept is longer.
const MAX_NEEDLE: usize = Text::MAX_LENGTH;

/// A search text: part of an address or of a user agent in any case, or a network such as `192.0.2.0/24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFilter {
    needle: String,
    address: Option<IpAddr>,
    network: Option<IpNet>,
}

impl TextFilter {
    /// Reads what somebody typed; `None` if it is blank.
    pub fn new(text: &str) -> Option<Self> {
        let text: String = text.trim().chars().take(MAX_NEEDLE).collect();
        if text.is_empty() {
            return None;
        }
        Some(Self {
            needle: text.to_lowercase(),
            address: text.parse().ok().map(canonical),
            network: text.parse().ok().map(canonical_network),
        })
    }

    /// Whether an address, as text or as a member of the network, fits.
    pub fn matches_address(&self, address: IpAddr) -> bool {
        if let Some(network) = self.network {
            return network.contains(&address);
        }
        if !self.can_be_in_an_address() {
            return false;
        }
        let mut text = String::with_capacity(40);
        self.address == Some(address) || (write!(text, "{address}").is_ok() && text.contains(&self.needle))
    }

    /// Most texts cannot, which spares writing down every address of a long log.
    fn can_be_in_an_address(&self) -> bool {
        self.needle.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':'))
    }

    /// Whether a network has an address in common, or its text fits.
    pub fn matches_network(&self, network: &IpNet) -> bool {
        match self.network {
            Some(wanted) => wanted.contains(network) || network.contains(&wanted),
            None => {
                self.address.is_some_and(|address| network.contains(&address))
                    || network.to_string().contains(&self.needle)
            }
        }
    }

    /// Whether the text, as it is shown, contains what was typed.
    pub fn matches_text(&self, text: &Text) -> bool {
        let bytes = text.as_bytes();
        if bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
            let needle = self.needle.as_bytes();
            return bytes.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle));
        }
        text.visible().to_lowercase().contains(&self.needle)
    }
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Entries before it.
    pub skip: usize,
    /// Entries in it, at most.
    pub take: usize,
}

impl Page {
    /// Everything.
    pub const ALL: Self = Self { skip: 0, take: usize::MAX };
}

/// A part of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// The part that was asked for.
    pub items: Vec<T>,
    /// How many were found in all.
    pub total: usize,
}

impl<T> Found<T> {
    /// Takes a page of what is found, and counts the rest.
    pub(super) fn page(found: impl Iterator<Item = T>, page: Page) -> Self {
        let mut items = Vec::new();
        let mut total: usize = 0;
        for item in found {
            if page.skip <= total && items.len() < page.take {
                items.push(item);
            }
            total += 1;
        }
        Self { items, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_in_any_case_and_as_it_is_shown() {
        let agent = Text::new("Friendly-Scanner \u{202e}x".as_bytes());
        for (typed, expected) in
            [("SCANNER", true), (" friendly ", true), ("\\u202e", true), ("sipsak", false)]
        {
            assert_eq!(TextFilter::new(typed).unwrap().matches_text(&agent), expected, "{typed}");
        }
        assert_eq!(TextFilter::new("  "), None);
        assert!(!TextFilter::new("longer than that").unwrap().matches_text(&Text::new(b"short")));
    }

    #[test]
    fn addresses_are_found_by_part_spelling_and_network() {
        for (typed, address, expected) in [
            ("192.0.2", "192.0.2.9", true),
            ("0.2.9", "192.0.2.9", true),
            ("192.0.2.0/24", "192.0.2.9", true),
            ("192.0.3.0/24", "192.0.2.9", false),
            ("2001:0db8:0::1", "2001:db8::1", true),
            ("2001:DB8:", "2001:db8::1", true),
            ("::ffff:192.0.2.9", "192.0.2.9", true),
            ("sipsak", "192.0.2.9", false),
        ] {
            let filter = TextFilter::new(typed).unwrap();
            assert_eq!(filter.matches_address(address.parse().unwrap()), expected, "{typed} {address}");
        }
        let network = "10.0.0.0/8".parse().unwrap();
        assert!(TextFilter::new("10.1.2.3").unwrap().matches_network(&network));
        assert!(TextFilter::new("10.1.0.0/16").unwrap().matches_network(&network));
        assert!(TextFilter::new("10.0").unwrap().matches_network(&network));
    }
}
