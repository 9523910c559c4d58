//! The body of an answer, with an idle limit, a minimum rate, the request's turn and its own.
//!
//! Only time spent waiting for the origin counts: neither a reader that takes its time nor a limit of ours on what may
//! come is the origin's fault. It refuses to
//! buffer and to decode.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::error::{Phase, UpstreamError};
use super::health::Health;
use super::settings::Settings;
use super::turns::{Pieces, Turn};
use super::url::Origin;
use crate::clock::Clock;

/// The time over which the minimum rate is measured: long enough for a stall that recovers, as long as the idle limit.
const RATE_WINDOW: Duration = Duration::from_secs(30);

/// The body of an upstream's answer. Dropping it early closes its connection, unless that is HTTP/2.
pub struct ResponseBody {
    clock: Clock,
    idle_timeout: Duration,
    min_window_bytes: u64,
    origin: Origin,
    /// The turns by which it may come.
    pieces: Option<Pieces>,
    /// Told of each piece, where the connection itself does not tell.
    progress: Option<Arc<Health>>,
    source: Option<Source>,
    timer: Pin<Box<Sleep>>,
    waiting_since: Option<Instant>,
    /// A body that needs no stream.
    whole: Option<Bytes>,
    window_bytes: u64,
    window_waited: Duration,
}

/// The stream, and the turn of its request, which lasts until its end.
struct Source {
    incoming: Incoming,
    _turn: Option<Turn>,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        turn: Option<Turn>,
        origin: Origin,
        settings: &Settings,
        clock: Clock,
    ) -> Self {
        let mut body = Self::whole(None, origin, settings, clock);
        body.source = Some(Source {
            incoming,
            _turn: turn,
        });
        body
    }

    /// A body that is there, or empty.
    pub(super) fn whole(
        bytes: Option<Bytes>,
        origin: Origin,
        settings: &Settings,
        clock: Clock,
    ) -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep_until(clock.instant())),
            clock,
            idle_timeout: settings.idle_timeout,
            min_window_bytes: settings.min_rate_bytes * RATE_WINDOW.as_secs(),
            origin,
            pieces: None,
            progress: None,
            source: None,
            waiting_since: None,
            whole: bytes.filter(|bytes| !bytes.is_empty()),
            window_bytes: 0,
            window_waited: Duration::ZERO,
        }
    }

    /// Has each piece that comes noted as a sign of life.
    pub(super) fn note_progress(&mut self, health: Arc<Health>) {
        self.progress = Some(health);
    }

    /// Has it come by turns.
    pub(super) fn take_turns(&mut self, pieces: Pieces) {
        self.pieces = Some(pieces);
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Ends the wait that brought something, and says whether the rate is too low.
    fn note(&mut self, bytes: usize) -> Result<(), UpstreamError> {
        if let Some(since) = self.waiting_since.take() {
            self.window_waited += self.clock.instant().duration_since(since);
        }
        self.window_bytes += bytes as u64;
        if self.window_waited < RATE_WINDOW {
            return Ok(());
        }
        let received = std::mem::take(&mut self.window_bytes);
        self.window_waited = Duration::ZERO;
        if received < self.min_window_bytes {
            return Err(UpstreamError::RateTooLow {
                origin: self.origin.clone(),
            });
        }
        Ok(())
    }

    /// Waits until one of the limits is reached.
    fn poll_limits(&mut self, context: &mut Context<'_>) -> Poll<UpstreamError> {
        let since = *self.waiting_since.get_or_insert_with(|| {
            let now = self.clock.instant();
            let left = RATE_WINDOW - self.window_waited;
            let wait = if self.window_bytes < self.min_window_bytes {
                left.min(self.idle_timeout)
            } else {
                self.idle_timeout
            };
            self.timer.as_mut().reset(now + wait);
            now
        });
        ready!(self.timer.as_mut().poll(context));
        let origin = self.origin.clone();
        if self.clock.instant().duration_since(since) >= self.idle_timeout {
            return Poll::Ready(UpstreamError::TimedOut {
                origin,
                phase: Phase::Body,
            });
        }
        Poll::Ready(UpstreamError::RateTooLow { origin })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = &mut *self;
        if let Some(whole) = this.whole.take() {
            return Poll::Ready(Some(Ok(Frame::data(whole))));
        }
        let Some(source) = &mut this.source else {
            return Poll::Ready(None);
        };
        if let Some(pieces) = &mut this.pieces
            && !source.incoming.is_end_stream()
        {
            ready!(pieces.poll_turn(context));
        }
        let outcome = match Pin::new(&mut source.incoming).poll_frame(context) {
            Poll::Pending => Err(ready!(this.poll_limits(context))),
            Poll::Ready(None) => {
                (this.source, this.pieces) = (None, None);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if let Some(health) = &this.progress {
                    health.byte_received();
                }
                if let Some(pieces) = &mut this.pieces {
                    pieces.note(bytes);
                }
                this.note(bytes).map(|()| frame)
            }
            Poll::Ready(Some(Err(error))) => {
                Err(UpstreamError::from_hyper(&this.origin, &error, Phase::Body))
            }
        };
        if outcome.is_err() {
            (this.source, this.pieces) = (None, None);
        }
        Poll::Ready(Some(outcome))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            None => self.whole.is_none(),
            Some(source) => source.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            None => SizeHint::with_exact(self.whole.as_ref().map_or(0, Bytes::len) as u64),
            Some(source) => source.incoming.size_hint(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("origin", &self.origin)
            .field("ended", &self.source.is_none())
            .finish_non_exhaustive()
    }
}
