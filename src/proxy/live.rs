//! A file's bytes on their way to a client: from a stored body, from the file that a leader writes, or past the store.
//!
//! A store that fails in the middle ends no answer: the reader goes on with the upstream's own stream. Readers of what is
//! not checked yet never get the last 16 KiB before the verdict: if that is bad, their connections break and nobody
//! holds a whole package that failed its checks (protocol fact 3.6.9).

use bytes::Bytes;

use super::Proxy;
use super::body::BodyError;
use super::content::{ContentState, Want};
use super::document::FlightKey;
use super::failure::Failure;
use super::outcome::Reason;
use super::past::Past;
use crate::flight::Ticket;
use crate::store::{self, StoreFault, Stored};

/// What no reader gets before the verdict: a zip's end record with its directory's end lies in it.
pub(super) const HOLD_BACK_BYTES: u64 = 16 * 1024;

/// Bytes read from a file at a time: each reader holds one, and hundreds may read at once.
const CHUNK_BYTES: u64 = 64 * 1024;

/// A file's bytes on their way to a client.
#[derive(Debug)]
pub(super) struct Live {
    source: Source,
    /// Offset of the next byte to give.
    at: u64,
    /// Offset behind the last byte to give, if known.
    end: Option<u64>,
    /// Start, end and total length, where a part was asked for.
    part: Option<(u64, u64, u64)>,
}

#[derive(Debug)]
enum Source {
    /// A flight, and how to go on without its file should the store fail in the middle.
    Flight {
        ticket: Ticket<FlightKey, ContentState>,
        body: store::Body,
        rescue: Box<Rescue>,
    },
    Past(Box<Past>),
    /// A stored body, and how to go on without it.
    Stored {
        stored: Stored,
        rescue: Box<Rescue>,
    },
}

/// How to go on without the store: the same body again from the upstream, and how to tell that it is the same.
#[derive(Clone, Debug)]
pub(super) struct Rescue {
    pub(super) proxy: Proxy,
    pub(super) want: Want,
    pub(super) identity: Identity,
}

/// A stored body, and how to go on should it turn out to be unreadable.
#[derive(Debug)]
pub(super) struct StoredRescue {
    pub(super) proxy: Proxy,
    pub(super) want: Want,
    pub(super) stored: Stored,
}

/// What tells one body of a URL from another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Identity {
    pub(super) length: Option<u64>,
    pub(super) etag: Option<http::HeaderValue>,
    pub(super) last_modified: Option<http::HeaderValue>,
    pub(super) md5: Option<[u8; 16]>,
}

impl Live {
    /// Reads a flight's file. `range` is the part asked for; it needs a known length.
    pub(super) fn of_flight(
        ticket: Ticket<FlightKey, ContentState>,
        body: store::Body,
        rescue: Rescue,
        range: Option<(u64, u64)>,
    ) -> Self {
        let total = rescue.identity.length;
        let part = range
            .zip(total)
            .map(|((start, end), total)| (start, end, total));
        Self {
            source: Source::Flight {
                ticket,
                body,
                rescue: Box::new(rescue),
            },
            at: part.map_or(0, |(start, ..)| start),
            end: part.map_or(total, |(_, end, _)| Some(end)),
            part,
        }
    }

    /// Reads `start..end` of a stored body.
    pub(super) fn of_stored(rescue: StoredRescue, start: u64, end: u64) -> Self {
        let StoredRescue {
            proxy,
            want,
            stored,
        } = rescue;
        let validator = &stored.entry.upstream_validator;
        let identity = Identity {
            length: Some(stored.body.len()),
            etag: validator.etag.clone(),
            last_modified: validator.last_modified.clone(),
            md5: None,
        };
        let rescue = Box::new(Rescue {
            proxy,
            want,
            identity,
        });
        Self {
            source: Source::Stored { stored, rescue },
            at: start,
            end: Some(end),
            part: None,
        }
    }

    /// Reads a stream past the store.
    pub(super) fn of_stream(past: Past) -> Self {
        Self {
            at: 0,
            end: past.length(),
            source: Source::Past(Box::new(past)),
            part: None,
        }
    }

    /// How many bytes it will give, if known.
    pub(super) fn length(&self) -> Option<u64> {
        self.end.map(|end| end - self.at)
    }

    /// Start, end and total length of the part that it is.
    pub(super) fn part(&self) -> Option<(u64, u64, u64)> {
        self.part
    }

