//! Files, of the flat container and beside it: streamed to everybody who waits while they are fetched once.
//!
//! The leader writes into the store and tells how far it is; readers follow the file at their own pace. After the last
//! byte come the checks, then the verdict. Only then is the body stored, and only then do readers get its end.

mod coding;
mod head;
mod lead;
mod line;
mod list;
mod manifest;
mod partials;
mod proven;
mod recheck;
mod resume;
mod stream;

use std::io::{Read, Seek};
use std::sync::Arc;

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

pub(super) use self::coding::Decoder;
pub(super) use self::head::HeadState;
pub(super) use self::lead::{ContentState, Head};
use self::lead::{Landed, Spare, Streaming, head_of};
pub(super) use self::line::Line;
pub(super) use self::partials::Partials;
pub(super) use self::proven::ProofState;
pub(super) use self::recheck::{AGAIN_AFTER_GONE, MAX_AT_ONCE, MAX_WAITING, Purpose};
pub(super) use self::resume::{Resume, Stop};
use super::Proxy;
use super::document::{Ask, FlightKey, Missing, why};
use super::failure::Failure;
use super::fetch::status_failure;
use super::live::{Live, lost};
use super::outcome::{Outcome, Reason};
use super::past::{Past, PastFault};
use super::rescue::Rescue;
use super::respond::Facts;
use super::route::{Class, Content};
use crate::cache::decision::{Decision, Demand, decide};
use crate::cache::epoch::{Epoch, Gate};
use crate::cache::range::{self, Satisfied};
use crate::flight::Ticket;
use crate::nuget::nupkg::{self, PackageFault};
use crate::nuget::signatures;
use crate::nuget::version::Version;
use crate::store::Stored;
use crate::upstream::{FetchMethod, Fetched};

/// A file that somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) ask: Ask,
    pub(super) file: File,
    pub(super) purpose: Purpose,
}

/// What a file is, which says how it is checked.
#[derive(Clone, Debug)]
pub(super) enum File {
    /// The certificate with this SHA-256 in hex digits.
    Certificate(String),
    /// Of the flat container: of this version, this file.
    OfPackage(Version, Content),
    /// Whatever its place holds: a client binary, symbols.
    Opaque,
}

impl Want {
    /// The same, asked for so.
    fn with(&self, ask: Ask) -> Self {
        Self {
            ask,
            ..self.clone()
        }
    }

    pub(super) fn is_package(&self) -> bool {
        matches!(self.file, File::OfPackage(_, Content::Package))
    }

    /// The version that it is of, if it is of one.
    pub(super) fn version(&self) -> Option<&Version> {
        match &self.file {
            File::OfPackage(version, _) => Some(version),
            File::Certificate(_) | File::Opaque => None,
        }
    }

    /// Whether a status says that the upstream has no such file. Symbol servers say so with a 403 too: to whoever names no
    /// checksum, and where a blob store that does not list stands behind them.
    fn is_absence(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
            || (status == StatusCode::FORBIDDEN && self.ask.class == Class::Symbols)
    }

    /// Whether it is never a page for people.
    fn is_no_page(&self) -> bool {
        let may_be_page = matches!(
            self.file,
            File::OfPackage(_, Content::License | Content::Readme)
        );
        !may_be_page
    }

    /// Checks a whole body: a package against the id and version of its URL, a manifest likewise.
    pub(super) fn check(&self, mut reader: impl Read + Seek) -> Result<(), FileFault> {
        let mut first = |max_bytes| {
            let mut bytes = Vec::new();
            let mut limited = reader.by_ref().take(max_bytes);
            limited.read_to_end(&mut bytes).map_err(PackageFault::Io)?;
            Ok::<_, PackageFault>(bytes)
        };
        match (&self.file, &self.ask.id) {
            (File::Certificate(sha256), _) => {
                signatures::check_certificate(&first(MAX_CERTIFICATE_BYTES)?, sha256)
                    .map_err(FileFault::Bad)
            }
            (File::OfPackage(version, Content::Manifest), Some(id)) => Ok(nupkg::check_nuspec(
                &first(MAX_MANIFEST_BYTES)?,
                id,
                version,
            )?),
            (File::OfPackage(version, Content::Package), Some(id)) => {
                Ok(nupkg::check_package(reader, id, version)?)
            }
            // Whatever it holds, it holds something; and what is stored of it stays for ever.
            (File::OfPackage(_, Content::Icon) | File::Opaque, _) => match first(1)?[..] {
                [] => Err(FileFault::Bad("it is empty".into())),
                _ => Ok(()),
            },
            (File::OfPackage(..), _) => Ok(()),
        }
    }

    /// The epoch that gates it: raised only by a delete or purge of its version.
    fn gate(&self, proxy: &Proxy) -> Gate {
        let id = self.ask.id.as_ref().map_or("", |id| id.as_str());
        let version = self.version().map_or("", Version::as_str);
        let epoch = proxy.store.version_gate(&self.ask.feed.name, id, version);
        Gate {
            epoch,
            published_at: None,
        }
    }
}

