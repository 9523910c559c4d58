//! The leader's work on a document: ask, check, keep. And the follower's: wait as long as it is worth.
//!
//! A document is whole in memory, decoded and checked before anybody sees a byte of it. What is stored is what the
//! upstream sent, in its own coding.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::{HeaderValue, StatusCode};
use md5::Digest as _;
use tokio::time::Instant;

use super::Proxy;
use super::body::next_chunk;
use super::failure::Failure;
use super::feed::Feed;
use super::outcome::{Outcome, Reason};
use super::route::{Class, Resource};
use crate::cache::decision::{Decision, Demand, Reach, decide};
use crate::cache::entry::{Absence, Entry, UpstreamValidator};
use crate::cache::epoch::{Epoch, Gate};
use crate::cache::freshness::is_confirmed;
use crate::cache::key::Key;
use crate::flight::{Joined, Lead, Ticket};
use crate::nuget::{self, ReadError, id::PackageId};
use crate::store::{Answer, Draft, Lookup, Raise, Stored};
use crate::upstream::url::Origin;
use crate::upstream::{
    Accept, Conditional, Fetch, FetchMethod, Fetched, OriginState, UpstreamError,
};

/// The headers of an upstream's answer that are worth keeping: what describes the bytes.
const KEPT_HEADERS: [header::HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_DISPOSITION,
    header::LAST_MODIFIED,
];

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
    /// `Via` of the request that wants it.
    pub(super) via: Vec<String>,
}

/// Where the upstream keeps it.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Where the service index says.
    Indexed { resource: Resource, query: String },
    /// At this URL, which another document named.
    Named(String),
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

/// The name under which the text of search results is kept in memory, apart from the answers made of it.
fn raw_key(key: &Key) -> String {
    format!("text\u{1f}{}", key.text())
}

/// What came of asking for a document.
#[derive(Clone, Debug)]
pub(super) enum Obtained {
    /// The upstream has none.
    Absent { reason: Option<Reason> },
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
    Asking,
    Done(Result<Landed, Failure>),
}

/// What a flight brought.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    Absent,
    /// A new document, or the stored one confirmed; how, in a word.
    Document(Document, Outcome),
}

/// Flights are one per key and epoch: newer requests do not join an older one.
pub(super) type FlightKey = (Key, Epoch);

