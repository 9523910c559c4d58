//! A client's upload on its way: read from the client, handed to hyper's connection piece by piece.
//!
//! The upload outlives the upstream's interest in it: the real client reads no answer before it has sent everything
//! (protocol fact 9.20), so what the upstream no longer takes is read on and thrown away. It refuses to hold more than
//! one piece, to read more than the limit, and to wait longer than the idle limit.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::PublishFault;
use crate::upstream::error::{Phase, UpstreamError};
use crate::upstream::settings::Settings;
use crate::upstream::url::Origin;

/// The client's side.
pub(super) struct Upload<'a, B> {
    body: Pin<&'a mut B>,
    is_over: bool,
    length: Option<u64>,
    received: u64,
    settings: &'a Settings,
}

/// What the client's side hands over.
enum Piece {
    Data(Bytes),
    End,
}

impl<'a, B> Upload<'a, B>
where
    B: Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    pub(super) fn new(body: Pin<&'a mut B>, length: Option<u64>, settings: &'a Settings) -> Self {
        Self {
            body,
            is_over: false,
            length,
            received: 0,
            settings,
        }
    }

    /// Whether nothing more will come from the client.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, PublishFault> {
        let outcome = self.read().await;
        self.is_over = !matches!(outcome, Ok(Some(_)));
        outcome
    }

    async fn read(&mut self) -> Result<Option<Bytes>, PublishFault> {
        loop {
            let frame = tokio::time::timeout(self.settings.idle_timeout, self.body.frame())
                .await
                .map_err(|_| PublishFault::ClientStalled)?;
            let data = match frame {
                None => {
                    let is_short = self.length.is_some_and(|length| self.received < length);
                    return if is_short {
                        Err(PublishFault::ClientGone("the upload ended early".into()))
                    } else {
                        Ok(None)
                    };
                }
                Some(Err(error)) => return Err(PublishFault::ClientGone(error.to_string())),
                // Trailers mean nothing to a publish.
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            self.received += data.len() as u64;
            if self.received > self.settings.max_push_bytes {
                return Err(PublishFault::TooLarge {
                    max_bytes: self.settings.max_push_bytes,
                });
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }

    /// Hands everything over, or as much as the upstream takes.
    pub(super) async fn send(&mut self, to: &Sender, origin: &Origin) -> Result<(), PublishFault> {
        loop {
            let piece = self.next().await?.map_or(Piece::End, Piece::Data);
            let is_end = matches!(piece, Piece::End);
            let taken = tokio::time::timeout(self.settings.idle_timeout, to.0.send(piece)).await;
            match taken {
                Err(_) => {
                    return Err(PublishFault::Upstream(UpstreamError::TimedOut {
                        origin: origin.clone(),
                        phase: Phase::Send,
                    }));
                }
                // The connection is gone, which its answer will say.
                Ok(Err(_)) => return Ok(()),
                Ok(Ok(())) if is_end => return Ok(()),
                Ok(Ok(())) => {}
            }
        }
    }

    /// Reads what is left and throws it away. However that ends, there is an answer to give.
    pub(super) async fn drain(&mut self) {
        while !self.is_over {
            if let Err(fault) = self.next().await {
                tracing::debug!(%fault, "the rest of an upload was not read");
            }
        }
    }
}

/// The hand that feeds a [`Relayed`] body. Dropped before the end, it breaks the request off.
pub(super) struct Sender(mpsc::Sender<Piece>);

/// The request body as hyper sees it.
pub(super) struct Relayed {
    is_over: bool,
    length: Option<u64>,
    pieces: mpsc::Receiver<Piece>,
}

/// The client broke its upload off.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upload was broken off")
    }
}

impl std::error::Error for BrokenOff {}

impl Relayed {
    /// The two ends of an upload of `length` bytes, if that is known.
    pub(super) fn new(length: Option<u64>) -> (Sender, Self) {
        let (sender, pieces) = mpsc::channel(1);
        let relayed = Self {
            is_over: length == Some(0),
            length,
            pieces,
        };
        (Sender(sender), relayed)
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        Poll::Ready(match piece {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.is_over = true;
                None
            }
            None => {
                self.is_over = true;
                Some(Err(BrokenOff))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
