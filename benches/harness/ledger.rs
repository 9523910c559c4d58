//! What happened under load: what was answered, what of it is known to be stored, and what was wrong.
//!
//! It refuses to ask anybody anything.

use super::stock::Thing;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The life of one process under load. Clients and whoever ends it share it.
#[derive(Debug)]
pub(crate) struct Ledger {
    answered: Mutex<Vec<(Thing, u64)>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
    wrong: Mutex<Vec<String>>,
    /// The least generation of each id's documents that a client may get: a push was answered.
    floors: Vec<AtomicU64>,
    pub(crate) requests: AtomicU64,
    /// Connections that ended in the middle while nobody ended the process.
    pub(crate) breaks: AtomicU64,
    is_ending: AtomicBool,
    is_paused: AtomicBool,
}

/// Something that is in the store, body and row.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    thing: Thing,
    generation: u64,
    /// When that was known.
    at: Instant,
}

impl Ledger {
    /// An empty one for the documents of `ids` ids.
    pub(crate) fn new(ids: usize) -> Self {
        Self {
            answered: Mutex::default(),
            acknowledged: Mutex::default(),
            wrong: Mutex::default(),
            floors: (0..ids).map(|_| AtomicU64::new(0)).collect(),
            requests: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
        }
    }

    /// A client got this, of this generation, and it was taken into the store or came from there.
    pub(crate) fn answered(&self, thing: Thing, generation: u64) {
        lock(&self.answered).push((thing, generation));
    }

    /// How much was answered.
    pub(crate) fn mark(&self) -> usize {
        lock(&self.answered).len()
    }

    /// What was answered before this mark is in the store, body and row.
    pub(crate) fn acknowledge(&self, mark: usize) {
        let at = Instant::now();
        let mut answered = lock(&self.answered);
        let rest = answered.split_off(mark);
        let sure = std::mem::replace(&mut *answered, rest);
        drop(answered);
        let made = |(thing, generation)| Acknowledged {
            thing,
            generation,
            at,
        };
        lock(&self.acknowledged).extend(sure.into_iter().map(made));
    }

    /// What was known to be stored at `time`, with its latest generation.
    pub(crate) fn acknowledged(&self, time: Instant) -> HashMap<Thing, u64> {
        let mut sure = HashMap::new();
        for one in lock(&self.acknowledged).iter().filter(|one| one.at <= time) {
            let generation = sure.entry(one.thing).or_insert(one.generation);
            *generation = one.generation.max(*generation);
        }
        sure
    }

    /// Something was answered that must not be.
    pub(crate) fn wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    /// All that was wrong.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// A push was answered, which brought this generation.
    pub(crate) fn raise_floor(&self, id: usize, generation: u64) {
        self.floors[id].fetch_max(generation, Ordering::SeqCst);
    }

    /// The least generation that an answer to a request of now may have.
    pub(crate) fn floor(&self, thing: Thing) -> u64 {
        match thing {
            Thing::List(id) | Thing::Registration(id) | Thing::Search(id) => {
                self.floors[id].load(Ordering::SeqCst)
            }
            Thing::Package(..) | Thing::ServiceIndex => 0,
        }
    }

    /// From now on a broken connection is no fault.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    /// Whether clients ask on or wait.
    pub(crate) fn pause(&self, pace: Pace) {
        self.is_paused.store(pace == Pace::Wait, Ordering::SeqCst);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::SeqCst)
    }
}

/// What clients do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    Ask,
    Wait,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
