//! Why a request gets nothing of the upstream: its time ran out, or the upstream may not be asked. It refuses to say it to
//! the client: that is for `words` and `respond`.

use std::sync::Arc;

use super::Proxy;
use super::document::Ask;
use super::failure::Failure;
use super::feed::Feed;
use super::mode::Mode;
use crate::cache::decision::Demand;
use crate::upstream::{OriginState, Stake, UpstreamError};

impl Proxy {
    /// The failure that an error of the upstream side amounts to, noted against its origin.
    pub(super) fn upstream_failure(&self, feed: &Feed, error: &UpstreamError) -> Failure {
        let host = error.origin().unwrap_or(feed.access.upstream()).host();
        // Neither is an outage: the origin lives, or was not asked at all.
        if let Some(failure) = Failure::of_limits(error, host) {
            return failure;
        }
        let noted = feed.note_failure(host, self.clock.now());
        let since = if let UpstreamError::BreakerOpen { since, .. } = error {
            *since
        } else {
            noted
        };
        Failure::of(error, host, since.min(noted))
    }

    /// The failure of a request whose time ran out while a flight was still asking in this place: our own limits are
    /// what it waited for, or the origin.
    pub(super) fn out_of_time(&self, ask: &Ask, stake: Option<&Arc<Stake>>) -> Failure {
        if stake.is_some_and(|stake| stake.is_queued()) {
            let origin = self.origin_of(ask);
            return self.upstream_failure(&ask.feed, &UpstreamError::OwnLimit { origin });
        }
        self.held_out(ask)
    }

    /// The failure of a request whose hold ran out.
    pub(super) fn held_out(&self, ask: &Ask) -> Failure {
        let origin = self.origin_of(ask);
        self.upstream_failure(&ask.feed, &UpstreamError::HeldOut { last: None, origin })
    }

    /// Why a request without a copy is refused at once.
    pub(super) fn refused(&self, ask: &Ask) -> Failure {
        if ask.demand == Demand::StoredOnly {
            return Failure::OnlyIfCached;
        }
        if self.mode_of(&ask.feed) == Mode::Offline {
            return Failure::Offline;
        }
        let origin = self.origin_of(ask);
        match self.upstream.state(&origin, &ask.feed.access) {
            OriginState::Open { since, why } => self.upstream_failure(
                &ask.feed,
                &UpstreamError::BreakerOpen { origin, since, why },
            ),
            OriginState::Resting { status, until } => self.upstream_failure(
                &ask.feed,
                &UpstreamError::Resting {
                    origin,
                    status,
                    until,
                },
            ),
            OriginState::Live | OriginState::Slow { .. } => self.held_out(ask),
        }
    }
}
