//! What to do with a request, given what is stored: one pure function.

use std::time::SystemTime;

use super::entry::{Absence, Entry};
use super::epoch::Gate;
use super::freshness::{Policy, is_confirmed};

/// What is known of the origin that would be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Its breaker is open: it is not asked.
    Down,
    /// Nothing speaks against asking.
    Live,
    /// Its feed is offline: it is not asked, whatever its state.
    Offline,
    /// It wants no requests for a while, and gets none.
    Resting,
    /// It has sent nothing for a while though requests wait: who has a copy gets it at once.
    Slow,
}

impl Reach {
    /// Whether it may be asked at all.
    #[must_use]
    pub fn may_be_asked(self) -> bool {
        match self {
            Self::Down | Self::Offline | Self::Resting => false,
            Self::Live | Self::Slow => true,
        }
    }
}

/// Whether somebody demands that the upstream is asked although the stored response is fresh.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Demand {
    /// A client's `no-cache`.
    Forced,
    /// Nobody.
    #[default]
    None,
    /// A client's `only-if-cached`.
    StoredOnly,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Answer from the memory of an absence.
    Absent,
    /// The same, though it is old: the upstream cannot be reached.
    AbsentStale,
    /// Ask the upstream and wait for it: there is no copy.
    Fetch,
    /// Serve the stored response.
    Hit,
    /// Refuse at once: there is no copy and the upstream is down.
    Refuse,
    /// Ask the upstream; if it takes too long or fails, answer with the stored response, labelled stale.
    Revalidate,
    /// Ask the upstream; if it takes too long or fails, answer from the memory of the absence.
    RevalidateAbsence,
    /// Serve the stored response, labelled stale, and ask behind the answer.
    Stale,
}

/// Decides what to do with a request for what `policy` describes.
#[must_use]
pub fn decide(
    entry: Option<&Entry>,
    absence: Option<&Absence>,
    gate: &Gate,
    policy: &Policy,
    demand: Demand,
    reach: Reach,
    now: SystemTime,
) -> Decision {
    if let Some(absence) = absence
        && demand != Demand::Forced
        && policy.is_absence_fresh(absence, gate, now)
        && (reach.may_be_asked() || entry.is_none() || is_confirmed(absence))
    {
        return Decision::Absent;
    }
    let Some(entry) = entry else {
        return without_a_copy(absence, gate, policy, demand, reach, now);
    };
    // An absence said after the stored body was confirmed: the body is not the answer any more while the upstream can
    // be asked.
    let gone = absence.is_some_and(|absence| absence.last_at >= entry.validated_at);
    let fresh = !gone && policy.fresh_until(entry, gate, now).is_ahead(now);
    match (fresh, demand, reach) {
        (true, Demand::None | Demand::StoredOnly, _) => Decision::Hit,
        (_, Demand::StoredOnly, _)
        | (_, _, Reach::Down | Reach::Offline | Reach::Resting | Reach::Slow) => Decision::Stale,
        (_, _, Reach::Live) => Decision::Revalidate,
    }
}

fn without_a_copy(
    absence: Option<&Absence>,
    gate: &Gate,
    policy: &Policy,
    demand: Demand,
    reach: Reach,
    now: SystemTime,
) -> Decision {
    let usable =
        absence.is_some_and(|absence| policy.absence_answers_in_outage(absence, gate, now));
    match (usable, reach, demand) {
        (true, Reach::Down | Reach::Offline | Reach::Resting | Reach::Slow, _)
        | (true, _, Demand::StoredOnly) => Decision::AbsentStale,
        (true, Reach::Live, _) => Decision::RevalidateAbsence,
        (false, Reach::Down | Reach::Offline | Reach::Resting, _)
        | (false, _, Demand::StoredOnly) => Decision::Refuse,
        (false, Reach::Live | Reach::Slow, _) => Decision::Fetch,
    }
}

#[cfg(test)]
mod tests {
    //! Cases: fresh, stale and absent × demand × reach; RFC 9111 sections 4.2, 5.2.1.1, 5.2.1.7; epochs; the
    //! memory of 404s.

    use std::time::Duration;

    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::cache::entry::UpstreamValidator;
    use crate::cache::epoch::Epoch;
    use crate::cache::freshness::{FreshFor, OldAbsence, is_fresh};
    use crate::cache::key::{Key, Parts};

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn list() -> Policy {
        Policy {
            fresh_for: FreshFor::Time(Duration::from_secs(60)),
            absence_fresh_for: Duration::from_secs(10),
            old_absence: OldAbsence::AnswersInOutage(Duration::from_secs(7 * DAY)),
        }
    }

