//! Secrets of our own making: tokens, and what is kept of them.
//!
//! A token is 256 random bits, so only its SHA-256 is kept. A slow hash such as argon2 protects what people choose, for
//! that can be guessed; 2^256 cannot, and a fast hash lets a request with a token cost a microsecond and no cache.
//! Nothing here prints a token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

/// What every token begins with, so that people and scanners of repositories recognise one.
const PREFIX: &str = "slc_";
/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;

/// A token as its owner has it.
#[derive(Clone, Eq, PartialEq)]
pub struct TokenSecret {
    text: String,
}

/// What is kept of a token.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TokenDigest([u8; 32]);

impl TokenSecret {
    /// A new token.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self {
            text: format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)),
        })
    }

    /// The token in a text, if it has the form of one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (bytes.len() == RANDOM_BYTES).then(|| Self {
            text: text.to_owned(),
        })
    }

    /// The token itself, to be shown once to whoever asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, self.text.as_bytes()).as_ref());
        TokenDigest(bytes)
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

impl TokenDigest {
    /// Reads 64 hex digits.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_and_kept_as_its_hash() {
        let token = TokenSecret::draw().expect("random bytes");
        assert!(token.reveal().starts_with("slc_") && token.reveal().len() == 47);
        assert_eq!(TokenSecret::read(token.reveal()), Some(token.clone()));
        assert_ne!(TokenSecret::draw().expect("random bytes"), token);
        let kept = token.digest().to_string();
        assert_eq!(TokenDigest::read(&kept), Some(token.digest()));
        assert!(!format!("{token:?}").contains(token.reveal()));
    }

    /// The hash is what any tool prints: `printf %s TOKEN | sha256sum`.
    #[test]
    fn the_hash_is_plain_sha_256() {
        let token = TokenSecret::read(&format!("slc_{}", "A".repeat(43))).expect("a token");
        assert_eq!(
            token.digest().to_string(),
            "6b37c271e056821fede0e77ac3b0402dafb7299c8262d9c25e295c1236acb8dc"
        );
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_none() {
        for text in [
            "",
            "slc_",
            "slc_abc",
            "ghp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "slc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+",
            "slc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(TokenSecret::read(text), None, "{text}");
        }
        for text in ["", "00", &"g".repeat(64), &"+0".repeat(32)] {
            assert_eq!(TokenDigest::read(text), None, "{text}");
        }
    }
}
