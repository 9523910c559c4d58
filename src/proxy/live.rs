//! A body that is still coming: read from the file that the leader writes, or past the store.
//!
//! Readers never get the last 16 KiB before the verdict: if that is bad, their connections break and nobody holds a
//! whole package that failed its checks (protocol fact 3.6.9).

use bytes::{Buf as _, Bytes, BytesMut};
use md5::Digest as _;

use super::Proxy;
use super::body::{BodyError, next_chunk};
use super::content::{ContentState, Want};
use super::failure::{Failure, reason_of};
use super::fetch::FlightKey;
use super::outcome::Reason;
use crate::flight::Ticket;
use crate::nuget::nupkg::{self, TailVerdict};
use crate::store;
use crate::upstream::ResponseBody;

/// What no reader gets before the verdict: a zip's end record with its directory's end lies in it.
pub(super) const HOLD_BACK_BYTES: u64 = 16 * 1024;

/// Bytes read from the growing file at a time.
const CHUNK_BYTES: u64 = 256 * 1024;

/// The bytes of a package's end that its central directory is looked for in, where no file has the whole: directories
/// beyond it are rare, and the check is then left out.
const TAIL_BYTES: usize = 1024 * 1024;

/// A body that is still coming.
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
}

/// How to go on without the store: the same body again from the upstream, and how to tell that it is the same.
#[derive(Clone, Debug)]
pub(super) struct Rescue {
    pub(super) proxy: Proxy,
    pub(super) want: Want,
    pub(super) identity: Identity,
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

    /// Reads a stream past the store.
    pub(super) fn of_stream(past: Past) -> Self {
        Self {
            at: 0,
            end: past.identity.length,
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
        let Source::Flight { rescue, .. } = &self.source else {
            return Err(Reason::Store);
        };
        let (_, past) = Box::pin(rescue.proxy.past_the_store(&rescue.want))
            .await
            .map_err(|failure| failure.reason())?;
        if past.identity == rescue.identity {
            Ok(past)
        } else {
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
            ContentState::Done(Err(failure)) => return Err(failure.reason()),
            ContentState::Streaming(streaming) => (streaming.may_give(end), false),
            ContentState::Asking | ContentState::Past => (0, false),
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

/// A stream past the store: checked like a stored one, with its end held back in memory.
#[derive(Debug)]
pub(super) struct Past {
    body: ResponseBody,
    pub(super) identity: Identity,
    want: Want,
    digest: md5::Md5,
    /// The last bytes, at least [`TAIL_BYTES`] of them once so many came.
    tail: Vec<u8>,
    /// Received and not given: at most [`HOLD_BACK_BYTES`] and a chunk.
    held: BytesMut,
    /// Offset of the first held byte.
    held_at: u64,
    received: u64,
    is_checked: bool,
}

impl Past {
    pub(super) fn new(body: ResponseBody, identity: Identity, want: Want) -> Self {
        Self {
            body,
            identity,
            want,
            digest: md5::Md5::new(),
            tail: Vec::new(),
            held: BytesMut::new(),
            held_at: 0,
            received: 0,
            is_checked: false,
        }
    }

    /// The next bytes from offset `at` on, up to `end`.
    async fn next(&mut self, at: u64, end: Option<u64>) -> Result<Option<Bytes>, Reason> {
        loop {
            if let Some(bytes) = self.ready(at, end) {
                return Ok(Some(bytes));
            }
            if self.is_checked {
                return Ok(None);
            }
            match next_chunk(&mut self.body).await {
                Some(Ok(chunk)) => self.take(&chunk),
                Some(Err(error)) => return Err(reason_of(&error)),
                None => {
                    self.check().map_err(|problem| {
                        tracing::warn!(problem, "a body past the store failed its checks");
                        Reason::BadBody
                    })?;
                    self.is_checked = true;
                }
            }
        }
    }

    /// Held bytes that may be given. What lies before `at` was given before, by the store.
    fn ready(&mut self, at: u64, end: Option<u64>) -> Option<Bytes> {
        let free = if self.is_checked { 0 } else { HOLD_BACK_BYTES };
        let upto = (self.held_at + self.held.len() as u64).saturating_sub(free);
        let upto = end.map_or(upto, |end| upto.min(end));
        if self.held_at < at {
            let skip = (at - self.held_at).min(self.held.len() as u64);
            self.held
                .advance(usize::try_from(skip).unwrap_or(self.held.len()));
            self.held_at += skip;
        }
        let count = usize::try_from(upto.checked_sub(at)?)
            .ok()
            .filter(|count| *count > 0)?;
        let bytes = self.held.split_to(count.min(self.held.len())).freeze();
        self.held_at += bytes.len() as u64;
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    fn take(&mut self, chunk: &[u8]) {
        self.received += chunk.len() as u64;
        self.digest.update(chunk);
        self.held.extend_from_slice(chunk);
        self.tail.extend_from_slice(chunk);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    fn check(&self) -> Result<(), String> {
        if self
            .identity
            .length
            .is_some_and(|length| length != self.received)
        {
            return Err(format!(
                "{} bytes, expected {:?}",
                self.received, self.identity.length
            ));
        }
        let md5: [u8; 16] = self.digest.clone().finalize().into();
        if self.identity.md5.is_some_and(|sent| sent != md5) {
            return Err("its bytes differ from its Content-MD5".into());
        }
        let is_whole = self.received == self.tail.len() as u64;
        if is_whole {
            return self
                .want
                .check(std::io::Cursor::new(&self.tail))
                .map_err(|fault| fault.to_string());
        }
        if self.want.is_package() {
            match nupkg::check_tail(&self.tail, self.received) {
                Ok(TailVerdict::Good | TailVerdict::Unknown) => {}
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Ok(())
    }
}

/// The failure of a flight whose leader is gone.
pub(super) fn lost() -> Failure {
    Failure::Internal("the fetch ended without a verdict")
}
