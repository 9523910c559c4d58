//! The leader's work on a document: ask, check, keep.
//!
//! A document is whole in memory, decoded and checked before anybody sees a byte of it. What is stored is what the
//! upstream sent, in its own coding.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{AGE, HeaderValue};
use tokio::time::Instant;

use super::Proxy;
use super::asks::gate_name;
use super::backwards::Came;
use super::body::next_chunk;
use super::checks::{
    aged, check, check_md5, conditional_of, decode, is_absence, is_loop, kept, sha512,
};
use super::document::{Ask, Document, DocumentState, FlightKey, Landed, Place, raw_key};
use super::failure::Failure;
use super::feed::Feed;
use super::mode::Mode;
use super::outcome::Outcome;
use super::route::{Class, Resource};
use crate::cache::decision::Demand;
use crate::cache::entry::{Absence, Entry, UpstreamValidator};
use crate::cache::epoch::Epoch;
use crate::cache::freshness::is_confirmed;
use crate::flight::Lead;
use crate::nuget::foreign::{self, Foreign};
use crate::store::{Answer, Draft, Raise, Stored};
use crate::upstream::url::Origin;
use crate::upstream::{Accept, Conditional, Fetch, FetchMethod, Fetched};

impl Proxy {
    /// Leads the flight for a document to its verdict.
    pub(super) async fn lead_document(
        &self,
        ask: &Ask,
        epoch: Epoch,
        lead: Lead<FlightKey, DocumentState>,
    ) {
        let cancelled = lead.cancelled();
        let verdict = tokio::select! {
            () = cancelled => return,
            verdict = Box::pin(self.fetch_document(ask, epoch)) => verdict,
        };
        match &verdict {
            Ok(Landed::Absent) => {}
            Ok(Landed::Document(document, _) | Landed::KeptBack(document)) => {
                ask.feed.troubles.note_good(&document.entry.origin)
            }
            Err(failure) => self.note_failed(&ask.feed, &ask.key, failure),
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
                .fresh_until(&stored.entry, &self.gate(ask), self.clock.now())
                .is_ahead(self.clock.now())
            && self.store.absence(&ask.own_key()).await.is_none()
            && self.standing(ask).await.is_good()
            && let Some(document) = self.read(stored).await
        {
            return Ok(Landed::Document(document, Outcome::Hit));
        }
        if let Some(stored) = &stored
            && let Some(document) = self.just_kept_back(ask, epoch, stored).await
        {
            return Ok(Landed::KeptBack(document));
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
        let validators = stored.map(conditional_of);
        let asked_at = self.clock.now();
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
        let heard_by = fetched.heard_by;
        let landed = match fetched.status {
            StatusCode::OK => self.take_document(ask, epoch, stored, fetched).await?,
            StatusCode::NOT_MODIFIED => {
                let age = fetched.headers.get(AGE);
                self.confirm(ask, epoch, stored, age, url, hold).await?
            }
            status if is_absence(ask.class, status) => {
                let epoch = self.outdate(ask, epoch, stored);
                self.note_absence(ask, epoch, fetched.status, stored.is_some())
                    .await;
                return Ok(Landed::Absent);
            }
            _ if is_index_of_v2(ask) => return Err(v2_feed(ask, fetched.origin.host())),
            status => return Err(status_failure(&fetched.origin, status)),
        };
        // Not before the document is checked: a page to sign in at may come with a 200.
        self.note_proof(ask, heard_by, asked_at);
        Ok(landed)
    }

    /// Has what is in memory of a document asked for again that the upstream replaced or dropped while it was still
    /// fresh, as a client's `no-cache` finds out: answers made of it for other base URLs and codings would hide that.
    /// Gives the epoch of what was brought, the new one unless another has begun meanwhile.
    fn outdate(&self, ask: &Ask, epoch: Epoch, old: Option<&Stored>) -> Epoch {
        let name = gate_name(ask.id.as_ref(), ask.class);
        let (Some(old), Some(name)) = (old, name) else {
            return epoch;
        };
        let (gate, policy) = (self.gate(ask), ask.feed.policy(ask.class));
        let was_fresh = policy
            .fresh_until(&old.entry, &gate, self.clock.now())
            .is_ahead(self.clock.now());
        if !was_fresh || gate.epoch != epoch {
            return epoch;
        }
        self.store.raise(&ask.feed.name, Some(name), Raise::Refresh)
    }

    /// The stored document is current.
    async fn confirm(
        &self,
        ask: &Ask,
        epoch: Epoch,
        stored: Option<&Stored>,
        age: Option<&HeaderValue>,
        url: &str,
        hold: Instant,
    ) -> Result<Landed, Failure> {
        if let Some(stored) = stored
            && let Some(mut document) = self.read(stored).await
        {
            let now = self.clock.now();
            if ask.class == Class::VulnerabilityIndex {
                // Pages may have been evicted since.
                self.store_pages(ask, &document.text).await?;
            }
            let headers = aged(&stored.entry.headers, age);
            self.store
                .refresh(stored, now, epoch, Some(headers.clone()));
            self.store.forget_absence(&ask.own_key());
            self.older.forget(&ask.key);
            let entry = Entry {
                validated_at: now,
                epoch,
                headers,
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

    /// Asks the upstream and notes how that went for its origin, and for a client's own credential.
    pub(super) async fn ask_upstream(
        &self,
        ask: &Ask,
        url: &str,
        accept: Accept,
        method: FetchMethod,
        validators: Option<Conditional>,
        hold: Instant,
    ) -> Result<Fetched, Failure> {
        if self.mode_of(&ask.feed) == Mode::Offline {
            return Err(Failure::Offline);
        }
        let retry_until = self.retry_until(ask, hold).await;
        let fetch = Fetch {
            accept,
            access: ask.feed.access.clone(),
            hold,
            method,
            retry_until,
            url: url.to_owned(),
            validators,
            symbol_checksum: match &ask.place {
                Place::Symbols { checksum, .. } => checksum.clone(),
                Place::Indexed { .. } | Place::Named(_) => None,
            },
            stake: ask.stake(),
            via: ask.errand.via.clone(),
        };
        match self.upstream.fetch(fetch).await {
            Ok(fetched) => {
                ask.feed.note_success(fetched.origin.host());
                if is_loop(&fetched) {
                    let origin = fetched.origin.host().to_owned();
                    return Err(Failure::Loop { origin });
                }
                self.refusal_of(ask, fetched).await
            }
            Err(error) => Err(self.upstream_failure(&ask.feed, &error)),
        }
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
            .map_err(|what| not_ours(ask, &origin, &text).unwrap_or_else(|| bad(what)))?;
        let came = Came {
            epoch,
            headers: &fetched.headers,
            raw: &raw,
            text: &text,
        };
        if let Some(stored) = stored
            && let Some(document) = self.kept_back(ask, stored, &came).await
        {
            return Ok(Landed::KeptBack(document));
        }
        if ask.class == Class::VulnerabilityIndex {
            self.store_pages(ask, &text).await?;
        }
        let replaced = stored.filter(|stored| stored.entry.sha512 != sha512(&raw));
        let epoch = self.outdate(ask, epoch, replaced);
        let now = self.clock.now();
        let draft = Draft {
            epoch,
            status: StatusCode::OK,
            upstream_validator: UpstreamValidator::of(&fetched.headers),
            headers: kept(&fetched.headers),
            origin,
            fetched_at: now,
            validated_at: now,
        };
        if replaced.is_some() || stored.is_none() {
            self.heed(ask, replaced, &text).await;
        }
        let (entry, outcome) = self.keep(ask, draft, raw, text.clone()).await;
        self.store.forget_absence(&ask.own_key());
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
                headers: entry.headers.clone(),
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
                tracing::debug!(key = ?ask.key, %fault, "a document could not be stored");
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

    /// Takes account of what a new document says of what else is stored.
    async fn heed(&self, ask: &Ask, replaced: Option<&Stored>, raw: &Bytes) {
        let text = std::str::from_utf8(raw).unwrap_or_default();
        match ask.class {
            Class::CatalogLeaf
            | Class::RegistrationIndex
            | Class::RegistrationLeaf
            | Class::RegistrationPage => self.heed_hashes(ask, raw),
            Class::RepositorySignatures => self.learn_certificates(ask, replaced, text).await,
            Class::VersionList if ask.feed.client.is_none() => {
                self.compare_list_behind(ask, replaced, text);
            }
            _ => {}
        }
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
            .absence(&ask.own_key())
            .await
            .filter(|before| before.epoch >= epoch);
        // Of a clock that was ahead, the earlier time says nothing.
        let first_at = before.map_or(now, |before| before.first_at.min(now));
        let absence = Absence {
            status,
            epoch,
            first_at,
            last_at: now,
        };
        self.store.put_absence(&ask.own_key(), absence);
        if is_confirmed(&absence) && !before.is_some_and(|before| is_confirmed(&before)) {
            self.compare_lost_list_behind(ask);
        }
        let is_list = matches!(ask.class, Class::RegistrationIndex | Class::VersionList);
        if has_copy && is_list && is_confirmed(&absence) {
            self.store.remove(&ask.key).await;
        }
    }

    /// Where to ask for a document: every endpoint in order.
    async fn urls(&self, ask: &Ask) -> Result<Vec<String>, Failure> {
        match &ask.place {
            Place::Named(url) | Place::Symbols { url, .. } => Ok(vec![url.clone()]),
            Place::Indexed {
                resource: Resource::ServiceIndex,
                ..
            } => Ok(vec![ask.feed.settings.upstream.clone()]),
            Place::Indexed { resource, query } => {
                let model = self
                    .model(&ask.feed, &ask.errand, self.clock.instant())
                    .await?;
                Ok(self.reachable_first(&ask.feed, model.locate(resource, query)?))
            }
        }
    }
}

/// What an upstream sent that is no V3 feed.
fn not_ours(ask: &Ask, origin: &str, text: &[u8]) -> Option<Failure> {
    let found = foreign::recognize(&String::from_utf8_lossy(text));
    match found {
        _ if is_index_of_v2(ask) => Some(v2_feed(ask, origin)),
        Some(Foreign::Html) => Some(Failure::HtmlPage {
            origin: origin.to_owned(),
        }),
        Some(Foreign::V2) => Some(v2_feed(ask, origin)),
        None => None,
    }
}

/// Whether a service index is asked for where V2 feeds lie.
fn is_index_of_v2(ask: &Ask) -> bool {
    ask.class == Class::ServiceIndex && foreign::is_v2_url(&ask.feed.settings.upstream)
}

fn v2_feed(ask: &Ask, origin: &str) -> Failure {
    Failure::V2Feed {
        origin: origin.to_owned(),
        v3: foreign::v3_of(&ask.feed.settings.upstream),
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
