//! Whether an origin answers: when it last sent a byte, whether it is slow, whether its breaker is open.
//!
//! It judges by bytes and failures that others report, and says when to probe. It refuses to ask anybody anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::error::UpstreamError;
use super::resting::Resting;
use super::retry::FIRST_PAUSE;
use super::settings::Settings;
use super::url::Origin;
use crate::clock::Clock;

/// What is known of an origin.
#[derive(Clone, Debug, PartialEq)]
pub enum OriginState {
    /// Nothing speaks against asking it.
    Live,
    /// It did not answer lately: requests are refused until a probe is answered.
    Open {
        /// When its failures began.
        since: SystemTime,
        /// The failure that opened the breaker.
        why: Arc<UpstreamError>,
    },
    /// It wants no requests until then.
    Resting {
        /// The answer by which it said so.
        status: StatusCode,
        /// Until when.
        until: SystemTime,
    },
    /// It has sent no byte for `stale_after` while requests wait.
    Slow {
        /// When the silence began.
        since: SystemTime,
    },
}

/// What the watcher of an origin does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Watch {
    /// Nothing is wrong and nobody waits: stop watching.
    End,
    /// Ask the origin now.
    Probe,
    /// Nothing before this instant, unless something changes.
    Until(Instant),
}

/// The health of one origin.
pub(super) struct Health {
    base: Instant,
    clock: Clock,
    /// Wakes the watcher when its plan is out of date.
    changed: Notify,
    judged: Mutex<Judged>,
    /// When the last byte came, in microseconds after `base`, plus one; zero is never. Written for every read, so it
    /// costs no lock.
    last_byte: AtomicU64,
    /// Tells everyone held that the breaker opened.
    open: watch::Sender<bool>,
    origin: Origin,
    pub(super) resting: Resting,
    settings: Arc<ArcSwap<Settings>>,
    /// Whether a byte would change the judgement, so that the others take no lock.
    troubled: AtomicBool,
}

struct Judged {
    /// When the last failure was counted.
    counted_at: Option<Instant>,
    failures: u32,
    /// When the failures or the silence of now began.
    failing_since: Option<SystemTime>,
    /// Why the breaker is open.
    open: Option<Arc<UpstreamError>>,
    probe_at: Instant,
    probe_gap: Duration,
    slow: bool,
    waiting: usize,
    waiting_since: Instant,
    watched: bool,
}

/// A request that waits for the origin's first byte; dropped when it has it or gives up.
pub(super) struct Waiting {
    health: Arc<Health>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.health.judged().waiting -= 1;
    }
}

impl Health {
    pub(super) fn new(origin: Origin, settings: Arc<ArcSwap<Settings>>, clock: Clock) -> Self {
        let now = clock.instant();
        Self {
            base: now,
            changed: Notify::new(),
            judged: Mutex::new(Judged {
                counted_at: None,
                failures: 0,
                failing_since: None,
                open: None,
                probe_at: now,
                probe_gap: settings.load().probe_after,
                slow: false,
                waiting: 0,
                waiting_since: now,
                watched: false,
            }),
            last_byte: AtomicU64::new(0),
            open: watch::Sender::new(false),
            resting: Resting::new(origin.clone(), clock.clone()),
            clock,
            origin,
            settings,
            troubled: AtomicBool::new(false),
        }
    }

    /// The settings have changed: wakes the watcher, whose plan was made by those of before.
    pub(super) fn reconsider(&self) {
        self.changed.notify_one();
    }

