//! A document, from whoever can give it: what is stored, what a flight brings, and what a request waits for.
//!
//! [`Proxy::document`] asks the decision what to do and does it. It refuses to know how a document is fetched.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use super::Proxy;
use super::asks::gate_name;
use super::checks::{decode, sha512};
use super::errand::Errand;
use super::failure::Failure;
use super::feed::{AccessGeneration, Feed};
use super::outcome::{Outcome, Reason};
use super::proof::Confirmed;
use super::route::{Class, Resource};
use crate::cache::decision::{Decision, Demand, Reach, decide};
use crate::cache::entry::{Entry, UpstreamValidator};
use crate::cache::epoch::{Epoch, Gate};
use crate::cache::key::Key;
use crate::cache::proof::Standing;
use crate::flight::{Joined, Ticket};
use crate::nuget::id::PackageId;
use crate::store::{Lookup, Stored};
use crate::upstream::Stake;

/// A document that somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) feed: Arc<Feed>,
    pub(super) class: Class,
    /// The package it belongs to, whose epoch gates it.
    pub(super) id: Option<PackageId>,
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) demand: Demand,
    /// When the request that wants it came: its waits count from here.
    pub(super) since: Instant,
    /// On whose behalf it is wanted.
    pub(super) errand: Errand,
}

/// Where the upstream keeps it.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Where the service index says.
    Indexed { resource: Resource, query: String },
    /// At this URL, which another document or a setting named.
    Named(String),
    /// At this URL of a symbol server, with the checksum that the client knows of the file.
    Symbols {
        url: String,
        checksum: Option<HeaderValue>,
    },
}

impl Place {
    /// Its URL, where that is known by itself.
    pub(super) fn url(&self) -> Option<&str> {
        match self {
            Self::Indexed { .. } => None,
            Self::Named(url) | Self::Symbols { url, .. } => Some(url),
        }
    }
}

/// A document at hand.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) entry: Arc<Entry>,
    /// The decoded text: complete JSON of the right kind.
    pub(super) text: Bytes,
}

impl Document {
    /// The text. It was checked to be UTF-8 when it was read.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// That the upstream has no such thing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missing {
    /// Why an old word of the upstream was taken.
    pub(super) reason: Option<Reason>,
    /// When the upstream said so, if not for this request.
    pub(super) said_at: Option<SystemTime>,
}

/// What came of asking for a document.
#[derive(Clone, Debug)]
pub(super) enum Obtained {
    /// The upstream has none.
    Absent(Missing),
    /// Here it is.
    Document {
        document: Document,
        outcome: Outcome,
        reason: Option<Reason>,
    },
}

/// The state of a flight for a document.
#[derive(Clone, Debug)]
pub(super) enum DocumentState {
    /// Whoever joins shares its place in the queue of the origin.
    Asking(Arc<Stake>),
    Done(Result<Landed, Failure>),
}

/// What a flight brought.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    Absent,
    /// A new document, or the stored one confirmed; how, in a word.
    Document(Document, Outcome),
    /// The stored one, for what the upstream sent is older.
    KeptBack(Document),
}

/// What flights are told apart by: newer requests do not join a flight of an older epoch, nor one that asks with what a
/// reload has changed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct FlightKey {
    key: Key,
    epoch: Epoch,
    asked_with: AccessGeneration,
}

impl FlightKey {
    pub(super) fn of(ask: &Ask, epoch: Epoch) -> Self {
        Self {
            key: ask.key.clone(),
            epoch,
            asked_with: ask.feed.asked_with,
        }
    }

    /// The same for a flight that requests of other audiences never join.
    pub(super) fn of_client(ask: &Ask, epoch: Epoch) -> Self {
        Self {
            key: ask.own_key(),
            ..Self::of(ask, epoch)
        }
    }
}

/// A copy at hand: stored, or remembered in memory.
#[derive(Debug)]
enum Held {
    Remembered(Document),
    Stored(Stored),
}

