//! What happens on an HTTP/2 connection, so that one on which nothing does can be ended.
//!
//! hyper's HTTP/2 has neither a limit for a connection without requests nor one for a client that takes nothing of an
//! answer while it acknowledges everything else. Both are kept here, by counting requests and the pieces of their
//! answers. It refuses to look into them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes of an answer that are handed over at once: its request counts as under way until the last such piece is, so a
/// slow client that still takes a large answer is not taken for an idle one.
const MAX_PIECE_BYTES: usize = 64 << 10;

/// Looks within one limit: a connection ends at most this share of it late.
const LOOKS: u32 = 4;

/// What has happened on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Rises with everything that happens.
    events: AtomicU64,
    /// Requests under way: from their head to the last piece of their answer.
    open: AtomicUsize,
    /// Answers of which the client has not taken the last piece handed over.
    waiting: AtomicUsize,
}

/// Why a connection should end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Still {
    /// No request came.
    Idle,
    /// There are answers, and the client takes nothing of any.
    Stalled,
}

impl Activity {
    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.events.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Underway {
            activity: Arc::clone(self),
            is_waiting: false,
        }
    }

    /// Whether no request has ever come.
    pub(super) fn is_untouched(&self) -> bool {
        self.events.load(Relaxed) == 0
    }

    /// Returns once nothing has happened for `idle` without a request, or for `stalled` with an answer that waits for
    /// the client. While we are the ones who are waited for there is no limit here.
    pub(super) async fn still(&self, idle: Duration, stalled: Duration) -> Still {
        let look = idle.min(stalled) / LOOKS;
        let (mut seen, mut unchanged) = (self.events.load(Relaxed), Duration::ZERO);
        loop {
            tokio::time::sleep(look).await;
            let events = self.events.load(Relaxed);
            if events != seen {
                (seen, unchanged) = (events, Duration::ZERO);
                continue;
            }
            unchanged = unchanged.saturating_add(look);
            if self.open.load(Relaxed) == 0 {
                if unchanged >= idle {
                    return Still::Idle;
                }
            } else if self.waiting.load(Relaxed) > 0 && unchanged >= stalled {
                return Still::Stalled;
            }
        }
    }
}

/// A request under way; its end is this one's drop.
#[derive(Debug)]
pub(super) struct Underway {
    activity: Arc<Activity>,
    /// Whether a piece was handed over and no more asked for yet.
    is_waiting: bool,
}

impl Underway {
    fn handed(&mut self) {
        self.activity.events.fetch_add(1, Relaxed);
        if !self.is_waiting {
            self.is_waiting = true;
            self.activity.waiting.fetch_add(1, Relaxed);
        }
    }

    fn asked(&mut self) {
        if self.is_waiting {
            self.is_waiting = false;
            self.activity.waiting.fetch_sub(1, Relaxed);
            self.activity.events.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.asked();
        self.activity.open.fetch_sub(1, Relaxed);
        self.activity.events.fetch_add(1, Relaxed);
    }
}

/// An answer's body, seen while it passes.
pub(super) struct Watched<B> {
    body: Pin<Box<B>>,
    /// What is left of a piece that was too large to be handed over at once.
    rest: Bytes,
    underway: Underway,
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, underway: Underway) -> Self {
        Self {
            body: Box::pin(body),
            rest: Bytes::new(),
            underway,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        this.underway.asked();
        if this.rest.is_empty() {
            match ready!(this.body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(MAX_PIECE_BYTES));
        this.underway.handed();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    const IDLE: Duration = Duration::from_secs(75);
    const STALLED: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_idle() {
        let activity = Arc::new(Activity::default());
        let began = tokio::time::Instant::now();
        assert_eq!(activity.still(IDLE, STALLED).await, Still::Idle);
        let took = began.elapsed();
        assert!(took >= IDLE && took <= IDLE * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_us_waits_as_long_as_it_takes() {
        let activity = Arc::new(Activity::default());
        let underway = activity.begin();
        let hour = Duration::from_secs(3600);
        let waited = tokio::time::timeout(hour, activity.still(IDLE, STALLED)).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(underway);
        assert_eq!(activity.still(IDLE, STALLED).await, Still::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_stalls_and_one_that_is_taken_slowly_does_not() {
        let activity = Arc::new(Activity::default());
        let content: Vec<u8> = (0..=250).cycle().take(MAX_PIECE_BYTES * 2 + 7).collect();
        let mut body = Watched::new(Full::new(Bytes::from(content.clone())), activity.begin());
        let mut taken = Vec::new();
        for _ in 0..3 {
            assert_eq!(
                body.size_hint().exact(),
                Some((content.len() - taken.len()) as u64)
            );
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= MAX_PIECE_BYTES);
            taken.extend_from_slice(&piece);
            // Longer than idle; shorter than stalled.
            let waited = tokio::time::timeout(IDLE + IDLE / 4, activity.still(IDLE, STALLED)).await;
            assert!(waited.is_err(), "{waited:?}");
        }
        assert!(taken == content && body.is_end_stream());
        assert_eq!(activity.still(IDLE, STALLED).await, Still::Stalled);
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(activity.still(IDLE, STALLED).await, Still::Idle);
    }
}
