//! Package ids in the one form that keys, URLs and comparisons use.
//!
//! Ids compare without case, and the case mapping is .NET's invariant one: each character by itself, one to one (protocol
//! fact 2.0.1). The spelling a client used is not kept. What could not be one path segment of an upstream URL, or a part
//! of a key, is refused; whether a server would accept the id as a new package is not asked here (2.0.2).

use std::fmt;

/// Longest id, in characters: nuget.org's database column. Its tools stop at 100, but older ids exceed that (protocol
/// fact 2.0.2).
pub const MAX_ID_CHARS: usize = 128;

/// Characters that servers refuse in a path or that would make it another path (protocol fact 6.2.3).
const REFUSED: &[char] = &['/', '\\', '<', '>', ':', '"', '|', '?', '*', '%'];

/// A package id in its canonical lower case.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PackageId(Box<str>);

impl PackageId {
    /// The id that `text`, percent-decoded, names in any case.
    ///
    /// # Errors
    /// If `text` cannot be an id: empty, longer than [`MAX_ID_CHARS`], `.` or `..`, or with a character that a path
    /// segment must not hold.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fault = |problem| IdError {
            value: text.chars().take(MAX_ID_CHARS).collect(),
            problem,
        };
        if text.is_empty() {
            return Err(fault(IdProblem::Empty));
        }
        if text == "." || text == ".." {
            return Err(fault(IdProblem::Dots));
        }
        if text.chars().count() > MAX_ID_CHARS {
            return Err(fault(IdProblem::TooLong));
        }
        let refused = |c: char| c.is_control() || c.is_whitespace() || REFUSED.contains(&c);
        if let Some(c) = text.chars().find(|c| refused(*c)) {
            return Err(fault(IdProblem::Character(c)));
        }
        Ok(Self(text.chars().map(lower_invariant).collect()))
    }

    /// The id in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as one path segment: UTF-8, percent-encoded but for RFC 3986 unreserved characters (section 2.3).
    #[must_use]
    pub fn to_path(&self) -> String {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut path = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push('%');
                path.push(char::from(HEX[usize::from(byte >> 4)]));
                path.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
        path
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The simple lower-case mapping, as .NET's invariant culture has it: a character whose only mapping is longer than one
/// character (U+0130) stays.
fn lower_invariant(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(lower), None) => lower,
        _ => c,
    }
}

/// Why a text is no package id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdError {
    /// The text, cut at [`MAX_ID_CHARS`].
    value: String,
    problem: IdProblem,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum IdProblem {
    Character(char),
    Dots,
    Empty,
    TooLong,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = &self.value;
        match self.problem {
            IdProblem::Character(c) => write!(
                f,
                "{value:?} is no package id: expected letters, digits, '.', '-' or '_', found {c:?}"
            ),
            IdProblem::Dots => write!(
                f,
                "{value:?} is no package id: expected a name, found only dots"
            ),
            IdProblem::Empty => f.write_str("an empty text is no package id"),
            IdProblem::TooLong => write!(
                f,
                "a package id has at most {MAX_ID_CHARS} characters, found more, beginning {value:?}"
            ),
        }
    }
}

impl std::error::Error for IdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(
            PackageId::parse(text).map(|id| id.as_str().to_owned()),
            Ok(expected.to_owned())
        );
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = PackageId::parse(text).map_err(|error| error.to_string());
        assert_eq!(error, Err(expected.to_owned()));
    }

    #[test]
    fn lowers_each_character_by_itself() {
        check("Newtonsoft.Json", "newtonsoft.json");
        check("serilog", "serilog");
        check("ÄÖÜ.Straße", "äöü.straße");
        check("ẞ", "ß");
        check("İstanbul", "İstanbul");
        check("ΣΑΣ", "σασ");
        check("日本語.Package", "日本語.package");
        check("_a-B.c+d", "_a-b.c+d");
    }

    #[test]
    fn takes_what_old_ids_hold_up_to_the_limit() {
        check(&"A".repeat(MAX_ID_CHARS), &"a".repeat(MAX_ID_CHARS));
        check(&"Ä".repeat(MAX_ID_CHARS), &"ä".repeat(MAX_ID_CHARS));
        check("...", "...");
    }

    #[test]
    fn refuses_what_cannot_be_a_path_segment() {
        for c in REFUSED {
            let text = format!("a{c}b");
            assert!(PackageId::parse(&text).is_err(), "{text:?}");
        }
        for text in [
            "a b",
            "a\tb",
            "a\u{1f}b",
            "a\0",
            "\u{a0}a",
            "a\u{2028}",
            "..",
            ".",
        ] {
            assert!(PackageId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn says_value_and_expectation() {
        check_refused("", "an empty text is no package id");
        check_refused(
            "..",
            "\"..\" is no package id: expected a name, found only dots",
        );
        check_refused(
            "a/b",
            "\"a/b\" is no package id: expected letters, digits, '.', '-' or '_', found '/'",
        );
        check_refused(
            &"x".repeat(129),
            &format!(
                "a package id has at most 128 characters, found more, beginning {:?}",
                "x".repeat(128)
            ),
        );
    }

    #[test]
    fn path_is_percent_encoded_utf8() {
        let path = |text| PackageId::parse(text).map(|id| id.to_path());
        assert_eq!(path("A.B-c_D~e"), Ok("a.b-c_d~e".to_owned()));
        assert_eq!(path("Ä+b"), Ok("%C3%A4%2Bb".to_owned()));
        assert_eq!(path("日#"), Ok("%E6%97%A5%23".to_owned()));
    }
}
