//! A client's connection, as hyper or TLS writes to it.
//!
//! Ordinary slices go out by `writev`. On plain TCP a slice that is a token of [`mapped`] stands for a piece of a file
//! and goes out by `sendfile`; its bytes are never read, as there are none. A client that takes nothing for
//! `write_timeout` is broken off. It refuses to decide what is sent in which way: whoever made the body did.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::mapped::{self, Place};
use crate::platform;

/// Bytes of one `sendfile`, so that one fast client does not keep a thread: nginx's default chunk (`sendfile_max_chunk`).
const MAX_SENDFILE: usize = 2 << 20;

/// Ends a connection whose client takes nothing.
struct Patience {
    limit: Duration,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            stalled: None,
        }
    }

    /// Passes on what became of a write; one that has been pending for too long is an error.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took nothing for write_timeout",
        )))
    }
}

/// What lies below TLS: bytes as they are, no tokens.
pub(super) struct Patient<S> {
    inner: S,
    patience: Patience,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, write_timeout: Duration) -> Self {
        Self {
            inner: stream,
            patience: Patience::new(write_timeout),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slice: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, slice);
        self.patience.watch(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.patience.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.patience.watch(context, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.patience.watch(context, written)
    }
}

/// A TCP connection that knows tokens.
pub(super) struct Stream {
    inner: TokioIo<TcpStream>,
    patience: Patience,
    /// Sends a piece of a file: [`send_some`], but in tests of disks that fail.
    send: fn(&TcpStream, &Place, usize) -> io::Result<usize>,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self {
            inner: TokioIo::new(stream),
            patience: Patience::new(write_timeout),
            send: send_some,
        }
    }

    fn poll_slices(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let ordinary = slices
            .iter()
            .take_while(|slice| mapped::locate(slice).is_none())
            .count();
        let leading = &slices[..ordinary];
        if leading.iter().any(|slice| !slice.is_empty()) {
            return Pin::new(&mut self.inner).poll_write_vectored(context, leading);
        }
        let token = slices
            .get(ordinary)
            .and_then(|slice| Some((mapped::locate(slice)?, slice.len())));
        match token {
            Some((place, length)) => self.poll_send(context, &place, length),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        place: &Place,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let socket = self.inner.inner();
        loop {
            ready!(socket.poll_write_ready(context))?;
            match (self.send)(socket, place, length.min(MAX_SENDFILE)) {
                Ok(0) => {
                    place.tell_damage();
                    return Poll::Ready(Err(truncated()));
                }
                Err(error) if platform::is_of_disk(&error) => {
                    place.tell_damage();
                    return Poll::Ready(Err(error));
                }
                // Readiness was stale; the next poll waits for a new one.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// Sends at most `length` bytes of a place and says how many went out; zero means that the file has ended.
#[cfg(unix)]
fn send_some(socket: &TcpStream, place: &Place, length: usize) -> io::Result<usize> {
    use std::os::fd::AsFd as _;

    socket.try_io(tokio::io::Interest::WRITABLE, || {
        platform::send_file(socket.as_fd(), place.file(), place.offset(), length)
    })
}

#[cfg(not(unix))]
fn send_some(_: &TcpStream, _: &Place, _: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

fn truncated() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "a stored file is shorter than it was when its answer began",
    )
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slice: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(slice)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_slices(context, slices);
        self.patience.watch(context, written)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
