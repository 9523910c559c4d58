//! Connections as hyper takes them, every byte they bring noted for their origin's health.
//!
//! hyper's pooled client shows no progress; the last byte of an origin is stamped here, below it. It refuses to look at
//! the bytes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection as Pooled};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use hyper_util::rt::TokioIo;

use super::connect::{
    Connect, ConnectError, Connection, Negotiated, PrivateAddresses, Protocols, Stream, Target,
};
use super::health::Health;
use super::pool::Spare;
use super::url::{Origin, Scheme};
use super::way::Way;

/// A connection whose received bytes are stamped.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    health: Arc<Health>,
    /// Whether a proxy reads the requests, which then name the whole address.
    is_forwarded: bool,
    negotiated: Negotiated,
}

impl Wire {
    pub(super) fn negotiated(&self) -> Negotiated {
        self.negotiated
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // Over HTTP/2 whoever reads an answer notes it: settings and pings may come from before a dead origin.
        if buffer.filled().len() > before && self.negotiated == Negotiated::Http1 {
            self.health.byte_received();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Pooled for Wire {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_forwarded)
    }
}

/// Opens the connections of one origin: what hyper's pooled client calls, and probes and publishing call directly.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) connector: Arc<dyn Connect>,
    pub(super) health: Arc<Health>,
    pub(super) origin: Origin,
    pub(super) private: PrivateAddresses,
    pub(super) spare: Spare,
    pub(super) timeout: Duration,
    pub(super) way: Way,
}

impl Dialer {
    pub(super) async fn dial(&self, protocols: Protocols) -> Result<Wire, ConnectError> {
        let target = Target {
            origin: self.origin.clone(),
            private: self.private,
            protocols,
            way: self.way.clone(),
        };
        let is_forwarded = self.way.proxy.is_some() && self.origin.scheme() == Scheme::Http;
        let opened = tokio::time::timeout(self.timeout, self.connector.connect(target)).await;
        let Connection { stream, negotiated } = opened.map_err(|_| ConnectError::TimedOut)??;
        Ok(Wire {
            stream,
            health: Arc::clone(&self.health),
            is_forwarded,
            negotiated,
        })
    }
}

impl tower_service::Service<Uri> for Dialer {
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Wire>, ConnectError>> + Send>>;
    type Response = TokioIo<Wire>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            match dialer.spare.take() {
                Some(wire) => Ok(TokioIo::new(wire)),
                None => dialer.dial(Protocols::Http1).await.map(TokioIo::new),
            }
        })
    }
}
