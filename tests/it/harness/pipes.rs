//! The way into the scripted upstream: pipes in place of sockets.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use sluice::tasks::Tasks;
use sluice::upstream::connect::{
    Connect, ConnectError, Connection, Negotiated, PrivateAddresses, Target,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::client::serve;
use super::origin::{Door, Origin};

/// Bytes that a pipe holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;

/// Opens pipes into the scripted upstream.
pub(super) struct Pipes {
    pub(super) origin: Origin,
    pub(super) tasks: Tasks,
}

impl Connect for Pipes {
    fn connect(
        &self,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>> {
        Box::pin(async move {
            let host = target.origin.host().to_owned();
            match self.origin.knock(&host) {
                None | Some(Door::NoName) => return Err(ConnectError::NameNotFound),
                Some(Door::Hang) => std::future::pending().await,
                Some(Door::Private) if target.private == PrivateAddresses::Refuse => {
                    return Err(ConnectError::PrivateAddress);
                }
                Some(Door::Refuse) => {
                    return Err(ConnectError::Failed("connection refused".into()));
                }
                Some(Door::Tls) => {
                    return Err(ConnectError::Tls("handshake failure".into()));
                }
                Some(Door::UnknownIssuer) => {
                    return Err(ConnectError::UnknownIssuer("CN=Corp Root 7".into()));
                }
                Some(Door::Open | Door::Private) => {}
            }
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let reset = Reset::default();
            match self.origin.proxy_at(&host) {
                Some(proxy) => serve(proxy, far, &self.tasks),
                None => {
                    let serving = self.origin.clone().serve(host, far, reset.clone());
                    self.tasks.spawn("scripted upstream", serving);
                }
            }
            Ok(Connection {
                stream: Box::new(Near { pipe: near, reset }),
                negotiated: Negotiated::Http1,
            })
        })
    }
}

/// Whether a connection ends with a reset.
#[derive(Clone, Default)]
pub(super) struct Reset(Arc<AtomicBool>);

impl Reset {
    /// Has the connection end so, once it ends.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The near end of a pipe.
struct Near {
    pipe: DuplexStream,
    reset: Reset,
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(context, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        if is_end && self.reset.0.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
