//! Where a document could be asked from: the endpoints of its resource, and which of them answer.

use tokio::time::Instant;

use super::Proxy;
use super::document::{Ask, Place};
use super::feed::Feed;
use super::mode::Mode;
use crate::cache::decision::Reach;
use crate::upstream::OriginState;
use crate::upstream::url::Origin;

impl Proxy {
    /// What is known of the origins that a document could be asked from: the best of them counts.
    pub(super) fn reach(&self, ask: &Ask) -> Reach {
        if self.mode_of(&ask.feed) == Mode::Offline {
            return Reach::Offline;
        }
        let reach = |url: &String| {
            Origin::of(url)
                .ok()
                .map(|origin| self.reach_of(&origin, &ask.feed))
        };
        let places = self.known_places(ask);
        let best = places
            .iter()
            .filter_map(reach)
            .min_by_key(|reach| rank(*reach));
        best.unwrap_or_else(|| self.reach_of(ask.feed.access.upstream(), &ask.feed))
    }

    pub(super) fn reach_of(&self, origin: &Origin, feed: &Feed) -> Reach {
        match self.upstream.state(origin, &feed.access) {
            OriginState::Live => Reach::Live,
            OriginState::Open { .. } => Reach::Down,
            OriginState::Resting { .. } => Reach::Resting,
            OriginState::Slow { .. } => Reach::Slow,
        }
    }

    /// Where a document could be asked from, as far as it is known without asking.
    fn known_places(&self, ask: &Ask) -> Vec<String> {
        match &ask.place {
            Place::Named(url) | Place::Symbols { url, .. } => vec![url.clone()],
            Place::Indexed { resource, query } => ask
                .feed
                .model()
                .and_then(|model| model.locate(resource, query).ok())
                .unwrap_or_default(),
        }
    }

    /// The origin that a document would be asked from first, as far as it is known without asking.
    pub(super) fn origin_of(&self, ask: &Ask) -> Origin {
        let places = self.reachable_first(&ask.feed, self.known_places(ask));
        places
            .first()
            .and_then(|url| Origin::of(url).ok())
            .unwrap_or_else(|| ask.feed.access.upstream().clone())
    }

    /// The endpoints of a resource, those first whose origins answer: a fallback is no help behind one that hangs.
    pub(super) fn reachable_first(&self, feed: &Feed, mut urls: Vec<String>) -> Vec<String> {
        urls.sort_by_cached_key(|url| {
            Origin::of(url).map_or(rank(Reach::Live), |origin| {
                rank(self.reach_of(&origin, feed))
            })
        });
        urls
    }

    /// The end of the wait for the next of `left` endpoints: each gets its share of what remains.
    pub(super) fn share_of(&self, hold: Instant, left: usize) -> Instant {
        let now = self.clock.instant();
        let share = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
        now + hold.saturating_duration_since(now) / share
    }
}

/// Origins in the order in which to ask them.
fn rank(reach: Reach) -> u8 {
    match reach {
        Reach::Live => 0,
        Reach::Slow => 1,
        Reach::Resting => 2,
        Reach::Down => 3,
        Reach::Offline => 4,
    }
}
