//! Names for registration hives.
//!
//! An upstream has several registration bases, and the index that we hand out keeps them apart (protocol fact 7.1.5). A
//! hive's name in our URLs is made from its base URL alone, so every instance and every later start gives it the same.

use super::as_base;
use crate::nuget::digest::sha256_hex;

/// Longest slug, in characters: enough to recognise a base, short enough to keep URLs readable.
const MAX_SLUG_CHARS: usize = 40;

/// Hex digits of the hash in a token. Two bases of one upstream with the same slug and digits get more.
const HASH_DIGITS: usize = 6;

/// What a base without a usable path segment is called.
const NAMELESS: &str = "registration";

/// A registration base of the upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hive {
    /// Its name in our URLs: `{slug}-{hex digits}`, one path segment of `[a-z0-9.-]`.
    pub token: String,
    /// Its URL at the upstream, with a final slash.
    pub base: String,
}

/// A hive for each of these distinct bases, in their order.
pub(super) fn name(bases: Vec<&str>) -> Vec<Hive> {
    let mut hives: Vec<Hive> = Vec::with_capacity(bases.len());
    for base in bases {
        let base = as_base(base);
        let (slug, hash) = (slug(&base), sha256_hex(&base));
        let token = (HASH_DIGITS..=hash.len())
            .map(|digits| format!("{slug}-{}", hash.get(..digits).unwrap_or(&hash)))
            .find(|token| hives.iter().all(|hive| hive.token != *token));
        // Whole hashes differ, so there is always a token.
        hives.extend(token.map(|token| Hive { token, base }));
    }
    hives
}

/// The last path segment, so that a person knows a hive by its URL.
fn slug(base: &str) -> String {
    let path = base.split_once("://").map_or(base, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let last = path.rsplit('/').find(|segment| !segment.is_empty());
    let slug: String = last
        .unwrap_or_default()
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'))
        .take(MAX_SLUG_CHARS)
        .collect();
    if slug.is_empty() {
        NAMELESS.to_owned()
    } else {
        slug
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bases: &[&str], expected: &[&str]) {
        let hives = name(bases.to_vec());
        let tokens: Vec<&str> = hives.iter().map(|hive| hive.token.as_str()).collect();
        assert_eq!(tokens, expected);
    }

    #[test]
    fn a_token_never_changes_and_does_not_depend_on_the_slash() {
        let token = "registration5-gz-semver2-cbd4be";
        check(
            &["https://api.nuget.org/v3/registration5-gz-semver2/"],
            &[token],
        );
        check(
            &["https://api.nuget.org/v3/registration5-gz-semver2"],
            &[token],
        );
    }

    #[test]
    fn equal_beginnings_of_hashes_get_more_digits() {
        let (a, b) = ("https://h/945/reg/", "https://h/9417/reg/");
        assert_eq!(sha256_hex(a)[..HASH_DIGITS], sha256_hex(b)[..HASH_DIGITS]);
        check(&[a, b], &["reg-76989b", "reg-76989b3"]);
    }

    #[test]
    fn a_slug_is_one_plain_path_segment() {
        let slugs = [
            ("https://h/A_b%20C.d-e/", "ab20c.d-e"),
            ("https://h/v3//", "v3"),
            ("https://h/", NAMELESS),
            ("https://h/é/", NAMELESS),
        ];
        for (base, expected) in slugs {
            assert_eq!(slug(base), expected, "{base}");
        }
        assert_eq!(
            slug(&format!("https://h/{}/", "a".repeat(50))).len(),
            MAX_SLUG_CHARS
        );
    }
}
