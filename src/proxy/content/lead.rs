//! The leader's work on a file: ask, and tell everybody who waits what came of it.

use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::coding::Decoder;
use super::list::Found;
use super::recheck::{CONTENT_MD5, is_unchanged};
use super::{Framing, Want};
use crate::cache::decision::Demand;
use crate::cache::entry::Entry;
use crate::cache::epoch::Epoch;
use crate::cache::key::Audience;
use crate::flight::{Joined, Lead, Ticket};
use crate::proxy::Proxy;
use crate::proxy::checks::{aged, conditional_of, kept, sent_md5};
use crate::proxy::document::FlightKey;
use crate::proxy::failure::Failure;
use crate::proxy::fetch::status_failure;
use crate::proxy::live::{HOLD_BACK_BYTES, Identity, free_of};
use crate::proxy::outcome::{Outcome, Reason};
use crate::store::{self, StoreFault, Stored};
use crate::upstream::{Accept, Conditional, FetchMethod, Fetched, Stake};

/// The state of a flight for a file.
#[derive(Clone, Debug)]
pub(in crate::proxy) enum ContentState {
    /// Whoever joins shares its place in the queue of the origin.
    Asking(Arc<Stake>),
    /// The store failed in the middle: so many bytes can still be read from it, and the rest everybody asks for on their
    /// own.
    Cut {
        written: u64,
    },
    Done(Result<Landed, Failure>),
    /// The store cannot take it: everybody asks on their own, but for whoever takes the answer at hand.
    Past(Spare),
    /// It failed in a way that may be about whom it was asked for alone.
    Refused(Audience, Failure),
    Streaming(Streaming),
}

/// An answer that the store could not take the first byte of: one reader of the audience that it was asked for can have
/// it.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Spare(Arc<Mutex<Option<(Fetched, Audience)>>>);

impl Spare {
    pub(super) fn of(fetched: Fetched, asked_by: Audience) -> Self {
        Self(Arc::new(Mutex::new(Some((fetched, asked_by)))))
    }

    pub(super) fn take(&self, audience: &Audience) -> Option<Fetched> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = spare.as_ref().is_some_and(|(_, own)| own == audience);
        let (fetched, _) = if fits { spare.take() } else { None }?;
        Some(fetched)
    }
}

/// What a flight brought.
#[derive(Clone, Debug)]
pub(in crate::proxy) enum Landed {
    /// The upstream has none for this audience.
    Absent(Audience),
    /// A body that goes on where an earlier flight broke off.
    Resumed(Stored),
    Stored(Stored, Outcome),
}

impl Landed {
    pub(in crate::proxy) fn body_bytes(&self) -> u64 {
        match self {
            Self::Absent(_) => 0,
            Self::Resumed(stored) | Self::Stored(stored, _) => stored.body.len(),
        }
    }
}

/// A body under way.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Streaming {
    /// Whose credential it comes for.
    pub(super) asked_by: Audience,
    pub(super) head: Arc<Head>,
    pub(super) body: store::Body,
    /// Bytes that can be read from the file.
    pub(super) written: u64,
    /// Why it is not simply a miss.
    pub(super) reason: Option<Reason>,
}

/// How often a flight for a file was begun for one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Attempt {
    /// Once more, since the upstream's file changed in the middle: not a third time.
    Anew,
    First,
}

/// What is known of a body before its first byte.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Head {
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) identity: Identity,
    pub(in crate::proxy) origin: String,
}

impl Head {
    /// The failure of a body that did not pass its checks.
    pub(super) fn bad(&self, what: String) -> Failure {
        Failure::BadBody {
            origin: self.origin.clone(),
            what,
        }
    }
}

impl ContentState {
    /// Whether there is a verdict.
    pub(super) fn is_landed(&self) -> bool {
        match self {
            Self::Cut { .. } | Self::Done(_) | Self::Past(_) | Self::Refused(..) => true,
            Self::Asking(_) | Self::Streaming(_) => false,
        }
    }

    /// Whether it is a verdict for another audience alone, which says nothing to this one.
    pub(super) fn is_for_another_than(&self, audience: &Audience) -> bool {
        match self {
            Self::Done(Ok(Landed::Absent(own))) | Self::Refused(own, _) => own != audience,
            Self::Asking(_)
            | Self::Cut { .. }
            | Self::Done(_)
            | Self::Past(_)
            | Self::Streaming(_) => false,
        }
    }

