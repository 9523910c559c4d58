//! Files of the flat container: streamed to everybody who waits while they are fetched once.
//!
//! The leader writes into the store and tells how far it is; readers follow the file at their own pace. After the last
//! byte come the checks, then the verdict. Only then is the body stored, and only then do readers get its end.

use std::io::{Read, Seek, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use md5::Digest as _;

use super::Proxy;
use super::body::next_chunk;
use super::failure::Failure;
use super::fetch::{Ask, FlightKey, Obtained, kept, sent_md5, status_failure, validator_of};
use super::live::{HOLD_BACK_BYTES, Identity, Live, Past, Rescue, lost};
use super::outcome::{Outcome, Reason};
use super::respond::Facts;
use super::route::Content;
use crate::cache::decision::{Decision, Demand, Reach, decide};
use crate::cache::epoch::{Epoch, Gate};
use crate::cache::range::{self, Satisfied};
use crate::flight::{Joined, Lead, Ticket};
use crate::nuget::nupkg::{self, PackageFault};
use crate::nuget::version::Version;
use crate::store::{self, Draft, Raise, StoreFault, Stored};
use crate::upstream::{Accept, Conditional, FetchMethod, Fetched};

/// A file that somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) ask: Ask,
    pub(super) version: Version,
    pub(super) file: Content,
}

/// The state of a flight for a file.
#[derive(Clone, Debug)]
pub(super) enum ContentState {
    Asking,
    Done(Result<Landed, Failure>),
    /// The store cannot take it: everybody asks on their own.
    Past,
    Streaming(Streaming),
}

/// What a flight brought.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    Absent,
    Stored(Stored, Outcome),
}

impl Landed {
    pub(super) fn body_bytes(&self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Stored(stored, _) => stored.body.len(),
        }
    }
}

/// A body under way.
#[derive(Clone, Debug)]
pub(super) struct Streaming {
    head: Arc<Head>,
    body: store::Body,
    /// Bytes that can be read from the file.
    written: u64,
}

/// What is known of a body before its first byte.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    pub(super) identity: Identity,
    pub(super) origin: String,
}

impl Streaming {
    /// Offset behind the last byte that a reader up to `end` may have before the verdict.
    pub(super) fn may_give(&self, end: Option<u64>) -> u64 {
        let last = end.or(self.head.identity.length);
        last.map_or(self.written.saturating_sub(HOLD_BACK_BYTES), |last| {
            self.written.min(last.saturating_sub(HOLD_BACK_BYTES))
        })
    }
}

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

/// The state of a HEAD under way.
#[derive(Clone, Debug)]
pub(super) enum HeadState {
    Asking,
    Done(Result<HeadLanded, Failure>),
}

