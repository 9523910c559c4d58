//! Turns at an origin: of its requests, each of which takes one for as long as its answer comes, and of its bodies, each
//! piece of which takes one.
//!
//! Who may have a turn, [`Queue`] and [`Pace`] say; here is who waits for it. Waiting here is our own doing: nothing of
//! it is the origin's failure. It refuses to know what is asked for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Shared;
use super::queue::{Background, Queue};
use super::rate::{Pace, Rate};
use super::settings::Settings;
use super::stake::{Asker, Stake, Urgency};
use crate::clock::Clock;
use crate::tasks::Tasks;

/// A turn of a body is for this much at first: as much as comes at once in most reads. What came is settled after it.
const PIECE_BYTES: u64 = 16 << 10;

/// What turns are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Of {
    /// Pieces of bodies.
    Bodies,
    /// Requests, of which so many may be under way.
    Requests {
        /// With any urgency.
        most: usize,
    },
}

impl Of {
    /// What a turn costs before it is known.
    fn cost(self) -> u64 {
        match self {
            Self::Bodies => PIECE_BYTES,
            Self::Requests { .. } => 1,
        }
    }

    fn most(self) -> usize {
        match self {
            Self::Bodies => usize::MAX,
            Self::Requests { most } => most,
        }
    }

    /// Those that nobody waits for leave half of the origin to clients, whose requests would have to wait for one of
    /// theirs to end.
    fn most_behind(self) -> usize {
        (self.most() / 2).max(1)
    }

    fn rate(self, settings: &Settings) -> Option<Rate> {
        let per_second = match self {
            Self::Bodies => settings.max_bytes_per_second,
            Self::Requests { .. } => settings.max_requests_per_second,
        };
        per_second.map(Rate)
    }
}

/// The turns of one kind at one origin. Clones share them.
#[derive(Clone)]
pub(super) struct Turns {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    in_force: Arc<ArcSwap<Settings>>,
    of: Of,
    /// Has whoever gives turns by the rate look again.
    replan: Notify,
    state: Mutex<State>,
    tasks: Tasks,
}

#[derive(Default)]
struct State {
    /// Whether somebody gives turns by the rate.
    is_watched: bool,
    pace: Pace,
    queue: Queue<Waiter>,
    taken: usize,
    taken_behind: usize,
    backlog: Backlog,
}

struct Waiter {
    since: Instant,
    turn: oneshot::Sender<Turn>,
}

/// Who waits for turns, and how long those who had theirs did: what metrics show.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backlog {
    /// How long those who had turns had waited for them, all together.
    pub waited: Duration,
    /// How many wait now with no client behind them.
    pub waiting_behind: usize,
    /// How many wait now with a client behind them.
    pub waiting_clients: usize,
    /// How many had a turn.
    pub turns: u64,
}

/// What whoever gave turns has to wait for to give the next.
enum Wait {
    /// Nobody waits.
    Nobody,
    /// For a turn to end.
    Turn,
    /// For the rate.
    Until(Instant),
}

impl Turns {
    /// For the requests to one origin.
    pub(super) fn of_requests(shared: &Shared) -> Self {
        let most = shared.settings.max_connections;
        Self::new(Of::Requests { most }, shared)
    }

    /// For the bodies of one origin.
    pub(super) fn of_bodies(shared: &Shared) -> Self {
        Self::new(Of::Bodies, shared)
    }