    fn content() -> Policy {
        Policy {
            fresh_for: FreshFor::Ever,
            old_absence: OldAbsence::Nothing,
            ..list()
        }
    }

    fn entry(validated: u64, epoch: u64) -> Entry {
        Entry {
            key: Key::new(&Parts {
                feed: "nuget",
                class: "list",
                ..Parts::default()
            }),
            sequence: 1,
            epoch: Epoch(epoch),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            upstream_validator: UpstreamValidator::default(),
            origin: String::new(),
            fetched_at: at(0),
            validated_at: at(validated),
            body_bytes: 1,
            sha512: [0; 64],
        }
    }

    fn absence(first: u64, last: u64, epoch: u64) -> Absence {
        Absence {
            status: StatusCode::NOT_FOUND,
            epoch: Epoch(epoch),
            first_at: at(first),
            last_at: at(last),
        }
    }

    fn gate(epoch: u64) -> Gate {
        Gate {
            epoch: Epoch(epoch),
            published_at: None,
        }
    }

    struct Case {
        entry: Option<Entry>,
        absence: Option<Absence>,
        gate: Gate,
        policy: Policy,
        now: u64,
    }

    impl Case {
        fn of(entry: Option<Entry>, absence: Option<Absence>, now: u64) -> Self {
            Self {
                entry,
                absence,
                gate: gate(5),
                policy: list(),
                now,
            }
        }

        #[track_caller]
        fn check(&self, demand: Demand, reach: Reach, expected: Decision) {
            let found = decide(
                self.entry.as_ref(),
                self.absence.as_ref(),
                &self.gate,
                &self.policy,
                demand,
                reach,
                at(self.now),
            );
            assert_eq!(found, expected, "{demand:?} {reach:?}");
            // Not to be asked is as good as down.
            if reach == Reach::Down {
                self.check(demand, Reach::Offline, expected);
                self.check(demand, Reach::Resting, expected);
            }
        }

        /// What is decided without a demand when the origin is live, slow and down.
        #[track_caller]
        fn all(&self, live: Decision, slow: Decision, down: Decision) {
            self.check(Demand::None, Reach::Live, live);
            self.check(Demand::None, Reach::Slow, slow);
            self.check(Demand::None, Reach::Down, down);
        }
    }

    #[test]
    fn a_fresh_copy_is_served_and_a_stale_one_asked_for() {
        Case::of(Some(entry(0, 5)), None, 59).all(Decision::Hit, Decision::Hit, Decision::Hit);
        Case::of(Some(entry(0, 5)), None, 60).all(
            Decision::Revalidate,
            Decision::Stale,
            Decision::Stale,
        );
        Case::of(None, None, 0).all(Decision::Fetch, Decision::Fetch, Decision::Refuse);
    }

    #[test]
    fn an_old_epoch_makes_a_copy_stale_and_never_lost() {
        Case::of(Some(entry(0, 4)), None, 1).all(
            Decision::Revalidate,
            Decision::Stale,
            Decision::Stale,
        );
        let content = Case {
            policy: content(),
            ..Case::of(Some(entry(0, 4)), None, 1)
        };
        content.all(Decision::Revalidate, Decision::Stale, Decision::Stale);
        let content = Case {
            policy: self::content(),
            ..Case::of(Some(entry(0, 5)), None, 900 * DAY)
        };
        content.all(Decision::Hit, Decision::Hit, Decision::Hit);
    }

    #[test]
    fn after_a_publish_documents_are_fresh_for_two_seconds_for_fifteen_minutes() {
        let mut case = Case::of(Some(entry(100, 5)), None, 101);
        case.gate.published_at = Some(at(99));
        case.all(Decision::Hit, Decision::Hit, Decision::Hit);
        case.now = 102;
        case.all(Decision::Revalidate, Decision::Stale, Decision::Stale);
        let mut later = Case::of(Some(entry(99 + 15 * 60, 5)), None, 99 + 15 * 60 + 30);
        later.gate.published_at = Some(at(99));
        later.all(Decision::Hit, Decision::Hit, Decision::Hit);
    }