impl Held {
    fn entry(&self) -> &Entry {
        match self {
            Self::Remembered(document) => &document.entry,
            Self::Stored(stored) => &stored.entry,
        }
    }
}

/// Begins the names of texts in memory, as a feed's name begins those of answers.
pub(super) const TEXT: &str = "text";

/// The name under which the text of search results is kept in memory, apart from the answers made of it.
pub(super) fn raw_key(key: &Key) -> String {
    format!("{TEXT}\u{1f}{}", key.text())
}

impl Proxy {
    /// Gets a document: from the store if it is fresh, else from the upstream, else from the store after all.
    pub(super) async fn document(&self, ask: &Ask) -> Result<Obtained, Failure> {
        // Twice: a stored body that turns out to be unreadable is put aside, and then it is a miss.
        for _ in 0..2 {
            let (stored, gate) = (self.held(ask).await, self.gate(ask));
            let absence = self.store.absence(&ask.own_key()).await;
            let said_at = absence.as_ref().map(|absence| absence.last_at);
            let (reach, standing) = (self.reach(ask), self.standing(ask).await);
            let policy = ask.feed.policy(ask.class);
            let entry = stored.as_ref().map(Held::entry);
            let now = self.clock.now();
            match (
                decide(
                    entry,
                    absence.as_ref(),
                    &gate,
                    &policy,
                    ask.demand,
                    reach,
                    now,
                ),
                stored,
            ) {
                (Decision::Absent, ..) => {
                    return Ok(Obtained::Absent(Missing {
                        reason: None,
                        said_at,
                    }));
                }
                (Decision::AbsentStale, ..) => {
                    self.refresh_behind(ask, gate.epoch, reach);
                    return Ok(Obtained::Absent(Missing {
                        reason: Some(why(reach, ask.demand)),
                        said_at,
                    }));
                }
                (Decision::Hit, Some(stored)) if standing.is_good() => {
                    if let Some(document) = self.open(&stored).await {
                        return Ok(hit(document));
                    }
                }
                (decision @ (Decision::Hit | Decision::Stale), Some(stored))
                    if has_use_of(standing, decision, reach) =>
                {
                    self.refresh_behind(ask, gate.epoch, reach);
                    if let Some(document) = self.open(&stored).await {
                        return Ok(stale(document, why(reach, ask.demand)));
                    }
                }
                (Decision::Hit | Decision::Stale, Some(_)) if ask.demand == Demand::StoredOnly => {
                    return Err(Failure::OnlyIfCached);
                }
                (Decision::Hit | Decision::Stale, Some(_)) if !reach.may_be_asked() => {
                    return Err(self.refused(ask).without_proof());
                }
                (Decision::Hit | Decision::Revalidate | Decision::Stale, Some(stored)) => {
                    match self.confirmed(ask, gate.epoch, standing).await? {
                        Confirmed::Obtained(obtained) => return Ok(obtained),
                        Confirmed::Excused(failure) => {
                            if let Some(document) = self.open(&stored).await {
                                return Ok(stale(document, late(&failure)));
                            }
                        }
                    }
                }
                (Decision::RevalidateAbsence, ..) => {
                    let landed = self
                        .landed(ask, gate.epoch, self.settings.stale_after)
                        .await;
                    return match landed {
                        Err(failure) if !matches!(failure, Failure::Challenged(_)) => {
                            Ok(Obtained::Absent(Missing {
                                reason: Some(late(&failure)),
                                said_at,
                            }))
                        }
                        landed => landed,
                    };
                }
                (Decision::Refuse, ..) => return Err(self.refused(ask)),
                // Also what a decision for something that is not there would come to.
                _ => {
                    if let Some(failure) = self.refusals.of(&ask.key, self.clock.instant()) {
                        return Err(failure);
                    }
                    return self.landed(ask, gate.epoch, self.settings.max_hold).await;
                }
            }
        }
        self.landed(ask, self.gate(ask).epoch, self.settings.max_hold)
            .await
    }