    /// The next bytes.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            let step = match &mut self.source {
                Source::Past(past) => past.next(self.at, self.end).await,
                Source::Flight { ticket, body, .. } => {
                    flight_step(ticket, body, self.at, self.end).await
                }
                Source::Stored { stored, rescue } => {
                    stored_step(stored, rescue, self.at, self.end).await
                }
            };
            match step {
                Ok(Some(bytes)) => {
                    self.at += bytes.len() as u64;
                    return Some(Ok(bytes));
                }
                Ok(None) => return None,
                Err(Reason::Store) => match self.rescued().await {
                    Ok(past) => self.source = Source::Past(Box::new(past)),
                    Err(reason) => return Some(Err(BodyError(reason))),
                },
                Err(reason) => return Some(Err(BodyError(reason))),
            }
        }
    }

    /// The same body once more, past the store.
    async fn rescued(&self) -> Result<Past, Reason> {
        // Whoever has nothing yet may as well get another body of the promised length, unless it was promised a tag.
        let (rescue, has_given) = match &self.source {
            Source::Flight { rescue, .. } => {
                let start = self.part.map_or(0, |(start, ..)| start);
                (rescue, self.at > start)
            }
            Source::Past(_) => return Err(Reason::Store),
            Source::Stored { rescue, .. } => (rescue, true),
        };
        let past = Box::pin(rescue.proxy.past_the_store(&rescue.want))
            .await
            .map_err(|failure| failure.reason())?;
        let fits = if has_given {
            past.identity.is_that_of(&rescue.identity)
        } else {
            past.identity.length == rescue.identity.length
        };
        if fits {
            tracing::info!(key = ?rescue.want.ask.key, at = self.at, "a reader goes on without the store");
            Ok(past)
        } else {
            Err(Reason::Store)
        }
    }
}

impl Identity {
    /// Whether two answers brought the same bytes for certain: the same length and the same digest, else the same
    /// entity tag, else the same date. Answers that tell none of them may differ.
    pub(super) fn is_that_of(&self, other: &Self) -> bool {
        let same = None
            .or_else(|| Some(self.md5? == other.md5?))
            .or_else(|| Some(self.etag.as_ref()? == other.etag.as_ref()?))
            .or_else(|| Some(self.last_modified.as_ref()? == other.last_modified.as_ref()?));
        self.length == other.length && same == Some(true)
    }
}

/// The next bytes of a stored body. One that cannot be read is set aside, so that the next request asks the upstream.
async fn stored_step(
    stored: &Stored,
    rescue: &Rescue,
    at: u64,
    end: Option<u64>,
) -> Result<Option<Bytes>, Reason> {
    let end = end.unwrap_or_else(|| stored.body.len());
    if at >= end {
        return Ok(None);
    }
    match stored.body.read(at..end.min(at + CHUNK_BYTES)).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(fault) => {
            tracing::error!(key = ?stored.entry.key, %fault, "a stored body cannot be read");
            // One that is only late may be whole.
            if fault != StoreFault::Timeout {
                rescue.proxy.store.quarantine(stored, "unreadable").await;
            }
            Err(Reason::Store)
        }
    }
}

/// The next bytes of a flight's file that may be given.
async fn flight_step(
    ticket: &mut Ticket<FlightKey, ContentState>,
    body: &store::Body,
    at: u64,
    end: Option<u64>,
) -> Result<Option<Bytes>, Reason> {
    loop {
        let (limit, is_final) = match &*ticket.now() {
            ContentState::Done(Ok(landed)) => {
                let length = landed.body_bytes();
                (end.map_or(length, |end| end.min(length)), true)
            }
            ContentState::Done(Err(failure)) | ContentState::Refused(_, failure) => {
                return Err(failure.reason());
            }
            ContentState::Streaming(streaming) => (streaming.may_give(end), false),
            ContentState::Past(_) => return Err(Reason::Store),
            ContentState::Asking(_) => (0, false),
        };
        if at < limit {
            let upto = limit.min(at + CHUNK_BYTES);
            return match body.read(at..upto).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(fault) => {
                    tracing::warn!(%fault, "a body under way cannot be read");
                    Err(Reason::Store)
                }
            };
        }
        if is_final {
            return Ok(None);
        }
        ticket.changed().await.map_err(|_| Reason::Internal)?;
    }
}

/// The failure of a flight whose leader is gone.
pub(super) fn lost() -> Failure {
    Failure::Internal("the fetch ended without a verdict")
}