    #[test]
    fn a_404_answers_ten_seconds_then_the_upstream_is_asked_and_in_an_outage_seven_days() {
        Case::of(None, Some(absence(0, 0, 5)), 9).all(
            Decision::Absent,
            Decision::Absent,
            Decision::Absent,
        );
        Case::of(None, Some(absence(0, 0, 5)), 10).all(
            Decision::RevalidateAbsence,
            Decision::AbsentStale,
            Decision::AbsentStale,
        );
        Case::of(None, Some(absence(0, 0, 5)), 7 * DAY).all(
            Decision::Fetch,
            Decision::Fetch,
            Decision::Refuse,
        );
        Case::of(None, Some(absence(0, 0, 4)), 1).all(
            Decision::Fetch,
            Decision::Fetch,
            Decision::Refuse,
        );
        let content = Case {
            policy: content(),
            ..Case::of(None, Some(absence(0, 0, 5)), 10)
        };
        content.all(Decision::Fetch, Decision::Fetch, Decision::Refuse);
    }

    #[test]
    fn a_404_over_a_stored_list_answers_while_the_upstream_does_and_in_an_outage_once_confirmed() {
        // Said once, 100 s after the list was confirmed.
        Case::of(Some(entry(0, 5)), Some(absence(100, 100, 5)), 105).all(
            Decision::Absent,
            Decision::Absent,
            Decision::Stale,
        );
        Case::of(Some(entry(0, 5)), Some(absence(100, 100, 5)), 115).all(
            Decision::Revalidate,
            Decision::Stale,
            Decision::Stale,
        );
        Case::of(Some(entry(0, 5)), Some(absence(100, 110, 5)), 115).all(
            Decision::Absent,
            Decision::Absent,
            Decision::Absent,
        );
        // The list was confirmed again after the 404.
        Case::of(Some(entry(130, 5)), Some(absence(100, 100, 5)), 150).all(
            Decision::Hit,
            Decision::Hit,
            Decision::Hit,
        );
    }

    #[test]
    fn a_demand_is_obeyed_as_far_as_the_upstream_allows() {
        let fresh = Case::of(Some(entry(0, 5)), None, 1);
        fresh.check(Demand::Forced, Reach::Live, Decision::Revalidate);
        fresh.check(Demand::Forced, Reach::Down, Decision::Stale);
        fresh.check(Demand::StoredOnly, Reach::Live, Decision::Hit);
        let stale = Case::of(Some(entry(0, 5)), None, 100);
        stale.check(Demand::StoredOnly, Reach::Live, Decision::Stale);
        let nothing = Case::of(None, None, 1);
        nothing.check(Demand::StoredOnly, Reach::Live, Decision::Refuse);
        nothing.check(Demand::Forced, Reach::Live, Decision::Fetch);
        let absent = Case::of(None, Some(absence(0, 0, 5)), 1);
        absent.check(Demand::Forced, Reach::Live, Decision::RevalidateAbsence);
        absent.check(Demand::StoredOnly, Reach::Live, Decision::Absent);
    }

    #[test]
    fn a_clock_that_goes_back_keeps_what_is_fresh_fresh_for_as_long_again_at_most() {
        let hit = Decision::Hit;
        Case::of(Some(entry(100, 5)), None, 40).all(hit, hit, hit);
        let (ask, stale) = (Decision::Revalidate, Decision::Stale);
        Case::of(Some(entry(100, 5)), None, 39).all(ask, stale, stale);
        let absent = Decision::Absent;
        Case::of(None, Some(absence(100, 100, 5)), 90).all(absent, absent, absent);
        let (ask, stale) = (Decision::RevalidateAbsence, Decision::AbsentStale);
        Case::of(None, Some(absence(100, 100, 5)), 89).all(ask, stale, stale);
        let long_ago = Case::of(None, Some(absence(7 * DAY + 1, 7 * DAY + 1, 5)), 0);
        long_ago.all(Decision::Fetch, Decision::Fetch, Decision::Refuse);
        // A push that a clock ahead of this one told of makes nothing short-lived now.
        let mut case = Case::of(Some(entry(100, 5)), None, 130);
        case.gate.published_at = Some(at(DAY));
        case.all(hit, hit, hit);
    }

    #[test]
    fn an_answer_in_memory_obeys_the_same_rule() {
        let fresh = |now| is_fresh(at(100), at(160), at(now));
        assert_eq!([39, 40, 159, 160].map(fresh), [false, true, true, false]);
    }
}
