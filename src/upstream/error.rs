//! What can go wrong between us and an upstream, by fault.
//!
//! Texts are fit for a reason phrase: they name origins and never a path, a query or a secret.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;

use super::connect::{ConnectError, listed};
use super::url::{BadUrl, Origin};

/// What a request was waiting for, in the order of its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// A connection.
    Connect,
    /// The upstream taking the bytes of a push.
    Send,
    /// The first byte of an answer.
    FirstByte,
    /// The next bytes of a body.
    Body,
}

impl Phase {
    /// How messages name it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Send => "send",
            Self::FirstByte => "first-byte",
            Self::Body => "body",
        }
    }
}

/// Why a redirect was not followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RedirectFault {
    /// It leads from https to http, which the real client refuses too.
    Downgrade,
    /// It names no target.
    NoLocation,
    /// Its target is no address that we would ask.
    Target(BadUrl),
}

impl fmt::Display for RedirectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Downgrade => f.write_str("it leads from https to http"),
            Self::NoLocation => f.write_str("it names no target"),
            Self::Target(why) => why.fmt(f),
        }
    }
}

/// Why an upstream gave no answer, or broke one off. An answer of any status is no error.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamError {
    /// A redirect that we do not follow.
    BadRedirect {
        /// Who sent it.
        origin: Origin,
        /// Its status.
        status: StatusCode,
        /// What is wrong with it.
        why: RedirectFault,
    },
    /// The address to ask is none.
    BadUrl(BadUrl),
    /// The origin did not answer lately: it is not asked until a probe of ours is answered.
    BreakerOpen {
        /// The origin.
        origin: Origin,
        /// When its failures began.
        since: SystemTime,
        /// The failure that opened the breaker.
        why: Arc<Self>,
    },
    /// The connection ended before the answer did.
    Closed {
        /// The origin.
        origin: Origin,
        /// What was waited for.
        phase: Phase,
    },
    /// No connection came about.
    ConnectFailed {
        /// The origin.
        origin: Origin,
        /// What the system said.
        why: String,
    },
    /// The feed's credential cannot be read, and there is no older one.
    CredentialUnavailable {
        /// Whom it is for.
        origin: Origin,
        /// Why.
        why: String,
    },
    /// The hold ran out.
    HeldOut {
        /// The origin that was waited for.
        origin: Origin,
        /// The last failure before, if any attempt had ended.
        last: Option<Box<Self>>,
    },
    /// The name look-up failed.
    NameNotFound {
        /// The origin.
        origin: Origin,
    },
    /// The hold ran out while it was not its turn: our own limits for the origin are lower than what is asked of it.
    OwnLimit {
        /// The origin.
        origin: Origin,
    },
    /// The address is private, and the configured upstream is not.
    PrivateAddress {
        /// The origin.
        origin: Origin,
    },
    /// The answer is no HTTP.
    Protocol {
        /// The origin.
        origin: Origin,
        /// What is wrong with it.
        why: String,
    },
    /// A proxy demands a credential, or refused the one it got.
    ProxyAuthRequired {
        /// The origin that we wanted to reach.
        origin: Origin,
        /// The proxy; none is configured if another between us and the origin said so.
        proxy: Option<Origin>,
        /// The schemes that it takes.
        schemes: Vec<String>,
    },
    /// The proxy does not lead there.
    ProxyRefused {
        /// The origin that we wanted to reach.
        origin: Origin,
        /// The proxy.
        proxy: Origin,
        /// What it answered.
        status: StatusCode,
    },
    /// The body came slower than the minimum rate.
    RateTooLow {
        /// The origin.
        origin: Origin,
    },
    /// The origin wants no requests for a while.
    Resting {
        /// The origin.
        origin: Origin,
        /// The answer by which it said so: 429 or 503.
        status: StatusCode,
        /// Until when it is left alone.
        until: SystemTime,
    },
    /// A wait ran out.
    TimedOut {
        /// The origin.
        origin: Origin,
        /// What was waited for.
        phase: Phase,
    },
    /// The TLS handshake failed, mostly for the certificate.
    Tls {
        /// The origin.
        origin: Origin,
        /// What is wrong.
        why: String,
    },
    /// More redirects than the limit.
    TooManyRedirects {
        /// The origin that sent the last one.
        origin: Origin,
    },
    /// Nobody trusts who signed the origin's certificate.
    UnknownIssuer {
        /// The origin.
        origin: Origin,
        /// The issuer's distinguished name.
        issuer: String,
    },
}

