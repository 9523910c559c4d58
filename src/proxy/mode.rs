//! Whether a feed asks its upstream: by configuration, by an operator's word, or by itself after a long outage.
//!
//! Offline is a way to look at what is stored: nothing is deleted, and what is fresh or stale stays so. Nothing is sent
//! upstream then. A feed that went offline by itself is the exception: its origin is probed on, for the first byte of an
//! answer brings it back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::feed::Feed;
use super::{Proxy, Snapshot};
use crate::telemetry::{Family, Kind};
use crate::upstream::OriginState;
use crate::upstream::url::Origin;

/// Whether a feed asks its upstream.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Mode {
    /// Only what is stored is served; nothing is sent.
    Offline,
    /// As the freshness of what is stored demands.
    #[default]
    Online,
}

impl Mode {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }
}

/// What an operator wants of a running feed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ModeOrder {
    /// What the configuration says, `auto_offline_after` included.
    Configured,
    /// This, whatever happens.
    Fixed(Mode),
}

impl ModeOrder {
    /// The order that a word gives.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "configured" => Some(Self::Configured),
            "offline" => Some(Self::Fixed(Mode::Offline)),
            "online" => Some(Self::Fixed(Mode::Online)),
            _ => None,
        }
    }
}

/// Who put a feed into its mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    Admin,
    Configuration,
    /// Its upstream has been away for `auto_offline_after`.
    Outage,
}

impl Cause {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Configuration => "configuration",
            Self::Outage => "outage",
        }
    }
}

/// Whether a feed's upstream has been away for `auto_offline_after`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    Away,
    Here,
}

/// The mode of a feed. A reload keeps it, so that what is under way obeys the mode of now.
#[derive(Debug)]
pub(super) struct ModeState {
    standing: Mutex<Standing>,
    /// What it amounts to, for those who ask with every request.
    is_offline: AtomicBool,
}

/// What speaks for a mode.
#[derive(Clone, Copy, Debug)]
struct Standing {
    configured: Mode,
    order: Option<Mode>,
    presence: Presence,
}

impl Standing {
    fn mode(self) -> (Mode, Cause) {
        match (self.order, self.configured, self.presence) {
            (Some(mode), ..) => (mode, Cause::Admin),
            (None, Mode::Online, Presence::Away) => (Mode::Offline, Cause::Outage),
            (None, mode, _) => (mode, Cause::Configuration),
        }
    }
}

impl ModeState {
    pub(super) fn new(configured: Mode) -> Self {
        Self {
            standing: Mutex::new(Standing {
                configured,
                order: None,
                presence: Presence::Here,
            }),
            is_offline: AtomicBool::new(configured == Mode::Offline),
        }
    }

    /// The mode, and who wants it so.
    fn now(&self) -> (Mode, Cause) {
        self.lock().mode()
    }