    /// Whether a client can be told a status. A body that fits in what is held back has none before its verdict, one
    /// of unknown length not before more than that is there.
    pub(super) fn can_be_told(&self, framing: Framing) -> bool {
        let Self::Streaming(streaming) = self else {
            return self.is_landed();
        };
        match streaming.head.identity.length {
            Some(length) => length > HOLD_BACK_BYTES,
            None => framing == Framing::Any && streaming.written > HOLD_BACK_BYTES,
        }
    }
}

impl Streaming {
    /// Offset behind the last byte that a reader up to `end` may have before the verdict.
    pub(in crate::proxy) fn may_give(&self, end: Option<u64>) -> u64 {
        free_of(self.written, end.or(self.head.identity.length))
    }
}

impl Proxy {
    /// Joins the flight for a file or opens it: how what it fetches is called for this reader.
    pub(super) fn board_content(
        &self,
        want: &Want,
        epoch: Epoch,
    ) -> (Ticket<FlightKey, ContentState>, Outcome) {
        self.board_as(want, epoch, Attempt::First)
    }

    fn board_as(
        &self,
        want: &Want,
        epoch: Epoch,
        attempt: Attempt,
    ) -> (Ticket<FlightKey, ContentState>, Outcome) {
        let (ask, stake) = want.ask.led();
        match self
            .contents
            .join(FlightKey::of(&want.ask, epoch), ContentState::Asking(stake))
        {
            Joined::Follower(ticket) => {
                if let ContentState::Asking(stake) = &*ticket.now() {
                    want.ask.share(stake);
                }
                (ticket, Outcome::Coalesced)
            }
            Joined::Leader(ticket, lead) => {
                let (proxy, want) = (self.clone(), want.with(ask));
                self.tasks.spawn("content", async move {
                    proxy.lead_content(&want, epoch, attempt, lead).await
                });
                (ticket, Outcome::Miss)
            }
        }
    }

