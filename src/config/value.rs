//! A value as it was written, and how it is read as what a setting wants.
//!
//! A file gives typed values, environment and flags give text; both are read here, each with the words that tell the
//! user what was expected. It refuses to guess: a duration without a unit is a mistake.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;

/// A value as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    List(Vec<String>),
    /// Of a kind that no setting takes; shown as it was written.
    Other(String),
    Text(String),
}

const KIB: u64 = 1 << 10;

impl Value {
    /// The value as a report shows it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::List(items) => items.join(", "),
            Self::Other(text) | Self::Text(text) => text.clone(),
        }
    }

    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) if !text.is_empty() => Ok(text),
            Self::Integer(_) | Self::List(_) | Self::Other(_) | Self::Text(_) => {
                Err("a text that is not empty".to_owned())
            }
        }
    }

    pub(super) fn path(&self) -> Result<PathBuf, String> {
        self.text()
            .map(PathBuf::from)
            .map_err(|_| "a path".to_owned())
    }

    /// A list; a text is split at its commas.
    pub(super) fn list(&self) -> Result<Vec<&str>, String> {
        let items: Vec<&str> = match self {
            Self::List(items) => items.iter().map(|item| item.trim()).collect(),
            Self::Text(text) => text.split(',').map(str::trim).collect(),
            Self::Integer(_) | Self::Other(_) => return Err("a list of texts".to_owned()),
        };
        if items.iter().any(|item| item.is_empty()) {
            return Err("a list without empty items".to_owned());
        }
        Ok(items)
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, String> {
        let found = self.text().unwrap_or_default();
        words
            .iter()
            .find_map(|(word, meaning)| (*word == found).then_some(*meaning))
            .ok_or_else(|| {
                let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                format!("one of {}", all.join(", "))
            })
    }

    /// A truth value.
    pub(super) fn truth(&self) -> Result<bool, String> {
        match self.shown().as_str() {
            "false" => Ok(false),
            "true" => Ok(true),
            _ => Err("true or false".to_owned()),
        }
    }

    pub(super) fn duration(&self, allowed: RangeInclusive<Duration>) -> Result<Duration, String> {
        let found = match self {
            Self::Text(text) => parse_duration(text),
            Self::Integer(_) | Self::List(_) | Self::Other(_) => None,
        };
        found
            .filter(|found| allowed.contains(found))
            .ok_or_else(|| {
                format!(
                    "a duration from {} to {}, such as \"500ms\", \"2s\", \"15m\", \"1h\" or \"7d\"",
                    show_duration(*allowed.start()),
                    show_duration(*allowed.end())
                )
            })
    }

    pub(super) fn bytes(&self, allowed: RangeInclusive<u64>) -> Result<u64, String> {
        let found = match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Text(text) => parse_bytes(text),
            Self::List(_) | Self::Other(_) => None,
        };
        found
            .filter(|found| allowed.contains(found))
            .ok_or_else(|| {
                format!(
                    "a size from {} to {}, such as \"64MiB\", \"10GB\" or a number of bytes",
                    show_bytes(*allowed.start()),
                    show_bytes(*allowed.end())
                )
            })
    }

    pub(super) fn count(&self, allowed: RangeInclusive<usize>) -> Result<usize, String> {
        let found = match self {
            Self::Integer(number) => usize::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
            Self::List(_) | Self::Other(_) => None,
        };
        found
            .filter(|found| allowed.contains(found))
            .ok_or_else(|| {
                format!(
                    "a whole number from {} to {}",
                    allowed.start(),
                    allowed.end()
                )
            })
    }

    /// A number, or `None` for "off".
    pub(super) fn count_or_off(
        &self,
        allowed: RangeInclusive<usize>,
    ) -> Result<Option<NonZeroU64>, String> {
        self.or_off(|value| {
            let count = value.count(allowed)?;
            Ok(u64::try_from(count).unwrap_or(u64::MAX))
        })
    }

    /// A size, or `None` for "off".
    pub(super) fn bytes_or_off(
        &self,
        allowed: RangeInclusive<u64>,
    ) -> Result<Option<NonZeroU64>, String> {
        self.or_off(|value| value.bytes(allowed))
    }

    fn or_off(
        &self,
        read: impl FnOnce(&Self) -> Result<u64, String>,
    ) -> Result<Option<NonZeroU64>, String> {
        match self.text() {
            Ok("off") => Ok(None),
            Ok(_) | Err(_) => read(self)
                .map(NonZeroU64::new)
                .map_err(|expected| format!("\"off\" or {expected}")),
        }
    }

    pub(super) fn address(&self) -> Result<SocketAddr, String> {
        self.text().and_then(parse_address)
    }

    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let list = self.list()?.into_iter().map(parse_address);
        list.collect::<Result<Vec<_>, String>>().and_then(|list| {
            if list.is_empty() {
                Err("at least one address".to_owned())
            } else {
                Ok(list)
            }
        })
    }

    /// Address ranges such as `10.0.0.0/8`; a lone address is a range of one.
    pub(super) fn networks(&self) -> Result<Vec<IpNet>, String> {
        let parse = |item: &str| {
            item.parse::<IpNet>()
                .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| {
                    format!("addresses such as \"10.0.0.0/8\" or \"::1\", which {item:?} is not")
                })
        };
        self.list()?.into_iter().map(parse).collect()
    }

    /// An absolute http or https URL without user, password, query and fragment.
    pub(super) fn url(&self) -> Result<String, String> {
        let expected = || {
            "an absolute http or https URL without user, password, query and fragment".to_owned()
        };
        let text = self.text().map_err(|_| expected())?;
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let authority = uri.authority().ok_or_else(expected)?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = !authority.as_str().contains('@') && !authority.host().is_empty();
        // `Uri` cuts a fragment off silently, so it is looked for in the text.
        if web && plain && uri.query().is_none() && !text.contains(['#', '?']) {
            Ok(text.to_owned())
        } else {
            Err(expected())
        }
    }

    /// Host names, each with or without a port, in lower case.
    pub(super) fn hosts(&self) -> Result<Vec<String>, String> {
        let parse = |item: &str| {
            item.parse::<http::uri::Authority>()
                .ok()
                .filter(|authority| !authority.host().is_empty() && !item.contains('@'))
                .map(|_| item.to_ascii_lowercase())
                .ok_or_else(|| format!("host names, which {item:?} is not"))
        };
        self.list()?.into_iter().map(parse).collect()
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("an address with a port, such as \"127.0.0.1:6850\" or \"[::]:6850\", not {text:?}")
    })
}

