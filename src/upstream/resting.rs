//! That an origin wants to be left alone until a time, and is.
//!
//! It said so by a `Retry-After` that lies beyond what is left of a request's hold: asking again would only have it say
//! so again, to each request anew. It refuses to judge the origin's health: who asks for rest is alive.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::UpstreamError;
use super::url::Origin;
use crate::clock::Clock;

/// No origin is left alone for longer on its own word: a mistaken or hostile one must not switch a feed off for days.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// The rest of one origin.
pub(super) struct Resting {
    clock: Clock,
    current: watch::Sender<Option<Wish>>,
    origin: Origin,
}

/// A rest that was asked for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// The answer that asked for it.
    status: StatusCode,
    until: Instant,
    /// The same by the wall clock.
    until_time: SystemTime,
}

impl Resting {
    pub(super) fn new(origin: Origin, clock: Clock) -> Self {
        Self {
            clock,
            current: watch::Sender::new(None),
            origin,
        }
    }

    /// Leaves the origin alone for as long as an answer wishes, at most [`LONGEST_REST`]; the error of the request that
    /// got the answer.
    pub(super) fn begin(&self, status: StatusCode, wished: Duration) -> UpstreamError {
        let rest = wished.min(LONGEST_REST);
        let wished = Wish {
            status,
            until: self.clock.instant() + rest,
            until_time: self.clock.now() + rest,
        };
        let before = self.left();
        // Of two answers the one that wishes for more.
        self.current.send_if_modified(|current| {
            let is_longer = current.is_none_or(|current| current.until < wished.until);
            if is_longer {
                *current = Some(wished);
            }
            is_longer
        });
        if before.is_zero() {
            let (seconds, status) = (rest.as_secs(), status.as_u16());
            tracing::warn!(origin = %self.origin, status, seconds, "the upstream wants no requests for a while");
        }
        self.refusal().unwrap_or_else(|| self.error(wished))
    }

    /// The error that requests get while the origin rests.
    pub(super) fn refusal(&self) -> Option<UpstreamError> {
        self.now().map(|resting| self.error(resting))
    }

    /// Completes with that error once the origin rests.
    pub(super) async fn begun(&self) -> UpstreamError {
        let mut current = self.current.subscribe();
        loop {
            if let Some(refusal) = self.refusal() {
                return refusal;
            }
            if current.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Which answer asked for the rest of now, and until when.
    pub(super) fn until(&self) -> Option<(StatusCode, SystemTime)> {
        self.now()
            .map(|resting| (resting.status, resting.until_time))
    }

    /// How much of it is left.
    pub(super) fn left(&self) -> Duration {
        let until = self.now().map(|resting| resting.until);
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(self.clock.instant())
        })
    }

    fn now(&self) -> Option<Wish> {
        let current = *self.current.borrow();
        current.filter(|resting| self.clock.instant() < resting.until)
    }

    fn error(&self, wish: Wish) -> UpstreamError {
        UpstreamError::Resting {
            origin: self.origin.clone(),
            status: wish.status,
            until: wish.until_time,
        }
    }
}
