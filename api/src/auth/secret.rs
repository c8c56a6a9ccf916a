//! Secrets: drawn at random, shown once, kept as SHA-256. With 256 bits of randomness a plain hash cannot be reversed
//! by guessing, so nothing slower is needed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::ports::{NoRandomness, Random};

/// Bytes of every secret here.
const LENGTH: usize = 32;

/// Thirty-two random bytes as base64url: 43 characters.
pub(crate) fn random_text(random: &Random) -> Result<String, NoRandomness> {
    let mut bytes = [0; LENGTH];
    random(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256 over the parts, each preceded by its length, so that no two lists of parts share a digest.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The token by which this host's command line is known: it lies in a file that only the host's own user reads.
/// Only its hash is kept here.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalToken([u8; LENGTH]);

/// The text is not a local token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a local token is 32 bytes in base64url")]
pub struct NotALocalToken;

impl LocalToken {
    /// Draws a new token: what to keep, and the text for the file.
    pub fn draw(random: &Random) -> Result<(Self, String), NoRandomness> {
        let text = random_text(random)?;
        Ok((Self(digest(&[text.as_bytes()])), text))
    }

    /// Takes the text from the file; surrounding white space does not count.
    pub fn from_text(text: &str) -> Result<Self, NotALocalToken> {
        let text = text.trim();
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotALocalToken)?;
        if bytes.len() != LENGTH {
            return Err(NotALocalToken);
        }
        Ok(Self(digest(&[text.as_bytes()])))
    }

    /// Whether `text` is this token; takes the same time wherever they differ.
    pub(super) fn is(&self, text: &str) -> bool {
        digest(&[text.as_bytes()]).ct_eq(&self.0).into()
    }
}

impl fmt::Debug for LocalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalToken(…)")
    }
}
