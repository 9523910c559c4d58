//! Files of the flat container: streamed to everybody who waits while they are fetched once.
//!
//! The leader writes into the store and tells how far it is; readers follow the file at their own pace. After the last
//! byte come the checks, then the verdict. Only then is the body stored, and only then do readers get its end.

mod coding;
mod head;
mod lead;
mod list;

use std::io::{Read, Seek};
use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

pub(super) use self::head::HeadState;
use self::lead::head_of;
pub(super) use self::lead::{ContentState, Head};
use self::lead::{Landed, Streaming};
use super::Proxy;
use super::failure::Failure;
use super::fetch::{Ask, FlightKey, status_failure};
use super::live::{HOLD_BACK_BYTES, Live, Rescue, lost};
use super::outcome::{Outcome, Reason};
use super::past::Past;
use super::respond::Facts;
use super::route::Content;
use crate::cache::decision::{Decision, Demand, Reach, decide};
use crate::cache::epoch::{Epoch, Gate};
use crate::cache::range::{self, Satisfied};
use crate::flight::Ticket;
use crate::nuget::nupkg::{self, PackageFault};
use crate::nuget::version::Version;
use crate::store::Stored;
use crate::upstream::FetchMethod;

/// A file that somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) ask: Ask,
    pub(super) version: Version,
    pub(super) file: Content,
}

impl Want {
    pub(super) fn is_package(&self) -> bool {
        self.file == Content::Package
    }

    /// Checks a whole body: a package against the id and version of its URL, a manifest likewise.
    pub(super) fn check(&self, mut reader: impl Read + Seek) -> Result<(), PackageFault> {
        let Some(id) = &self.ask.id else {
            return Ok(());
        };
        match self.file {
            Content::Icon | Content::License | Content::Readme => Ok(()),
            Content::Manifest => {
                let mut text = Vec::new();
                reader
                    .by_ref()
                    .take(MAX_MANIFEST_BYTES)
                    .read_to_end(&mut text)
                    .map_err(PackageFault::Io)?;
                nupkg::check_nuspec(&text, id, &self.version)
            }
            Content::Package => nupkg::check_package(reader, id, &self.version),
        }
    }

    /// The epoch that gates it: raised only by a delete or purge of its version.
    fn gate(&self, proxy: &Proxy) -> Gate {
        let id = self.ask.id.as_ref().map_or("", |id| id.as_str());
        let epoch = proxy
            .store
            .version_gate(&self.ask.feed.name, id, self.version.as_str());
        Gate {
            epoch,
            published_at: None,
        }
    }
}

/// Largest manifest that is read for its check: real ones have some kilobytes.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// How a file is delivered.
#[derive(Debug)]
pub(super) enum Delivery {
    Absent(Option<Reason>),
    /// A HEAD, answered with the upstream's headers.
    Head {
        headers: HeaderMap,
        length: Option<u64>,
    },
    Live {
        headers: HeaderMap,
        origin: String,
        live: Live,
        outcome: Outcome,
        reason: Option<Reason>,
    },
    Stored {
        stored: Stored,
        outcome: Outcome,
        reason: Option<Reason>,
    },
    /// The range lies behind the end of a body under way, whose length this is.
    Unsatisfiable(u64),
}

impl Proxy {
    /// Gets a file: stored, under way, or past the store.
    pub(super) async fn content(
        &self,
        want: &Want,
        facts: &Facts<'_>,
    ) -> Result<Delivery, Failure> {
        let ask = &want.ask;
        let (stored, gate) = (self.stored(&ask.key).await, want.gate(self));
        let absence = self.store.absence(&ask.key).await;
        let reach = self.reach(ask);
        let policy = ask.feed.policy(ask.class);
        let entry = stored.as_ref().map(|stored| &*stored.entry);
        let absent_gate = self.gate(ask);
        let absence = absence.filter(|absence| absence.epoch >= absent_gate.epoch);
        let decision = decide(
            entry,
            absence.as_ref(),
            &gate,
            &policy,
            ask.demand,
            reach,
            self.clock.now(),
        );
        let hold = self.settings.max_hold;
        match (decision, stored) {
            (Decision::Absent | Decision::AbsentStale, _) => Ok(Delivery::Absent(None)),
            (Decision::Hit, Some(stored)) => Ok(from_store(stored, Outcome::Hit, None)),
            (Decision::Stale, Some(stored)) => {
                if reach != Reach::Down && ask.demand != Demand::StoredOnly {
                    drop(self.board_content(want, gate.epoch));
                }
                let reason = if reach == Reach::Down {
                    Reason::BreakerOpen
                } else {
                    Reason::SlowOrigin
                };
                Ok(from_store(stored, Outcome::Stale, Some(reason)))
            }
            (Decision::Revalidate, Some(stored)) => {
                let landed = self
                    .aboard(want, gate.epoch, facts, self.settings.stale_after)
                    .await;
                Ok(landed.unwrap_or_else(|failure| {
                    from_store(stored, Outcome::Stale, Some(failure.reason()))
                }))
            }
            (Decision::Refuse, _) => Err(self.refused(ask)),
            _ if *facts.method == Method::HEAD => self.head(want, gate.epoch).await,
            _ => match self.refusals.of(&ask.key, self.clock.instant()) {
                Some(failure) => Err(failure),
                None => self.aboard(want, gate.epoch, facts, hold).await,
            },
        }
    }

