//! Why nothing could be served, grouped by whose fault it is. `respond` turns each into a status and a reason phrase.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;

use super::challenge::Challenge;
use super::integrity::Doubt;
use super::outcome::{Outcome, Reason};
use crate::cache::key::Key;
use crate::store::StoreFault;
use crate::upstream::{self, UpstreamError};

/// Why nothing could be served. Shared by all who wait for one fetch.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// What the upstream sent failed its checks.
    BadBody {
        /// The host that sent it.
        origin: String,
        /// What is wrong with it.
        what: String,
    },
    /// A rule of the configuration hides it: this one.
    Blocked {
        /// The rule as it was written.
        rule: String,
    },
    /// The upstream refuses a client's own credential.
    Challenged(Arc<Challenge>),
    /// The client presents no credential, and without one it gets no copy while the upstream fails like this.
    CredentialWanted {
        /// The feed that it is wanted for.
        feed: Arc<str>,
        /// How the upstream fails.
        why: Box<Self>,
    },
    /// Something speaks against what the upstream delivers, and the feed gives none of that.
    Doubted(Doubt),
    /// The upstream sent a page for people where a document was due.
    HtmlPage {
        /// The host that sent it, after redirects.
        origin: String,
    },
    /// A bug of ours.
    Internal(&'static str),
    /// The way to the upstream leads back to this instance.
    Loop {
        /// The host that said so.
        origin: String,
    },
    /// A member of a union failed, and nobody stands in for it.
    Member {
        /// Its name.
        member: Arc<str>,
        /// How it failed.
        failure: Box<Self>,
    },
    /// The upstream demands a credential or refused the one it got.
    NotAuthorized {
        /// The host that said so.
        origin: String,
        /// 401 or 403.
        status: StatusCode,
    },
    /// An upload that must be put on disk first cannot be.
    NoRoomForUpload(StoreFault),
    /// The upstream demands a credential of the client that cannot pass a proxy.
    NothingPasses {
        /// The host that said so.
        origin: String,
        /// 401 or 403.
        status: StatusCode,
        /// The schemes that it offers.
        schemes: String,
    },
    /// The upstream's service index does not offer this.
    NotOffered(&'static str),
    /// The feed is offline, and this needs the upstream.
    Offline,
    /// The feed is offline, and nothing of this package can be delivered.
    OfflineAbsent,
    /// The client allowed the store alone to answer, and it has nothing.
    OnlyIfCached,
    /// Our own limits for the upstream left no turn for it in time.
    OwnLimit {
        /// The host.
        origin: String,
    },
    /// The upstream wants no requests for a while.
    Resting {
        /// The host.
        origin: String,
        /// The answer by which it said so: 429 or 503.
        status: StatusCode,
        /// Until when it is left alone.
        until: SystemTime,
    },
    /// The document is larger than allowed.
    TooLarge {
        /// The host that sent it.
        origin: String,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The client's credential has no proof that is good, and this came of asking for one. Whether there is a copy is not
    /// said.
    Unproven(Box<Self>),
    /// The upstream cannot be reached.
    Unreachable {
        /// The host.
        origin: String,
        /// Since when.
        since: SystemTime,
        /// How it fails.
        reason: Reason,
        /// What of it the user can mend, in a few words.
        cause: Option<String>,
        /// The same at length.
        detail: String,
        /// Whether it was tried as long as a request may be held.
        spent_its_hold: bool,
    },
    /// The upstream answered with an error of its own.
    UpstreamStatus {
        /// The host.
        origin: String,
        /// Its status.
        status: StatusCode,
    },
    /// The upstream is a V2 feed.
    V2Feed {
        /// The host.
        origin: String,
        /// Where its V3 service index may be.
        v3: String,
    },
    /// The upstream has this version no more, and the feed gives none of those.
    Withdrawn {
        /// Since when that is known.
        since: SystemTime,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadBody { origin, what } => write!(f, "{origin} sent a bad body: {what}"),
            Self::Blocked { rule } => write!(f, "blocked by the rule {rule:?}"),
            Self::Challenged(challenge) => write!(
                f,
                "{} answered {} to a client's credential",
                challenge.origin, challenge.status
            ),
            Self::CredentialWanted { why, .. } => write!(f, "no credential was presented: {why}"),
            Self::Doubted(doubt) => doubt.fmt(f),
            Self::HtmlPage { origin } => write!(f, "{origin} sent an HTML page"),
            Self::Internal(what) => write!(f, "internal error: {what}"),
            Self::Loop { origin } => write!(f, "{origin} leads back to this instance"),
            Self::Member { member, failure } => write!(f, "member {member}: {failure}"),
            Self::NothingPasses {
                origin, schemes, ..
            } => write!(f, "{origin} offers only {schemes}"),
            Self::NotAuthorized { origin, status } | Self::UpstreamStatus { origin, status } => {
                write!(f, "{origin} answered {status}")
            }
            Self::NoRoomForUpload(fault) => write!(f, "the upload cannot be put on disk: {fault}"),
            Self::NotOffered(what) => write!(f, "the upstream offers no {what}"),
            Self::Offline | Self::OfflineAbsent => f.write_str("the feed is offline"),
            Self::OnlyIfCached => f.write_str("the store alone was allowed to answer"),
            Self::OwnLimit { origin } => write!(f, "our own limits left no turn at {origin}"),
            Self::Resting { origin, status, .. } => {
                write!(
                    f,
                    "{origin} answered {status} and wants no requests for a while"
                )
            }
            Self::TooLarge { origin, max_bytes } => {
                write!(f, "{origin} sent more than {max_bytes} bytes")
            }
            Self::Unproven(why) => write!(f, "no proof could be had: {why}"),
            Self::Unreachable { detail, .. } => f.write_str(detail),
            Self::V2Feed { origin, v3 } => write!(f, "{origin} is a V2 feed; try {v3}"),
            Self::Withdrawn { .. } => f.write_str("the upstream has this version no more"),
        }
    }
}

impl Failure {
    /// The word for it.
    #[must_use]
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::BadBody { .. } => Reason::BadBody,
            Self::Blocked { .. } => Reason::Blocked,
            Self::CredentialWanted { why, .. } => why.reason(),
            Self::Doubted(doubt) => doubt.reason(),
            Self::HtmlPage { .. } => Reason::HtmlPage,
            Self::Internal(_) => Reason::Internal,
            Self::Loop { .. } => Reason::Loop,
            Self::Member { failure, .. } => failure.reason(),
            Self::Challenged(_) | Self::NotAuthorized { .. } | Self::NothingPasses { .. } => {
                Reason::NotAuthorized
            }
            Self::NoRoomForUpload(_) => Reason::Store,
            Self::NotOffered(_) => Reason::NotOffered,
            Self::Offline | Self::OfflineAbsent => Reason::Offline,
            Self::OnlyIfCached => Reason::OnlyIfCached,
            Self::OwnLimit { .. } => Reason::OwnLimit,
            Self::Resting { .. } => Reason::RateLimited,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Unproven(_) => Reason::Unproven,
            Self::Unreachable { reason, .. } => *reason,
            Self::UpstreamStatus { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                Reason::RateLimited
            }
            Self::UpstreamStatus { .. } => Reason::UpstreamStatus,
            Self::V2Feed { .. } => Reason::V2Feed,
            Self::Withdrawn { .. } => Reason::Withdrawn,
        }
    }

    /// The host that it is about, if it is about one.
    #[must_use]
    pub(super) fn origin(&self) -> Option<&str> {
        match self {
            Self::BadBody { origin, .. }
            | Self::HtmlPage { origin }
            | Self::Loop { origin }
            | Self::NotAuthorized { origin, .. }
            | Self::Resting { origin, .. }
            | Self::TooLarge { origin, .. }
            | Self::Unreachable { origin, .. }
            | Self::UpstreamStatus { origin, .. }
            | Self::V2Feed { origin, .. } => Some(origin),
            Self::Member { failure, .. } => failure.origin(),
            // What a client is refused, or waits for here, is no trouble of the upstream's.
            Self::Blocked { .. }
            | Self::Challenged(_)
            | Self::CredentialWanted { .. }
            | Self::Doubted(_)
            | Self::Internal(_)
            | Self::NoRoomForUpload(_)
            | Self::NothingPasses { .. }
            | Self::NotOffered(_)
            | Self::Offline
            | Self::OfflineAbsent
            | Self::OnlyIfCached
            | Self::OwnLimit { .. }
            | Self::Unproven(_)
            | Self::Withdrawn { .. } => None,
        }
    }

    /// What became of a request that ends so.
    #[must_use]
    pub(super) fn outcome(&self) -> (Outcome, Option<Reason>) {
        match self {
            Self::Blocked { .. } | Self::Doubted(_) | Self::Withdrawn { .. } => {
                (Outcome::Refused, Some(self.reason()))
            }
            Self::Challenged(_) => (Outcome::Challenged, None),
            Self::CredentialWanted { why, .. } => (Outcome::Challenged, Some(why.reason())),
            Self::Member { failure, .. } => failure.outcome(),
            Self::OfflineAbsent => (Outcome::Absent, Some(self.reason())),
            Self::BadBody { .. }
            | Self::HtmlPage { .. }
            | Self::Internal(_)
            | Self::Loop { .. }
            | Self::NoRoomForUpload(_)
            | Self::NotAuthorized { .. }
            | Self::NothingPasses { .. }
            | Self::NotOffered(_)
            | Self::Offline
            | Self::OnlyIfCached
            | Self::OwnLimit { .. }
            | Self::Resting { .. }
            | Self::TooLarge { .. }
            | Self::Unproven(_)
            | Self::Unreachable { .. }
            | Self::UpstreamStatus { .. }
            | Self::V2Feed { .. } => (Outcome::Failed, Some(self.reason())),
        }
    }

    /// Whether the upstream could not be asked, or answered with an error of its own: what proofs have their grace for.
    #[must_use]
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Member { failure, .. } => failure.is_outage(),
            Self::Offline | Self::OwnLimit { .. } | Self::Resting { .. } => true,
            Self::Unreachable { reason, .. } => *reason != Reason::Protocol,
            Self::UpstreamStatus { status, .. } => status.is_server_error(),
            Self::BadBody { .. }
            | Self::Blocked { .. }
            | Self::Challenged(_)
            | Self::CredentialWanted { .. }
            | Self::Doubted(_)
            | Self::HtmlPage { .. }
            | Self::Internal(_)
            | Self::Loop { .. }
            | Self::NotAuthorized { .. }
            | Self::NoRoomForUpload(_)
            | Self::NothingPasses { .. }
            | Self::NotOffered(_)
            | Self::OfflineAbsent
            | Self::OnlyIfCached
            | Self::TooLarge { .. }
            | Self::Unproven(_)
            | Self::V2Feed { .. }
            | Self::Withdrawn { .. } => false,
        }
    }

    /// The same failure of a question that was asked for a proof.
    #[must_use]
    pub(super) fn without_proof(self) -> Self {
        if self.is_outage() {
            Self::Unproven(Box::new(self))
        } else {
            self
        }
    }

    /// Tells the log. That a breaker is open or an origin wants to rest is said once, where that began, and not for every
    /// request; and a client's first request is one without its credential.
    pub(super) fn log(&self, key: &Key) {
        let reason = self.reason();
        if reason == Reason::BreakerOpen
            || matches!(self, Self::Challenged(_) | Self::Resting { .. })
        {
            tracing::debug!(?key, %reason, "not fetched: {self}");
        } else {
            tracing::warn!(?key, %reason, "not fetched: {self}");
        }
    }

    /// Whether another endpoint of the same type might do better.
    #[must_use]
    pub(super) fn is_worth_another_endpoint(&self) -> bool {
        match self {
            Self::BadBody { .. }
            | Self::HtmlPage { .. }
            | Self::Loop { .. }
            | Self::NotAuthorized { .. }
            | Self::OwnLimit { .. }
            | Self::Resting { .. }
            | Self::Unreachable { .. }
            | Self::UpstreamStatus { .. }
            | Self::V2Feed { .. } => true,
            Self::Blocked { .. }
            | Self::Challenged(_)
            | Self::CredentialWanted { .. }
            | Self::Doubted(_)
            | Self::Internal(_)
            | Self::Member { .. }
            | Self::NoRoomForUpload(_)
            | Self::NothingPasses { .. }
            | Self::NotOffered(_)
            | Self::Offline
            | Self::OfflineAbsent
            | Self::OnlyIfCached
            | Self::TooLarge { .. }
            | Self::Unproven(_)
            | Self::Withdrawn { .. } => false,
        }
    }

    /// The failure that an error amounts to which came of what we, or the upstream, let be asked of it.
    #[must_use]
    pub(super) fn of_limits(error: &UpstreamError, origin: &str) -> Option<Self> {
        let origin = origin.to_owned();
        match error {
            UpstreamError::OwnLimit { .. } => Some(Self::OwnLimit { origin }),
            UpstreamError::Resting { status, until, .. } => Some(Self::Resting {
                origin,
                status: *status,
                until: *until,
            }),
            _ => None,
        }
    }

    /// The failure that an error of the upstream side amounts to.
    #[must_use]
    pub(super) fn of(error: &UpstreamError, origin: &str, since: SystemTime) -> Self {
        Self::Unreachable {
            origin: origin.to_owned(),
            since,
            reason: reason_of(error),
            cause: cause_of(error.root()),
            detail: error.to_string(),
            spent_its_hold: matches!(error, UpstreamError::HeldOut { .. }),
        }
    }

    /// Whether the upstream was asked again and again for as long as a request may be held. Who comes next is spared
    /// the same wait for a while.
    #[must_use]
    pub(super) fn spent_its_hold(&self) -> bool {
        match self {
            Self::Unreachable { spent_its_hold, .. } => *spent_its_hold,
            Self::UpstreamStatus { status, .. } => upstream::is_passing(*status),
            Self::OwnLimit { .. } => true,
            Self::BadBody { .. }
            | Self::Blocked { .. }
            | Self::Challenged(_)
            | Self::CredentialWanted { .. }
            | Self::Doubted(_)
            | Self::HtmlPage { .. }
            | Self::Internal(_)
            | Self::Loop { .. }
            | Self::Member { .. }
            | Self::NotAuthorized { .. }
            | Self::NoRoomForUpload(_)
            | Self::NothingPasses { .. }
            | Self::NotOffered(_)
            | Self::Offline
            | Self::OfflineAbsent
            | Self::OnlyIfCached
            | Self::Resting { .. }
            | Self::TooLarge { .. }
            | Self::Unproven(_)
            | Self::V2Feed { .. }
            | Self::Withdrawn { .. } => false,
        }
    }
}