impl Proxy {
    /// Gets a document: from the store if it is fresh, else from the upstream, else from the store after all.
    pub(super) async fn document(&self, ask: &Ask) -> Result<Obtained, Failure> {
        // Twice: a stored body that turns out to be unreadable is put aside, and then it is a miss.
        for _ in 0..2 {
            let (stored, gate) = (self.held(ask).await, self.gate(ask));
            let absence = self.store.absence(&ask.key).await;
            let reach = self.reach(ask);
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
                    return Ok(Obtained::Absent { reason: None });
                }
                (Decision::AbsentStale, ..) => {
                    self.refresh_behind(ask, gate.epoch, reach);
                    return Ok(Obtained::Absent {
                        reason: Some(why(reach, ask.demand)),
                    });
                }
                (Decision::Hit, Some(stored)) => {
                    if let Some(document) = self.open(&stored).await {
                        return Ok(hit(document));
                    }
                }
                (Decision::Stale, Some(stored)) => {
                    self.refresh_behind(ask, gate.epoch, reach);
                    if let Some(document) = self.open(&stored).await {
                        return Ok(stale(document, why(reach, ask.demand)));
                    }
                }
                (Decision::Revalidate, Some(stored)) => {
                    match self
                        .landed(ask, gate.epoch, self.settings.stale_after)
                        .await
                    {
                        Ok(landed) => return Ok(landed),
                        Err(failure) => {
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
                    return Ok(landed.unwrap_or_else(|failure| Obtained::Absent {
                        reason: Some(late(&failure)),
                    }));
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
            headers: HeaderMap::new(),
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
    async fn landed(&self, ask: &Ask, epoch: Epoch, limit: Duration) -> Result<Obtained, Failure> {
        let (mut ticket, own) = self.board(ask, epoch);
        let left = self.left_of(limit, ask);
        let verdict = tokio::time::timeout(left, verdict_of(&mut ticket)).await;
        let failure = match verdict {
            Ok(Ok(Landed::Absent)) => return Ok(Obtained::Absent { reason: None }),
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
            Ok(Err(failure)) => failure,
            Err(_) => self.held_out(ask),
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
        if reach != Reach::Down && ask.demand != Demand::StoredOnly {
            drop(self.board(ask, epoch));
        }
    }

    fn board(&self, ask: &Ask, epoch: Epoch) -> (Ticket<FlightKey, DocumentState>, Own) {
        match self
            .documents
            .join((ask.key.clone(), epoch), DocumentState::Asking)
        {
            Joined::Follower(ticket) => (ticket, Own::No),
            Joined::Leader(ticket, lead) => {
                let (proxy, ask) = (self.clone(), ask.clone());
                self.tasks.spawn("document", async move {
                    proxy.lead_document(&ask, epoch, lead).await
                });
                (ticket, Own::Yes)
            }
        }
    }

    async fn lead_document(&self, ask: &Ask, epoch: Epoch, lead: Lead<FlightKey, DocumentState>) {
        let cancelled = lead.cancelled();
        let verdict = tokio::select! {
            () = cancelled => return,
            verdict = Box::pin(self.fetch_document(ask, epoch)) => verdict,
        };
        if let Err(failure) = &verdict {
            tracing::warn!(key = ?ask.key, reason = %failure.reason(), ?failure, "a document could not be fetched");
        }
        lead.finish(DocumentState::Done(verdict));
    }

    async fn fetch_document(&self, ask: &Ask, epoch: Epoch) -> Result<Landed, Failure> {
        // Another flight may have ended between this one's cause and its start.
        let stored = self.stored(&ask.key).await;
        if let Some(stored) = &stored
            && ask.demand == Demand::None
            && ask
                .feed
                .policy(ask.class)
                .fresh_until(&stored.entry, &self.gate(ask))
                .is_ahead(self.clock.now())
            && self.store.absence(&ask.key).await.is_none()
            && let Some(document) = self.read(stored).await
        {
            return Ok(Landed::Document(document, Outcome::Hit));
        }
        let hold = self.clock.instant() + self.settings.max_hold;
        let urls = self.urls(ask).await?;
        let mut last = Failure::NotOffered("such resource");
        for (at, url) in urls.iter().enumerate() {
            let hold = self.share_of(hold, urls.len() - at);
            match self
                .fetch_from(ask, epoch, url, stored.as_ref(), hold)
                .await
            {
                Ok(landed) => return Ok(landed),
                Err(failure) if failure.is_worth_another_endpoint() => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    async fn fetch_from(
        &self,
        ask: &Ask,
        epoch: Epoch,
        url: &str,
        stored: Option<&Stored>,
        hold: Instant,
    ) -> Result<Landed, Failure> {
        let validators = stored.map(|stored| Conditional {
            etag: stored.entry.upstream_validator.etag.clone(),
            last_modified: stored.entry.upstream_validator.last_modified.clone(),
        });
        let fetched = self
            .ask_upstream(
                ask,
                url,
                Accept::Document,
                FetchMethod::Get,
                validators,
                hold,
            )
            .await?;
        match fetched.status {
            StatusCode::OK => self.take_document(ask, epoch, stored, fetched).await,
            StatusCode::NOT_MODIFIED => self.confirm(ask, epoch, stored, url, hold).await,
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND | StatusCode::GONE
                if may_be_absent(ask.class) =>
            {
                let epoch = self.outdate(ask, epoch, stored);
                self.note_absence(ask, epoch, fetched.status, stored.is_some())
                    .await;
                Ok(Landed::Absent)
            }
            status => Err(status_failure(&fetched.origin, status)),
        }
    }

    /// Has what is in memory of a document asked for again that the upstream replaced or dropped while it was still
    /// fresh, as a client's `no-cache` finds out: answers made of it for other base URLs and codings would hide that.
    /// Gives the epoch of what was brought, the new one unless another has begun meanwhile.
    fn outdate(&self, ask: &Ask, epoch: Epoch, old: Option<&Stored>) -> Epoch {
        let (Some(old), Some(id)) = (old, &ask.id) else {
            return epoch;
        };
        let (gate, policy) = (self.gate(ask), ask.feed.policy(ask.class));
        let was_fresh = policy
            .fresh_until(&old.entry, &gate)
            .is_ahead(self.clock.now());
        if !was_fresh || gate.epoch != epoch {
            return epoch;
        }
        self.store
            .raise(&ask.feed.name, Some(id.as_str()), Raise::Refresh)
    }

    /// The stored document is current.
    async fn confirm(
        &self,
        ask: &Ask,
        epoch: Epoch,
        stored: Option<&Stored>,
        url: &str,
        hold: Instant,
    ) -> Result<Landed, Failure> {
        if let Some(stored) = stored
            && let Some(mut document) = self.read(stored).await
        {
            let now = self.clock.now();
            self.store.refresh(stored, now, epoch, None);
            self.store.forget_absence(&ask.key);
            let entry = Entry {
                validated_at: now,
                epoch,
                ..(*document.entry).clone()
            };
            document.entry = Arc::new(entry);
            return Ok(Landed::Document(document, Outcome::Revalidated));
        }
        // The stored body cannot be read any more: asked again, without a validator.
        let fetched = self
            .ask_upstream(ask, url, Accept::Document, FetchMethod::Get, None, hold)
            .await?;
        match fetched.status {
            StatusCode::OK => self.take_document(ask, epoch, None, fetched).await,
            status => Err(status_failure(&fetched.origin, status)),
        }
    }

    /// Asks the upstream and notes how that went for its origin.
    pub(super) async fn ask_upstream(
        &self,
        ask: &Ask,
        url: &str,
        accept: Accept,
        method: FetchMethod,
        validators: Option<Conditional>,
        hold: Instant,
    ) -> Result<Fetched, Failure> {
        let fetch = Fetch {
            accept,
            access: ask.feed.access.clone(),
            hold,
            method,
            url: url.to_owned(),
            validators,
            via: ask.via.clone(),
        };
        match self.upstream.fetch(fetch).await {
            Ok(fetched) => {
                ask.feed.note_success(fetched.origin.host());
                Ok(fetched)
            }
            Err(error) => Err(self.upstream_failure(&ask.feed, &error)),
        }
    }

    /// The failure that an error of the upstream side amounts to, noted against its origin.
    pub(super) fn upstream_failure(&self, feed: &Feed, error: &UpstreamError) -> Failure {
        let host = error.origin().unwrap_or(feed.access.upstream()).host();
        let noted = feed.note_failure(host, self.clock.now());
        let since = if let UpstreamError::BreakerOpen { since, .. } = error {
            *since
        } else {
            noted
        };
        Failure::of(error, host, since.min(noted))
    }

    /// Reads, checks and keeps a new document.
    async fn take_document(
        &self,
        ask: &Ask,
        epoch: Epoch,
        stored: Option<&Stored>,
        fetched: Fetched,
    ) -> Result<Landed, Failure> {
        let origin = fetched.origin.host().to_owned();
        let bad = |what: String| Failure::BadBody {
            origin: origin.clone(),
            what,
        };
        let raw = self.collect(&ask.feed, fetched.body, &origin).await?;
        check_md5(&fetched.headers, &raw).map_err(bad)?;
        let text = decode(
            &fetched.headers,
            raw.clone(),
            self.settings.max_document_bytes,
        )
        .map_err(|fault| fault.into_failure(&origin, self.settings.max_document_bytes))?;
        let checked = std::str::from_utf8(&text).map_err(|error| error.to_string());
        checked
            .and_then(|text| check(ask, text).map_err(|error| error.to_string()))
            .map_err(bad)?;
        if ask.class == Class::VulnerabilityIndex {
            self.store_pages(ask, &text).await?;
        }
        let replaced = stored.filter(|stored| stored.entry.sha512 != sha512(&raw));
        let epoch = self.outdate(ask, epoch, replaced);
        let now = self.clock.now();
        let draft = Draft {
            epoch,
            status: StatusCode::OK,
            upstream_validator: validator_of(&fetched.headers),
            headers: kept(&fetched.headers),
            origin,
            fetched_at: now,
            validated_at: now,
        };
        let (entry, outcome) = self.keep(ask, draft, raw, text.clone()).await;
        self.store.forget_absence(&ask.key);
        Ok(Landed::Document(Document { entry, text }, outcome))
    }

    /// Stores a document's bytes. A store that cannot take them fails nobody: the answer goes out all the same.
    async fn keep(
        &self,
        ask: &Ask,
        draft: Draft,
        raw: Bytes,
        text: Bytes,
    ) -> (Arc<Entry>, Outcome) {
        let sha512 = sha512(&raw);
        let length = raw.len() as u64;
        let unstored = |draft: Draft| Entry {
            key: ask.key.clone(),
            sequence: 0,
            epoch: draft.epoch,
            status: draft.status,
            headers: draft.headers,
            upstream_validator: draft.upstream_validator,
            origin: draft.origin,
            fetched_at: draft.fetched_at,
            validated_at: draft.validated_at,
            body_bytes: length,
            sha512,
        };
        if ask.class.is_memory_only() {
            let entry = unstored(draft);
            let answer = Answer {
                status: entry.status,
                headers: HeaderMap::new(),
                body: text,
                deadline: entry.validated_at,
                epoch: entry.epoch,
                validated_at: entry.validated_at,
                origin: entry.origin.clone(),
            };
            self.store
                .answers()
                .put(&raw_key(&ask.key), Arc::new(answer));
            return (Arc::new(entry), Outcome::Miss);
        }
        let written = async {
            let mut writer = self.store.begin(&ask.key, Some(length)).await?;
            writer.write(raw).await?;
            Ok::<_, crate::store::StoreFault>(writer)
        };
        match written.await {
            Ok(writer) => (writer.publish(draft).entry, Outcome::Miss),
            Err(fault) => {
                tracing::warn!(key = ?ask.key, %fault, "a document could not be stored");
                (Arc::new(unstored(draft)), Outcome::Bypass)
            }
        }
    }

    async fn collect(
        &self,
        feed: &Feed,
        mut body: crate::upstream::ResponseBody,
        origin: &str,
    ) -> Result<Bytes, Failure> {
        let mut collected = BytesMut::new();
        while let Some(chunk) = next_chunk(&mut body).await {
            let chunk = chunk.map_err(|error| self.upstream_failure(feed, &error))?;
            if (collected.len() + chunk.len()) as u64 > self.settings.max_document_bytes {
                let max_bytes = self.settings.max_document_bytes;
                return Err(Failure::TooLarge {
                    origin: origin.to_owned(),
                    max_bytes,
                });
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(collected.freeze())
    }

    /// Remembers that the upstream has no such document; one that was said twice drops the stored body.
    pub(super) async fn note_absence(
        &self,
        ask: &Ask,
        epoch: Epoch,
        status: StatusCode,
        has_copy: bool,
    ) {
        let now = self.clock.now();
        let before = self
            .store
            .absence(&ask.key)
            .await
            .filter(|before| before.epoch >= epoch);
        let first_at = before.map_or(now, |before| before.first_at);
        let absence = Absence {
            status,
            epoch,
            first_at,
            last_at: now,
        };
        self.store.put_absence(&ask.key, absence);
        let is_list = matches!(ask.class, Class::RegistrationIndex | Class::VersionList);
        if has_copy && is_list && is_confirmed(&absence) {
            self.store.remove(&ask.key).await;
        }
    }

    /// The stored response under a key, if the store can give it.
    pub(super) async fn stored(&self, key: &Key) -> Option<Stored> {
        match self.store.lookup(key).await {
            Lookup::Absent => None,
            Lookup::Found(stored) => Some(stored),
            Lookup::Unavailable(fault) => {
                tracing::warn!(?key, %fault, "the store cannot be asked");
                None
            }
        }
    }

    /// Reads and decodes a stored document; one that is rotten is put aside.
    pub(super) async fn read(&self, stored: &Stored) -> Option<Document> {
        let raw = match stored.body.read_all().await {
            Ok(raw) => raw,
            Err(fault) => {
                tracing::error!(key = ?stored.entry.key, %fault, "a stored document cannot be read");
                self.store.quarantine(stored, "unreadable").await;
                return None;
            }
        };
        match decode(&stored.entry.headers, raw, self.settings.max_document_bytes) {
            Ok(text) if std::str::from_utf8(&text).is_ok() => Some(Document {
                entry: Arc::clone(&stored.entry),
                text,
            }),
            _ => {
                tracing::error!(key = ?stored.entry.key, "a stored document is rotten");
                self.store.quarantine(stored, "undecodable").await;
                None
            }
        }
    }

    /// The epochs that gate a document.
    pub(super) fn gate(&self, ask: &Ask) -> Gate {
        let id = ask.id.as_ref().map(PackageId::as_str);
        let gate = self.store.gate(&ask.feed.name, id);
        if ask.class.is_memory_only() {
            ask.feed.gate_of_all(gate)
        } else {
            gate
        }
    }

    /// The failure of a request whose hold ran out.
    pub(super) fn held_out(&self, ask: &Ask) -> Failure {
        let origin = self.origin_of(ask);
        self.upstream_failure(&ask.feed, &UpstreamError::HeldOut { last: None, origin })
    }

    /// Why a request without a copy is refused at once.
    pub(super) fn refused(&self, ask: &Ask) -> Failure {
        if ask.demand == Demand::StoredOnly {
            return Failure::OnlyIfCached;
        }
        let origin = self.origin_of(ask);
        match self.upstream.state(&origin) {
            OriginState::Open { since, why } => self.upstream_failure(
                &ask.feed,
                &UpstreamError::BreakerOpen { origin, since, why },
            ),
            OriginState::Live | OriginState::Slow { .. } => self.held_out(ask),
        }
    }

    /// Where to ask for a document: every endpoint in order.
    async fn urls(&self, ask: &Ask) -> Result<Vec<String>, Failure> {
        match &ask.place {
            Place::Named(url) => Ok(vec![url.clone()]),
            Place::Indexed {
                resource: Resource::ServiceIndex,
                ..
            } => Ok(vec![ask.feed.settings.upstream.clone()]),
            Place::Indexed { resource, query } => {
                let model = self
                    .model(&ask.feed, &ask.via, self.clock.instant())
                    .await?;
                Ok(self.reachable_first(model.locate(resource, query)?))
            }
        }
    }
}

/// Whether a 404, 410 or 204 is an answer: where there is one document for all, or results without end, it is a
/// failure, and another endpoint may do better (protocol facts 1.1.19, 2.3.14, 2.7.9).
fn may_be_absent(class: Class) -> bool {
    !matches!(
        class,
        Class::Autocomplete | Class::Search | Class::ServiceIndex | Class::VulnerabilityIndex
    )
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
            DocumentState::Asking => Err(Failure::Internal("a verdict that is none")),
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
        (_, Reach::Live | Reach::Slow) => Reason::SlowOrigin,
    }
}

/// Why a stored answer is given after a wait in vain.
fn late(failure: &Failure) -> Reason {
    match failure.reason() {
        Reason::HeldOut => Reason::SlowOrigin,
        reason => reason,
    }
}

/// A status that is no answer.
pub(super) fn status_failure(origin: &Origin, status: StatusCode) -> Failure {
    let origin = origin.host().to_owned();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failure::NotAuthorized { origin, status }
        }
        StatusCode::NO_CONTENT => Failure::BadBody {
            origin,
            what: "204 in place of a document".into(),
        },
        status => Failure::UpstreamStatus { origin, status },
    }
}

/// Why a coded body could not be decoded.
#[derive(Debug)]
pub(super) enum DecodeFault {
    Bad(String),
    TooLarge,
}

impl DecodeFault {
    pub(super) fn into_failure(self, origin: &str, max_bytes: u64) -> Failure {
        let origin = origin.to_owned();
        match self {
            Self::Bad(what) => Failure::BadBody { origin, what },
            Self::TooLarge => Failure::TooLarge { origin, max_bytes },
        }
    }
}

/// Undoes the content coding that the headers name (protocol fact 2.2.6: the header decides, not the hive).
fn decode(headers: &HeaderMap, raw: Bytes, max_bytes: u64) -> Result<Bytes, DecodeFault> {
    let coding = headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes);
    match coding {
        None | Some(b"" | b"identity") => Ok(raw),
        Some(coding) if coding.eq_ignore_ascii_case(b"gzip") || coding == b"x-gzip" => {
            let mut text = Vec::with_capacity(raw.len().saturating_mul(4));
            let mut decoder = flate2::read::MultiGzDecoder::new(&*raw).take(max_bytes + 1);
            decoder
                .read_to_end(&mut text)
                .map_err(|error| DecodeFault::Bad(format!("gzip: {error}")))?;
            if text.len() as u64 > max_bytes {
                Err(DecodeFault::TooLarge)
            } else {
                Ok(text.into())
            }
        }
        Some(other) => {
            let name = String::from_utf8_lossy(other).into_owned();
            Err(DecodeFault::Bad(format!(
                "content coding {name:?}, expected gzip or none"
            )))
        }
    }
}

/// Compares the bytes with the digest that the upstream sent of them (protocol fact 7.3.4).
pub(super) fn check_md5(headers: &HeaderMap, raw: &[u8]) -> Result<(), String> {
    let Some(sent) = sent_md5(headers) else {
        return Ok(());
    };
    let found: [u8; 16] = md5::Md5::digest(raw).into();
    if found == sent {
        Ok(())
    } else {
        Err("its bytes differ from its Content-MD5".into())
    }
}

/// The value of `Content-MD5`, if it is one.
pub(super) fn sent_md5(headers: &HeaderMap) -> Option<[u8; 16]> {
    use base64::Engine as _;
    let value = headers.get("content-md5")?.to_str().ok()?;
    base64::engine::general_purpose::STANDARD
        .decode(value.trim())
        .ok()?
        .try_into()
        .ok()
}

pub(super) fn validator_of(headers: &HeaderMap) -> UpstreamValidator {
    UpstreamValidator {
        etag: headers.get(header::ETAG).cloned(),
        last_modified: headers.get(header::LAST_MODIFIED).cloned(),
    }
}

pub(super) fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in KEPT_HEADERS {
        if let Some(value) = headers.get(&name) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

pub(super) fn sha512(bytes: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA512, bytes).as_ref());
    out
}

/// Whether a text is a document of its class's kind.
fn check(ask: &Ask, text: &str) -> Result<(), ReadError> {
    match ask.class {
        Class::Autocomplete => nuget::search::read_autocomplete(text),
        Class::CatalogLeaf => nuget::catalog::read_leaf(text).map(drop),
        Class::RegistrationIndex | Class::RegistrationLeaf | Class::RegistrationPage => {
            nuget::registration::read(text).map(drop)
        }
        Class::Search => nuget::search::read_search(text).map(drop),
        Class::ServiceIndex => nuget::service_index::read(text).map(drop),
        Class::VersionList => nuget::version_list::read_version_list(text).map(drop),
        Class::VulnerabilityIndex => nuget::vulnerabilities::read_index(text).map(drop),
        Class::VulnerabilityPage => nuget::vulnerabilities::read_page(text),
        Class::Icon | Class::License | Class::Manifest | Class::Package | Class::Readme => Ok(()),
    }
}
