//! Which connections have a seat, who waits for one, and who gives theirs up.
//!
//! Those that have waited longest for a request make room when there is none: who only holds a connection open, or sends
//! the head of a request byte by byte, keeps nobody out. The last seats are for addresses that have few, so that one which
//! has many keeps no other waiting. A request under way is never broken off for a newcomer. It refuses to know time: the
//! order in which connections began to wait is enough.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::lines::{Address, Lines};

/// The share of the seats that only addresses with few of them get.
const RESERVED_SHARE: usize = 8;
/// An address has few seats as long as it has less than this share of all, or less than `FEW`.
const FEW_SHARE: usize = 64;
/// What one client opens at once: browsers open six connections to a host, the official client's default on Linux is more,
/// and it goes on with what it gets.
const FEW: usize = 8;
/// As many may wait for a seat as there are seats, but no fewer than this: a burst of a build with a small limit.
const FEWEST_PLACES: usize = 256;
/// The share of the seats that are given up at once, so that a crowd of newcomers is let in without a wait for each.
const ROOM_SHARE: usize = 32;

/// The connections of an acceptor.
#[derive(Debug)]
pub(super) struct Seats {
    /// How many there are.
    most: usize,
    room: Mutex<Room>,
    /// Drawn by each connection when it begins to wait for a request.
    turns: AtomicU64,
    /// Told when the last connection has left its seat.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Room {
    taken: HashMap<u64, Arc<Seat>>,
    /// How many seats each address has.
    held: HashMap<Address, usize>,
    lines: Lines<oneshot::Sender<Taken>>,
    /// Whether somebody sees to it that seats are given up.
    is_seen_to: bool,
    is_closed: bool,
}

/// What becomes of a newcomer.
#[derive(Debug)]
pub(super) enum Seating {
    /// It has no place even to wait in.
    Refused,
    Seated(Taken),
    Waiting(InLine),
}

