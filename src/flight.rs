//! One fetch per key: one leader, many followers.
//!
//! A flight belongs to nobody's request. Its leader is a task of its own that tells the flight's state; everybody else
//! holds a [`Ticket`] and reads it. A flight whose last ticket is gone goes on, but only a few of those may: the oldest
//! is cancelled first. This module refuses to know what a key or a state means.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use crate::sync::{CancellationToken, Mutex, MutexGuard};

/// The flights under way, one per key. Clones share them.
pub struct Flights<K, S> {
    state: Arc<Mutex<State<K, S>>>,
}

struct State<K, S> {
    /// Flights that may be joined.
    open: HashMap<K, Arc<Shared<S>>>,
    /// Flights without readers, the oldest first, by number.
    abandoned: VecDeque<(u64, CancellationToken)>,
    /// How many flights without readers may go on.
    max_abandoned: usize,
    next_number: u64,
}

impl<K: Eq + Hash, S> State<K, S> {
    /// Cancels flights without readers until no more than may go on are left, the oldest first.
    fn cancel_surplus(&mut self) {
        while self.abandoned.len() > self.max_abandoned
            && let Some((number, oldest)) = self.abandoned.pop_front()
        {
            // Out of the map in the same breath: nobody joins a flight that is about to end.
            self.open.retain(|_, shared| shared.number != number);
            oldest.cancel();
        }
    }
}

/// What a flight's leader and its readers share.
struct Shared<S> {
    number: u64,
    /// A receiver that is cloned for each reader; the sender is the leader's alone, so a leader that is gone is seen.
    state: watch::Receiver<S>,
    readers: Mutex<Readers>,
    cancelled: CancellationToken,
}

/// Who has to do with a flight. Changed only under the lock of `Flights::state`.
#[derive(Debug, Default)]
struct Readers {
    /// Tickets given out.
    tickets: usize,
    /// Set once the lead is gone: there is nothing to go on without readers.
    is_over: bool,
}

/// The leader is gone without a verdict: it panicked or was cancelled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fetch ended without a verdict")
    }
}

impl std::error::Error for Lost {}

/// A place in a flight.
pub struct Ticket<K: Eq + Hash, S> {
    flights: Flights<K, S>,
    shared: Arc<Shared<S>>,
    state: watch::Receiver<S>,
}

/// The right and duty to carry a flight out. Dropping it ends the flight.
pub struct Lead<K: Eq + Hash, S> {
    flights: Flights<K, S>,
    key: K,
    shared: Arc<Shared<S>>,
    state: watch::Sender<S>,
}

/// How a request came to its flight.
pub enum Joined<K: Eq + Hash, S> {
    /// It is under way already.
    Follower(Ticket<K, S>),
    /// It was opened for this request: the lead is to be given to a task.
    Leader(Ticket<K, S>, Lead<K, S>),
}

impl<K: Clone + Eq + Hash, S> Flights<K, S> {
    /// No flights yet; at most `max_abandoned` will go on without readers.
    #[must_use]
    pub fn new(max_abandoned: usize) -> Self {
        let state = State {
            open: HashMap::new(),
            abandoned: VecDeque::new(),
            max_abandoned,
            next_number: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Cancels every flight without readers, those that lose their last one from now on too: for the end of the process.
    pub fn cancel_abandoned(&self) {
        let mut state = self.lock();
        state.max_abandoned = 0;
        state.cancel_surplus();
    }

    /// Joins the flight for `key`, or opens it in state `initial`.
    pub fn join(&self, key: K, initial: S) -> Joined<K, S> {
        let mut state = self.lock();
        if let Some(shared) = state.open.get(&key).cloned() {
            return Joined::Follower(self.ticket(&mut state, shared));
        }
        let (sender, receiver) = watch::channel(initial);
        let number = state.next_number;
        state.next_number += 1;
        let shared = Arc::new(Shared {
            number,
            state: receiver,
            readers: Mutex::default(),
            cancelled: CancellationToken::new(),
        });
        state.open.insert(key.clone(), Arc::clone(&shared));
        let ticket = self.ticket(&mut state, Arc::clone(&shared));
        drop(state);
        let lead = Lead {
            flights: self.clone(),
            key,
            shared,
            state: sender,
        };
        Joined::Leader(ticket, lead)
    }

    /// How many flights can be joined now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether no flight can be joined now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn ticket(&self, state: &mut State<K, S>, shared: Arc<Shared<S>>) -> Ticket<K, S> {
        lock(&shared.readers).tickets += 1;
        state
            .abandoned
            .retain(|(number, _)| *number != shared.number);
        Ticket {
            flights: self.clone(),
            state: shared.state.clone(),
            shared,
        }
    }
}

impl<K, S> Flights<K, S> {
    fn lock(&self) -> MutexGuard<'_, State<K, S>> {
        lock(&self.state)
    }
}

