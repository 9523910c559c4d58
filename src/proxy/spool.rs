//! An upload on disk, so that its length is known before it goes on: for upstreams that refuse chunks (protocol fact
//! 4.1.5).
//!
//! It lies in the store's room, under its cap, and is never committed: when the upload has gone on, or we die, nothing of
//! it is left. It refuses to hold more of it in memory than a piece.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::Proxy;
use super::feed::Feed;
use super::route::Class;
use crate::store::{self, BodyWriter, StoreFault};

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// Why an upload could not be put on disk. The client has sent all of it by then, or has stopped: it reads no answer
/// before (protocol fact 9.20).
#[derive(Debug)]
pub(super) enum SpoolFault {
    /// The client broke its upload off.
    ClientGone,
    /// The client sent nothing for the idle limit.
    Stalled,
    /// The store could not take it.
    Store(StoreFault),
    /// It is larger than the limit, in bytes.
    TooLarge(u64),
}

/// An upload on disk.
pub(super) struct Spooled {
    at: u64,
    length: u64,
    reading: Option<Reading>,
    stored: store::Body,
    /// Its drop removes the file.
    _writer: BodyWriter,
}

struct Reading(Pin<Box<dyn Future<Output = Result<Bytes, StoreFault>> + Send>>);

impl Proxy {
    /// Puts a client's upload on disk.
    pub(super) async fn spool<B>(&self, feed: &Feed, body: B) -> Result<Spooled, SpoolFault>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let limits = self.upstream.settings();
        let key = feed.key(Class::Package, None, "upload");
        let mut writer = self.store.begin(&key, None).await;
        let mut fault = None;
        let mut length = 0;
        let mut body = pin!(body);
        loop {
            let frame = tokio::time::timeout(limits.idle_timeout, body.frame()).await;
            let data = match frame.map_err(|_| SpoolFault::Stalled)? {
                None => break,
                Some(Err(error)) => {
                    tracing::debug!(%error, "an upload broke off");
                    return Err(SpoolFault::ClientGone);
                }
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            length += data.len() as u64;
            if length > limits.max_push_bytes {
                return Err(SpoolFault::TooLarge(limits.max_push_bytes));
            }
            if let (Ok(writer), None) = (&mut writer, fault) {
                fault = writer.write(data).await.err();
            }
        }
        let writer = writer.map_err(SpoolFault::Store)?;
        match fault {
            Some(fault) => Err(SpoolFault::Store(fault)),
            None => Ok(Spooled {
                at: 0,
                length,
                reading: None,
                stored: writer.body(),
                _writer: writer,
            }),
        }
    }
}

impl Spooled {
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

impl http_body::Body for Spooled {
    type Data = Bytes;
    type Error = StoreFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreFault>>> {
        let this = &mut *self;
        if this.at >= this.length {
            return Poll::Ready(None);
        }
        let (at, upto) = (this.at, this.length.min(this.at + CHUNK_BYTES));
        let stored = &this.stored;
        let reading = this.reading.get_or_insert_with(|| {
            let stored = stored.clone();
            Reading(Box::pin(async move { stored.read(at..upto).await }))
        });
        let read = ready!(reading.0.as_mut().poll(context));
        this.reading = None;
        if let Ok(bytes) = &read {
            this.at += bytes.len() as u64;
        }
        Poll::Ready(Some(read.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.at)
    }
}
