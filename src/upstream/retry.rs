//! When and how soon an upstream is asked again.
//!
//! Only what may pass is asked again, only before the first byte was used, only within the hold. It refuses to wait
//! itself.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use super::error::{Phase, UpstreamError};

/// The shortest first pause; up to twice as long by chance, so that requests that failed together do not return
/// together.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: with a hold of 15 s there are some ten attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The pauses between attempts of one thing.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
}

impl Pauses {
    /// Pauses that nobody else shares.
    #[must_use]
    pub fn by_chance() -> Self {
        Self::new(chance())
    }

    /// `chance` picks the first pause between its bounds.
    pub(super) fn new(chance: u8) -> Self {
        Self {
            next: FIRST_PAUSE + FIRST_PAUSE * u32::from(chance) / 255,
        }
    }

    /// The next pause, twice as long as the one before up to a limit.
    pub fn lengthen(&mut self) -> Duration {
        let pause = self.next.min(LONGEST_PAUSE);
        self.next = pause * 2;
        pause
    }
}

/// A byte for [`Pauses::new`].
pub(super) fn chance() -> u8 {
    let mut byte = [0];
    // Without randomness requests merely return together.
    match getrandom::fill(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => 128,
    }
}

/// Whether an answer says that the next attempt may do better: such a one is handed out only at the end of a hold, or
/// where its Retry-After lies beyond what may be waited for.
#[must_use]
pub fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether an answer with this status may say, by `Retry-After`, that its origin wants no requests: of the passing ones
/// those for which RFC 9110 section 10.2.3 and RFC 6585 section 4 define it. A server that fails for another reason knows
/// nothing of other requests.
pub(super) fn may_ask_for_rest(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    )
}

/// Whether an attempt that ended so counts against its origin, and is worth another.
pub(super) fn judge(error: &UpstreamError) -> (Counts, Again) {
    match error {
        UpstreamError::Closed { .. }
        | UpstreamError::ConnectFailed { .. }
        | UpstreamError::NameNotFound { .. }
        | UpstreamError::TimedOut {
            phase: Phase::Connect | Phase::FirstByte,
            ..
        } => (Counts::Yes, Again::Yes),
        // A wrong certificate does not pass within a hold, nor does a proxy's rule.
        UpstreamError::ProxyAuthRequired { .. }
        | UpstreamError::ProxyRefused { .. }
        | UpstreamError::Tls { .. }
        | UpstreamError::UnknownIssuer { .. } => (Counts::Yes, Again::No),
        UpstreamError::BadRedirect { .. }
        | UpstreamError::BadUrl(_)
        | UpstreamError::BreakerOpen { .. }
        | UpstreamError::CredentialUnavailable { .. }
        | UpstreamError::HeldOut { .. }
        | UpstreamError::OwnLimit { .. }
        | UpstreamError::PrivateAddress { .. }
        | UpstreamError::Protocol { .. }
        | UpstreamError::RateTooLow { .. }
        | UpstreamError::Resting { .. }
        | UpstreamError::TimedOut {
            phase: Phase::Body | Phase::Send,
            ..
        }
        | UpstreamError::TooManyRedirects { .. } => (Counts::No, Again::No),
    }
}

/// Whether a failure counts towards the breaker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Counts {
    /// It does not.
    No,
    /// It does.
    Yes,
}

/// Whether another attempt may do better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Again {
    /// It may not.
    No,
    /// It may.
    Yes,
}

/// How long the answer asks us to wait, RFC 9110 section 10.2.3; `None` if it does not say, or nonsense.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let millis = |chance| {
            let mut pauses = Pauses::new(chance);
            [(); 7].map(|()| pauses.lengthen().as_millis())
        };
        assert_eq!(millis(0), [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(millis(255), [200, 400, 800, 1600, 2000, 2000, 2000]);
    }

    #[track_caller]
    fn check_retry_after(value: &str, expected: Option<u64>) {
        // RFC 9110's own example date is 784111777 s after the epoch.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(
            retry_after(&headers, now),
            expected.map(Duration::from_secs),
            "{value}"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        check_retry_after("120", Some(120));
        check_retry_after(" 0 ", Some(0));
        check_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check_retry_after("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check_retry_after("-1", None);
        check_retry_after("1.5", None);
        check_retry_after("soon", None);
        check_retry_after("99999999999999999999999", None);
    }
}
