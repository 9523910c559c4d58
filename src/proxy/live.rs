//! A file's bytes on their way to a client: from a stored body, from the file that a leader writes, or past the store.
//!
//! A store that fails in the middle ends no answer: the reader goes on with the rest from the upstream. Readers of what is
//! not checked yet never get the last 16 KiB before the verdict: if that is bad, their connections break and nobody
//! holds a whole package that failed its checks (protocol fact 3.6.9).

use bytes::Bytes;

use super::Proxy;
use super::body::BodyError;
use super::checks::sent_md5;
use super::content::{ContentState, Want};
use super::document::FlightKey;
use super::failure::Failure;
use super::outcome::Reason;
use super::past::Past;
use super::rescue::{Given, Rescue};
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
            md5: sent_md5(&stored.entry.headers),
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

    /// Where it began.
    fn start(&self) -> u64 {
        self.part.map_or(0, |(start, ..)| start)
    }

    /// The next bytes.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let start = self.start();
        loop {
            let step = match &mut self.source {
                Source::Past(past) => past.next(self.at, self.end).await,
                Source::Flight { ticket, body, .. } => {
                    flight_step(ticket, body, start, self.at, self.end).await
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

    /// The same body, past the store.
    async fn rescued(&self) -> Result<Past, Reason> {
        let (rescue, body, given) = match &self.source {
            Source::Flight { rescue, body, .. } => {
                let given = if self.at > self.start() {
                    Given::Some
                } else {
                    Given::Nothing
                };
                (rescue, body, given)
            }
            Source::Past(_) => return Err(Reason::Store),
            Source::Stored { rescue, stored } => (rescue, &stored.body, Given::Some),
        };
        rescue.go_on(body, self.at, given).await
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
            tracing::debug!(key = ?stored.entry.key, %fault, "a stored body cannot be read");
            // One that is only late may be whole.
            if fault != StoreFault::Timeout {
                rescue.proxy.store.quarantine(stored, fault.word()).await;
            }
            Err(Reason::Store)
        }
    }
}

/// The next bytes of a flight's file that may be given.
async fn flight_step(
    ticket: &mut Ticket<FlightKey, ContentState>,
    body: &store::Body,
    start: u64,
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
            ContentState::Cut { written } => {
                // What was written before can still be read. Whoever has nothing yet is better off with one whole body.
                let free = free_of(*written, end);
                if at == start || at >= free {
                    return Err(Reason::Store);
                }
                (free, false)
            }
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

/// Offset behind the last byte that may be given before the verdict, of a body of which so much is written. `last` is
/// where its reader's part ends, if known.
pub(super) fn free_of(written: u64, last: Option<u64>) -> u64 {
    match last {
        Some(last) => written.min(last.saturating_sub(HOLD_BACK_BYTES)),
        None => written.saturating_sub(HOLD_BACK_BYTES),
    }
}

/// The failure of a flight whose leader is gone.
pub(super) fn lost() -> Failure {
    Failure::Internal("the fetch ended without a verdict")
}
