//! Why nothing could be served, grouped by whose fault it is. `respond` turns each into a status and a reason phrase.

use std::fmt;
use std::time::SystemTime;

use http::StatusCode;

use super::outcome::Reason;
use crate::cache::key::Key;
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
    /// A bug of ours.
    Internal(&'static str),
    /// The upstream demands a credential or refused the one it got.
    NotAuthorized {
        /// The host that said so.
        origin: String,
        /// 401 or 403.
        status: StatusCode,
    },
    /// The upstream's service index does not offer this.
    NotOffered(&'static str),
    /// The client allowed the store alone to answer, and it has nothing.
    OnlyIfCached,
    /// The document is larger than allowed.
    TooLarge {
        /// The host that sent it.
        origin: String,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The upstream cannot be reached.
    Unreachable {
        /// The host.
        origin: String,
        /// Since when.
        since: SystemTime,
        /// How it fails.
        reason: Reason,
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
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadBody { origin, what } => write!(f, "{origin} sent a bad body: {what}"),
            Self::Internal(what) => write!(f, "internal error: {what}"),
            Self::NotAuthorized { origin, status } | Self::UpstreamStatus { origin, status } => {
                write!(f, "{origin} answered {status}")
            }
            Self::NotOffered(what) => write!(f, "the upstream offers no {what}"),
            Self::OnlyIfCached => f.write_str("the store alone was allowed to answer"),
            Self::TooLarge { origin, max_bytes } => {
                write!(f, "{origin} sent more than {max_bytes} bytes")
            }
            Self::Unreachable { detail, .. } => f.write_str(detail),
        }
    }
}

impl Failure {
    /// The word for it.
    #[must_use]
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::BadBody { .. } => Reason::BadBody,
            Self::Internal(_) => Reason::Internal,
            Self::NotAuthorized { .. } => Reason::NotAuthorized,
            Self::NotOffered(_) => Reason::NotOffered,
            Self::OnlyIfCached => Reason::OnlyIfCached,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Unreachable { reason, .. } => *reason,
            Self::UpstreamStatus { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                Reason::RateLimited
            }
            Self::UpstreamStatus { .. } => Reason::UpstreamStatus,
        }
    }

    /// Tells the log. While a breaker is open that is said once, where it opened, and not for every request.
    pub(super) fn log(&self, key: &Key) {
        let reason = self.reason();
        if reason == Reason::BreakerOpen {
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
            | Self::NotAuthorized { .. }
            | Self::Unreachable { .. }
            | Self::UpstreamStatus { .. } => true,
            Self::Internal(_)
            | Self::NotOffered(_)
            | Self::OnlyIfCached
            | Self::TooLarge { .. } => false,
        }
    }

    /// The failure that an error of the upstream side amounts to.
    #[must_use]
    pub(super) fn of(error: &UpstreamError, origin: &str, since: SystemTime) -> Self {
        Self::Unreachable {
            origin: origin.to_owned(),
            since,
            reason: reason_of(error),
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
            Self::BadBody { .. }
            | Self::Internal(_)
            | Self::NotAuthorized { .. }
            | Self::NotOffered(_)
            | Self::OnlyIfCached
            | Self::TooLarge { .. } => false,
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
        UpstreamError::HeldOut {
            last: Some(last), ..
        } if !last.is_timeout() => reason_of(last),
        UpstreamError::HeldOut { .. } => Reason::HeldOut,
        UpstreamError::NameNotFound { .. } => Reason::NameNotFound,
        UpstreamError::RateTooLow { .. } | UpstreamError::TimedOut { .. } => Reason::TimedOut,
        UpstreamError::Tls { .. } => Reason::Tls,
    }
}
