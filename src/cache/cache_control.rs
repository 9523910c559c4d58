//! What a client's request says about caching (RFC 9111 section 5.2.1).
//!
//! Only what changes an answer here is read. What the upstream says is not: nuget.org's own directives would give no
//! caching at all (protocol fact 2.8.1), so freshness is a policy of the feed.

use http::{HeaderMap, header};

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
        let mut named = false;
        for value in headers.get_all(header::CACHE_CONTROL) {
            named = true;
            for directive in value.to_str().unwrap_or_default().split(',') {
                let directive = directive.trim();
                if directive.eq_ignore_ascii_case("only-if-cached") {
                    return Self::OnlyIfCached;
                }
                if directive.eq_ignore_ascii_case("no-cache") || is_max_age_zero(directive) {
                    found = Self::Revalidate;
                }
            }
        }
        let pragma = headers
            .get(header::PRAGMA)
            .and_then(|value| value.to_str().ok());
        if !named && pragma.is_some_and(|value| value.trim().eq_ignore_ascii_case("no-cache")) {
            found = Self::Revalidate;
        }
        found
    }
}

fn is_max_age_zero(directive: &str) -> bool {
    directive.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("max-age")
            && value.trim().trim_matches('"').parse::<u64>() == Ok(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[(&str, &str)], expected: RequestCaching) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                http::HeaderName::try_from(*name).expect("a name"),
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
    }
}