    /// Changes what speaks for the mode. Says what it is now, if it is another one or by another cause.
    fn change(&self, change: impl FnOnce(&mut Standing)) -> Option<(Mode, Cause)> {
        let mut standing = self.lock();
        let before = standing.mode();
        change(&mut standing);
        let now = standing.mode();
        self.is_offline
            .store(now.0 == Mode::Offline, Ordering::Release);
        (now != before).then_some(now)
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an origin is probed for a feed in this mode.
fn wants_probes((mode, cause): (Mode, Cause)) -> bool {
    mode == Mode::Online || cause == Cause::Outage
}

const FEED_OFFLINE: Family = Family {
    name: "sluice_feed_offline",
    help: "1 while a feed is offline, 0 while it asks its upstream.",
    kind: Kind::Gauge,
};

impl Proxy {
    /// Sets the mode of a running feed, until the next order or the end of the process. Gives its new state; `None` if
    /// there is no such feed.
    #[must_use]
    pub fn order_mode(&self, feed: &str, order: ModeOrder) -> Option<serde_json::Value> {
        let now = self.current.load_full();
        let feed = now.feeds.iter().find(|known| *known.name == *feed)?;
        let fixed = match order {
            ModeOrder::Configured => None,
            ModeOrder::Fixed(mode) => Some(mode),
        };
        if let Some(mode) = feed.mode.change(|standing| standing.order = fixed) {
            now.tell_change(feed, mode);
        }
        let (mode, cause) = now.mode_and_cause(feed);
        Some(serde_json::json!({"name": &*feed.name, "mode": mode.word(), "mode_by": cause.word()}))
    }

    /// Shows each feed's mode in the metrics, and lets origins be probed only where some feed would ask them.
    pub(super) fn watch_modes(&self) {
        let current = Arc::downgrade(&self.current);
        self.telemetry.collect(move |samples| {
            let Some(current) = current.upgrade() else {
                return;
            };
            let now = current.load();
            for feed in &now.feeds {
                let is_offline = u64::from(now.mode_of(feed) == Mode::Offline);
                samples.add(&FEED_OFFLINE, &[("feed", &feed.name)], is_offline);
            }
        });
        let current = Arc::downgrade(&self.current);
        self.upstream.probe_only_if(move |origin| {
            let current = current.upgrade();
            current.is_some_and(|current| current.load().may_probe(origin))
        });
    }
}

impl Snapshot {
    /// Has each feed obey the mode that it is configured to have now.
    pub(super) fn obey_modes(&self) {
        for feed in &self.feeds {
            let settings = &feed.settings;
            let changed = feed.mode.change(|standing| {
                standing.configured = settings.mode;
                if settings.auto_offline_after.is_none() {
                    standing.presence = Presence::Here;
                }
            });
            if let Some(mode) = changed {
                self.tell_change(feed, mode);
            }
        }
    }

    /// Whether a feed is offline; looks whether its upstream has been away for too long, or has come back.
    pub(super) fn mode_of(&self, feed: &Feed) -> Mode {
        if let Some(after) = feed.settings.auto_offline_after {
            let presence = match self.upstream.state(feed.access.upstream(), &feed.access) {
                OriginState::Open { since, .. } if self.clock.since(since) >= after => {
                    Presence::Away
                }
                OriginState::Live
                | OriginState::Open { .. }
                | OriginState::Resting { .. }
                | OriginState::Slow { .. } => Presence::Here,
            };
            // What began under settings of before has no say in it.
            if feed.mode.lock().presence != presence
                && !self.superseded.is_cancelled()
                && let Some(mode) = feed.mode.change(|standing| standing.presence = presence)
            {
                self.tell_change(feed, mode);
            }
        }
        if feed.mode.is_offline.load(Ordering::Acquire) {
            Mode::Offline
        } else {
            Mode::Online
        }
    }

    /// Whether none of these feeds is offline.
    pub(super) fn are_online(&self, feeds: &[Arc<Feed>]) -> bool {
        feeds.iter().all(|feed| self.mode_of(feed) == Mode::Online)
    }

    /// A feed's mode, with who wants it so.
    pub(super) fn mode_and_cause(&self, feed: &Feed) -> (Mode, Cause) {
        self.mode_of(feed);
        feed.mode.now()
    }

    fn tell_change(&self, feed: &Feed, (mode, cause): (Mode, Cause)) {
        tracing::warn!(
            feed = &*feed.name,
            mode = mode.word(),
            by = cause.word(),
            "the feed changes its mode"
        );
        if wants_probes((mode, cause)) {
            // Who was offline long may find its origin's next probe far away.
            self.upstream.probe_soon();
        }
    }

    /// Whether an origin may be probed: some feed that knows it, or any if none does, is not offline by will.
    fn may_probe(&self, origin: &Origin) -> bool {
        let mut knowing = self
            .feeds
            .iter()
            .filter(|feed| feed.access.is_trusted(origin))
            .peekable();
        if knowing.peek().is_some() {
            knowing.any(|feed| wants_probes(feed.mode.now()))
        } else {
            self.feeds.iter().any(|feed| wants_probes(feed.mode.now()))
        }
    }
}