/// A place in the line of an address.
#[derive(Debug)]
pub(super) struct InLine {
    /// Brings the seat; its end brings none.
    pub(super) turn: oneshot::Receiver<Taken>,
    /// Whether nobody sees to it yet that seats are given up.
    pub(super) is_unseen: bool,
    /// Whether another, the last of the longest line, lost its place to this one.
    pub(super) is_in_anothers_place: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    address: Address,
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
    /// So many seats.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            room: Mutex::default(),
            turns: AtomicU64::new(0),
            emptied: Notify::new(),
        }
    }

    /// Takes a seat for a connection from there, or a place in its line.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Seating {
        let address = Address::from(address);
        let mut room = self.lock();
        if room.is_closed {
            return Seating::Refused;
        }
        if self.admits(&room, address) {
            return Seating::Seated(self.seat(&mut room, address));
        }
        let (sender, turn) = oneshot::channel();
        room.lines.push(address, sender);
        let is_in_anothers_place =
            room.lines.len() > self.places() && room.lines.pop_last_of_longest().is_some();
        Seating::Waiting(InLine {
            turn,
            is_unseen: !std::mem::replace(&mut room.is_seen_to, true),
            is_in_anothers_place,
        })
    }

    /// How many are taken.
    pub(super) fn open(&self) -> usize {
        self.lock().taken.len()
    }

    /// Gives no more seats.
    pub(super) fn close(&self) {
        let mut room = self.lock();
        room.is_closed = true;
        room.lines = Lines::default();
    }

    /// Returns once no seat is taken.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// The turn that whoever begins to wait for a request now would draw.
    pub(super) fn turn(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    /// Has some connections end, of those that wait for a request since before `turn` the ones that have waited longest;
    /// says how many, and nothing once nobody is in line.
    ///
    /// Those of addresses that have many seats go first; the others only if somebody of an address with few is in line.
    pub(super) fn make_room(&self, turn: u64) -> Option<usize> {
        let mut room = self.lock();
        if room.lines.len() == 0 {
            room.is_seen_to = false;
            return None;
        }
        let is_for_few = (room.lines.addresses()).any(|address| self.has_few(&room, address));
        let waits = |seat: &&Arc<Seat>| {
            seat.is_waiting()
                && seat.waiting_since() < turn
                && !seat.wanted.is_cancelled()
                && (is_for_few || !self.has_few(&room, seat.address))
        };
        let mut waiting: Vec<&Arc<Seat>> = room.taken.values().filter(waits).collect();
        let most = self.most.div_ceil(ROOM_SHARE);
        if waiting.len() > most {
            waiting.select_nth_unstable_by_key(most, |seat| {
                (self.has_few(&room, seat.address), seat.waiting_since())
            });
            waiting.truncate(most);
        }
        for seat in &waiting {
            seat.wanted.cancel();
        }
        Some(waiting.len())
    }

    /// How many may wait.
    fn places(&self) -> usize {
        self.most.max(FEWEST_PLACES)
    }

    fn has_few(&self, room: &Room, address: Address) -> bool {
        let held = room.held.get(&address).copied().unwrap_or(0);
        held < FEW.max(self.most / FEW_SHARE)
    }

    fn admits(&self, room: &Room, address: Address) -> bool {
        let free = self.most.saturating_sub(room.taken.len());
        free > self.most / RESERVED_SHARE || free > 0 && self.has_few(room, address)
    }

    fn seat(self: &Arc<Self>, room: &mut Room, address: Address) -> Taken {
        let number = self.turns.fetch_add(1, Relaxed);
        let seat = Arc::new(Seat {
            seats: Arc::clone(self),
            number,
            address,
            underway: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(number),
            wanted: CancellationToken::new(),
        });
        room.taken.insert(number, Arc::clone(&seat));
        *room.held.entry(address).or_default() += 1;
        Taken(seat)
    }

    /// Seats the next who may have one.
    fn seat_next(self: &Arc<Self>) -> Option<(oneshot::Sender<Taken>, Taken)> {
        let mut room = self.lock();
        loop {
            let mut lines = std::mem::take(&mut room.lines);
            let next = lines.pop(|address| self.admits(&room, address));
            room.lines = lines;
            let (address, sender) = next?;
            if !sender.is_closed() {
                return Some((sender, self.seat(&mut room, address)));
            }
        }
    }

    fn leave(self: &Arc<Self>, seat: &Seat) {
        let mut room = self.lock();
        room.taken.remove(&seat.number);
        if let Some(held) = room.held.get_mut(&seat.address) {
            *held -= 1;
            if *held == 0 {
                room.held.remove(&seat.address);
            }
        }
        if room.taken.is_empty() {
            self.emptied.notify_waiters();
        }
        drop(room);
        while let Some((sender, taken)) = self.seat_next() {
            // Who has gone at this moment leaves the seat again.
            drop(sender.send(taken));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether no request is under way.
    pub(super) fn is_waiting(&self) -> bool {
        self.underway.load(Relaxed) == 0
    }

    /// Grows with every request that ends.
    pub(super) fn waiting_since(&self) -> u64 {
        self.waiting_since.load(Relaxed)
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
        self.0.seats.leave(&self.0);
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

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn seated(seating: Seating) -> Taken {
        match seating {
            Seating::Seated(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    fn in_line(seating: Seating) -> InLine {
        match seating {
            Seating::Waiting(line) => line,
            other => panic!("{other:?}"),
        }
    }

    fn wanted(taken: &[Taken]) -> Vec<bool> {
        let is_wanted = |taken: &Taken| taken.0.wanted.is_cancelled();
        taken.iter().map(is_wanted).collect()
    }

    #[test]
    fn those_that_have_waited_longest_make_room_and_nobody_who_is_served() {
        // Two at a time.
        let seats = Arc::new(Seats::new(ROOM_SHARE + 1));
        let one = address(1);
        let others: Vec<Taken> = (0..ROOM_SHARE - 6)
            .map(|_| seated(seats.take(one)))
            .collect();
        let busy: Vec<Busy> = others.iter().map(|taken| taken.0.begin()).collect();
        let mut taken: Vec<Taken> = (0..3).map(|_| seated(seats.take(one))).collect();
        let mut line = in_line(seats.take(one));
        assert!(line.is_unseen);
        assert!(!in_line(seats.take(one)).is_unseen);
        let earlier = seats.turn();
        let served = taken[0].0.begin();
        // This one was served since, so it has waited for the shortest time.
        drop(taken[1].0.begin());
        assert_eq!(seats.make_room(earlier), Some(1));
        assert_eq!(wanted(&taken), [false, false, true]);
        assert_eq!(seats.make_room(earlier), Some(0));
        assert_eq!(seats.make_room(seats.turn()), Some(1));
        assert_eq!(wanted(&taken), [false, true, true]);
        // Of two requests on one connection the last counts.
        let second = taken[0].0.begin();
        drop(served);
        assert_eq!(seats.make_room(seats.turn()), Some(0));
        drop(second);
        assert_eq!(seats.make_room(seats.turn()), Some(1));
        assert!(line.turn.try_recv().is_err());
        taken.remove(1);
        let turn = line.turn.try_recv().unwrap();
        // The other who was in line has gone: nobody is, once that shows.
        drop((turn, taken, busy, others));
        assert_eq!(seats.make_room(seats.turn()), None);
        let room = seats.lock();
        assert!(room.taken.is_empty() && room.held.is_empty());
    }

    #[test]
    fn the_last_seats_are_for_addresses_that_have_few() {
        let seats = Arc::new(Seats::new(640));
        let (many, few) = (address(1), address(2));
        // All but the eighth that is kept back.
        let mut taken: Vec<Taken> = (0..560).map(|_| seated(seats.take(many))).collect();
        let mut line = in_line(seats.take(many));
        // A sixty-fourth of all is few.
        let mut of_few: Vec<Taken> = (0..10).map(|_| seated(seats.take(few))).collect();
        drop(in_line(seats.take(few)));
        assert!(line.turn.try_recv().is_err());
        assert_eq!(seats.open(), 570);
        // Room is made by those who have many, for one of theirs.
        assert_eq!(seats.make_room(seats.turn()), Some(20));
        assert_eq!(wanted(&of_few), [false; 10]);
        of_few.truncate(9);
        // More than what is kept back are free only when ten of the many have gone.
        for _ in 0..9 {
            taken.pop();
            assert!(line.turn.try_recv().is_err());
        }
        taken.pop();
        assert!(line.turn.try_recv().is_ok());
    }

    #[test]
    fn a_full_line_loses_the_last_of_the_longest() {
        let seats = Arc::new(Seats::new(2));
        let [one, two] = [1, 1].map(|last| seated(seats.take(address(last))));
        let mut first = in_line(seats.take(address(1)));
        let mut others: Vec<InLine> = (1..FEWEST_PLACES)
            .map(|_| in_line(seats.take(address(1))))
            .collect();
        let mut last = others.pop().unwrap();
        let mut other = in_line(seats.take(address(2)));
        assert!(other.is_in_anothers_place && !last.is_in_anothers_place);
        let ended = last.turn.try_recv();
        assert!(matches!(ended, Err(oneshot::error::TryRecvError::Closed)));
        drop(one);
        let seat = first.turn.try_recv().unwrap();
        assert!(other.turn.try_recv().is_err());
        // The lines have their turns.
        drop(two);
        let seat = (seat, other.turn.try_recv().unwrap());
        let mut other = others.remove(0);
        seats.close();
        drop(seat);
        let ended = other.turn.try_recv();
        assert!(matches!(ended, Err(oneshot::error::TryRecvError::Closed)));
        assert!(matches!(seats.take(address(1)), Seating::Refused));
    }
}