/// Largest manifest that is read for its check: real ones have some kilobytes.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Largest certificate that can pass its check: real ones have two kilobytes.
const MAX_CERTIFICATE_BYTES: u64 = 1 << 20;

/// What is wrong with a whole body.
#[derive(Debug)]
pub(super) enum FileFault {
    /// In words.
    Bad(String),
    /// With a package or its manifest.
    Package(PackageFault),
}

impl std::fmt::Display for FileFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bad(problem) => f.write_str(problem),
            Self::Package(fault) => fault.fmt(f),
        }
    }
}

impl From<PackageFault> for FileFault {
    fn from(fault: PackageFault) -> Self {
        Self::Package(fault)
    }
}

/// How a file is delivered.
#[derive(Debug)]
pub(super) enum Delivery {
    Absent(Missing),
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
    /// Gets a file: stored, under way, or past the store. Whether a stored one may be given is not asked here.
    async fn content_at_hand(&self, want: &Want, facts: &Facts<'_>) -> Result<Delivery, Failure> {
        let ask = &want.ask;
        if let Some(id) = &ask.id {
            ask.feed.check_rules(id, want.version())?;
        }
        let (stored, gate) = (self.stored(&ask.key).await, want.gate(self));
        let absence = self.store.absence(&ask.own_key()).await;
        let reach = self.reach(ask);
        let policy = ask.feed.policy(ask.class);
        let entry = stored.as_ref().map(|stored| &*stored.entry);
        let absent_gate = self.gate(ask);
        let absence = absence.filter(|absence| absence.epoch >= absent_gate.epoch);
        let said_at = absence.as_ref().map(|absence| absence.last_at);
        let decision = decide(
            entry,
            absence.as_ref(),
            &gate,
            &policy,
            ask.demand,
            reach,
            self.clock.now(),
        );
        match (decision, stored) {
            (Decision::Absent | Decision::AbsentStale, _) => Ok(Delivery::Absent(Missing {
                reason: None,
                said_at,
            })),
            (Decision::Hit, Some(stored)) => Ok(from_store(stored, Outcome::Hit, None)),
            (Decision::Stale, Some(stored)) => {
                if reach.may_be_asked() && ask.demand != Demand::StoredOnly {
                    let behind = want.with(want.ask.behind());
                    drop(self.board_content(&behind, gate.epoch));
                }
                let reason = why(reach, ask.demand);
                Ok(from_store(stored, Outcome::Stale, Some(reason)))
            }
            (Decision::Revalidate, Some(stored)) => {
                let landed = self.aboard(want, gate.epoch, facts, Patience::WithCopy);
                let left = self.left_of(self.settings.stale_after, ask);
                let reason = match tokio::time::timeout(left, landed).await {
                    Ok(Ok(delivery)) => return Ok(delivery),
                    Ok(Err(failure @ Failure::Challenged(_))) => return Err(failure),
                    Ok(Err(failure)) => failure.reason(),
                    Err(_) => Reason::SlowOrigin,
                };
                Ok(from_store(stored, Outcome::Stale, Some(reason)))
            }
            (Decision::Refuse, _) => Err(self.refused(ask)),
            _ => match self.refusals.of(&ask.own_key(), self.clock.instant()) {
                Some(failure) => Err(failure),
                None if *facts.method == Method::HEAD && !self.is_made_of_its_package(want) => {
                    self.head(want, gate.epoch).await
                }
                None => {
                    self.aboard(want, gate.epoch, facts, Patience::WithoutCopy)
                        .await
                }
            },
        }
    }

    /// Joins or opens the flight for a file and waits for something to give. What the upstream has not for one audience
    /// says nothing to another: it asks again.
    async fn aboard(
        &self,
        want: &Want,
        epoch: Epoch,
        facts: &Facts<'_>,
        patience: Patience,
    ) -> Result<Delivery, Failure> {
        loop {
            let delivery = self.aboard_once(want, epoch, facts, patience).await?;
            if let Some(delivery) = delivery {
                return Ok(delivery);
            }
        }
    }

