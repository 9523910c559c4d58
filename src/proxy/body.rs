//! The body of an answer: bytes at hand, a file, or an upstream's answer to a publish.
//!
//! An error breaks the connection, so that a client never takes a part for the whole (protocol fact 3.6.9).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::live::Live;
use super::outcome::Reason;
use crate::upstream::{ResponseBody, UpstreamError};

/// Why a body broke off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BodyError(pub Reason);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body broke off: {}", self.0)
    }
}

impl std::error::Error for BodyError {}

/// The body of an answer.
pub struct Body {
    state: State,
    /// Bytes still to come, where known.
    remaining: Option<u64>,
}

enum State {
    Chunks(Pin<Box<dyn Future<Output = Step> + Send>>),
    Done,
    Full(Bytes),
}

/// What came of asking a source for its next chunk, and the source if there may be more.
struct Step {
    chunk: Option<Result<Bytes, BodyError>>,
    source: Option<Source>,
}

/// Where a body's chunks come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file: stored, being fetched, or past the store.
    Live(Box<Live>),
    /// An upstream's answer to a publish, passed through.
    Relay(Box<ResponseBody>),
}

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            state: State::Done,
            remaining: Some(0),
        }
    }

    /// A body of bytes at hand.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        Self {
            remaining: Some(bytes.len() as u64),
            state: State::Full(bytes),
        }
    }

    /// A body that is read from `source`, `length` bytes if known.
    pub(super) fn from_source(source: Source, length: Option<u64>) -> Self {
        Self {
            state: State::Chunks(Box::pin(source.next())),
            remaining: length,
        }
    }
}

impl Source {
    async fn next(self) -> Step {
        match self {
            Self::Live(mut live) => {
                let chunk = live.next().await;
                let source = matches!(chunk, Some(Ok(_))).then_some(Self::Live(live));
                Step { chunk, source }
            }
            Self::Relay(mut body) => {
                let chunk = next_chunk(&mut body).await.map(|chunk| {
                    chunk.map_err(|error| {
                        tracing::warn!(%error, "the answer to a publish broke off");
                        BodyError(super::failure::reason_of(&error))
                    })
                });
                let source = matches!(chunk, Some(Ok(_))).then_some(Self::Relay(body));
                Step { chunk, source }
            }
        }
    }
}

/// The next bytes of an upstream's body; trailers are passed over.
pub(super) async fn next_chunk(body: &mut ResponseBody) -> Option<Result<Bytes, UpstreamError>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(bytes) = frame.into_data() {
                    return Some(Ok(bytes));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let chunk = match &mut self.state {
            State::Done => return Poll::Ready(None),
            State::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.state = State::Done;
                Some(Ok(bytes))
            }
            State::Chunks(next) => {
                let step = ready!(next.as_mut().poll(context));
                self.state = match step.source {
                    Some(source) => State::Chunks(Box::pin(source.next())),
                    None => State::Done,
                };
                step.chunk
            }
        };
        if let Some(Ok(bytes)) = &chunk {
            let length = bytes.len() as u64;
            self.remaining = self
                .remaining
                .map(|remaining| remaining.saturating_sub(length));
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match self.remaining {
            Some(remaining) => SizeHint::with_exact(remaining),
            None => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}
