//! Reads a request's head that comes in many pieces ever more seldom.
//!
//! Each piece costs a wake-up, a call of the system and another look at the whole head. Who sends a byte at a time on
//! thousands of connections would have us do little else; what comes during a pause is read at once after it. Clients
//! send a head in one piece, or in the few of a long one. It refuses to pause while a request is under way.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Sleep;

use super::seats::Seat;

/// Pieces of a head that are read as they come: most heads come in one, those of the largest size in a few.
const FREE_PIECES: u32 = 4;
/// The pause after the first piece beyond those; each is `GROWTH` times the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const GROWTH: u32 = 4;
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A connection whose heads are read so.
pub(super) struct Paced<S> {
    inner: S,
    seat: Arc<Seat>,
    /// When the head that is read began to be waited for.
    since: u64,
    /// Pieces of it that have been read.
    pieces: u32,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S, seat: &Arc<Seat>) -> Self {
        Self {
            inner,
            seat: Arc::clone(seat),
            since: seat.waiting_since(),
            pieces: 0,
            pause: None,
        }
    }

    /// The pause that a piece of a head costs, if any.
    fn pause_after(&mut self) -> Option<Duration> {
        let since = self.seat.waiting_since();
        if since != self.since || !self.seat.is_waiting() {
            (self.since, self.pieces) = (since, 0);
            return None;
        }
        self.pieces = self.pieces.saturating_add(1);
        let beyond = self.pieces.checked_sub(FREE_PIECES + 1)?;
        let pause = FIRST_PAUSE.saturating_mul(GROWTH.saturating_pow(beyond));
        Some(pause.min(MAX_PAUSE))
    }
}

impl<S: Read + Unpin> Read for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let is_waiting = self.seat.is_waiting();
        if let Some(pause) = self.pause.as_mut().filter(|_| is_waiting) {
            ready!(pause.as_mut().poll(context));
        }
        self.pause = None;
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.pause = self
            .pause_after()
            .map(|pause| Box::pin(tokio::time::sleep(pause)));
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slice: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, slice)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::seats::{Seating, Seats};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    fn pipe() -> (
        DuplexStream,
        TokioIo<Paced<TokioIo<DuplexStream>>>,
        Arc<Seat>,
    ) {
        let (near, far) = tokio::io::duplex(4096);
        let Seating::Seated(taken) = Arc::new(Seats::new(1)).take([192, 0, 2, 1].into()) else {
            panic!("the first gets a seat");
        };
        let seat = Arc::clone(&taken.0);
        let paced = TokioIo::new(Paced::new(TokioIo::new(far), &seat));
        (near, paced, seat)
    }

    /// Sends a byte every ten milliseconds and says how many reads took all of them.
    async fn reads_of(
        bytes: usize,
        near: &mut DuplexStream,
        paced: &mut TokioIo<Paced<TokioIo<DuplexStream>>>,
    ) -> usize {
        let sending = async {
            for _ in 0..bytes {
                near.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reading = async {
            let (mut read, mut reads) = (0, 0);
            while read < bytes {
                read += paced.read(&mut [0; 1024]).await.unwrap();
                reads += 1;
            }
            reads
        };
        tokio::join!(sending, reading).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_in_many_pieces_is_read_in_few() {
        let (mut near, mut paced, _seat) = pipe();
        // Six seconds of drops: four at once, some in the pauses that grow, and then one a second.
        let reads = reads_of(600, &mut near, &mut paced).await;
        assert!((12..=16).contains(&reads), "{reads}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_in_few_pieces_and_a_request_under_way_wait_for_nothing() {
        let (mut near, mut paced, seat) = pipe();
        let began = Instant::now();
        for _ in 0..3 {
            for _ in 0..FREE_PIECES {
                near.write_all(b"x").await.unwrap();
                assert_eq!(paced.read(&mut [0; 16]).await.unwrap(), 1);
            }
            drop(seat.begin());
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        let pieces = usize::try_from(FREE_PIECES).unwrap() * 4;
        reads_of(pieces, &mut near, &mut paced).await;
        let _busy = seat.begin();
        assert_eq!(reads_of(100, &mut near, &mut paced).await, 100);
    }
}
