//! What the answers of several members amount to: who has something, who has nothing, who was left out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::member::{Coming, arrived};
use super::merged::{Merge, Merged, Part};
use super::{Presence, UnionQuery};
use crate::cache::epoch::Epoch;
use crate::cache::freshness::Deadline;
use crate::proxy::Proxy;
use crate::proxy::document::Missing;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::outcome::{Outcome, Reason};
use crate::proxy::view::{How, Seen, Shown, worse};
use crate::telemetry::{Family, Kind};

/// How long an answer without a member is kept in memory at most: the member may be back.
const PARTIAL_TIME: Duration = Duration::from_secs(10);

const LEFT_OUT: Family = Family {
    name: "sluice_members_left_out_total",
    help: "Answers of a union that a member was left out of.",
    kind: Kind::Counter,
};

/// What members say of one thing.
#[derive(Debug)]
pub(super) struct Roll {
    /// What they have, each with the member's place in the order of those who were asked.
    pub(super) shown: Vec<(usize, Shown)>,
    /// The answer if nobody has anything.
    missing: Missing,
    /// Whether somebody said that there is nothing.
    is_answered: bool,
    /// Why somebody does not show what it may have.
    hidden: Option<Failure>,
    /// How those failed who were left out.
    left_out: Vec<Failure>,
    /// What became of all that was said, in the words of the worst of it.
    outcome: Option<(Outcome, Option<Reason>)>,
    /// When the first of all that was said stops being fresh: that a member has nothing, too.
    deadline: Deadline,
    began: SystemTime,
}

impl Roll {
    /// Nothing was said yet at this time.
    pub(super) fn begin(now: SystemTime) -> Self {
        Self {
            shown: Vec::new(),
            missing: Missing::default(),
            is_answered: false,
            hidden: None,
            left_out: Vec::new(),
            outcome: None,
            deadline: Deadline::Never,
            began: now,
        }
    }

    /// Adds what a member said.
    ///
    /// # Errors
    /// If it failed and may not be left out.
    pub(super) fn add(
        &mut self,
        place: usize,
        member: &Feed,
        seen: Result<Seen, Failure>,
    ) -> Result<(), Failure> {
        match seen {
            Ok(Seen::Shown(shown)) => {
                self.note(Some((shown.outcome, shown.reason)), shown.deadline);
                self.shown.push((place, shown));
            }
            Ok(Seen::Absent(missing)) => self.note_absence(member, missing),
            // Its index says that it has no such thing of any id.
            Err(Failure::NotOffered(_)) => self.is_answered = true,
            // By the configuration it has no such thing.
            Err(
                failure @ (Failure::Blocked { .. }
                | Failure::OfflineAbsent
                | Failure::Withdrawn { .. }),
            ) => {
                self.is_answered = true;
                self.hidden.get_or_insert(failure);
            }
            // No other member's bytes take the place of these.
            Err(failure @ Failure::Doubted(_)) => return Err(of_member(member, failure)),
            Err(failure) => {
                let failure = of_member(member, failure);
                if member.settings.member.presence == Presence::Required {
                    return Err(failure);
                }
                self.leave_out(failure);
            }
        }
        Ok(())
    }

    /// Adds that a member's list, which it showed, does not name the version in question.
    pub(super) fn add_lack(&mut self, list: &Shown) {
        self.is_answered = true;
        self.note(Some((list.outcome, list.reason)), list.deadline);
    }

    fn note_absence(&mut self, member: &Feed, missing: Missing) {
        self.is_answered = true;
        self.missing.reason = self.missing.reason.or(missing.reason);
        let said_at = self.missing.said_at.into_iter().chain(missing.said_at);
        self.missing.said_at = said_at.min();
        let said_at = missing.said_at.unwrap_or(self.began);
        let until = Deadline::At(said_at + member.settings.freshness.absence);
        // An old word of the upstream, taken for want of a new one.
        let outcome = missing.reason.map(|reason| (Outcome::Stale, Some(reason)));
        self.note(outcome, until);
    }

    fn note(&mut self, outcome: Option<(Outcome, Option<Reason>)>, deadline: Deadline) {
        self.deadline = self.deadline.min(deadline);
        self.outcome = match (self.outcome, outcome) {
            (Some(before), Some(outcome)) => Some(worse(before, outcome)),
            (before, outcome) => before.or(outcome),
        };
    }

