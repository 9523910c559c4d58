//! What is wrong with a feed's upstream, as an operator reads it: in the log, in a metric and in `/readyz`.
//!
//! The last failure of each origin is remembered until that origin sends something good. It refuses to say the same
//! refusal more than once an hour: a build farm behind a wrong password asks thousands of times.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::time::Instant;

use super::Proxy;
use super::failure::Failure;
use super::feed::{Feed, MAX_TROUBLED_ORIGINS};
use super::outcome::Reason;
use crate::cache::key::Key;
use crate::telemetry::{Family, Kind};

/// How often a refused credential is said in the log.
const REFUSAL_SAID: Duration = Duration::from_secs(3600);

const REFUSALS: Family = Family {
    name: "sluice_upstream_refusals_total",
    help: "Answers by which upstreams demanded a credential of ours or refused the one they got.",
    kind: Kind::Counter,
};

/// The last failure of each origin of a feed.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: HashMap<String, Trouble>,
    /// When a refused credential was last said.
    said_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Trouble {
    since: SystemTime,
    reason: Reason,
    said: String,
    /// Whether any answer ends it, or only a good one.
    ends_with_any_answer: bool,
}

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, failure: &Failure, now: SystemTime) {
        let Some(origin) = failure.origin() else {
            return;
        };
        let reason = failure.reason();
        let mut state = self.lock();
        if state.last.len() >= MAX_TROUBLED_ORIGINS && !state.last.contains_key(origin) {
            return;
        }
        let known = state
            .last
            .get(origin)
            .filter(|known| known.reason == reason);
        let since = match (failure, known) {
            (Failure::Unreachable { since, .. }, _) => *since,
            (_, Some(known)) => known.since,
            (_, None) => now,
        };
        let trouble = Trouble {
            since,
            reason,
            said: failure.to_string(),
            ends_with_any_answer: matches!(
                failure,
                Failure::Resting { .. } | Failure::Unreachable { .. }
            ),
        };
        state.last.insert(origin.to_owned(), trouble);
    }

    /// The origin answered.
    pub(super) fn note_answer(&self, origin: &str) {
        let mut state = self.lock();
        if state
            .last
            .get(origin)
            .is_some_and(|trouble| trouble.ends_with_any_answer)
        {
            state.last.remove(origin);
        }
    }

    /// The origin sent something good.
    pub(super) fn note_good(&self, origin: &str) {
        self.lock().last.remove(origin);
    }

    /// Whether a refused credential is to be said now.
    fn may_say(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let may = state.said_at.is_none_or(|at| now >= at + REFUSAL_SAID);
        if may {
            state.said_at = Some(now);
        }
        may
    }

    /// Every origin in trouble, for readiness.
    pub(super) fn told(&self) -> Vec<serde_json::Value> {
        let mut all: Vec<_> = self.lock().last.clone().into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let told = all.into_iter().map(|(origin, trouble)| {
            json!({
                "origin": origin,
                "since": httpdate::fmt_http_date(trouble.since),
                "reason": trouble.reason.word(),
                "detail": trouble.said,
            })
        });
        told.collect()
    }
}

impl Proxy {
    /// Notes and says that something could not be fetched.
    pub(super) fn note_failed(&self, feed: &Feed, key: &Key, failure: &Failure) {
        feed.troubles.note(failure, self.clock.now());
        let Failure::NotAuthorized { origin, status } = failure else {
            failure.log(key);
            return;
        };
        let labels = [("feed", &*feed.label), ("status", status.as_str())];
        self.telemetry.add(&REFUSALS, &labels, 1);
        if feed.troubles.may_say(self.clock.instant()) {
            let has_credential = feed.access.has_credential();
            tracing::warn!(
                feed = &*feed.label,
                origin,
                status = status.as_u16(),
                has_credential,
                "the upstream refuses us; said once an hour"
            );
        } else {
            tracing::debug!(?key, "not fetched: {failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_said_once_an_hour() {
        let troubles = Troubles::default();
        let mut said = Vec::new();
        for minute in 0..150 {
            if troubles.may_say(Instant::now()) {
                said.push(minute);
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(said, [0, 60, 120]);
    }

    #[test]
    fn a_trouble_keeps_its_beginning_while_it_is_the_same() {
        let troubles = Troubles::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let page = Failure::HtmlPage {
            origin: "a.test".into(),
        };
        let refused = Failure::NotAuthorized {
            origin: "a.test".into(),
            status: http::StatusCode::FORBIDDEN,
        };
        let since = |failure: &Failure, seconds| {
            troubles.note(failure, at(seconds));
            troubles.told()[0]["since"].as_str().map(str::to_owned)
        };
        let first = since(&page, 10);
        assert_eq!(since(&page, 20), first);
        assert_ne!(since(&refused, 30), first);
        // That it answers at all says nothing of what it answers.
        troubles.note_answer("a.test");
        assert_eq!(troubles.told().len(), 1);
        troubles.note_good("a.test");
        assert_eq!(troubles.told().len(), 0);
    }
}