    /// The copy at hand, if any. Search results are kept in memory alone.
    async fn held(&self, ask: &Ask) -> Option<Held> {
        if !ask.class.is_memory_only() {
            return self.stored(&ask.key).await.map(Held::Stored);
        }
        let answer = self.store.answers().get(&raw_key(&ask.key))?;
        let entry = Entry {
            key: ask.key.clone(),
            sequence: 0,
            epoch: answer.epoch,
            status: answer.status,
            headers: answer.headers.clone(),
            upstream_validator: UpstreamValidator::default(),
            origin: answer.origin.clone(),
            fetched_at: answer.validated_at,
            validated_at: answer.validated_at,
            body_bytes: answer.body.len() as u64,
            sha512: sha512(&answer.body),
        };
        Some(Held::Remembered(Document {
            entry: Arc::new(entry),
            text: answer.body.clone(),
        }))
    }

    /// The document of a copy, unless it turns out to be unreadable.
    async fn open(&self, held: &Held) -> Option<Document> {
        match held {
            Held::Remembered(document) => Some(document.clone()),
            Held::Stored(stored) => self.read(stored).await,
        }
    }

    /// Joins or opens the flight for a document and waits at most `limit` for its verdict.
    pub(super) async fn landed(
        &self,
        ask: &Ask,
        epoch: Epoch,
        limit: Duration,
    ) -> Result<Obtained, Failure> {
        let (mut ticket, own) = self.board(ask, epoch);
        let left = self.left_of(limit, ask);
        let verdict = tokio::time::timeout(left, verdict_of(&mut ticket)).await;
        let failure = match verdict {
            Ok(Ok(Landed::Absent)) => return Ok(Obtained::Absent(Missing::default())),
            Ok(Ok(Landed::Document(document, outcome))) => {
                let outcome = match (own, outcome) {
                    (Own::No, Outcome::Miss) => Outcome::Coalesced,
                    (_, outcome) => outcome,
                };
                return Ok(Obtained::Document {
                    document,
                    outcome,
                    reason: None,
                });
            }
            Ok(Ok(Landed::KeptBack(document))) => return Ok(stale(document, Reason::OlderAnswer)),
            Ok(Err(failure)) => failure,
            Err(_) => {
                let stake = match &*ticket.now() {
                    DocumentState::Asking(stake) => Some(Arc::clone(stake)),
                    DocumentState::Done(_) => None,
                };
                self.out_of_time(ask, stake.as_ref())
            }
        };
        if limit >= self.settings.max_hold && failure.spent_its_hold() {
            self.refusals
                .note(ask.key.clone(), failure.clone(), self.clock.instant());
        }
        Err(failure)
    }

    /// What is left of `limit` for a request that came a while ago.
    pub(super) fn left_of(&self, limit: Duration, ask: &Ask) -> Duration {
        let waited = self.clock.instant().saturating_duration_since(ask.since);
        limit.saturating_sub(waited)
    }

    /// Asks the upstream behind an answer that is given at once, if it may be asked.
    fn refresh_behind(&self, ask: &Ask, epoch: Epoch, reach: Reach) {
        if reach.may_be_asked() && ask.demand != Demand::StoredOnly {
            drop(self.board(&ask.behind(), epoch));
        }
    }

    fn board(&self, ask: &Ask, epoch: Epoch) -> (Ticket<FlightKey, DocumentState>, Own) {
        let (led, stake) = ask.led();
        match self
            .documents
            .join(FlightKey::of(ask, epoch), DocumentState::Asking(stake))
        {
            Joined::Follower(ticket) => {
                if let DocumentState::Asking(stake) = &*ticket.now() {
                    ask.share(stake);
                }
                (ticket, Own::No)
            }
            Joined::Leader(ticket, lead) => {
                let (proxy, ask) = (self.clone(), led);
                self.tasks.spawn("document", async move {
                    proxy.lead_document(&ask, epoch, lead).await
                });
                (ticket, Own::Yes)
            }
        }
    }

