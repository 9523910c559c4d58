//! The name of a stored response.
//!
//! A key is 32 bytes, hash64(feed) ‖ hash64(id, 0 if none) ‖ hash128(class, rest, variant, audience), so that purging a
//! feed or an id is a range of the index, and a body file can be found by name without the index. The full text travels
//! with every record and is compared, so a collision of hashes is a miss and never a wrong answer.

use std::fmt;
use std::sync::Arc;

use ring::digest;

/// Who may be served a stored response.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Audience {
    /// Only clients with the credential of this hash (hex), or with none where it is the hash of that.
    Credential(Arc<str>),
    /// Only clients whose own credential was proven. A name apart from those for everybody, so that what came with a
    /// client's credential is for nobody else once the feed passes none on any more.
    Proven,
    /// Every client.
    #[default]
    Shared,
}

impl Audience {
    /// What stands for it in a key. Part of stored keys: never changed.
    fn text(&self) -> &str {
        match self {
            Self::Credential(hash) => hash,
            // No hash looks like that.
            Self::Proven => "proven",
            Self::Shared => "",
        }
    }
}

/// The parts of a key. None may hold the separator U+001F.
#[derive(Clone, Debug, Default)]
pub struct Parts<'a> {
    /// Name of the feed.
    pub feed: &'a str,
    /// Package id in its canonical lower case, where the response belongs to one.
    pub id: Option<&'a str>,
    /// The cache class, in the words of `proxy::route`.
    pub class: &'a str,
    /// What tells responses of one class and id apart: a version, a hive and path, a query.
    pub rest: &'a str,
    /// Which of several forms, empty where there is one.
    pub variant: &'a str,
    /// Who may be served it.
    pub audience: Audience,
}

const SEPARATOR: char = '\u{1f}';
const PARTS: usize = 6;

/// The name of a stored response: 32 bytes and the text they were made from. Cheap to clone.
#[derive(Clone, Eq)]
pub struct Key {
    bytes: [u8; 32],
    text: Arc<str>,
}

impl Key {
    /// The key with these parts.
    #[must_use]
    pub fn new(parts: &Parts<'_>) -> Self {
        let mut text = String::with_capacity(96);
        for (i, part) in [
            parts.feed,
            parts.id.unwrap_or(""),
            parts.class,
            parts.rest,
            parts.variant,
            parts.audience.text(),
        ]
        .into_iter()
        .enumerate()
        {
            if i > 0 {
                text.push(SEPARATOR);
            }
            debug_assert!(!part.contains(SEPARATOR), "a key part holds the separator");
            text.push_str(part);
        }
        Self::from_text(text.into())
    }

    /// The key that a record or trailer names, or `None` if `text` has not the form that [`Key::text`] gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.split(SEPARATOR).count() == PARTS).then(|| Self::from_text(text.into()))
    }

    fn from_text(text: Arc<str>) -> Self {
        let mut split = text.splitn(3, SEPARATOR);
        let (feed, id, rest) = (
            split.next().unwrap_or_default(),
            split.next().unwrap_or_default(),
            split.next().unwrap_or_default(),
        );
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&feed_prefix(feed));
        bytes[8..16].copy_from_slice(&id_hash(id));
        bytes[16..].copy_from_slice(&hash::<16>(rest));
        Self { bytes, text }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The full text, for records and comparison.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The feed's name.
    #[must_use]
    pub fn feed(&self) -> &str {
        self.part(0)
    }

    /// The package id in lower case, if the response belongs to one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        Some(self.part(1)).filter(|id| !id.is_empty())
    }

    /// The cache class.
    #[must_use]
    pub fn class(&self) -> &str {
        self.part(2)
    }

    /// What tells responses of one class and id apart.
    #[must_use]
    pub fn rest(&self) -> &str {
        self.part(3)
    }

    /// The same name for another audience: what is remembered for one alone of a response that is shared.
    #[must_use]
    pub fn for_audience(&self, audience: &Audience) -> Self {
        let (shared, _) = self.text.rsplit_once(SEPARATOR).unwrap_or_default();
        Self::from_text(format!("{shared}{SEPARATOR}{}", audience.text()).into())
    }

    fn part(&self, index: usize) -> &str {
        self.text.split(SEPARATOR).nth(index).unwrap_or_default()
    }
}

