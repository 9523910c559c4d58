//! Whether a stored file, or one that another client fetches, may be given: where credentials are passed on, the upstream
//! is asked about the file, once for all requests of one credential.

use std::time::Duration;

use http::StatusCode;
use http::header;

use super::coding::Decoder;
use super::lead::is_page;
use super::{Delivery, Patience, Want, from_store};
use crate::cache::decision::{Demand, Reach};
use crate::cache::epoch::Epoch;
use crate::cache::proof::Standing;
use crate::flight::Joined;
use crate::proxy::Proxy;
use crate::proxy::checks::conditional_of;
use crate::proxy::document::{FlightKey, Missing, late, why};
use crate::proxy::failure::Failure;
use crate::proxy::fetch::status_failure;
use crate::proxy::live::lost;
use crate::proxy::outcome::{Outcome, Reason};
use crate::proxy::respond::Facts;
use crate::store::Stored;
use crate::upstream::{FetchMethod, Fetched};

/// How often a file may turn out to be another than the stored one while one request is answered.
const MAX_CHANGES: usize = 3;

/// The state of a question for a proof.
#[derive(Clone, Debug)]
pub(in crate::proxy) enum ProofState {
    Asking,
    Done(Result<Verdict, Failure>),
}

/// What the upstream says of a stored file to one credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::proxy) enum Verdict {
    /// It has none.
    Absent,
    /// It has another.
    Changed,
    /// It has the very file.
    Proven,
}

impl Proxy {
    /// Gets a file for whoever may see it.
    pub(in crate::proxy) async fn content(
        &self,
        want: &Want,
        facts: &Facts<'_>,
    ) -> Result<Delivery, Failure> {
        if want.is_package() {
            want.ask.feed.upkeep.note_use();
        }
        let withdrawn = self.check_withdrawn(want)?.is_some();
        let mut delivery = self.content_at_hand(want, facts).await?;
        for _ in 0..MAX_CHANGES {
            let Delivery::Stored {
                stored,
                outcome,
                reason,
            } = delivery
            else {
                return Ok(delivery);
            };
            delivery = match self.hand_over(want, stored, outcome, reason).await? {
                Some(mut delivery) => {
                    if withdrawn {
                        self.tell_withdrawn(want, &mut delivery);
                    }
                    return self.past_doubts(want, delivery).await;
                }
                None => {
                    let mut again = want.clone();
                    again.ask.demand = Demand::Forced;
                    let epoch = want.gate(self).epoch;
                    self.aboard(&again, epoch, facts, Patience::WithoutCopy)
                        .await?
                }
            };
        }
        Err(Failure::Internal("a file that changes with every question"))
    }

    /// Gives a stored file, after a question for a proof if need be; `None` if the upstream has another by now.
    async fn hand_over(
        &self,
        want: &Want,
        stored: Stored,
        outcome: Outcome,
        reason: Option<Reason>,
    ) -> Result<Option<Delivery>, Failure> {
        let ask = &want.ask;
        let (standing, reach) = (self.standing(ask).await, self.reach(ask));
        if standing.is_good() {
            if outcome == Outcome::Hit {
                self.recheck_behind(want, &stored);
            }
            return Ok(Some(from_store(stored, outcome, reason)));
        }
        if standing == Standing::Grace && reach != Reach::Live {
            let reason = Some(why(reach, ask.demand));
            return Ok(Some(from_store(stored, Outcome::Stale, reason)));
        }
        if ask.demand == Demand::StoredOnly {
            return Err(Failure::OnlyIfCached);
        }
        if !reach.may_be_asked() {
            return Err(self.refused(ask).without_proof());
        }
        Ok(match self.verdict(want, Some(&stored), standing).await {
            Ok(Verdict::Absent) => Some(Delivery::Absent(Missing::default())),
            Ok(Verdict::Changed) => None,
            Ok(Verdict::Proven) if outcome == Outcome::Hit => {
                Some(from_store(stored, Outcome::Revalidated, None))
            }
            Ok(Verdict::Proven) => Some(from_store(stored, outcome, reason)),
            Err(failure) if standing == Standing::Grace && failure.is_outage() => {
                let reason = Some(late(&failure));
                Some(from_store(stored, Outcome::Stale, reason))
            }
            Err(failure) => return Err(failure.without_proof()),
        })
    }

    /// Sees to it that a client may follow what another's credential fetches. That the upstream has no such file for it
    /// is the answer then.
    pub(super) async fn prove_to_follow(&self, want: &Want) -> Result<Option<Missing>, Failure> {
        if self.standing(&want.ask).await.is_good() {
            return Ok(None);
        }
        match self.verdict(want, None, Standing::Unproven).await? {
            Verdict::Absent => Ok(Some(Missing::default())),
            Verdict::Changed | Verdict::Proven => Ok(None),
        }
    }

