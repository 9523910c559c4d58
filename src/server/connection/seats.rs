//! Which connections wait for a request, so that those that have waited longest make room when there is none.
//!
//! Who only holds a connection open, or sends the head of a request byte by byte, keeps nobody out. A request under way is
//! never broken off for a newcomer. It refuses to know time: the order in which connections began to wait is enough.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

/// The connections of an acceptor.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    /// Drawn by each connection when it begins to wait.
    turns: AtomicU64,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    /// Requests under way, to the end of their answers.
    underway: AtomicUsize,
    waiting_since: AtomicU64,
    wanted: CancellationToken,
}

/// Keeps a connection in its acceptor's list.
#[derive(Debug)]
pub(super) struct Taken(pub(super) Arc<Seat>);

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Seats {
    /// Takes a seat for a connection, which waits for its first request.
    pub(super) fn take(self: &Arc<Self>) -> Taken {
        let number = self.turns.fetch_add(1, Relaxed);
        let seat = Arc::new(Seat {
            seats: Arc::clone(self),
            number,
            underway: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(number),
            wanted: CancellationToken::new(),
        });
        self.lock().insert(number, Arc::clone(&seat));
        Taken(seat)
    }

    /// The turn that whoever begins to wait now would draw.
    pub(super) fn turn(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    /// Has at most `most` connections end, of those that wait since before `turn` the ones that have waited longest; says
    /// how many.
    pub(super) fn make_room(&self, most: usize, turn: u64) -> usize {
        let taken = self.lock();
        let waits = |seat: &&Arc<Seat>| {
            seat.is_waiting()
                && seat.waiting_since.load(Relaxed) < turn
                && !seat.wanted.is_cancelled()
        };
        let mut waiting: Vec<&Arc<Seat>> = taken.values().filter(waits).collect();
        if waiting.len() > most {
            waiting.select_nth_unstable_by_key(most, |seat| seat.waiting_since.load(Relaxed));
            waiting.truncate(most);
        }
        for seat in &waiting {
            seat.wanted.cancel();
        }
        waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether no request is under way.
    pub(super) fn is_waiting(&self) -> bool {
        self.underway.load(Relaxed) == 0
    }

    /// Returns once the connection should end for another.
    pub(super) async fn wanted(&self) {
        self.wanted.cancelled().await;
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.underway.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.seats.lock().remove(&self.0.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let seat = &self.0;
        let turn = seat.seats.turns.fetch_add(1, Relaxed);
        seat.waiting_since.store(turn, Relaxed);
        seat.underway.fetch_sub(1, Relaxed);
    }
}

/// An answer's body, which keeps its request under way until it is sent.
#[derive(Debug)]
pub(super) struct Seated<B> {
    body: B,
    _busy: Busy,
}

impl<B> Seated<B> {
    pub(super) fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Seated<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_have_waited_longest_make_room_and_nobody_who_is_served() {
        let seats = Arc::new(Seats::default());
        let taken: Vec<Taken> = (0..5).map(|_| seats.take()).collect();
        let wanted = || -> Vec<bool> {
            let is_wanted = |taken: &Taken| taken.0.wanted.is_cancelled();
            taken.iter().map(is_wanted).collect()
        };
        let earlier = seats.turn();
        let served = taken[0].0.begin();
        // This one was served since, so it has waited for the shortest time.
        drop(taken[1].0.begin());
        let make_room = |turn| seats.make_room(2, turn);
        assert_eq!(make_room(earlier), 2);
        assert_eq!(wanted(), [false, false, true, true, false]);
        assert_eq!(make_room(earlier), 1);
        assert_eq!(wanted(), [false, false, true, true, true]);
        assert_eq!(make_room(seats.turn()), 1);
        assert_eq!(wanted(), [false, true, true, true, true]);
        assert_eq!(make_room(seats.turn()), 0);
        // Of two requests on one connection the last counts.
        let second = taken[0].0.begin();
        drop(served);
        assert_eq!(make_room(seats.turn()), 0);
        drop(second);
        assert_eq!(make_room(seats.turn()), 1);
        drop(taken);
        assert!(seats.lock().is_empty());
    }
}