    /// The stored response under a key, if the store can give it.
    pub(super) async fn stored(&self, key: &Key) -> Option<Stored> {
        match self.store.lookup(key).await {
            Lookup::Absent => None,
            Lookup::Found(stored) => Some(stored),
            Lookup::Unavailable(fault) => {
                tracing::debug!(?key, %fault, "the store cannot be asked");
                None
            }
        }
    }

    /// Reads and decodes a stored document; one that is rotten is put aside.
    pub(super) async fn read(&self, stored: &Stored) -> Option<Document> {
        let raw = match stored.body.read_all().await {
            Ok(raw) => raw,
            Err(fault) => {
                tracing::debug!(key = ?stored.entry.key, %fault, "a stored document cannot be read");
                self.store.quarantine(stored, fault.word()).await;
                return None;
            }
        };
        match decode(&stored.entry.headers, raw, self.settings.max_document_bytes) {
            Ok(text) if std::str::from_utf8(&text).is_ok() => {
                // A document in use must outlive packages that were asked for once.
                self.store.note_use(&stored.entry.key);
                Some(Document {
                    entry: Arc::clone(&stored.entry),
                    text,
                })
            }
            _ => {
                self.store.quarantine(stored, "undecodable").await;
                None
            }
        }
    }

    /// The epochs that gate a document.
    pub(super) fn gate(&self, ask: &Ask) -> Gate {
        let name = gate_name(ask.id.as_ref(), ask.class);
        let gate = self.store.gate(&ask.feed.name, name);
        if ask.class.is_memory_only() {
            ask.feed.gate_of_all(gate)
        } else {
            gate
        }
    }
}

/// Whether a request opened the flight that it waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Own {
    No,
    Yes,
}

async fn verdict_of(ticket: &mut Ticket<FlightKey, DocumentState>) -> Result<Landed, Failure> {
    match ticket
        .wait_for(|state| matches!(state, DocumentState::Done(_)))
        .await
    {
        Ok(state) => match &*state {
            DocumentState::Done(verdict) => verdict.clone(),
            DocumentState::Asking(_) => Err(Failure::Internal("a verdict that is none")),
        },
        Err(_) => Err(Failure::Internal("the fetch ended without a verdict")),
    }
}

fn hit(document: Document) -> Obtained {
    Obtained::Document {
        document,
        outcome: Outcome::Hit,
        reason: None,
    }
}

fn stale(document: Document, reason: Reason) -> Obtained {
    Obtained::Document {
        document,
        outcome: Outcome::Stale,
        reason: Some(reason),
    }
}

pub(super) fn why(reach: Reach, demand: Demand) -> Reason {
    match (demand, reach) {
        (Demand::StoredOnly, _) => Reason::OnlyIfCached,
        (_, Reach::Down) => Reason::BreakerOpen,
        (_, Reach::Offline) => Reason::Offline,
        (_, Reach::Resting) => Reason::RateLimited,
        (_, Reach::Live | Reach::Slow) => Reason::SlowOrigin,
    }
}

/// Whether a stored document that is past its freshness, or whose proof is, may be given at once, labelled stale.
fn has_use_of(standing: Standing, decision: Decision, reach: Reach) -> bool {
    match standing {
        Standing::Free | Standing::Live => decision == Decision::Stale,
        Standing::Grace => reach != Reach::Live,
        Standing::Unproven => false,
    }
}

/// Why a stored answer is given after a wait in vain.
pub(super) fn late(failure: &Failure) -> Reason {
    match failure.reason() {
        Reason::HeldOut => Reason::SlowOrigin,
        reason => reason,
    }
}