    fn new(of: Of, shared: &Shared) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock: shared.clock.clone(),
                in_force: Arc::clone(&shared.in_force),
                of,
                replan: Notify::new(),
                state: Mutex::default(),
                tasks: shared.tasks.clone(),
            }),
        }
    }

    /// Whether turns come by a rate now.
    pub(super) fn have_a_rate(&self) -> bool {
        self.inner.rate().is_some()
    }

    /// A place in the queue; the turn comes when it is due. Dropping it gives the place up.
    pub(super) fn wait(&self, stake: &Arc<Stake>) -> Waiting {
        let (turn, told) = oneshot::channel();
        let number = stake.wait(self, |askers, urgency| {
            let mut state = self.inner.lock();
            let since = self.inner.clock.instant();
            let waiter = Waiter { since, turn };
            // There always is a first.
            let (first, others) = match askers {
                [first, others @ ..] => (first.clone(), others),
                [] => (Asker::new(&"".into(), None), askers),
            };
            let number = state.queue.push(&first, urgency, waiter);
            for asker in others {
                state.queue.share(number, asker, urgency);
            }
            number
        });
        self.give();
        Waiting {
            number,
            stake: Arc::clone(stake),
            told,
            turns: self.clone(),
        }
    }

    /// Has another asker wait in a place.
    pub(super) fn share(&self, number: u64, asker: &Asker, urgency: Urgency) {
        self.inner.lock().queue.share(number, asker, urgency);
        // It may not have been its turn for being in the background.
        self.give();
    }

    /// The settings have changed.
    pub(super) fn reconsider(&self) {
        self.inner.replan.notify_one();
        self.give();
    }

    /// What metrics show.
    pub(super) fn backlog(&self) -> Backlog {
        let state = self.inner.lock();
        Backlog {
            waiting_behind: state.queue.waiting(Urgency::Background),
            waiting_clients: state.queue.waiting(Urgency::Client),
            ..state.backlog
        }
    }

    /// Gives the turns that are due, and has somebody give those that the rate will make due. Where turns end nobody is
    /// spawned, so whoever waits under a rate has somebody from the start.
    fn give(&self) {
        match self.inner.give() {
            Wait::Nobody => return,
            Wait::Turn if !self.have_a_rate() => return,
            Wait::Turn | Wait::Until(_) => {}
        }
        if std::mem::replace(&mut self.inner.lock().is_watched, true) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        self.inner
            .tasks
            .spawn("upstream turns", async move { inner.keep_giving().await });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rate(&self) -> Option<Rate> {
        self.of.rate(&self.in_force.load())
    }

    /// Gives turns for as long as anybody waits.
    async fn keep_giving(self: Arc<Self>) {
        loop {
            match self.give() {
                Wait::Nobody => {
                    let mut state = self.lock();
                    if state.queue.is_empty() {
                        state.is_watched = false;
                        return;
                    }
                }
                Wait::Turn => self.replan.notified().await,
                Wait::Until(instant) => tokio::select! {
                    () = tokio::time::sleep_until(instant) => {}
                    () = self.replan.notified() => {}
                },
            }
        }
    }

    /// Gives the turns that are due, and says what the next waits for.
    fn give(self: &Arc<Self>) -> Wait {
        let mut given = Vec::new();
        let wait = self.take_due(&mut given);
        // Not under the lock: a turn that nobody takes any more comes back.
        for (waiter, turn) in given {
            drop(waiter.turn.send(turn));
        }
        wait
    }

    fn take_due(self: &Arc<Self>, given: &mut Vec<(Waiter, Turn)>) -> Wait {
        let (rate, cost, now) = (self.rate(), self.of.cost(), self.clock.instant());
        let mut state = self.lock();
        loop {
            if state.queue.is_empty() {
                return Wait::Nobody;
            }
            if state.taken >= self.of.most() {
                return Wait::Turn;
            }
            let ready = rate.and_then(|rate| state.pace.ready_at(rate, cost, now));
            if let Some(ready) = ready {
                return Wait::Until(ready);
            }
            let background = if state.taken_behind < self.of.most_behind() {
                Background::Shares
            } else {
                Background::Held
            };
            let Some(next) = state.queue.next(background, cost) else {
                return Wait::Turn;
            };
            if let Some(rate) = rate {
                state.pace.give(rate, cost, now);
            }
            state.taken += 1;
            state.taken_behind += usize::from(next.urgency == Urgency::Background);
            state.backlog.turns += 1;
            state.backlog.waited += now.duration_since(next.waiter.since);
            let turn = Turn {
                asker: next.asker,
                inner: Arc::clone(self),
                urgency: next.urgency,
                used: match self.of {
                    Of::Bodies => 0,
                    Of::Requests { .. } => cost,
                },
            };
            given.push((next.waiter, turn));
        }
    }

    /// Ends a turn that used so much.
    fn end(self: &Arc<Self>, turn: &Turn) {
        let (rate, said, now) = (self.rate(), self.of.cost(), self.clock.instant());
        let mut state = self.lock();
        state.taken -= 1;
        state.taken_behind -= usize::from(turn.urgency == Urgency::Background);
        if turn.used != said {
            state
                .queue
                .correct(&turn.asker, turn.urgency, said, turn.used);
        }
        match rate {
            Some(rate) if turn.used > said => state.pace.give(rate, turn.used - said, now),
            Some(rate) => state.pace.take_back(rate, said - turn.used),
            None => {}
        }
        drop(state);
        self.give();
        // Whoever gives turns by the rate may have planned for what is over.
        self.replan.notify_one();
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("of", &self.inner.of)
            .finish_non_exhaustive()
    }
}

/// A place in the queue.
pub(super) struct Waiting {
    number: u64,
    stake: Arc<Stake>,
    told: oneshot::Receiver<Turn>,
    turns: Turns,
}

impl Future for Waiting {
    /// `None` only if whoever gives turns is gone.
    type Output = Option<Turn>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Turn>> {
        let turn = std::task::ready!(Pin::new(&mut self.told).poll(context));
        self.stake.leave();
        Poll::Ready(turn.ok())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turns.inner.lock().queue.remove(self.number);
        self.stake.leave();
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// A turn; it ends when it is dropped.
pub(super) struct Turn {
    asker: Asker,
    inner: Arc<Inner>,
    urgency: Urgency,
    used: u64,
}

impl Turn {
    /// Notes how many bytes of a body it brought.
    pub(super) fn note(&mut self, bytes: usize) {
        self.used += bytes as u64;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let inner = Arc::clone(&self.inner);
        inner.end(self);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("asker", &self.asker)
            .finish_non_exhaustive()
    }
}

/// The turns of one body.
#[derive(Debug)]
pub(super) struct Pieces {
    stake: Arc<Stake>,
    turn: Option<Turn>,
    turns: Turns,
    waiting: Option<Waiting>,
}

impl Pieces {
    pub(super) fn new(turns: Turns, stake: Arc<Stake>) -> Self {
        Self {
            stake,
            turn: None,
            turns,
            waiting: None,
        }
    }

    /// Waits until the next piece may be read.
    pub(super) fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_some() || (self.waiting.is_none() && !self.turns.have_a_rate()) {
            return Poll::Ready(());
        }
        let (turns, stake) = (&self.turns, &self.stake);
        let waiting = self.waiting.get_or_insert_with(|| turns.wait(stake));
        self.turn = std::task::ready!(Pin::new(waiting).poll(context));
        self.waiting = None;
        Poll::Ready(())
    }

    /// Ends the turn that brought so much.
    pub(super) fn note(&mut self, bytes: usize) {
        if let Some(mut turn) = self.turn.take() {
            turn.note(bytes);
        }
    }
}