    /// Takes account of what was said of another thing that decides over this one.
    pub(super) fn heed(&mut self, other: &Self) {
        self.note(other.outcome, other.deadline);
        self.left_out.extend(other.left_out.iter().cloned());
    }

    pub(super) fn leave_out(&mut self, failure: Failure) {
        self.left_out.push(failure);
    }

    /// What to say when nobody shows anything.
    ///
    /// # Errors
    /// How a member failed, if nobody answered at all: a failure is never an absence. Or why a member hides it.
    pub(super) fn nothing(self) -> Result<Missing, Failure> {
        if let Some(hidden) = self.hidden {
            return Err(hidden);
        }
        match self.left_out.into_iter().next() {
            Some(failure) if !self.is_answered => Err(failure),
            Some(_) => Ok(Missing {
                reason: Some(Reason::Partial),
                ..self.missing
            }),
            None => Ok(self.missing),
        }
    }
}

/// The failure of a member, by its name.
pub(super) fn of_member(member: &Feed, failure: Failure) -> Failure {
    match failure {
        Failure::Blocked { .. }
        | Failure::Internal(_)
        | Failure::Member { .. }
        | Failure::OfflineAbsent
        | Failure::Withdrawn { .. } => failure,
        failure => Failure::Member {
            member: Arc::clone(&member.name),
            failure: Box::new(failure),
        },
    }
}

impl Proxy {
    /// What members say from now on.
    pub(super) fn roll(&self) -> Roll {
        Roll::begin(self.clock.now())
    }

    /// Waits for what members say. Those of `asked` that may be left out are, and it is told.
    pub(super) async fn call_roll(
        &self,
        query: &UnionQuery<'_>,
        asked: Vec<(Arc<Feed>, Coming)>,
    ) -> Result<Roll, Failure> {
        let mut roll = self.roll();
        for (place, (member, coming)) in asked.into_iter().enumerate() {
            let seen = arrived(coming).await;
            self.add_to(&mut roll, query, place, &member, seen)?;
        }
        Ok(roll)
    }

    /// Adds what a member said. That it is left out is told.
    pub(super) fn add_to(
        &self,
        roll: &mut Roll,
        query: &UnionQuery<'_>,
        place: usize,
        member: &Feed,
        seen: Result<Seen, Failure>,
    ) -> Result<(), Failure> {
        let before = roll.left_out.len();
        roll.add(place, member, seen)?;
        if let Some(failure) = roll.left_out.get(before) {
            self.tell_left_out(query, member, failure.reason());
        }
        Ok(())
    }

    /// Says in log and metrics that a member was left out of an answer.
    pub(super) fn tell_left_out(&self, query: &UnionQuery<'_>, member: &Feed, reason: Reason) {
        let feed = &*query.union.name;
        self.telemetry
            .add(&LEFT_OUT, &[("feed", feed), ("member", &member.name)], 1);
        tracing::info!(feed, member = &*member.name, %reason, "a member was left out of an answer");
    }

    /// The view of what members have. `members` are those who were asked, in their order; `stamp` was taken before.
    pub(super) fn joined(
        &self,
        members: &[Arc<Feed>],
        roll: Roll,
        merge: Merge,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        if roll.shown.is_empty() {
            return roll.nothing().map(Seen::Absent);
        }
        let (mut parts, mut sources) = (Vec::new(), Vec::new());
        for (place, shown) in roll.shown {
            let Some(member) = members.get(place) else {
                continue;
            };
            parts.push(Part {
                place,
                member: Arc::clone(&member.name),
                how: shown.how,
                sources: shown.sources.len(),
            });
            sources.extend(shown.sources);
        }
        let (outcome, mut reason) = roll.outcome.unwrap_or((Outcome::Hit, None));
        let mut deadline = roll.deadline;
        if !roll.left_out.is_empty() {
            reason = Some(Reason::Partial);
            deadline = deadline.min(Deadline::At(self.clock.now() + PARTIAL_TIME));
        }
        Ok(Seen::Shown(Shown {
            how: How::Union(Arc::new(Merged { parts, merge })),
            sources,
            outcome,
            reason,
            deadline,
            stamp: Some(stamp),
        }))
    }
}