impl UpstreamError {
    /// The word for logs and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::BadRedirect { .. } => "bad-redirect",
            Self::BadUrl(_) => "bad-url",
            Self::BreakerOpen { .. } => "breaker-open",
            Self::Closed { .. } => "closed",
            Self::ConnectFailed { .. } => "connect-failed",
            Self::CredentialUnavailable { .. } => "credential-unavailable",
            Self::HeldOut { .. } => "held-out",
            Self::NameNotFound { .. } => "name-not-found",
            Self::OwnLimit { .. } => "own-limit",
            Self::PrivateAddress { .. } => "private-address",
            Self::Protocol { .. } => "protocol",
            Self::ProxyAuthRequired { .. } => "proxy-auth-required",
            Self::ProxyRefused { .. } => "proxy-refused",
            Self::RateTooLow { .. } => "rate-too-low",
            Self::Resting { .. } => "resting",
            Self::TimedOut { .. } => "timed-out",
            Self::Tls { .. } => "tls",
            Self::TooManyRedirects { .. } => "too-many-redirects",
            Self::UnknownIssuer { .. } => "unknown-issuer",
        }
    }

    /// Whether the upstream was waited for in vain, so that a gateway says 504.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::HeldOut { last, .. } => last.as_ref().is_none_or(|last| last.is_timeout()),
            Self::RateTooLow { .. } | Self::TimedOut { .. } => true,
            Self::BadRedirect { .. }
            | Self::BadUrl(_)
            | Self::BreakerOpen { .. }
            | Self::Closed { .. }
            | Self::ConnectFailed { .. }
            | Self::CredentialUnavailable { .. }
            | Self::NameNotFound { .. }
            | Self::OwnLimit { .. }
            | Self::PrivateAddress { .. }
            | Self::Protocol { .. }
            | Self::ProxyAuthRequired { .. }
            | Self::ProxyRefused { .. }
            | Self::Resting { .. }
            | Self::Tls { .. }
            | Self::TooManyRedirects { .. }
            | Self::UnknownIssuer { .. } => false,
        }
    }

    /// The failure at the bottom of this one: what opened a breaker, what a hold ended with.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::BreakerOpen { why, .. } => why.root(),
            Self::HeldOut {
                last: Some(last), ..
            } => last.root(),
            other => other,
        }
    }

    /// Whom we asked, if it came to that.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::BadUrl(_) => None,
            Self::BadRedirect { origin, .. }
            | Self::BreakerOpen { origin, .. }
            | Self::Closed { origin, .. }
            | Self::ConnectFailed { origin, .. }
            | Self::CredentialUnavailable { origin, .. }
            | Self::HeldOut { origin, .. }
            | Self::NameNotFound { origin }
            | Self::OwnLimit { origin }
            | Self::PrivateAddress { origin }
            | Self::Protocol { origin, .. }
            | Self::ProxyAuthRequired { origin, .. }
            | Self::ProxyRefused { origin, .. }
            | Self::RateTooLow { origin }
            | Self::Resting { origin, .. }
            | Self::TimedOut { origin, .. }
            | Self::Tls { origin, .. }
            | Self::TooManyRedirects { origin }
            | Self::UnknownIssuer { origin, .. } => Some(origin),
        }
    }

    pub(super) fn from_connect(origin: &Origin, error: &ConnectError) -> Self {
        let origin = origin.clone();
        match error {
            ConnectError::Failed(why) => Self::ConnectFailed {
                origin,
                why: why.clone(),
            },
            ConnectError::NameNotFound => Self::NameNotFound { origin },
            ConnectError::PrivateAddress => Self::PrivateAddress { origin },
            ConnectError::ProxyAuthRequired { proxy, schemes } => Self::ProxyAuthRequired {
                origin,
                proxy: Some(proxy.clone()),
                schemes: schemes.clone(),
            },
            ConnectError::ProxyRefused { proxy, status } => Self::ProxyRefused {
                origin,
                proxy: proxy.clone(),
                status: *status,
            },
            ConnectError::TimedOut => Self::TimedOut {
                origin,
                phase: Phase::Connect,
            },
            ConnectError::Tls(why) => Self::Tls {
                origin,
                why: why.clone(),
            },
            ConnectError::UnknownIssuer(issuer) => Self::UnknownIssuer {
                origin,
                issuer: issuer.clone(),
            },
        }
    }

    /// What an error of hyper's means while waiting for `phase`.
    pub(super) fn from_hyper(origin: &Origin, error: &hyper::Error, phase: Phase) -> Self {
        let origin = origin.clone();
        if error.is_parse() || error.is_parse_too_large() {
            return Self::Protocol {
                origin,
                why: error.to_string(),
            };
        }
        Self::Closed { origin, phase }
    }

    /// What an error of the pooled client means: a failed connect, or no answer on a connection that was there.
    pub(super) fn from_client(origin: &Origin, error: &hyper_util::client::legacy::Error) -> Self {
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(connect) = inner.downcast_ref::<ConnectError>() {
                return Self::from_connect(origin, connect);
            }
            if let Some(hyper) = inner.downcast_ref::<hyper::Error>() {
                return Self::from_hyper(origin, hyper, Phase::FirstByte);
            }
            source = inner.source();
        }
        Self::Closed {
            origin: origin.clone(),
            phase: Phase::FirstByte,
        }
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRedirect {
                origin,
                status,
                why,
            } => write!(
                f,
                "{origin} sent a redirect ({}) that is not followed: {why}",
                status.as_u16()
            ),
            Self::BadUrl(why) => write!(f, "the upstream address is unusable: {why}"),
            Self::BreakerOpen { origin, why, .. } => {
                write!(f, "{origin} is unreachable: {why}")
            }
            Self::Closed { origin, phase } => match phase {
                Phase::Connect | Phase::FirstByte => {
                    write!(f, "{origin} closed the connection without an answer")
                }
                Phase::Send => write!(f, "{origin} closed the connection during the upload"),
                Phase::Body => write!(f, "{origin} broke off its answer"),
            },
            Self::ConnectFailed { origin, why } => write!(f, "cannot connect to {origin}: {why}"),
            Self::CredentialUnavailable { origin, why } => {
                write!(f, "there is no credential for {origin}: {why}")
            }
            Self::HeldOut { origin, last } => match last {
                Some(last) => write!(f, "no usable answer in time: {last}"),
                None => write!(f, "{origin} did not answer in time"),
            },
            Self::NameNotFound { origin } => write!(f, "the name of {origin} cannot be looked up"),
            Self::OwnLimit { origin } => {
                write!(f, "our own limits left no turn at {origin} in time")
            }
            Self::PrivateAddress { origin } => {
                write!(f, "{origin} is a private address and not asked")
            }
            Self::Protocol { origin, why } => write!(f, "{origin} did not speak HTTP: {why}"),
            Self::ProxyAuthRequired {
                origin,
                proxy,
                schemes,
            } => {
                let schemes = listed(schemes);
                match proxy {
                    Some(proxy) => write!(
                        f,
                        "the proxy {proxy} demands a credential (407: {schemes}) on the way to {origin}"
                    ),
                    None => write!(
                        f,
                        "a proxy demands a credential (407: {schemes}) on the way to {origin}, and none is configured"
                    ),
                }
            }
            Self::ProxyRefused {
                origin,
                proxy,
                status,
            } => write!(
                f,
                "the proxy {proxy} does not lead to {origin} ({})",
                status.as_u16()
            ),
            Self::RateTooLow { origin } => write!(f, "{origin} sent its answer too slowly"),
            Self::Resting {
                origin,
                status,
                until,
            } => write!(
                f,
                "{origin} answered {} and wants no requests until {}",
                status.as_u16(),
                httpdate::fmt_http_date(*until)
            ),
            Self::TimedOut { origin, phase } => match phase {
                Phase::Connect => write!(f, "connecting to {origin} timed out"),
                Phase::Send => write!(f, "{origin} stopped reading the upload"),
                Phase::FirstByte => write!(f, "{origin} accepted the request and did not answer"),
                Phase::Body => write!(f, "{origin} stopped in the middle of its answer"),
            },
            Self::Tls { origin, why } => write!(f, "no TLS with {origin}: {why}"),
            Self::TooManyRedirects { origin } => {
                write!(f, "too many redirects, the last from {origin}")
            }
            Self::UnknownIssuer { origin, issuer } => write!(
                f,
                "the certificate of {origin} is issued by {issuer}, which is not trusted; ca_files adds roots"
            ),
        }
    }
}

impl std::error::Error for UpstreamError {}
