//! A body on its way into the store: readers follow while it grows, a line that breaks is mended, the whole is checked and
//! published.

use std::io::ErrorKind;
use std::sync::Arc;

use http::StatusCode;
use md5::Digest as _;

use super::coding::Decoder;
use super::lead::{ContentState, Head, Landed, Setback, Spare, Streaming, head_of};
use super::line::Line;
use super::resume::{Resume, Stop};
use super::{FileFault, Want};
use crate::cache::entry::UpstreamValidator;
use crate::cache::epoch::Epoch;
use crate::flight::Lead;
use crate::nuget::nupkg::{self, PackageFault};
use crate::proxy::Proxy;
use crate::proxy::document::FlightKey;
use crate::proxy::failure::Failure;
use crate::proxy::outcome::{Outcome, Reason};
use crate::store::{BodyWriter, Draft, StoreFault, Stored};
use crate::upstream::Fetched;

/// A body on its way into the store.
#[derive(Debug)]
pub(super) struct Inflow {
    pub(super) writer: BodyWriter,
    pub(super) head: Arc<Head>,
    pub(super) validator: UpstreamValidator,
    /// Of the bytes as they came.
    pub(super) digest: md5::Md5,
    pub(super) pieces: Pieces,
}

/// Of how many answers a body is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pieces {
    One,
    Several,
}

/// How far a line brought a body.
enum Poured {
    /// The line broke, as this says.
    Broke(Failure),
    /// Too many flights go on without readers.
    Cancelled,
    Whole,
}

impl Inflow {
    /// Whether its rest could be asked for, and what comes then be checked: a body that came in pieces and has no digest of
    /// the whole is good only if its check sees every byte.
    pub(super) fn can_go_on(&self, want: &Want) -> bool {
        let identity = &self.head.identity;
        let is_whole = identity.length == Some(self.writer.written());
        let is_checked = identity.md5.is_some() || want.is_checked_throughout();
        identity.can_be_continued() && is_checked && !is_whole
    }
}

impl Proxy {
    /// Writes a body into the store while readers follow, checks it, and publishes it.
    pub(super) async fn stream(
        &self,
        want: &Want,
        epoch: Epoch,
        fetched: Fetched,
        lead: &Lead<FlightKey, ContentState>,
    ) -> Result<Landed, Setback> {
        let head = Arc::new(head_of(&fetched));
        let begun = self.store.begin(&want.ask.key, head.identity.length).await;
        let writer = match begun {
            Ok(writer) => writer,
            Err(fault) => {
                return Err(Setback::Store(
                    fault,
                    Spare::of(fetched, want.ask.feed.audience()),
                ));
            }
        };
        let inflow = Inflow {
            writer,
            head,
            validator: UpstreamValidator::of(&fetched.headers),
            digest: md5::Md5::new(),
            pieces: Pieces::One,
        };
        self.go_on(want, epoch, fetched, inflow, lead).await
    }

    /// The same for a body of which some is there, with an answer that brings the rest.
    pub(super) async fn go_on(
        &self,
        want: &Want,
        epoch: Epoch,
        fetched: Fetched,
        mut inflow: Inflow,
        lead: &Lead<FlightKey, ContentState>,
    ) -> Result<Landed, Setback> {
        let (head, at) = (Arc::clone(&inflow.head), inflow.writer.written());
        lead.update(|state| {
            *state = ContentState::Streaming(Streaming {
                asked_by: want.ask.feed.audience(),
                head: Arc::clone(&head),
                body: inflow.writer.body(),
                written: at,
                reason: (at > 0).then_some(Reason::Resumed),
            });
        });
        let mut decoder = Decoder::of(&fetched.headers).map_err(|what| head.bad(what))?;
        let mut line = Line::new(fetched.body, at, head.identity.length);
        let mut resume = Resume::new(self, want, &head.identity, at);
        loop {
            let poured = self.pour(want, &mut inflow, &mut line, &mut decoder, lead);
            let broke = match poured.await? {
                Poured::Whole => break,
                Poured::Broke(broke) => broke,
                Poured::Cancelled => {
                    self.keep_beginning(want, epoch, inflow).await;
                    return Err(Setback::Cancelled);
                }
            };
            let rest = resume.rest(inflow.writer.written(), &inflow.digest, broke);
            let rest = tokio::select! {
                biased;
                () = lead.cancelled() => None,
                rest = Box::pin(rest) => Some(rest),
            };
            inflow.pieces = Pieces::Several;
            match rest {
                Some(Ok(rest)) => line = rest,
                Some(Err(Stop::Changed(failure))) => return Err(Setback::Changed(failure)),
                Some(Err(Stop::Failed(failure))) => {
                    self.keep_beginning(want, epoch, inflow).await;
                    return Err(failure.into());
                }
                None => {
                    self.keep_beginning(want, epoch, inflow).await;
                    return Err(Setback::Cancelled);
                }
            }
        }
        let stored = self.land(want, epoch, inflow).await?;
        Ok(if at > 0 {
            Landed::Resumed(stored)
        } else {
            Landed::Stored(stored, Outcome::Miss)
        })
    }