/// What a HEAD brought: `None` if the upstream has no such file.
#[derive(Clone, Debug)]
pub(super) struct HeadLanded(Option<(HeaderMap, Option<u64>)>);

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

    fn board_content(&self, want: &Want, epoch: Epoch) -> (Ticket<FlightKey, ContentState>, bool) {
        match self
            .contents
            .join((want.ask.key.clone(), epoch), ContentState::Asking)
        {
            Joined::Follower(ticket) => (ticket, false),
            Joined::Leader(ticket, lead) => {
                let (proxy, want) = (self.clone(), want.clone());
                self.tasks.spawn("content", async move {
                    proxy.lead_content(&want, epoch, lead).await
                });
                (ticket, true)
            }
        }
    }

    async fn lead_content(&self, want: &Want, epoch: Epoch, lead: Lead<FlightKey, ContentState>) {
        let cancelled = lead.cancelled();
        let verdict = tokio::select! {
            () = cancelled => return,
            verdict = Box::pin(self.fetch_content(want, epoch, &lead)) => verdict,
        };
        let landed = match verdict {
            Ok(landed) => Ok(landed),
            Err(Setback::Failure(failure)) => {
                tracing::warn!(key = ?want.ask.key, reason = %failure.reason(), ?failure, "a file could not be fetched");
                Err(failure)
            }
            Err(Setback::Store(fault)) => {
                tracing::warn!(key = ?want.ask.key, %fault, "a file could not be stored");
                lead.finish(ContentState::Past);
                return;
            }
        };
        let found = landed.as_ref().ok().map(|landed| match landed {
            Landed::Absent => Found::Missing,
            Landed::Stored(_, Outcome::Miss) => Found::Fetched,
            Landed::Stored(..) => Found::Confirmed,
        });
        lead.finish(ContentState::Done(landed));
        if let Some(found) = found {
            self.compare_with_list(want, found).await;
        }
    }

    async fn fetch_content(
        &self,
        want: &Want,
        epoch: Epoch,
        lead: &Lead<FlightKey, ContentState>,
    ) -> Result<Landed, Setback> {
        let ask = &want.ask;
        let stored = self.stored(&ask.key).await;
        if let Some(stored) = &stored
            && ask.demand == Demand::None
            && stored.entry.epoch >= epoch
        {
            return Ok(Landed::Stored(stored.clone(), Outcome::Hit));
        }
        let validators = stored.as_ref().map(|stored| Conditional {
            etag: stored.entry.upstream_validator.etag.clone(),
            last_modified: stored.entry.upstream_validator.last_modified.clone(),
        });
        let fetched = self.ask_for(want, FetchMethod::Get, validators).await?;
        match (fetched.status, stored) {
            (StatusCode::OK, _) => self.stream(want, epoch, fetched, lead).await,
            (StatusCode::NOT_MODIFIED, Some(stored)) => {
                self.store.refresh(&stored, self.clock.now(), epoch, None);
                Ok(Landed::Stored(stored, Outcome::Revalidated))
            }
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => {
                let epoch = self.gate(ask).epoch;
                self.note_absence(ask, epoch, fetched.status, false).await;
                Ok(Landed::Absent)
            }
            (status, _) => Err(status_failure(&fetched.origin, status).into()),
        }
    }

    /// Asks every endpoint in order for a file.
    async fn ask_for(
        &self,
        want: &Want,
        method: FetchMethod,
        validators: Option<Conditional>,
    ) -> Result<Fetched, Failure> {
        let hold = self.clock.instant() + self.settings.max_hold;
        let mut last = Failure::NotOffered("package content");
        let mut refreshed = false;
        let mut urls = self.content_urls(want, Demand::None).await?;
        urls.reverse();
        while let Some(url) = urls.pop() {
            let accept = Accept::Content;
            match self
                .ask_upstream(&want.ask, &url, accept, method, validators.clone(), hold)
                .await
            {
                // A signed link may have expired since its document was stored.
                Ok(fetched)
                    if is_refusal(fetched.status) && want.is_found_by_link() && !refreshed =>
                {
                    refreshed = true;
                    let again = self.content_urls(want, Demand::Forced).await?;
                    last = status_failure(&fetched.origin, fetched.status);
                    urls = again
                        .into_iter()
                        .rev()
                        .filter(|other| *other != url)
                        .collect();
                }
                Ok(fetched) if fetched.status.is_server_error() && !urls.is_empty() => {
                    last = status_failure(&fetched.origin, fetched.status);
                }
                Ok(fetched) => return Ok(fetched),
                Err(failure) if failure.is_worth_another_endpoint() => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    /// Writes a body into the store while readers follow, checks it, and publishes it.
    async fn stream(
        &self,
        want: &Want,
        epoch: Epoch,
        fetched: Fetched,
        lead: &Lead<FlightKey, ContentState>,
    ) -> Result<Landed, Setback> {
        let head = Arc::new(head_of(&fetched));
        let bad = |what: String| Failure::BadBody {
            origin: head.origin.clone(),
            what,
        };
        let mut writer = self
            .store
            .begin(&want.ask.key, head.identity.length)
            .await
            .map_err(Setback::Store)?;
        lead.update(|state| {
            *state = ContentState::Streaming(Streaming {
                head: Arc::clone(&head),
                body: writer.body(),
                written: 0,
            });
        });
        let mut decoder = Decoder::of(&fetched.headers).map_err(bad)?;
        let (mut digest, mut body) = (md5::Md5::new(), fetched.body);
        while let Some(chunk) = next_chunk(&mut body).await {
            let chunk = chunk.map_err(|error| self.upstream_failure(&want.ask.feed, &error))?;
            digest.update(&chunk);
            let plain = decoder.decode(chunk).map_err(bad)?;
            if plain.is_empty() {
                continue;
            }
            if let Err(fault) = writer.write(plain).await {
                tracing::warn!(key = ?want.ask.key, %fault, "a file could not be written to its end");
                return Err(Setback::Store(fault));
            }
            let written = writer.written();
            lead.update(|state| {
                if let ContentState::Streaming(streaming) = state {
                    streaming.written = written;
                }
            });
        }
        let md5: [u8; 16] = digest.finalize().into();
        if head.identity.md5.is_some_and(|sent| sent != md5) {
            return Err(bad("its bytes differ from its Content-MD5".into()).into());
        }
        if head
            .identity
            .length
            .is_some_and(|length| length != writer.written())
        {
            return Err(bad(format!(
                "{} bytes, expected {:?}",
                writer.written(),
                head.identity.length
            ))
            .into());
        }
        let (checked, reader) = (want.clone(), writer.body().reader());
        let verdict = self
            .tasks
            .blocking("check", move || checked.check(reader))
            .await;
        match verdict {
            Ok(Ok(())) => {}
            Ok(Err(PackageFault::Io(error))) => {
                tracing::warn!(%error, "a file just written cannot be read");
                return Err(Setback::Store(StoreFault::Io));
            }
            Ok(Err(fault)) => return Err(bad(fault.to_string()).into()),
            Err(_) => return Err(Failure::Internal("the check of a body panicked").into()),
        }
        let now = self.clock.now();
        let stored = writer.publish(Draft {
            epoch,
            status: StatusCode::OK,
            upstream_validator: validator_of(&fetched.headers),
            headers: head.headers.clone(),
            origin: head.origin.clone(),
            fetched_at: now,
            validated_at: now,
        });
        self.store.forget_absence(&want.ask.key);
        Ok(Landed::Stored(stored, Outcome::Miss))
    }

    /// A HEAD for a file that is not stored: asked upstream as a HEAD, once for all who wait, and not kept.
    async fn head(&self, want: &Want, epoch: Epoch) -> Result<Delivery, Failure> {
        let mut ticket = match self
            .heads
            .join((want.ask.key.clone(), epoch), HeadState::Asking)
        {
            Joined::Follower(ticket) => ticket,
            Joined::Leader(ticket, lead) => {
                let (proxy, want) = (self.clone(), want.clone());
                self.tasks.spawn("head", async move {
                    let verdict = Box::pin(proxy.fetch_head(&want)).await;
                    lead.finish(HeadState::Done(verdict));
                });
                ticket
            }
        };
        let verdict = ticket.wait_for(|state| matches!(state, HeadState::Done(_)));
        let state = tokio::time::timeout(self.settings.max_hold, verdict).await;
        match state
            .map_err(|_| self.held_out(&want.ask))?
            .map_err(|_| lost())?
            .clone()
        {
            HeadState::Done(Ok(HeadLanded(Some((headers, length))))) => {
                Ok(Delivery::Head { headers, length })
            }
            HeadState::Done(Ok(HeadLanded(None))) => Ok(Delivery::Absent(None)),
            HeadState::Done(Err(failure)) => Err(failure),
            HeadState::Asking => Err(lost()),
        }
    }

    async fn fetch_head(&self, want: &Want) -> Result<HeadLanded, Failure> {
        let fetched = self.ask_for(want, FetchMethod::Head, None).await?;
        match fetched.status {
            StatusCode::OK => Ok(HeadLanded(Some((kept(&fetched.headers), fetched.length)))),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                let epoch = self.gate(&want.ask).epoch;
                self.note_absence(&want.ask, epoch, fetched.status, false)
                    .await;
                Ok(HeadLanded(None))
            }
            status => Err(status_failure(&fetched.origin, status)),
        }
    }

    /// Raises the epoch of an id whose stored list disagrees with what the upstream just said of one version: the list
    /// is old (protocol facts 7.3.1, 7.3.2).
    async fn compare_with_list(&self, want: &Want, found: Found) {
        let Some(id) = want.ask.id.as_ref().filter(|_| want.is_package()) else {
            return;
        };
        let list = self.list_ask(&want.ask.feed, id, &want.ask.via);
        let Some(stored) = self.stored(&list.key).await else {
            return;
        };
        let Ok(Obtained::Document { document, .. }) = Box::pin(self.document(&Ask {
            demand: Demand::StoredOnly,
            ..list.clone()
        }))
        .await
        else {
            return;
        };
        let Ok(versions) = crate::nuget::version_list::read_version_list(document.text()) else {
            return;
        };
        let is_listed = versions
            .versions
            .iter()
            .any(|text| Version::parse(text).is_ok_and(|version| version == want.version));
        let disagrees = match found {
            Found::Confirmed => false,
            Found::Fetched => !is_listed,
            Found::Missing => is_listed,
        };
        if disagrees
            && stored.entry.epoch >= self.gate(&list).epoch
            && self
                .forced
                .first(list.key.clone(), (), self.clock.instant())
        {
            tracing::info!(
                id = id.as_str(),
                version = want.version.as_str(),
                "the stored list is behind the upstream"
            );
            self.store
                .raise(&want.ask.feed.name, Some(id.as_str()), Raise::Refresh);
        }
    }
}

/// What the upstream said of one version's package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Confirmed,
    Fetched,
    Missing,
}