    async fn lead_content(
        &self,
        want: &Want,
        epoch: Epoch,
        attempt: Attempt,
        lead: Lead<FlightKey, ContentState>,
    ) {
        let cancelled = async {
            lead.cancelled().await;
            // Whoever writes a body sees to it that what is there is kept.
            if matches!(*lead.now(), ContentState::Streaming(_)) {
                std::future::pending::<()>().await;
            }
        };
        let verdict = tokio::select! {
            biased;
            () = cancelled => return,
            verdict = Box::pin(self.fetch_content(want, epoch, &lead)) => verdict,
        };
        let mut begins_anew = false;
        let landed = match verdict {
            Ok(landed) => Ok(landed),
            Err(Setback::Cancelled) => return,
            Err(Setback::Changed(failure)) => {
                // Closed first, so that nobody joins after the count.
                lead.close();
                begins_anew = lead.readers() == 0 && attempt == Attempt::First;
                self.note_failed(&want.ask.feed, &want.ask.key, &failure);
                Err(failure)
            }
            Err(Setback::Failure(failure)) => {
                self.note_failed(&want.ask.feed, &want.ask.key, &failure);
                Err(failure)
            }
            Err(Setback::Store(fault, spare)) => {
                tracing::debug!(key = ?want.ask.key, %fault, "a file could not be stored");
                let written = match &*lead.now() {
                    ContentState::Streaming(streaming) => Some(streaming.written),
                    _ => None,
                };
                lead.finish(match written {
                    Some(written) => ContentState::Cut { written },
                    None => ContentState::Past(spare),
                });
                return;
            }
        };
        let found = landed.as_ref().ok().map(|landed| match landed {
            Landed::Absent(_) => Found::Missing,
            Landed::Resumed(_) | Landed::Stored(_, Outcome::Miss) => Found::Fetched,
            Landed::Stored(..) => Found::Confirmed,
        });
        lead.finish(match landed {
            Err(failure) if !failure.is_outage() => {
                ContentState::Refused(want.ask.feed.audience(), failure)
            }
            landed => ContentState::Done(landed),
        });
        if begins_anew {
            drop(self.board_as(want, epoch, Attempt::Anew));
        }
        if let Some(found) = found {
            if found != Found::Missing {
                self.compare_hash_behind(want);
                self.check_signature_behind(want);
            }
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
            && self.store.absence(&ask.own_key()).await.is_none()
        {
            return Ok(Landed::Stored(stored.clone(), Outcome::Hit));
        }
        if want.version().is_some() {
            // Whether there is a flat container, the service index says.
            self.model(&ask.feed, &ask.errand, ask.since).await?;
        }
        if self.is_made_of_its_package(want) {
            return self.take_manifest(want, epoch).await;
        }
        // Of what should be another file, the upstream's word that it is the same is worth nothing.
        let is_trusted = self.doubt_of(want).is_none();
        let validators = stored.as_ref().filter(|_| is_trusted).map(conditional_of);
        let asked_at = self.clock.now();
        let (fetched, begun) = self.ask_or_go_on(want, epoch, validators).await?;
        self.check_heard(ask, &fetched).await?;
        let heard_by = fetched.heard_by;
        if let Some(inflow) = begun {
            let landed = self.go_on(want, epoch, fetched, inflow, lead).await?;
            if let Some(before) = stored {
                self.follow_package(want, &before, &landed).await;
            }
            self.note_proof(ask, heard_by, asked_at);
            return Ok(landed);
        }
        let landed = match (fetched.status, stored) {
            // A page that a license or a readme might be is none to sign in at, but where clients sign in.
            (StatusCode::OK, _)
                if (want.is_no_page() || ask.feed.client.is_some())
                    && is_page(&fetched.headers) =>
            {
                let origin = fetched.origin.host().to_owned();
                return Err(Failure::HtmlPage { origin }.into());
            }
            // What it would bring is here: its body is left unread.
            (StatusCode::OK, Some(stored))
                if is_trusted && is_unchanged(&fetched, &stored.entry) =>
            {
                let age = fetched.headers.get(header::AGE);
                self.still_current(want, stored, age, epoch)
            }
            (StatusCode::OK, stored) => {
                let landed = self.stream(want, epoch, fetched, lead).await?;
                if let Some(before) = stored {
                    self.follow_package(want, &before, &landed).await;
                }
                landed
            }
            (StatusCode::NOT_MODIFIED, Some(stored)) => {
                let age = fetched.headers.get(header::AGE);
                self.still_current(want, stored, age, epoch)
            }
            (status, stored) if want.is_absence(status) => {
                return Ok(self.no_more(want, epoch, status, stored).await);
            }
            (status, _) => return Err(status_failure(&fetched.origin, status).into()),
        };
        self.note_proof(ask, heard_by, asked_at);
        Ok(landed)
    }

    /// The stored file is current.
    fn still_current(
        &self,
        want: &Want,
        mut stored: Stored,
        age: Option<&HeaderValue>,
        epoch: Epoch,
    ) -> Landed {
        let now = self.clock.now();
        let headers = aged(&stored.entry.headers, age);
        self.store
            .refresh(&stored, now, epoch, Some(headers.clone()));
        self.store.forget_absence(&want.ask.own_key());
        self.end_withdrawal(want);
        stored.entry = Arc::new(Entry {
            validated_at: now,
            epoch,
            headers,
            ..(*stored.entry).clone()
        });
        Landed::Stored(stored, Outcome::Revalidated)
    }

    /// Remembers that the upstream has no such file. Its documents' epoch gates that, and its own version's.
    pub(super) async fn note_absent(&self, want: &Want, epoch: Epoch, status: StatusCode) {
        let epoch = epoch.max(self.gate(&want.ask).epoch);
        self.note_absence(&want.ask, epoch, status, false).await;
    }

    /// Asks every endpoint in order for a file.
    pub(super) async fn ask_for(
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
            let hold = self.share_of(hold, urls.len() + 1);
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
}

/// Why a flight did not land.
#[derive(Debug)]
pub(super) enum Setback {
    /// Nobody waited for it, and others for whom nobody does were begun since.
    Cancelled,
    /// Its body broke off, and the rest is not for certain of the same body.
    Changed(Failure),
    Failure(Failure),
    /// The store cannot take it; the answer, if none of it was used.
    Store(StoreFault, Spare),
}

impl From<StoreFault> for Setback {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault, Spare::default())
    }
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Whether an answer is a page for people, by its own word.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.to_ascii_lowercase().starts_with("text/html")
}

/// Statuses by which a signed link says that it has expired.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}

pub(super) fn head_of(fetched: &Fetched) -> Head {
    let is_coded = !matches!(Decoder::of(&fetched.headers), Ok(Decoder::Plain));
    let mut headers = kept(&fetched.headers);
    headers.remove(header::CONTENT_ENCODING);
    // To tell whether another answer brings the same file.
    let md5 = fetched.headers.get(CONTENT_MD5);
    headers.extend(md5.map(|md5| (CONTENT_MD5, md5.clone())));
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