    fn judged(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the origin sent something: it lives, whatever was thought before.
    pub(super) fn byte_received(&self) {
        let after = self.clock.instant().duration_since(self.base).as_micros();
        let stamp = u64::try_from(after).unwrap_or(u64::MAX - 1) + 1;
        self.last_byte.store(stamp, Ordering::Relaxed);
        if !self.troubled.load(Ordering::Acquire) {
            return;
        }
        let mut judged = self.judged();
        self.troubled.store(false, Ordering::Release);
        judged.failures = 0;
        judged.counted_at = None;
        judged.failing_since = None;
        let was_slow = std::mem::take(&mut judged.slow);
        let was_open = judged.open.take().is_some();
        if was_open {
            self.open.send_replace(false);
            tracing::info!(origin = %self.origin, "the upstream answers again");
        }
        drop(judged);
        if was_open || was_slow {
            self.changed.notify_one();
        }
    }

    fn last_byte(&self) -> Option<Instant> {
        let stamp = self.last_byte.load(Ordering::Relaxed);
        stamp
            .checked_sub(1)
            .map(|micros| self.base + Duration::from_micros(micros))
    }

    /// Whether the origin has sent a byte at or after `instant`.
    pub(super) fn sent_since(&self, instant: Instant) -> bool {
        // Stamps are cut to microseconds.
        self.last_byte()
            .is_some_and(|at| at + Duration::from_micros(1) > instant)
    }

    /// Counts a request that waits for the origin.
    pub(super) fn begin_wait(self: &Arc<Self>) -> Waiting {
        let mut judged = self.judged();
        if judged.waiting == 0 {
            judged.waiting_since = self.clock.instant();
        }
        judged.waiting += 1;
        Waiting {
            health: Arc::clone(self),
        }
    }

    /// Notes a connect or first-byte failure of an attempt that began at `began`. Attempts closer together than one
    /// request's own attempts count once: a burst of requests into a short gap of the server is one failure.
    pub(super) fn failed(&self, began: Instant, error: &UpstreamError) {
        let mut judged = self.judged();
        let beside = judged
            .counted_at
            .is_some_and(|counted| began < counted + FIRST_PAUSE);
        if judged.open.is_some() || beside {
            return;
        }
        judged.failures += 1;
        judged.counted_at = Some(self.clock.instant());
        judged.failing_since.get_or_insert(self.clock.now());
        self.troubled.store(true, Ordering::Release);
        if judged.failures >= self.settings.load().breaker_failures {
            self.open(&mut judged, error);
        }
    }

    /// Notes that a hold ran out whose request was first sent at `asked`, and that it waited so long for the origin.
    /// Without a byte since then the breaker opens; but an origin that was asked for less than `stale_after`, the end of
    /// a hold that others used up, is not judged.
    pub(super) fn hold_expired(&self, asked: Instant, waited: Duration, error: &UpstreamError) {
        if self.sent_since(asked) || waited < self.settings.load().stale_after {
            return;
        }
        let mut judged = self.judged();
        if judged.open.is_none() {
            let since = self.clock.now().checked_sub(waited);
            judged
                .failing_since
                .get_or_insert(since.unwrap_or(SystemTime::UNIX_EPOCH));
            self.troubled.store(true, Ordering::Release);
            self.open(&mut judged, error);
        }
    }

    fn open(&self, judged: &mut Judged, error: &UpstreamError) {
        let why = match error {
            UpstreamError::HeldOut {
                last: Some(last), ..
            } => last.as_ref(),
            other => other,
        };
        judged.open = Some(Arc::new(why.clone()));
        judged.slow = false;
        judged.probe_gap = self.settings.load().probe_after;
        judged.probe_at = self.clock.instant() + judged.probe_gap;
        self.open.send_replace(true);
        self.changed.notify_one();
        tracing::warn!(origin = %self.origin, %error, "the upstream is unreachable");
    }

    /// The error that requests get while the breaker is open.
    pub(super) fn refusal(&self) -> Option<UpstreamError> {
        let judged = self.judged();
        judged.open.as_ref().map(|why| UpstreamError::BreakerOpen {
            origin: self.origin.clone(),
            since: judged.failing_since.unwrap_or(SystemTime::UNIX_EPOCH),
            why: Arc::clone(why),
        })
    }

    /// Completes with the refusal once the breaker is open.
    pub(super) async fn opened(&self) -> UpstreamError {
        let mut open = self.open.subscribe();
        loop {
            if let Some(refusal) = self.refusal() {
                return refusal;
            }
            if open.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is known of the origin now.
    pub(super) fn state(&self) -> OriginState {
        let mut judged = self.judged();
        self.judge_silence(&mut judged);
        let since = judged.failing_since.unwrap_or(SystemTime::UNIX_EPOCH);
        match (&judged.open, self.resting.until()) {
            (Some(why), _) => OriginState::Open {
                since,
                why: Arc::clone(why),
            },
            (None, Some((status, until))) => OriginState::Resting { status, until },
            (None, None) if judged.slow => OriginState::Slow { since },
            (None, None) => OriginState::Live,
        }
    }

    /// Calls the origin slow if it has been silent for `stale_after` while requests wait. Returns when that will be.
    fn judge_silence(&self, judged: &mut Judged) -> Option<Instant> {
        if judged.open.is_some() || judged.slow || judged.waiting == 0 {
            return None;
        }
        let silent_since = self
            .last_byte()
            .map_or(judged.waiting_since, |at| at.max(judged.waiting_since));
        let (now, limit) = (
            self.clock.instant(),
            silent_since + self.settings.load().stale_after,
        );
        if now < limit {
            return Some(limit);
        }
        judged.slow = true;
        judged.probe_gap = Duration::ZERO;
        judged.probe_at = now;
        let began = self.clock.now().checked_sub(now - silent_since);
        judged
            .failing_since
            .get_or_insert(began.unwrap_or(SystemTime::UNIX_EPOCH));
        self.troubled.store(true, Ordering::Release);
        self.changed.notify_one();
        tracing::info!(origin = %self.origin, "the upstream is slow");
        None
    }

    /// Whether the caller is to watch this origin: true for one caller until the watch ends.
    pub(super) fn claim_watch(&self) -> bool {
        !std::mem::replace(&mut self.judged().watched, true)
    }

    /// What the watcher does next.
    pub(super) fn watch(&self) -> Watch {
        let mut judged = self.judged();
        if let Some(limit) = self.judge_silence(&mut judged) {
            return Watch::Until(limit);
        }
        if judged.open.is_none() && !judged.slow {
            judged.watched = false;
            return Watch::End;
        }
        // Whoever wants no requests wants no probes.
        let now = self.clock.instant();
        let probe_at = judged.probe_at.max(now + self.resting.left());
        if now < probe_at {
            return Watch::Until(probe_at);
        }
        Watch::Probe
    }

    /// Notes that a probe ended without a byte: the next comes after twice the time.
    pub(super) fn probe_failed(&self) {
        let mut judged = self.judged();
        let settings = self.settings.load();
        judged.probe_gap = (judged.probe_gap * 2).clamp(settings.probe_after, settings.probe_max);
        judged.probe_at = self.clock.instant() + judged.probe_gap;
    }

    /// Makes the next probe due now, if there is one.
    pub(super) fn probe_soon(&self) {
        let mut judged = self.judged();
        judged.probe_gap = Duration::ZERO;
        judged.probe_at = self.clock.instant();
        drop(judged);
        self.changed.notify_one();
    }

    /// Completes when the plan of [`Health::watch`] is out of date.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