/// The word for an error of the upstream side.
#[must_use]
pub(super) fn reason_of(error: &UpstreamError) -> Reason {
    match error {
        UpstreamError::BadRedirect { .. }
        | UpstreamError::BadUrl(_)
        | UpstreamError::PrivateAddress { .. }
        | UpstreamError::Protocol { .. }
        | UpstreamError::TooManyRedirects { .. } => Reason::Protocol,
        UpstreamError::BreakerOpen { .. } => Reason::BreakerOpen,
        UpstreamError::Closed { .. } => Reason::Closed,
        UpstreamError::ConnectFailed { .. } => Reason::ConnectFailed,
        UpstreamError::CredentialUnavailable { .. } => Reason::CredentialUnavailable,
        UpstreamError::HeldOut {
            last: Some(last), ..
        } if !last.is_timeout() => reason_of(last),
        UpstreamError::HeldOut { .. } => Reason::HeldOut,
        UpstreamError::NameNotFound { .. } => Reason::NameNotFound,
        UpstreamError::OwnLimit { .. } => Reason::OwnLimit,
        UpstreamError::ProxyAuthRequired { .. } => Reason::ProxyAuthRequired,
        UpstreamError::ProxyRefused { .. } => Reason::ProxyRefused,
        UpstreamError::RateTooLow { .. } | UpstreamError::TimedOut { .. } => Reason::TimedOut,
        UpstreamError::Resting { .. } => Reason::RateLimited,
        UpstreamError::Tls { .. } => Reason::Tls,
        UpstreamError::UnknownIssuer { .. } => Reason::UnknownIssuer,
    }
}

/// What the user can mend, in words that fit into a reason phrase; `None` where all that can be done is to wait.
fn cause_of(error: &UpstreamError) -> Option<String> {
    match error {
        UpstreamError::CredentialUnavailable { why, .. } => {
            Some(format!("no credential for it: {why}"))
        }
        UpstreamError::NameNotFound { .. } => Some("its name does not resolve".into()),
        UpstreamError::ProxyAuthRequired { .. }
        | UpstreamError::ProxyRefused { .. }
        | UpstreamError::UnknownIssuer { .. } => Some(error.to_string()),
        UpstreamError::BadRedirect { .. }
        | UpstreamError::BadUrl(_)
        | UpstreamError::BreakerOpen { .. }
        | UpstreamError::Closed { .. }
        | UpstreamError::ConnectFailed { .. }
        | UpstreamError::HeldOut { .. }
        | UpstreamError::OwnLimit { .. }
        | UpstreamError::PrivateAddress { .. }
        | UpstreamError::Protocol { .. }
        | UpstreamError::RateTooLow { .. }
        | UpstreamError::Resting { .. }
        | UpstreamError::TimedOut { .. }
        | UpstreamError::Tls { .. }
        | UpstreamError::TooManyRedirects { .. } => None,
    }
}