/// The 8 bytes that every key of this feed begins with.
#[must_use]
pub fn feed_prefix(feed: &str) -> [u8; 8] {
    hash::<8>(feed)
}

/// The 16 bytes that every key of this id in this feed begins with.
#[must_use]
pub fn id_prefix(feed: &str, id: &str) -> [u8; 16] {
    let mut prefix = [0; 16];
    prefix[..8].copy_from_slice(&feed_prefix(feed));
    prefix[8..].copy_from_slice(&id_hash(id));
    prefix
}

/// The 8 bytes that every key of this id has behind its feed's; zeros where there is no id.
#[must_use]
pub fn id_hash(id: &str) -> [u8; 8] {
    if id.is_empty() { [0; 8] } else { hash::<8>(id) }
}

/// The first `N` bytes of the SHA-256 of `text`: names files on disk, so it must be the same in every release.
fn hash<const N: usize>(text: &str) -> [u8; N] {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut out = [0; N];
    out.copy_from_slice(&digest.as_ref()[..N]);
    out
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.text == other.text
    }
}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.text.replace(SEPARATOR, "|"))
    }
}

/// The key as hex, as files are named and logs show it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(feed: &str, id: Option<&str>, rest: &str) -> Key {
        Key::new(&Parts {
            feed,
            id,
            class: "package",
            rest,
            ..Parts::default()
        })
    }

    #[test]
    fn begins_with_the_prefixes_of_its_feed_and_id() {
        let key = key("nuget", Some("serilog"), "3.1.1");
        assert_eq!(key.bytes()[..8], feed_prefix("nuget"));
        assert_eq!(key.bytes()[..16], id_prefix("nuget", "serilog"));
        assert_eq!(
            (key.feed(), key.id(), key.class(), key.rest()),
            ("nuget", Some("serilog"), "package", "3.1.1")
        );
    }

    #[test]
    fn every_part_tells_keys_apart() {
        let all = [
            key("nuget", Some("serilog"), "3.1.1"),
            key("other", Some("serilog"), "3.1.1"),
            key("nuget", Some("dapper"), "3.1.1"),
            key("nuget", None, "3.1.1"),
            key("nuget", Some("serilog"), "3.1.2"),
            Key::new(&Parts {
                feed: "nuget",
                id: Some("serilog"),
                class: "package",
                rest: "3.1.1",
                audience: Audience::Credential("ab".into()),
                ..Parts::default()
            }),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(a == b, i == j, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn a_key_for_another_audience_differs_in_that_alone() {
        let shared = key("nuget", Some("serilog"), "3.1.1");
        let audience = Audience::Credential("ab".into());
        let own = shared.for_audience(&audience);
        let expected = Key::new(&Parts {
            feed: "nuget",
            id: Some("serilog"),
            class: "package",
            rest: "3.1.1",
            audience,
            ..Parts::default()
        });
        assert_eq!(own, expected);
        assert_eq!(own.for_audience(&Audience::Shared), shared);
    }

    #[test]
    fn text_gives_the_same_key_back_and_its_bytes_never_change() {
        let key = key("nuget", Some("serilog"), "3.1.1");
        assert_eq!(Key::parse(key.text()), Some(key.clone()));
        assert_eq!(Key::parse("not a key"), None);
        assert_eq!(
            key.to_string(),
            "e1845abfab7248ca5f96820c2c894ac2fbc6d7d5bca76bc28d52b1a4a4aca867"
        );
    }
}
