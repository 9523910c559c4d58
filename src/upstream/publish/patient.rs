//! A connection that does not let a failed write hide an answer.
//!
//! An upstream that refuses an upload early answers and closes at once. Our next write fails, and hyper would give up
//! on that error before it reads the answer that is waiting. Here a write error waits until the read side has ended;
//! until then writes are taken and thrown away. It refuses to wait longer than the idle limit.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::clock::Clock;

/// The connection of one upload.
pub(super) struct Patient<S> {
    clock: Clock,
    /// The write error, and when we stop waiting for an answer.
    failed: Option<(io::ErrorKind, Pin<Box<Sleep>>)>,
    idle_timeout: Duration,
    inner: S,
    read_ended: bool,
    /// Whether a byte went out.
    wrote: Arc<AtomicBool>,
}

impl<S> Patient<S> {
    /// Sets `wrote` at the first byte that goes out.
    pub(super) fn new(
        inner: S,
        wrote: Arc<AtomicBool>,
        idle_timeout: Duration,
        clock: Clock,
    ) -> Self {
        Self {
            clock,
            failed: None,
            idle_timeout,
            inner,
            read_ended: false,
            wrote,
        }
    }

    fn answer_deadline(&self) -> Instant {
        self.clock.instant() + self.idle_timeout
    }

    /// What a write reports that gave `outcome` for `length` bytes offered.
    fn written(
        &mut self,
        context: &Context<'_>,
        outcome: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(sent)) if sent > 0 => {
                self.wrote.store(true, Ordering::Release);
                outcome
            }
            Poll::Ready(Err(error)) if !self.read_ended => {
                let timer = tokio::time::sleep_until(self.answer_deadline());
                self.failed = Some((error.kind(), Box::pin(timer)));
                // The timer is polled where we read.
                context.waker().wake_by_ref();
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }

    /// What a write reports after one has failed.
    fn after_failure<T>(&self, thrown_away: T) -> Option<Poll<io::Result<T>>> {
        let (kind, _) = self.failed.as_ref()?;
        Some(Poll::Ready(if self.read_ended {
            Err((*kind).into())
        } else {
            Ok(thrown_away)
        }))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(context, buffer);
        match &outcome {
            Poll::Pending => {
                let Some((kind, timer)) = &mut self.failed else {
                    return Poll::Pending;
                };
                let kind = *kind;
                std::task::ready!(timer.as_mut().poll(context));
                self.read_ended = true;
                return Poll::Ready(Err(kind.into()));
            }
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                let deadline = self.answer_deadline();
                if let Some((_, timer)) = &mut self.failed {
                    timer.as_mut().reset(deadline);
                }
            }
            Poll::Ready(Ok(())) => self.read_ended |= buffer.remaining() > 0,
            Poll::Ready(Err(_)) => self.read_ended = true,
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(outcome) = self.after_failure(bytes.len()) {
            return outcome;
        }
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, outcome, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if let Some(outcome) = self.after_failure(length) {
            return outcome;
        }
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.written(context, outcome, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(outcome) = self.after_failure(()) {
            return outcome;
        }
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.written(context, outcome.map_ok(|()| 0), 0)
            .map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(outcome) = self.after_failure(()) {
            return outcome;
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    /// Fails every write.
    struct Broken;

    impl AsyncWrite for Broken {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
    }

    const IDLE: Duration = Duration::from_secs(30);

    fn broken() -> (
        Patient<tokio::io::Join<DuplexStream, Broken>>,
        DuplexStream,
        Arc<AtomicBool>,
    ) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let wrote = Arc::new(AtomicBool::new(false));
        let inner = tokio::io::join(ours, Broken);
        let patient = Patient::new(inner, Arc::clone(&wrote), IDLE, Clock::system());
        (patient, theirs, wrote)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_error_waits_for_the_end_of_the_answer() {
        let (mut patient, mut theirs, wrote) = broken();
        patient.write_all(b"body").await.unwrap();
        patient.flush().await.unwrap();
        assert!(!wrote.load(Ordering::Acquire));
        let mut answer = [0; 6];
        let (read, ()) = tokio::join!(patient.read_exact(&mut answer), async {
            tokio::time::sleep(IDLE / 2).await;
            theirs.write_all(b"answer").await.unwrap();
        });
        read.unwrap();
        assert_eq!(&answer, b"answer");
        patient.write_all(b"more").await.unwrap();
        drop(theirs);
        assert_eq!(patient.read(&mut answer).await.unwrap(), 0);
        let error = patient.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_it_waits_for_the_idle_limit() {
        let (mut patient, mut theirs, _) = broken();
        patient.flush().await.unwrap();
        let before = Instant::now();
        tokio::time::sleep(IDLE / 2).await;
        theirs.write_all(b"a").await.unwrap();
        assert_eq!(patient.read_u8().await.unwrap(), b'a');
        let error = patient.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(before.elapsed(), IDLE / 2 + IDLE);
        patient.write_all(b"more").await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_that_went_out_is_noted() {
        let (ours, _theirs) = tokio::io::duplex(1024);
        let wrote = Arc::new(AtomicBool::new(false));
        let mut patient = Patient::new(ours, Arc::clone(&wrote), IDLE, Clock::system());
        patient.flush().await.unwrap();
        assert!(!wrote.load(Ordering::Acquire));
        patient.write_all(b"x").await.unwrap();
        assert!(wrote.load(Ordering::Acquire));
    }
}