impl<K, S> Clone for Flights<K, S> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }
}

impl<K, S> fmt::Debug for Flights<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Flights")
            .field("open", &state.open.len())
            .field("abandoned", &state.abandoned.len())
            .finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, S> Ticket<K, S> {
    /// The state as it is now.
    pub fn now(&self) -> watch::Ref<'_, S> {
        self.state.borrow()
    }

    /// Waits until the state meets `condition`.
    ///
    /// # Errors
    /// [`Lost`] if the leader is gone and the last state does not meet it.
    pub async fn wait_for(
        &mut self,
        condition: impl FnMut(&S) -> bool,
    ) -> Result<watch::Ref<'_, S>, Lost> {
        self.state.wait_for(condition).await.map_err(|_| Lost)
    }

    /// Waits for the next change of the state.
    ///
    /// # Errors
    /// [`Lost`] if the leader is gone.
    pub async fn changed(&mut self) -> Result<(), Lost> {
        self.state.changed().await.map_err(|_| Lost)
    }
}

impl<K: Eq + Hash, S> Drop for Ticket<K, S> {
    fn drop(&mut self) {
        let mut state = self.flights.lock();
        let mut readers = lock(&self.shared.readers);
        readers.tickets -= 1;
        if readers.tickets > 0 || readers.is_over || self.shared.cancelled.is_cancelled() {
            return;
        }
        state
            .abandoned
            .push_back((self.shared.number, self.shared.cancelled.clone()));
        state.cancel_surplus();
    }
}

impl<K: Eq + Hash, S> fmt::Debug for Ticket<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("flight", &self.shared.number)
            .finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, S> Lead<K, S> {
    /// The state as it is now.
    pub fn now(&self) -> watch::Ref<'_, S> {
        self.state.borrow()
    }

    /// Changes the state and tells the readers.
    pub fn update(&self, change: impl FnOnce(&mut S)) {
        self.state.send_modify(change);
    }

    /// Closes the flight to newcomers: from now on a request for this key opens another.
    pub fn close(&self) {
        let mut state = self.flights.lock();
        let ours = |shared: &Arc<Shared<S>>| shared.number == self.shared.number;
        if state.open.get(&self.key).is_some_and(ours) {
            state.open.remove(&self.key);
        }
    }

    /// Closes the flight and then tells its readers `verdict`, so that nobody joins after it.
    pub fn finish(self, verdict: S) {
        self.close();
        self.state.send_modify(|state| *state = verdict);
    }

    /// Completes when the flight is to be given up because too many go on without readers.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.cancelled.clone().cancelled_owned()
    }

    /// How many readers it has now.
    #[must_use]
    pub fn readers(&self) -> usize {
        lock(&self.shared.readers).tickets
    }
}

impl<K: Eq + Hash, S> Drop for Lead<K, S> {
    fn drop(&mut self) {
        self.close();
        let mut state = self.flights.lock();
        lock(&self.shared.readers).is_over = true;
        state
            .abandoned
            .retain(|(number, _)| *number != self.shared.number);
    }
}

impl<K: Eq + Hash, S> fmt::Debug for Lead<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead")
            .field("flight", &self.shared.number)
            .finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, S> fmt::Debug for Joined<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follower(ticket) => f.debug_tuple("Follower").field(ticket).finish(),
            Self::Leader(ticket, _) => f.debug_tuple("Leader").field(ticket).finish(),
        }
    }
}

