//! Package versions in the one form that keys and URLs use, and their order.
//!
//! NuGet's versions are wider than SemVer: one to four numbers, and two spellings of one version are one package (protocol
//! facts 2.0.3–2.0.6). Only the canonical spelling is kept: normalised, lower case, without build metadata. Ranges are
//! not read here.

use std::cmp::Ordering;
use std::fmt;

/// Longest text read as a version, in bytes. nuget.org stores 64 characters; the rest is room for other servers.
pub const MAX_VERSION_BYTES: usize = 256;

/// A package version in its canonical spelling.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Version {
    numbers: [i32; 4],
    /// The canonical spelling; the prerelease label starts at `label`.
    text: Box<str>,
    /// Where the label starts in `text`; its end where there is none.
    label: usize,
}

impl Version {
    /// The version that `text` spells: 1 to 4 numbers, then optionally `-label` and `+metadata`.
    ///
    /// # Errors
    /// If a number is missing or above `i32::MAX`, there are more than four, or an identifier of label or metadata is
    /// empty or has other characters than `0-9 A-Z a-z -`.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let fault = |problem| VersionError {
            value: text.chars().take(MAX_VERSION_BYTES).collect(),
            problem,
        };
        if text.len() > MAX_VERSION_BYTES {
            return Err(fault(VersionProblem::TooLong));
        }
        let (rest, metadata) = split(text, '+');
        let (core, label) = split(rest, '-');
        let mut numbers = [0; 4];
        for (count, part) in core.split('.').enumerate() {
            let Some(slot) = numbers.get_mut(count) else {
                return Err(fault(VersionProblem::TooManyNumbers));
            };
            *slot = number(part).ok_or_else(|| fault(VersionProblem::Number))?;
        }
        if !label.is_none_or(is_identifiers) {
            return Err(fault(VersionProblem::Label));
        }
        if !metadata.is_none_or(is_identifiers) {
            return Err(fault(VersionProblem::Metadata));
        }
        // Numbers that are left out are filled in, so the canonical spelling can be the longer one. It is read again too.
        Some(Self::new(numbers, label))
            .filter(|version| version.text.len() <= MAX_VERSION_BYTES)
            .ok_or_else(|| fault(VersionProblem::TooLong))
    }

    fn new(numbers: [i32; 4], label: Option<&str>) -> Self {
        let [major, minor, patch, revision] = numbers;
        let mut text = format!("{major}.{minor}.{patch}");
        if revision != 0 {
            text.push('.');
            text.push_str(&revision.to_string());
        }
        if let Some(label) = label {
            text.push('-');
            text.push_str(&label.to_ascii_lowercase());
        }
        let start = text.len() - label.map_or(0, str::len);
        Self {
            numbers,
            text: text.into(),
            label: start,
        }
    }

    /// The canonical spelling: normalised, lower case, without metadata.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the version has a prerelease label.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        self.label < self.text.len()
    }

    fn label(&self) -> &str {
        self.text.get(self.label..).unwrap_or_default()
    }
}

/// `text` before the first `mark`, and what follows it where there is one.
fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn number(part: &str) -> Option<i32> {
    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| part.parse().ok()).flatten()
}