    /// Joins or opens the flight for a file and waits at most `limit` for something to give.
    async fn aboard(
        &self,
        want: &Want,
        epoch: Epoch,
        facts: &Facts<'_>,
        limit: Duration,
    ) -> Result<Delivery, Failure> {
        let (mut ticket, own) = self.board_content(want, epoch);
        let needs_length = facts.version < http::Version::HTTP_11;
        let ready = tokio::time::timeout(limit, async {
            ticket
                .wait_for(|state| has_something_to_give(state, needs_length))
                .await
                .map(|state| state.clone())
        });
        let state = match ready.await {
            Ok(state) => state.map_err(|_| lost())?,
            Err(_) => match ticket.now().clone() {
                // Bytes are coming: the hold is for the first of them.
                ContentState::Streaming(streaming) if !needs_length => {
                    ContentState::Streaming(streaming)
                }
                _ => {
                    let failure = self.held_out(&want.ask);
                    if limit >= self.settings.max_hold {
                        self.refusals.note(
                            want.ask.key.clone(),
                            failure.clone(),
                            self.clock.instant(),
                        );
                    }
                    return Err(failure);
                }
            },
        };
        let outcome = if own {
            Outcome::Miss
        } else {
            Outcome::Coalesced
        };
        match state {
            ContentState::Done(Ok(Landed::Absent)) => Ok(Delivery::Absent(None)),
            ContentState::Done(Ok(Landed::Stored(stored, how))) => {
                let outcome = if how == Outcome::Miss { outcome } else { how };
                Ok(from_store(stored, outcome, None))
            }
            ContentState::Done(Err(failure)) if failure.reason() == Reason::Store => {
                self.deliver_past(want, Reason::Store).await
            }
            ContentState::Done(Err(failure)) => {
                if failure.reason() == Reason::HeldOut && limit >= self.settings.max_hold {
                    self.refusals
                        .note(want.ask.key.clone(), failure.clone(), self.clock.instant());
                }
                Err(failure)
            }
            ContentState::Past => self.deliver_past(want, Reason::Store).await,
            ContentState::Streaming(streaming) => {
                Ok(self.deliver_live(want, ticket, streaming, facts, outcome))
            }
            ContentState::Asking => Err(lost()),
        }
    }

    fn deliver_live(
        &self,
        want: &Want,
        ticket: Ticket<FlightKey, ContentState>,
        streaming: Streaming,
        facts: &Facts<'_>,
        outcome: Outcome,
    ) -> Delivery {
        let identity = streaming.head.identity.clone();
        let asked = facts
            .headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        // There is no tag of ours before the whole is there, so a range under a condition gets the whole.
        let asked = asked
            .filter(|_| !facts.headers.contains_key(header::IF_RANGE))
            .map(range::read);
        let range = match (asked, identity.length) {
            (Some(asked @ range::Asked::One { .. }), Some(length)) => match asked.satisfy(length) {
                Satisfied::Part { start, end } => Some((start, end)),
                Satisfied::Unsatisfiable => return Delivery::Unsatisfiable(length),
                Satisfied::Whole => None,
            },
            _ => None,
        };
        let rescue = Rescue {
            proxy: self.clone(),
            want: want.clone(),
            identity,
        };
        let live = Live::of_flight(ticket, streaming.body, rescue, range);
        let (headers, origin) = (
            streaming.head.headers.clone(),
            streaming.head.origin.clone(),
        );
        Delivery::Live {
            headers,
            origin,
            live,
            outcome,
            reason: None,
        }
    }

    async fn deliver_past(&self, want: &Want, reason: Reason) -> Result<Delivery, Failure> {
        let (head, past) = Box::pin(self.past_the_store(want)).await?;
        let live = Live::of_stream(past);
        let (headers, origin) = (head.headers, head.origin);
        Ok(Delivery::Live {
            headers,
            origin,
            live,
            outcome: Outcome::Bypass,
            reason: Some(reason),
        })
    }

    /// Asks for a file past the store.
    pub(super) async fn past_the_store(&self, want: &Want) -> Result<(Head, Past), Failure> {
        let fetched = self.ask_for(want, FetchMethod::Get, None).await?;
        if fetched.status != StatusCode::OK {
            return Err(status_failure(&fetched.origin, fetched.status));
        }
        let head = head_of(&fetched);
        let past = Past::new(fetched.body, head.identity.clone(), want.clone());
        Ok((head, past))
    }
}

fn from_store(stored: Stored, outcome: Outcome, reason: Option<Reason>) -> Delivery {
    Delivery::Stored {
        stored,
        outcome,
        reason,
    }
}

/// Whether a flight is so far that a reader can be told a status. A body that fits in what is held back has none
/// before its verdict, one of unknown length not before more than that is there.
fn has_something_to_give(state: &ContentState, needs_length: bool) -> bool {
    match state {
        ContentState::Asking => false,
        ContentState::Done(_) | ContentState::Past => true,
        ContentState::Streaming(streaming) => match streaming.head.identity.length {
            Some(length) => length > HOLD_BACK_BYTES,
            None => !needs_length && streaming.written > HOLD_BACK_BYTES,
        },
    }
}
