//! A connection to a client, into which interim responses can be put.
//!
//! The HTTP library tells of those that it receives and sends none, but RFC 9110 section 15.2 wants them passed on. They go
//! out before the next bytes of a response, so at most one request may be under way on a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Interim responses that wait to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interims(Arc<Mutex<BytesMut>>);

impl Interims {
    /// Has this one sent.
    pub(crate) fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let mut waiting = self.lock();
        waiting.extend_from_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
        for (name, value) in headers {
            waiting.extend_from_slice(format!("{name}: ").as_bytes());
            waiting.extend_from_slice(value.as_bytes());
            waiting.extend_from_slice(b"\r\n");
        }
        waiting.extend_from_slice(b"\r\n");
    }

    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    interims: Interims,
}

impl Line {
    pub(crate) fn new(stream: TcpStream, interims: Interims) -> Self {
        Self { stream, interims }
    }

    /// Sends what waits.
    fn poll_interims(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.interims.lock();
        while !waiting.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &waiting))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            waiting.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        ready!(line.poll_interims(cx))?;
        Pin::new(&mut line.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        ready!(line.poll_interims(cx))?;
        Pin::new(&mut line.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