/// Units of time, the longest first so that a duration is shown in the largest that fits, with their milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor).map(Duration::from_millis)
}

fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = TIME_UNITS
        .iter()
        .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor))
        .unwrap_or(&("s", 1000));
    format!("{}{unit}", millis / factor)
}

const BYTE_UNITS: [(&str, u64); 10] = [
    ("TiB", KIB * KIB * KIB * KIB),
    ("GiB", KIB * KIB * KIB),
    ("MiB", KIB * KIB),
    ("KiB", KIB),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("KB", 1000),
    ("B", 1),
];

fn parse_bytes(text: &str) -> Option<u64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (number, unit) = split_unit(text)?;
    let (_, factor) = BYTE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn show_bytes(bytes: u64) -> String {
    BYTE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// A whole number and the unit behind it, with or without a space between.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("2s", Some(2000)),
            ("15 m", Some(900_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("2", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1S", None),
            ("99999999999999999999d", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(
                parse_duration(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_take_both_families_of_units_and_plain_bytes() {
        for (text, expected) in [
            ("64MiB", Some(64 << 20)),
            ("10GB", Some(10_000_000_000)),
            ("1 KiB", Some(1024)),
            ("1kB", Some(1000)),
            ("17", Some(17)),
            ("17B", Some(17)),
            ("1GiB ", None),
            ("1mib", None),
            ("-1", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn limits_are_shown_in_the_units_that_are_read() {
        for text in ["500ms", "90s", "15m", "7d", "0s"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(show_duration(duration), text);
        }
        for text in ["64MiB", "3TiB", "17B", "10GB"] {
            let bytes = parse_bytes(text).unwrap();
            assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes), "{text}");
        }
        assert_eq!(show_bytes(64 << 20), "64MiB");
    }

    #[test]
    fn urls_hold_nothing_but_scheme_host_and_path() {
        for (text, good) in [
            ("https://api.nuget.org/v3/index.json", true),
            ("http://10.0.0.1:8081/a", true),
            ("http://[::1]:8081/a", true),
            ("ftp://a/b", false),
            ("api.nuget.org/v3/index.json", false),
            ("/v3/index.json", false),
            ("https://user:pw@a/b", false),
            ("https://a/b?c", false),
            ("https://a/b#c", false),
            ("https://", false),
            ("http://:80/", false),
            ("", false),
        ] {
            assert_eq!(Value::Text(text.to_owned()).url().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn networks_and_hosts_name_the_item_that_is_wrong() {
        let list = |items: &[&str]| Value::List(items.iter().map(|&i| i.to_owned()).collect());
        assert_eq!(
            Value::Text("10.0.0.0/8, ::1".to_owned()).networks(),
            Ok(vec![
                "10.0.0.0/8".parse().unwrap(),
                "::1/128".parse().unwrap()
            ])
        );
        assert!(
            list(&["10.0.0.0/8", "ten"])
                .networks()
                .is_err_and(|expected| expected.contains("\"ten\""))
        );
        assert_eq!(
            list(&["Cache.Example:80", "b"]).hosts(),
            Ok(vec!["cache.example:80".to_owned(), "b".to_owned()])
        );
        assert!(list(&["a/b"]).hosts().is_err());
        assert!(list(&[""]).hosts().is_err());
    }

    #[test]
    fn words_are_listed_when_none_matches() {
        assert_eq!(
            Value::Text("c".to_owned()).word(&[("a", 1), ("b", 2)]),
            Err("one of \"a\", \"b\"".to_owned())
        );
        assert_eq!(
            Value::Text("b".to_owned()).word(&[("a", 1), ("b", 2)]),
            Ok(2)
        );
    }
}