    /// The same; `None` if the flight ended with what is meant for another audience alone.
    async fn aboard_once(
        &self,
        want: &Want,
        epoch: Epoch,
        facts: &Facts<'_>,
        patience: Patience,
    ) -> Result<Option<Delivery>, Failure> {
        let (mut ticket, own) = self.board_content(want, epoch);
        let framing = Framing::of(facts.version);
        let state = match patience {
            // The copy is better than a body that may yet turn out to be bad.
            Patience::WithCopy => ticket.wait_for(ContentState::is_landed).await,
            Patience::WithoutCopy => {
                let ready = ticket.wait_for(|state| state.can_be_told(framing));
                let left = self.left_of(self.settings.max_hold, &want.ask);
                let ready = tokio::time::timeout(left, ready);
                let is_late = ready.await.is_err();
                let asking = match &*ticket.now() {
                    ContentState::Asking(stake) => Some(Arc::clone(stake)),
                    _ => None,
                };
                if is_late && asking.is_some() {
                    let failure = self.out_of_time(&want.ask, asking.as_ref());
                    self.note_refusal(want, &failure);
                    return Err(failure);
                }
                // Bytes are coming, and the hold is for the first of them.
                ticket.wait_for(|state| state.can_be_told(framing)).await
            }
        };
        let state = state.map_err(|_| lost())?.clone();
        let audience = want.ask.feed.audience();
        if state.is_for_another_than(&audience) {
            return Ok(None);
        }
        let delivery = match state {
            ContentState::Asking(_) => Err(lost()),
            ContentState::Done(Ok(Landed::Absent(_))) => Ok(Delivery::Absent(Missing::default())),
            ContentState::Done(Ok(Landed::Resumed(stored))) => {
                Ok(from_store(stored, own, Some(Reason::Resumed)))
            }
            ContentState::Done(Ok(Landed::Stored(stored, Outcome::Miss))) => {
                Ok(from_store(stored, own, None))
            }
            ContentState::Done(Ok(Landed::Stored(stored, how))) => {
                Ok(from_store(stored, how, None))
            }
            ContentState::Done(Err(failure)) | ContentState::Refused(_, failure) => {
                if failure.spent_its_hold() && patience == Patience::WithoutCopy {
                    self.note_refusal(want, &failure);
                }
                Err(failure)
            }
            ContentState::Cut { .. } => {
                drop(ticket);
                self.deliver_past(want, framing, &Spare::default()).await
            }
            ContentState::Past(spare) => {
                drop(ticket);
                self.deliver_past(want, framing, &spare).await
            }
            ContentState::Streaming(streaming) => {
                if streaming.asked_by != audience
                    && let Some(missing) = self.prove_to_follow(want).await?
                {
                    return Ok(Some(Delivery::Absent(missing)));
                }
                Ok(self.deliver_live(want, ticket, streaming, facts, own))
            }
        };
        delivery.map(Some)
    }

    /// Has a key whose hold ran out refused at once for a while.
    fn note_refusal(&self, want: &Want, failure: &Failure) {
        let now = self.clock.instant();
        self.refusals.note(want.ask.own_key(), failure.clone(), now);
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
        // There is no tag of ours before the whole is there, so a range under a condition gets the whole; and only a
        // GET has ranges (RFC 9110 section 14.2).
        let asked = asked
            .filter(|_| *facts.method == Method::GET)
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
            reason: streaming.reason,
        }
    }

    /// An upstream stream of the client's own: the answer at hand if nobody else took it.
    async fn deliver_past(
        &self,
        want: &Want,
        framing: Framing,
        spare: &Spare,
    ) -> Result<Delivery, Failure> {
        let fetched = match spare.take(&want.ask.feed.audience()) {
            Some(fetched) => fetched,
            None => Box::pin(self.ask_for(want, FetchMethod::Get, None)).await?,
        };
        if want.is_absence(fetched.status) {
            return Ok(Delivery::Absent(Missing::default()));
        }
        let (head, mut past) = self.past_of(want, fetched)?;
        let max_bytes = self.settings.max_document_bytes;
        let prepared = Box::pin(past.prepare(framing, max_bytes)).await;
        prepared.map_err(|fault| match fault {
            PastFault::Bad(what) => head.bad(what),
            PastFault::TooLarge => Failure::TooLarge {
                origin: head.origin.clone(),
                max_bytes,
            },
            PastFault::Broke(failure) => failure,
        })?;
        Ok(Delivery::Live {
            headers: head.headers,
            origin: head.origin,
            live: Live::of_stream(past),
            outcome: Outcome::Bypass,
            reason: Some(Reason::Store),
        })
    }

    /// Asks for a file past the store.
    pub(super) async fn past_the_store(&self, want: &Want) -> Result<Past, Failure> {
        let fetched = self.ask_for(want, FetchMethod::Get, None).await?;
        self.past_of(want, fetched).map(|(_, past)| past)
    }

    /// A body past the store.
    fn past_of(&self, want: &Want, fetched: Fetched) -> Result<(Head, Past), Failure> {
        if fetched.status != StatusCode::OK {
            return Err(status_failure(&fetched.origin, fetched.status));
        }
        let head = head_of(&fetched);
        let decoder = Decoder::of(&fetched.headers).map_err(|what| head.bad(what))?;
        let past = Past::new(self, fetched.body, decoder, &head, want.clone());
        Ok((head, past))
    }
}

/// How long a request waits for its flight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Patience {
    /// For the verdict: its caller gives up in favour of the copy.
    WithCopy,
    /// For the first byte, as long as a hold; then for as long as bytes come.
    WithoutCopy,
}

/// How a client learns where a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// By its length or by its chunks.
    Any,
    /// By its length alone: to HTTP/1.0, a body without one that breaks off looks complete.
    Length,
}

impl Framing {
    fn of(version: http::Version) -> Self {
        if version < http::Version::HTTP_11 {
            Self::Length
        } else {
            Self::Any
        }
    }
}

fn from_store(stored: Stored, outcome: Outcome, reason: Option<Reason>) -> Delivery {
    Delivery::Stored {
        stored,
        outcome,
        reason,
    }
}