    /// Writes what a line brings.
    async fn pour(
        &self,
        want: &Want,
        inflow: &mut Inflow,
        line: &mut Line,
        decoder: &mut Decoder,
        lead: &Lead<FlightKey, ContentState>,
    ) -> Result<Poured, Setback> {
        let head = Arc::clone(&inflow.head);
        let bad = |what: String| head.bad(what);
        let cancelled = lead.cancelled();
        tokio::pin!(cancelled);
        let mut is_complete = false;
        while !is_complete {
            // Given up only here: between what is written and what is hashed nothing is left out.
            let next = tokio::select! {
                biased;
                () = &mut cancelled => return Ok(Poured::Cancelled),
                next = line.next() => next,
            };
            let plain = match next {
                Some(Ok(chunk)) => {
                    inflow.digest.update(&chunk);
                    decoder.decode(chunk).map_err(bad)?
                }
                Some(Err(broke)) => {
                    let failure = broke.failure(self, want, &head.origin);
                    return if broke.is_mendable() && inflow.can_go_on(want) {
                        Ok(Poured::Broke(failure))
                    } else {
                        Err(failure.into())
                    };
                }
                None => {
                    is_complete = true;
                    decoder.finish().map_err(bad)?
                }
            };
            if plain.is_empty() {
                continue;
            }
            inflow.writer.write(plain).await?;
            let written = inflow.writer.written();
            lead.update(|state| {
                if let ContentState::Streaming(streaming) = state {
                    streaming.written = written;
                }
            });
        }
        Ok(Poured::Whole)
    }

    /// Checks a whole body and publishes it.
    async fn land(&self, want: &Want, epoch: Epoch, inflow: Inflow) -> Result<Stored, Setback> {
        self.check_written(want, &inflow).await?;
        let Inflow {
            writer,
            head,
            validator,
            ..
        } = inflow;
        let now = self.clock.now();
        let stored = writer.publish(Draft {
            epoch,
            status: StatusCode::OK,
            upstream_validator: validator,
            headers: head.headers.clone(),
            origin: head.origin.clone(),
            fetched_at: now,
            validated_at: now,
        });
        self.store.forget_absence(&want.ask.own_key());
        self.end_withdrawal(want);
        self.heed_body(want, &stored);
        want.ask.feed.troubles.note_good(&head.origin);
        Ok(stored)
    }

    /// The verdict on a whole body.
    async fn check_written(&self, want: &Want, inflow: &Inflow) -> Result<(), Setback> {
        let (head, writer) = (&inflow.head, &inflow.writer);
        let md5: [u8; 16] = inflow.digest.clone().finalize().into();
        if head.identity.md5.is_some_and(|sent| sent != md5) {
            return Err(head
                .bad("its bytes differ from its Content-MD5".into())
                .into());
        }
        let written = writer.written();
        if let Some(length) = head.identity.length
            && length != written
        {
            let what = format!("{written} bytes, expected {length}");
            return Err(head.bad(what).into());
        }
        let (checked, reader) = (want.clone(), writer.body().reader());
        let is_patched = inflow.pieces == Pieces::Several && head.identity.md5.is_none();
        let verdict = self
            .tasks
            .blocking("check", move || {
                checked.check(reader.clone())?;
                if is_patched && checked.is_package() {
                    nupkg::check_entries(reader)?;
                }
                Ok::<_, FileFault>(())
            })
            .await
            .map_err(|_| Failure::Internal("the check of a body panicked"))?;
        match verdict {
            Ok(()) => Ok(()),
            // What ends too early is the package's fault, all else the disk's.
            Err(FileFault::Package(PackageFault::Io(error)))
                if error.kind() != ErrorKind::UnexpectedEof =>
            {
                tracing::warn!(%error, "a file just written cannot be read");
                Err(StoreFault::Io.into())
            }
            Err(fault) => Err(head.bad(fault.to_string()).into()),
        }
    }
}
