//! The bytes of a file on their way from the upstream, over one connection or the next.
//!
//! Refuses to bring more bytes than the first answer promised, and to take fewer for the whole.

use bytes::Bytes;
use md5::Digest as _;

use super::Want;
use crate::proxy::Proxy;
use crate::proxy::body::next_chunk;
use crate::proxy::failure::Failure;
use crate::upstream::{Phase, ResponseBody, UpstreamError};

/// The bytes of one answer from some offset on.
#[derive(Debug)]
pub(in crate::proxy) struct Line {
    body: ResponseBody,
    /// Bytes that came and were not given yet.
    ready: Bytes,
    /// Offset of the next byte.
    at: u64,
    /// Length of the whole, if known.
    total: Option<u64>,
}

/// Why a line brings no more.
#[derive(Debug)]
pub(in crate::proxy) enum Broke {
    /// It ended elsewhere than it should.
    Length {
        found: u64,
        expected: u64,
    },
    Upstream(UpstreamError),
}

impl Broke {
    /// Whether another connection may bring the rest.
    pub(in crate::proxy) fn is_mendable(&self) -> bool {
        match self {
            Self::Length { found, expected } => found < expected,
            Self::Upstream(error) => matches!(
                error,
                UpstreamError::Closed { .. }
                    | UpstreamError::RateTooLow { .. }
                    | UpstreamError::TimedOut {
                        phase: Phase::Body,
                        ..
                    }
            ),
        }
    }

    /// The failure that it is, if nothing mends it; `origin` sent the body.
    pub(in crate::proxy) fn failure(&self, proxy: &Proxy, want: &Want, origin: &str) -> Failure {
        match self {
            Self::Length { found, expected } => Failure::BadBody {
                origin: origin.to_owned(),
                what: format!("{found} bytes, expected {expected}"),
            },
            Self::Upstream(error) => proxy.upstream_failure(&want.ask.feed, error),
        }
    }
}

/// Why a whole body is not the one whose rest was asked for.
#[derive(Debug)]
pub(super) enum Skipped {
    /// It broke off before the rest.
    Broke,
    /// It begins with other bytes.
    Differs,
}

impl Line {
    /// The bytes of `body`, the first of which has offset `at` of `total`.
    pub(in crate::proxy) fn new(body: ResponseBody, at: u64, total: Option<u64>) -> Self {
        Self {
            body,
            ready: Bytes::new(),
            at,
            total,
        }
    }

    /// The next bytes; `None` at the end.
    pub(in crate::proxy) async fn next(&mut self) -> Option<Result<Bytes, Broke>> {
        let chunk = if self.ready.is_empty() {
            next_chunk(&mut self.body).await
        } else {
            Some(Ok(std::mem::take(&mut self.ready)))
        };
        let expected = self.total.unwrap_or(self.at);
        let found = match chunk {
            Some(Err(error)) => return Some(Err(Broke::Upstream(error))),
            None if self.at < expected => self.at,
            None => return None,
            Some(Ok(chunk)) => {
                let end = self.at + chunk.len() as u64;
                if self.total.is_none_or(|total| end <= total) {
                    self.at = end;
                    return Some(Ok(chunk));
                }
                end
            }
        };
        Some(Err(Broke::Length { found, expected }))
    }

    /// Passes over the bytes before offset `upto` of a body that stands at its start. `digest` is that of the bytes that
    /// they must be.
    pub(super) async fn skip(mut self, upto: u64, digest: &md5::Md5) -> Result<Self, Skipped> {
        let mut again = md5::Md5::new();
        while self.at < upto {
            let Some(Ok(mut chunk)) = self.next().await else {
                return Err(Skipped::Broke);
            };
            let beyond = usize::try_from(self.at.saturating_sub(upto)).unwrap_or(usize::MAX);
            let rest = chunk.split_off(chunk.len().saturating_sub(beyond));
            again.update(&chunk);
            self.at -= rest.len() as u64;
            self.ready = rest;
        }
        if again.finalize() == digest.clone().finalize() {
            Ok(self)
        } else {
            Err(Skipped::Differs)
        }
    }
}