/// The lock guards plain data that no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flights() -> Flights<&'static str, u32> {
        Flights::new(2)
    }

    fn lead<'a>(
        flights: &Flights<&'a str, u32>,
        key: &'a str,
    ) -> (Ticket<&'a str, u32>, Lead<&'a str, u32>) {
        match flights.join(key, 0) {
            Joined::Leader(ticket, lead) => (ticket, lead),
            Joined::Follower(_) => panic!("{key} is under way"),
        }
    }

    fn follow<'a>(flights: &Flights<&'a str, u32>, key: &'a str) -> Ticket<&'a str, u32> {
        match flights.join(key, 0) {
            Joined::Follower(ticket) => ticket,
            Joined::Leader(..) => panic!("{key} is not under way"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_the_others_see_what_it_tells() {
        let flights = flights();
        let (mut first, lead) = lead(&flights, "a");
        let mut second = follow(&flights, "a");
        assert_eq!(lead.readers(), 2);
        lead.update(|state| *state = 7);
        assert_eq!(
            *second
                .wait_for(|state| *state == 7)
                .await
                .expect("the leader lives"),
            7
        );
        lead.finish(9);
        assert_eq!(
            *first
                .wait_for(|state| *state == 9)
                .await
                .expect("the verdict is kept"),
            9
        );
        assert_eq!(
            *second
                .wait_for(|state| *state == 9)
                .await
                .expect("the verdict is kept"),
            9
        );
        assert_eq!(second.changed().await, Err(Lost));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_joins_after_the_flight_was_closed() {
        let flights = flights();
        let (_ticket, lead_one) = lead(&flights, "a");
        lead_one.close();
        let (_other, lead_two) = lead(&flights, "a");
        drop(lead_one);
        let _third = follow(&flights, "a");
        assert_eq!(lead_two.readers(), 2);
        assert_eq!(
            flights.len(),
            1,
            "the old leader's end does not close the new flight"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_lost_is_seen_and_its_key_is_free() {
        let flights = flights();
        let (mut ticket, leader) = lead(&flights, "a");
        drop(leader);
        assert_eq!(ticket.wait_for(|state| *state == 1).await.err(), Some(Lost));
        assert!(flights.is_empty());
        let _ = lead(&flights, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_flight_without_readers_is_cancelled_first() {
        let flights = flights();
        let (ticket_a, lead_a) = lead(&flights, "a");
        let (ticket_b, lead_b) = lead(&flights, "b");
        let (ticket_c, lead_c) = lead(&flights, "c");
        drop(ticket_a);
        drop(ticket_b);
        assert!(!lead_a.shared.cancelled.is_cancelled());
        drop(ticket_c);
        lead_a.cancelled().await;
        assert!(!lead_b.shared.cancelled.is_cancelled());
        assert!(!lead_c.shared.cancelled.is_cancelled());
        let _ = lead(&flights, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_comes_back_saves_a_flight_from_cancellation() {
        let flights = flights();
        let (ticket_a, lead_a) = lead(&flights, "a");
        drop(ticket_a);
        let _again = follow(&flights, "a");
        let leads: Vec<_> = ["b", "c", "d"]
            .into_iter()
            .map(|key| {
                let (ticket, lead) = lead(&flights, key);
                drop(ticket);
                lead
            })
            .collect();
        assert!(!lead_a.shared.cancelled.is_cancelled());
        assert!(leads[0].shared.cancelled.is_cancelled());
        assert!(!leads[1].shared.cancelled.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_flights_without_readers_are_cancelled() {
        let flights = flights();
        let (reader, with_reader) = lead(&flights, "reader");
        let (abandoned, without_reader) = lead(&flights, "abandoned");
        drop(abandoned);
        flights.cancel_abandoned();
        without_reader.cancelled().await;
        assert!(!with_reader.shared.cancelled.is_cancelled());
        drop(reader);
        with_reader.cancelled().await;
        assert!(flights.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_flight_takes_no_place_among_the_abandoned() {
        let flights = flights();
        let (ticket_a, lead_a) = lead(&flights, "a");
        drop(ticket_a);
        lead_a.finish(1);
        assert!(flights.lock().abandoned.is_empty());
        let (ticket_b, lead_b) = lead(&flights, "b");
        lead_b.finish(1);
        drop(ticket_b);
        assert!(flights.lock().abandoned.is_empty());
    }
}