    /// What the upstream says of a file: asked once for all who wait with one credential.
    async fn verdict(
        &self,
        want: &Want,
        stored: Option<&Stored>,
        standing: Standing,
    ) -> Result<Verdict, Failure> {
        // In place of an epoch, which stored file is asked about.
        let sequence = stored.map_or(0, |stored| stored.entry.sequence);
        let key = FlightKey::of_client(&want.ask, Epoch(sequence));
        let mut ticket = match self.proofs.join(key, ProofState::Asking) {
            Joined::Follower(ticket) => ticket,
            Joined::Leader(ticket, lead) => {
                let (proxy, want, stored) = (self.clone(), want.clone(), stored.cloned());
                self.tasks.spawn("proof", async move {
                    let verdict = Box::pin(proxy.ask_for_proof(&want, stored)).await;
                    if let Err(failure) = &verdict {
                        proxy.note_failed(&want.ask.feed, &want.ask.own_key(), failure);
                    }
                    lead.finish(ProofState::Done(verdict));
                });
                ticket
            }
        };
        let mut limit = match standing {
            Standing::Grace => self.settings.stale_after,
            Standing::Free | Standing::Live | Standing::Unproven => self.settings.max_hold,
        };
        loop {
            let done = ticket.wait_for(|state| matches!(state, ProofState::Done(_)));
            let left: Duration = self.left_of(limit, &want.ask);
            match tokio::time::timeout(left, done).await {
                Ok(Err(_)) => return Err(lost()),
                Ok(Ok(state)) => {
                    return match &*state {
                        ProofState::Asking => Err(lost()),
                        ProofState::Done(verdict) => verdict.clone(),
                    };
                }
                // One answer that is late is no outage while its origin sends others.
                Err(_)
                    if limit < self.settings.max_hold && self.reach(&want.ask) == Reach::Live =>
                {
                    limit += self.settings.stale_after;
                }
                Err(_) => return Err(self.held_out(&want.ask)),
            }
        }
    }

    /// Asks the upstream for a file that is at hand, for its head alone.
    async fn ask_for_proof(&self, want: &Want, stored: Option<Stored>) -> Result<Verdict, Failure> {
        let ask = &want.ask;
        if want.version().is_some() {
            // Whether there is a flat container, the service index says.
            self.model(&ask.feed, &ask.errand, ask.since).await?;
        }
        let of_package = self.package_want(want);
        let (want, stored) = match of_package.filter(|_| self.is_made_of_its_package(want)) {
            Some(package) => {
                let stored = self.stored(&package.ask.key).await;
                (package, stored)
            }
            None => (want.clone(), stored),
        };
        let asked_at = self.clock.now();
        let validators = stored.as_ref().map(conditional_of);
        let fetched = self.ask_for(&want, FetchMethod::Get, validators).await?;
        self.check_heard(&want.ask, &fetched).await?;
        if fetched.status == StatusCode::OK && is_page(&fetched.headers) {
            let origin = fetched.origin.host().to_owned();
            return Err(Failure::HtmlPage { origin });
        }
        let verdict = match fetched.status {
            StatusCode::NOT_MODIFIED if stored.is_some() => Verdict::Proven,
            StatusCode::OK if is_the_same(&fetched, stored.as_ref()) => Verdict::Proven,
            StatusCode::OK => Verdict::Changed,
            status if want.is_absence(status) => {
                let epoch = want.gate(self).epoch;
                self.note_absent(&want, epoch, status).await;
                Verdict::Absent
            }
            status => return Err(status_failure(&fetched.origin, status)),
        };
        if verdict == Verdict::Proven {
            self.note_proof(&want.ask, fetched.heard_by, asked_at);
        }
        Ok(verdict)
    }
}

/// Whether an answer whose body is left alone brings the stored file: the same entity tag, else the same length. Without
/// a stored one it is whatever there is.
fn is_the_same(fetched: &Fetched, stored: Option<&Stored>) -> bool {
    let Some(stored) = stored else {
        return true;
    };
    let etag = fetched.headers.get(header::ETAG);
    match (etag, &stored.entry.upstream_validator.etag) {
        (Some(etag), Some(own)) => etag == own,
        _ => {
            let is_plain = matches!(Decoder::of(&fetched.headers), Ok(Decoder::Plain));
            is_plain && fetched.length == Some(stored.body.len())
        }
    }
}
