//! How long what is stored may be served without asking, as a policy of the feed and class.
//!
//! The upstream's own `Cache-Control` is not obeyed: nuget.org says `no-store` on registrations and ten seconds on
//! lists, which would mean caching nothing (protocol fact 2.8.1).

use std::time::{Duration, SystemTime};

use super::entry::{Absence, Entry};
use super::epoch::Gate;

/// After a publish its id's documents are fresh for this long only: the upstream indexes for minutes, and a list kept
/// from before would hide the new version (protocol fact 4.2.8).
pub const FRESH_AFTER_PUBLISH: Duration = Duration::from_secs(2);

/// How long after a publish [`FRESH_AFTER_PUBLISH`] applies: nuget.org's validation takes minutes
/// (protocol fact 4.2.8).
pub const PUBLISH_WINDOW: Duration = Duration::from_secs(15 * 60);

/// A 404 that is repeated this much later is believed over a stored list, even in an outage.
pub const ABSENCE_CONFIRMED_AFTER: Duration = Duration::from_secs(10);

/// How long a class stays fresh after the upstream confirmed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FreshFor {
    /// Immutable: fresh until its version is deleted or purged.
    Ever,
    /// This long.
    Time(Duration),
}

/// What the memory of a 404 is good for once it is no longer fresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OldAbsence {
    /// It answers while the upstream cannot be reached, this long: lists and registration indexes, since a source that
    /// fails for an id it never had fails every restore with several sources (protocol facts 3.7.4, 3.6.2).
    AnswersInOutage(Duration),
    /// Nothing: the upstream is asked.
    Nothing,
}

/// How one cache class of one feed is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Freshness of a stored body.
    pub fresh_for: FreshFor,
    /// Freshness of a remembered 404, 410 or 204.
    pub absence_fresh_for: Duration,
    /// What an older one is good for.
    pub old_absence: OldAbsence,
}

impl Policy {
    /// When `entry` stops being fresh. The past if its epoch is old, or if it was confirmed by a clock that was further
    /// ahead than it would be fresh.
    #[must_use]
    pub fn fresh_until(&self, entry: &Entry, gate: &Gate, now: SystemTime) -> Deadline {
        const PAST: Deadline = Deadline::At(SystemTime::UNIX_EPOCH);
        if entry.epoch < gate.epoch {
            return PAST;
        }
        match self.fresh_for {
            FreshFor::Ever => Deadline::Never,
            FreshFor::Time(time) => {
                let published = gate
                    .published_at
                    .filter(|&published_at| entry.validated_at < published_at + PUBLISH_WINDOW)
                    .filter(|&published_at| !is_beyond(published_at, PUBLISH_WINDOW, now));
                let time = if published.is_some() {
                    time.min(FRESH_AFTER_PUBLISH)
                } else {
                    time
                };
                if is_beyond(entry.validated_at, time, now) {
                    return PAST;
                }
                Deadline::At(entry.validated_at + time)
            }
        }
    }

    /// Whether a remembered absence may answer without asking.
    #[must_use]
    pub fn is_absence_fresh(&self, absence: &Absence, gate: &Gate, now: SystemTime) -> bool {
        absence.epoch >= gate.epoch && within(absence.last_at, self.absence_fresh_for, now)
    }

    /// Whether a remembered absence may answer while the upstream cannot be reached.
    #[must_use]
    pub fn absence_answers_in_outage(
        &self,
        absence: &Absence,
        gate: &Gate,
        now: SystemTime,
    ) -> bool {
        match self.old_absence {
            OldAbsence::AnswersInOutage(limit) => {
                absence.epoch >= gate.epoch && within(absence.last_at, limit, now)
            }
            OldAbsence::Nothing => false,
        }
    }
}

/// When freshness ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Deadline {
    /// At this time.
    At(SystemTime),
    /// Not by time.
    Never,
}

impl Deadline {
    /// Whether `now` lies before it.
    #[must_use]
    pub fn is_ahead(self, now: SystemTime) -> bool {
        match self {
            Self::At(time) => now < time,
            Self::Never => true,
        }
    }
}

/// Whether the 404 was said again, late enough to be believed over a stored list.
#[must_use]
pub fn is_confirmed(absence: &Absence) -> bool {
    absence
        .last_at
        .duration_since(absence.first_at)
        .is_ok_and(|between| between >= ABSENCE_CONFIRMED_AFTER)
}

/// Whether what was confirmed at `validated_at`, and so is fresh until `deadline`, is fresh now.
#[must_use]
pub fn is_fresh(validated_at: SystemTime, deadline: SystemTime, now: SystemTime) -> bool {
    let fresh_for = deadline.duration_since(validated_at).unwrap_or_default();
    now < deadline && !is_beyond(validated_at, fresh_for, now)
}

/// Whether `now` lies in the `limit` after `start`. A clock that went back counts as no time passed, unless it went back
/// by more than the limit: else what was told by a clock that was years ahead would hold for years.
#[must_use]
pub fn within(start: SystemTime, limit: Duration, now: SystemTime) -> bool {
    now.duration_since(start).unwrap_or_default() < limit && !is_beyond(start, limit, now)
}

/// Whether `time` lies more than `limit` ahead of `now`.
pub(super) fn is_beyond(time: SystemTime, limit: Duration, now: SystemTime) -> bool {
    time.duration_since(now).is_ok_and(|ahead| ahead > limit)
}
