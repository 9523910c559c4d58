//! Cache directives, and what a client's request says with them (RFC 9111 section 5.2).
//!
//! Only what changes an answer here is made something of. What the upstream says is not: nuget.org's own directives would
//! give no caching at all (protocol fact 2.8.1), so freshness is a policy of the feed.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

/// The longest time that a number of seconds can mean; a larger number means this (RFC 9111 section 1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

/// One directive of a field like `Cache-Control`: `name`, `name=value` or `name="value"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Directive<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Directive<'a> {
    fn read(text: &'a [u8]) -> Self {
        let Some(equals) = text.iter().position(|&byte| byte == b'=') else {
            return Self {
                name: text.trim_ascii(),
                value: None,
            };
        };
        let value = text[equals + 1..].trim_ascii();
        let quoted = value.strip_prefix(b"\"");
        Self {
            name: text[..equals].trim_ascii(),
            value: Some(quoted.map_or(value, |rest| rest.strip_suffix(b"\"").unwrap_or(rest))),
        }
    }

    /// Whether it has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Its value as a time; `None` if it has none or another one.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.value.and_then(seconds)
    }
}

/// The directives of all lines of a field, in order. A comma within quotes ends none, so that
/// `extension="no-cache, x"` is one directive.
pub fn directives<'a>(
    headers: &'a HeaderMap,
    field: &HeaderName,
) -> impl Iterator<Item = Directive<'a>> {
    let lines = headers.get_all(field).iter();
    lines
        .flat_map(|line| members(line.as_bytes()))
        .map(Directive::read)
}

/// The time that a whole number of seconds means (RFC 9111 section 1.2.2); `None` if `text` is none.
#[must_use]
pub fn seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |sum: u64, byte: &u8| (sum * 10 + u64::from(byte - b'0')).min(MAX_SECONDS);
    Some(Duration::from_secs(text.iter().fold(0, digit)))
}

/// The members of a list, empty ones left out.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let split = line.split(move |&byte| {
        let ends = byte == b',' && !quoted;
        let is_quote = byte == b'"' && !escaped;
        quoted ^= is_quote;
        escaped = quoted && byte == b'\\' && !escaped;
        ends
    });
    split
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// How a client wants stored responses to be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RequestCaching {
    /// As the policy says.
    #[default]
    Normal,
    /// Only from the store: `only-if-cached` (RFC 9111 section 5.2.1.7).
    OnlyIfCached,
    /// Asked again before it is answered: `no-cache`, `max-age=0` or `Pragma: no-cache` (RFC 9111 sections 5.2.1.1,
    /// 5.2.1.4, 5.4).
    Revalidate,
}

impl RequestCaching {
    /// Reads the directives of a request. Malformed ones are ignored, as RFC 9111 section 5.2 demands.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::Normal;
        for directive in directives(headers, &header::CACHE_CONTROL) {
            if directive.is("only-if-cached") {
                return Self::OnlyIfCached;
            }
            let is_old = directive.is("max-age") && directive.time() == Some(Duration::ZERO);
            if directive.is("no-cache") || is_old {
                found = Self::Revalidate;
            }
        }
        let named = headers.contains_key(header::CACHE_CONTROL);
        let mut pragma = directives(headers, &header::PRAGMA);
        if !named && pragma.any(|directive| directive.is("no-cache")) {
            found = Self::Revalidate;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[(&str, &str)], expected: RequestCaching) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::try_from(*name).expect("a name"),
                value.parse().expect("a value"),
            );
        }
        assert_eq!(RequestCaching::of(&headers), expected, "{lines:?}");
    }

    #[test]
    fn reads_the_directives_that_change_an_answer() {
        check(&[], RequestCaching::Normal);
        check(
            &[("cache-control", "max-stale=5, x")],
            RequestCaching::Normal,
        );
        check(&[("cache-control", "No-Cache")], RequestCaching::Revalidate);
        check(
            &[("cache-control", "foo"), ("cache-control", "max-age=0")],
            RequestCaching::Revalidate,
        );
        check(
            &[("cache-control", "max-age=00")],
            RequestCaching::Revalidate,
        );
        check(&[("cache-control", "max-age=1")], RequestCaching::Normal);
        check(&[("cache-control", "max-age=-1")], RequestCaching::Normal);
        check(
            &[("cache-control", "no-cache, only-if-cached")],
            RequestCaching::OnlyIfCached,
        );
        check(&[("pragma", "no-cache")], RequestCaching::Revalidate);
        check(
            &[("pragma", "no-cache"), ("cache-control", "max-age=9")],
            RequestCaching::Normal,
        );
        check(
            &[("pragma", "x=\"a, no-cache\", y")],
            RequestCaching::Normal,
        );
        check(&[("pragma", "x, No-Cache")], RequestCaching::Revalidate);
    }

    #[test]
    fn what_stands_in_quotes_is_no_directive() {
        for quoted in [
            "x=\"no-cache\"",
            "x=\"a, no-cache\"",
            "x=\"a, no-cache, b\", y",
            "x=\"\\\", no-cache\"",
            "x=\"only-if-cached, max-age=0\"",
            "x=\"a, no-cache",
        ] {
            check(&[("cache-control", quoted)], RequestCaching::Normal);
        }
        for after in [
            "x=\"a, b\", no-cache",
            "x=\"\\\\\", no-cache",
            "max-age=\"0\"",
        ] {
            check(&[("cache-control", after)], RequestCaching::Revalidate);
        }
    }

    #[test]
    fn directives_come_in_order_with_their_times() {
        let mut headers = HeaderMap::new();
        for line in [
            "Max-Age=5,, x",
            "a=\"b, max-age=1\" , max-age=\"7\"",
            "max-age=1.5",
        ] {
            headers.append(header::CACHE_CONTROL, line.parse().expect("a value"));
        }
        let times: Vec<Option<Duration>> = directives(&headers, &header::CACHE_CONTROL)
            .filter(|directive| directive.is("max-age"))
            .map(|directive| directive.time())
            .collect();
        let time = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(times, [time(5), time(7), None]);
        assert_eq!(directives(&headers, &header::CACHE_CONTROL).count(), 5);
    }

    #[test]
    fn a_number_too_large_means_the_longest_time() {
        for (text, expected) in [
            ("0", Some(0)),
            ("003600", Some(3600)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483649", Some(1 << 31)),
            ("99999999999999999999999", Some(1 << 31)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("'1'", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(seconds(text.as_bytes()), expected, "{text:?}");
        }
    }
}
