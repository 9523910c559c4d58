//! What became of a request, in one vocabulary: the same word stands in the log, the metric and `Cache-Status`.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

/// How an answer came about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// The memory of the upstream's 404, 410 or 204, or its answer just now.
    Absent,
    /// Straight from the upstream, past a store that cannot take it.
    Bypass,
    /// The upstream demands a credential of the client or refuses the one it has; handed on.
    Challenged,
    /// From a fetch that another request had begun.
    Coalesced,
    /// Nothing could be served.
    Failed,
    /// From the store.
    Hit,
    /// A page of our own.
    Local,
    /// From a fetch that this request began.
    Miss,
    /// The request itself made no sense or is not allowed.
    Refused,
    /// A publish, passed through.
    Relayed,
    /// From the store, after the upstream said that it is current.
    Revalidated,
    /// From the store although it is past its freshness: the upstream could not confirm it in time.
    Stale,
}

impl Outcome {
    /// Every outcome, for metrics that must show zeros.
    pub const ALL: [Self; 12] = [
        Self::Absent,
        Self::Bypass,
        Self::Challenged,
        Self::Coalesced,
        Self::Failed,
        Self::Hit,
        Self::Local,
        Self::Miss,
        Self::Refused,
        Self::Relayed,
        Self::Revalidated,
        Self::Stale,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Bypass => "bypass",
            Self::Challenged => "challenged",
            Self::Coalesced => "coalesced",
            Self::Failed => "failed",
            Self::Hit => "hit",
            Self::Local => "local",
            Self::Miss => "miss",
            Self::Refused => "refused",
            Self::Relayed => "relayed",
            Self::Revalidated => "revalidated",
            Self::Stale => "stale",
        }
    }
}

/// Why an answer is not simply a hit or a miss.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// What the upstream sent failed its checks.
    BadBody,
    /// The request makes no sense.
    BadRequest,
    /// A rule of the configuration hides it.
    Blocked,
    /// The origin's breaker is open.
    BreakerOpen,
    /// The connection ended before the answer was complete.
    Closed,
    /// No connection could be made.
    ConnectFailed,
    /// The client's user, password or token is wrong or over.
    CredentialRefused,
    /// The feed's credential cannot be read.
    CredentialUnavailable,
    /// It is not what the upstream publishes.
    Disputed,
    /// The client is known and has not the right.
    Forbidden,
    /// A client demanded that the upstream be asked.
    Forced,
    /// The time that a request may wait ran out.
    HeldOut,
    /// The upstream sent a page for people, mostly to log in, where a document was due.
    HtmlPage,
    /// A bug of ours.
    Internal,
    /// The request came round to us again.
    Loop,
    /// The upstream's name does not resolve.
    NameNotFound,
    /// The client brought no credential where one is asked for.
    NoCredential,
    /// The upstream does not offer this.
    NotOffered,
    /// The upstream demands a credential or refused the one it got.
    NotAuthorized,
    /// The feed is offline.
    Offline,
    /// What the upstream sends is older than what is stored.
    OlderAnswer,
    /// Only the store was allowed to answer.
    OnlyIfCached,
    /// Our own limits left the origin no turn for it in time.
    OwnLimit,
    /// A member of a union was left out.
    Partial,
    /// The upstream's answer cannot be followed or understood.
    Protocol,
    /// A proxy demands a credential, or refused the one it got.
    ProxyAuthRequired,
    /// The proxy does not lead to the upstream.
    ProxyRefused,
    /// The upstream wants to be left alone for a while.
    RateLimited,
    /// The upstream has replaced it since.
    Replaced,
    /// It goes on where an earlier fetch broke off.
    Resumed,
    /// The origin, or this one answer of it, is too slow to wait for with a copy at hand.
    SlowOrigin,
    /// The store could not take or give the body.
    Store,
    /// Too many wrong passwords came.
    Throttled,
    /// No answer in time.
    TimedOut,
    /// TLS with the upstream failed.
    Tls,
    /// The answer or upload is larger than allowed.
    TooLarge,
    /// Nobody trusts who signed the upstream's certificate.
    UnknownIssuer,
    /// It has no signature that it should have.
    Unsigned,
    /// The client's credential has no proof that is good now, and the upstream cannot be asked for one.
    Unproven,
    /// The upstream answered with a server error.
    UpstreamStatus,
    /// The upstream is a V2 feed.
    V2Feed,
    /// The upstream has this version no more.
    Withdrawn,
}