fn is_identifiers(text: &str) -> bool {
    text.split('.').all(|identifier| {
        !identifier.is_empty()
            && identifier
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// By numbers, then a release above its prereleases, then by label as SemVer 2.0.0 section 11 says, but with NuGet's
/// idea of a numeric identifier: what fits a 32-bit integer. Labels that compare equal although spelled differently
/// (`1` and `01`) are told apart by their text, so that the order agrees with equality.
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| other.is_prerelease().cmp(&self.is_prerelease()))
            .then_with(|| compare_labels(self.label(), other.label()))
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn compare_labels(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => compare_identifiers(a, b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn compare_identifiers(a: &str, b: &str) -> Ordering {
    match (a.parse::<i32>(), b.parse::<i32>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no package version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VersionError {
    /// The text, cut at [`MAX_VERSION_BYTES`] characters.
    value: String,
    problem: VersionProblem,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum VersionProblem {
    Label,
    Metadata,
    Number,
    TooLong,
    TooManyNumbers,
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = &self.value;
        write!(f, "{value:?} is no package version: expected ")?;
        f.write_str(match self.problem {
            VersionProblem::Label => {
                "a label of dot-separated letters, digits and hyphens after the '-'"
            }
            VersionProblem::Metadata => {
                "metadata of dot-separated letters, digits and hyphens after the '+'"
            }
            VersionProblem::Number => "numbers from 0 to 2147483647 between dots",
            VersionProblem::TooLong => "at most 256 bytes",
            VersionProblem::TooManyNumbers => "at most four numbers",
        })
    }
}

impl std::error::Error for VersionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Version {
        Version::parse(text).expect(text)
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).as_str(), expected);
        assert_eq!(parse(expected), parse(text), "the canonical form is stable");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = Version::parse(text).map_err(|error| error.to_string());
        let expected = format!("{text:?} is no package version: expected {expected}");
        assert_eq!(error, Err(expected));
    }

    #[test]
    fn normalises() {
        for text in ["1", "1.0", "1.0.0", "1.0.0.0", "01.0.00", "1.0.0+build"] {
            check(text, "1.0.0");
        }
        check("1.2.3.4", "1.2.3.4");
        check("1.2.3.04", "1.2.3.4");
        check("22.1", "22.1.0");
        check("1.0.0-Beta.1+SHA.5114f85", "1.0.0-beta.1");
        check("1.0-RC1b", "1.0.0-rc1b");
        check("1.0.0.0-alpha", "1.0.0-alpha");
        check("1.0.0-alpha-beta", "1.0.0-alpha-beta");
        check("1.0.0--", "1.0.0--");
        check("1.0.0-01", "1.0.0-01");
        check("1.0.0+a-b", "1.0.0");
        check("2147483647.0.0", "2147483647.0.0");
    }

    #[test]
    fn refuses_other_texts() {
        const NUMBER: &str = "numbers from 0 to 2147483647 between dots";
        const LABEL: &str = "a label of dot-separated letters, digits and hyphens after the '-'";
        const METADATA: &str =
            "metadata of dot-separated letters, digits and hyphens after the '+'";
        for text in [
            "",
            "v1.0.0",
            "1..0",
            "1.",
            ".1",
            "-1",
            "+1",
            "1.0.x",
            " 1.0",
            "1.0 ",
            "2147483648",
            "١",
        ] {
            check_refused(text, NUMBER);
        }
        for text in [
            "1.0.0-",
            "1.0.0-a..b",
            "1.0.0-a.",
            "1.0.0-a_b",
            "1.0.0-é",
            "1-a/b",
        ] {
            check_refused(text, LABEL);
        }
        for text in ["1.0.0+", "1.0.0+a+b", "1.0.0-a+b..c"] {
            check_refused(text, METADATA);
        }
        check_refused("1.2.3.4.5", "at most four numbers");
        let long = format!("1.0.0-{}", "a".repeat(MAX_VERSION_BYTES));
        let error = Version::parse(&long).unwrap_err().to_string();
        assert!(
            error.ends_with("a\" is no package version: expected at most 256 bytes"),
            "{error}"
        );
        check(&long[..MAX_VERSION_BYTES], &long[..MAX_VERSION_BYTES]);
        // Written whole it would be too long.
        let short = format!("1-{}", "a".repeat(MAX_VERSION_BYTES - 2));
        check_refused(&short, "at most 256 bytes");
    }

    #[test]
    fn orders_as_nuget_does() {
        let ascending = [
            "0.9",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            // The label "-" is no number, nor is one that no 32-bit integer holds: both stand above the numbers.
            "1.0.0--",
            "1.0.0-3000000000",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.1.0",
            "1.0.0-alpha.2",
            "1.0.0-alpha.beta",
            "1.0.0-Beta",
            "1.0.0-rc",
            "1.0.0",
            "1.0.0.1-a",
            "1.0.0.1",
            "1.0.1",
            "1.10",
            "2",
        ]
        .map(parse);
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} and {b}");
            }
        }
    }

    #[test]
    fn spellings_are_equal_and_labels_tell_apart() {
        assert_eq!(parse("1.0-RC"), parse("01.0.0.0-rc+x"));
        assert!(parse("1.0-1") > parse("1.0-01") && parse("1.0-01") != parse("1.0-1"));
        assert!(parse("1.0-a").is_prerelease() && !parse("1.0+a").is_prerelease());
    }
}