/// Why a flight did not land.
#[derive(Debug)]
enum Setback {
    Failure(Failure),
    Store(StoreFault),
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
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

/// Statuses by which a signed link says that it has expired.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}

fn head_of(fetched: &Fetched) -> Head {
    let is_coded = !matches!(Decoder::of(&fetched.headers), Ok(Decoder::Plain));
    let mut headers = kept(&fetched.headers);
    headers.remove(header::CONTENT_ENCODING);
    Head {
        headers,
        identity: Identity {
            length: fetched.length.filter(|_| !is_coded),
            etag: fetched.headers.get(header::ETAG).cloned(),
            last_modified: fetched.headers.get(header::LAST_MODIFIED).cloned(),
            md5: sent_md5(&fetched.headers),
        },
        origin: fetched.origin.host().to_owned(),
    }
}

/// Undoes a coding that was not asked for: content is stored as the bytes it is.
enum Decoder {
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Plain,
}

impl Decoder {
    fn of(headers: &HeaderMap) -> Result<Self, String> {
        match headers
            .get(header::CONTENT_ENCODING)
            .map(|value| value.as_bytes())
        {
            None | Some(b"" | b"identity") => Ok(Self::Plain),
            Some(b"gzip") => Ok(Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(
                Vec::new(),
            )))),
            Some(other) => Err(format!(
                "content coding {:?}, expected none",
                String::from_utf8_lossy(other)
            )),
        }
    }

    fn decode(&mut self, chunk: Bytes) -> Result<Bytes, String> {
        match self {
            Self::Plain => Ok(chunk),
            Self::Gzip(decoder) => {
                decoder
                    .write_all(&chunk)
                    .map_err(|error| format!("gzip: {error}"))?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }
}