impl Reason {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BadBody => "bad-body",
            Self::BadRequest => "bad-request",
            Self::Blocked => "blocked",
            Self::BreakerOpen => "breaker-open",
            Self::Closed => "closed",
            Self::ConnectFailed => "connect-failed",
            Self::CredentialRefused => "credential-refused",
            Self::CredentialUnavailable => "credential-unavailable",
            Self::Disputed => "disputed",
            Self::Forbidden => "forbidden",
            Self::Forced => "forced",
            Self::HeldOut => "held-out",
            Self::HtmlPage => "html-page",
            Self::Internal => "internal",
            Self::Loop => "loop",
            Self::NameNotFound => "name-not-found",
            Self::NoCredential => "no-credential",
            Self::NotOffered => "not-offered",
            Self::NotAuthorized => "not-authorized",
            Self::Offline => "offline",
            Self::OlderAnswer => "older-answer",
            Self::OnlyIfCached => "only-if-cached",
            Self::OwnLimit => "own-limit",
            Self::Partial => "partial",
            Self::Protocol => "protocol",
            Self::ProxyAuthRequired => "proxy-auth-required",
            Self::ProxyRefused => "proxy-refused",
            Self::RateLimited => "rate-limited",
            Self::Replaced => "replaced",
            Self::Resumed => "resumed",
            Self::SlowOrigin => "slow-origin",
            Self::Store => "store",
            Self::Throttled => "throttled",
            Self::TimedOut => "timed-out",
            Self::Tls => "tls",
            Self::TooLarge => "too-large",
            Self::UnknownIssuer => "unknown-issuer",
            Self::Unproven => "unproven",
            Self::Unsigned => "unsigned",
            Self::UpstreamStatus => "upstream-status",
            Self::V2Feed => "v2-feed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// What came of asking for the rest of a body that broke off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resumption {
    /// The upstream gave none.
    Failed,
    /// What it gave is not for certain the rest of the same body.
    Refused,
    /// The body goes on where it broke off.
    Resumed,
}

impl Resumption {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => Outcome::Failed.word(),
            Self::Refused => Outcome::Refused.word(),
            Self::Resumed => Reason::Resumed.word(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Writes the `Cache-Status` field of an answer (RFC 9211). `ttl` is the freshness left in seconds, negative when past.
#[must_use]
pub fn cache_status(outcome: Outcome, reason: Option<Reason>, ttl: Option<i64>) -> HeaderValue {
    let mut text = String::with_capacity(64);
    text.push_str(match outcome {
        Outcome::Absent | Outcome::Local | Outcome::Refused => "sluice",
        Outcome::Bypass => "sluice; fwd=bypass",
        Outcome::Coalesced => "sluice; fwd=uri-miss; collapsed",
        Outcome::Challenged | Outcome::Failed => "sluice; fwd=uri-miss",
        Outcome::Hit | Outcome::Stale => "sluice; hit",
        Outcome::Miss => "sluice; fwd=uri-miss; stored",
        Outcome::Relayed => "sluice; fwd=method",
        Outcome::Revalidated => "sluice; fwd=stale; fwd-status=304",
    });
    if let Some(ttl) = ttl {
        // Writing to a String cannot fail.
        let _ = write!(text, "; ttl={ttl}");
    }
    text.push_str("; detail=");
    text.push_str(outcome.word());
    if let Some(reason) = reason {
        text.push('.');
        text.push_str(reason.word());
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("sluice"))
}

/// One request from start to end. The log, the metrics and whoever else keeps count read this and nothing else.
#[derive(Clone, Debug)]
pub struct Completed<'a> {
    /// When the answer's headers were ready.
    pub at: SystemTime,
    /// How long that took.
    pub took: Duration,
    /// Which user or token asked, where that was asked and is logged.
    pub caller: Option<&'a str>,
    /// The client's address, from `X-Forwarded-For` where the peer is trusted.
    pub client: IpAddr,
    /// `X-NuGet-Session-Id`, if sent.
    pub session: Option<&'a str>,
    /// `User-Agent`, if sent.
    pub agent: Option<&'a str>,
    /// Method of the request.
    pub method: &'a str,
    /// Path of the request, without its query.
    pub path: &'a str,
    /// Status of the answer.
    pub status: u16,
    /// Length of the answer's body, if known.
    pub bytes: Option<u64>,
    /// Which package, version and feed it was about, and where the answer came from.
    pub subject: Subject,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<Reason>,
}

/// What a request was about.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Name of the feed.
    pub feed: Option<Arc<str>>,
    /// Cache class, or the kind of page.
    pub class: &'static str,
    /// Package id, canonical.
    pub id: Option<String>,
    /// Package version, canonical.
    pub version: Option<String>,
    /// SHA-512 of the stored body, base64 as NuGet's packageHash.
    pub sha512: Option<String>,
    /// The host that the body came from.
    pub origin: Option<String>,
    /// The beginning of the keyed hash of the client's credential, where that is passed on.
    pub credential: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outcome: Outcome, reason: Option<Reason>, ttl: Option<i64>, expected: &str) {
        assert_eq!(cache_status(outcome, reason, ttl), expected);
    }

    #[test]
    fn cache_status_names_the_outcome_and_the_reason() {
        check(
            Outcome::Hit,
            None,
            Some(57),
            "sluice; hit; ttl=57; detail=hit",
        );
        check(
            Outcome::Stale,
            Some(Reason::BreakerOpen),
            Some(-90),
            "sluice; hit; ttl=-90; detail=stale.breaker-open",
        );
        check(
            Outcome::Miss,
            None,
            None,
            "sluice; fwd=uri-miss; stored; detail=miss",
        );
    }

    #[test]
    fn no_two_outcomes_share_a_word() {
        let words: std::collections::HashSet<_> = Outcome::ALL.map(Outcome::word).into();
        assert_eq!(words.len(), Outcome::ALL.len());
    }
}
