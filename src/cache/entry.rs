//! A stored response, all but its body.

use std::time::{Duration, SystemTime};

use http::header::{AGE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::cache_control::seconds;
use super::epoch::Epoch;
use super::key::Key;

/// What the upstream gave us to ask "has it changed?" with. Kept as sent: nuget.org's entity tag has no quotes
/// (protocol fact 2.8.3). Never sent to a client, whose tag is ours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UpstreamValidator {
    /// `ETag` as the upstream wrote it.
    pub etag: Option<HeaderValue>,
    /// `Last-Modified` as the upstream wrote it.
    pub last_modified: Option<HeaderValue>,
}

impl UpstreamValidator {
    /// What these headers of an answer hold of it.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        Self {
            etag: headers.get(ETAG).cloned(),
            last_modified: headers.get(LAST_MODIFIED).cloned(),
        }
    }
}

/// A stored response: what its record and its body's trailer hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Drawn when the flight that fetched it began; a body below the stored sequence is dropped.
    pub sequence: u64,
    /// The epoch that the flight began with: below the current one the entry is stale.
    pub epoch: Epoch,
    /// Always a success: failures and absences are not entries.
    pub status: StatusCode,
    /// End-to-end headers of the upstream's answer that are worth keeping (among them Content-Type and
    /// Content-Encoding of the bytes as stored).
    pub headers: HeaderMap,
    /// To revalidate with.
    pub upstream_validator: UpstreamValidator,
    /// The host that sent the body, for the log.
    pub origin: String,
    /// When the body was received.
    pub fetched_at: SystemTime,
    /// When the upstream last said that it is current: freshness counts from here.
    pub validated_at: SystemTime,
    /// Length of the body in bytes, as stored.
    pub body_bytes: u64,
    /// SHA-512 of the body as stored: for a package, NuGet's own packageHash.
    pub sha512: [u8; 64],
}

impl Entry {
    /// When the origin last confirmed it: a cache between us and the origin, another Sluice say, may have answered for
    /// it (RFC 9111 section 4.2.3). Freshness counts from `validated_at` all the same.
    #[must_use]
    pub fn confirmed_at(&self) -> SystemTime {
        let age = age(&self.headers);
        self.validated_at
            .checked_sub(age)
            .unwrap_or(self.validated_at)
    }
}

/// How old an answer was when it came, by its `Age` (RFC 9111 section 5.1); zero if it does not say. Of several values the
/// first counts; one too large to be true is as old as can be, and never new.
#[must_use]
pub fn age(headers: &HeaderMap) -> Duration {
    let line = headers.get(AGE).map(HeaderValue::as_bytes);
    let first = line.and_then(|line| line.split(|&byte| byte == b',').next());
    first
        .and_then(|text| seconds(text.trim_ascii()))
        .unwrap_or_default()
}

/// The memory of an upstream's 404, 410 or 204.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Absence {
    /// What the upstream said.
    pub status: StatusCode,
    /// The epoch it was said under.
    pub epoch: Epoch,
    /// When it was first said without a success in between.
    pub first_at: SystemTime,
    /// When it was last said.
    pub last_at: SystemTime,
}

#[cfg(test)]
mod tests {
    //! RFC 9111 section 5.1: a number of seconds; of a list the first; what is none says nothing. Section 1.2.2: one too
    //! large counts as 2^31.

    use super::*;

    #[test]
    fn ages_are_whole_seconds() {
        for (value, seconds) in [
            ("0", 0),
            ("86400", 86_400),
            (" 7 ", 7),
            ("-1", 0),
            ("1.5", 0),
            ("soon", 0),
            ("7200, 0", 7200),
            ("0, 7200", 0),
            ("soon, 7200", 0),
            ("2147483649", 1 << 31),
            ("99999999999999999999999", 1 << 31),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AGE, HeaderValue::from_static(value));
            assert_eq!(age(&headers), Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(age(&HeaderMap::new()), Duration::ZERO);
        let mut lines = HeaderMap::new();
        lines.append(AGE, HeaderValue::from_static("7200"));
        lines.append(AGE, HeaderValue::from_static("0"));
        assert_eq!(age(&lines), Duration::from_secs(7200), "the first line");
    }
}
