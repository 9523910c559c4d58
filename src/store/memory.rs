//! The memory tier: finished answers (moka), and stored bodies held open between requests.
//!
//! Both hold copies for speed and decide nothing: an answer tells its deadline and epoch, and losing either tier costs
//! time only. Refuses to know how an answer was made.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{HeaderMap, StatusCode};
use moka::sync::Cache;

use super::body::Stored;
use super::layout::fold;
use crate::cache::epoch::Epoch;
use crate::cache::key::Key;

/// What an answer weighs beyond key and body: its headers and moka's own 250 bytes of bookkeeping.
const ANSWER_OVERHEAD: usize = 512;

/// A finished answer: a view rendered for one base URL and coding.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status to be sent.
    pub status: StatusCode,
    /// Headers to be sent, but those that depend on the moment (Age, Cache-Status).
    pub headers: HeaderMap,
    /// Body to be sent.
    pub body: Bytes,
    /// When it must be asked again: the earliest of its entries' deadlines.
    pub deadline: SystemTime,
    /// The lowest epoch of its entries: below the current one it must be asked again.
    pub epoch: Epoch,
    /// When the upstream last vouched for it: the earliest of its entries'.
    pub validated_at: SystemTime,
    /// The host that its entries came from, for the log.
    pub origin: String,
}

/// Finished answers in memory, limited by their bytes. Clones share them.
#[derive(Clone, Debug)]
pub struct Answers {
    cache: Cache<Arc<str>, Arc<Answer>, RandomState>,
    max_answer_bytes: u64,
}

impl Answers {
    pub(super) fn new(max_bytes: u64, max_answer_bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Arc<str>, answer: &Arc<Answer>| {
                let bytes = key.len() + answer.body.len() + ANSWER_OVERHEAD;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .build_with_hasher(RandomState::default());
        Self {
            cache,
            max_answer_bytes: max_answer_bytes.min(max_bytes),
        }
    }

    /// The answer of this key (view, base URL, coding), fresh or not.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Answer>> {
        self.cache.get(key)
    }

    /// Keeps an answer, unless its body is longer than one may be.
    pub fn put(&self, key: &str, answer: Arc<Answer>) {
        let bytes = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
        if bytes <= self.max_answer_bytes {
            self.cache.insert(key.into(), answer);
        }
    }

    /// Forgets an answer.
    pub fn remove(&self, key: &str) {
        self.cache.invalidate(key);
    }

    /// Forgets the answers whose keys `keep` does not want: they would stand in the way of others until they have aged.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        for (key, _) in &self.cache {
            if !keep(&key) {
                self.cache.invalidate(&**key);
            }
        }
    }

    /// Forgets every answer.
    pub fn clear(&self) {
        self.cache.invalidate_all();
    }

    /// Does the cache's own upkeep; called by a ticker of the store, since entries that nobody asks for are otherwise
    /// kept past their eviction.
    pub(super) fn maintain(&self) {
        self.cache.run_pending_tasks();
    }

    /// Bytes and number of answers held, as of the last upkeep.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        (self.cache.weighted_size(), self.cache.entry_count())
    }

    /// Bytes that the answers may take together.
    pub(super) fn max_bytes(&self) -> u64 {
        self.cache.policy().max_capacity().unwrap_or(u64::MAX)
    }
}

/// Shards of the open bodies: more than cores of the machines this runs on, so that two hits seldom meet.
const SHARDS: usize = 16;

/// Stored entries whose bodies are held open: a hit here costs no index and no `open`. Evicted by second chance, at
/// once, so that neither file handles nor deleted bytes linger in a queue.
#[derive(Debug)]
pub(super) struct Handles {
    shards: Vec<Mutex<Shard>>,
    max_of_shard: usize,
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<[u8; 32], Slot, RandomState>,
    /// Every key of `slots` once, and keys that were removed since.
    clock: VecDeque<[u8; 32]>,
}

#[derive(Debug)]
struct Slot {
    stored: Stored,
    used: bool,
    /// Where the entry's times came from: what was probed while the index was away says less than the index.
    found: Found,
}

/// Where an entry in the tier of open bodies came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// From the file alone, while the index had this generation.
    Probed(u64),
    /// From the index, or by a publish or refresh of this process.
    Row,
}

impl Handles {
    pub(super) fn new(max: usize) -> Self {
        // With fewer bodies than shards, one of each is still no more than `max`.
        let shards = SHARDS.min(max.max(1));
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            max_of_shard: max / shards,
        }
    }

    fn with<R>(&self, key: &[u8; 32], act: impl FnOnce(&mut Shard) -> R) -> Option<R> {
        let shard = self
            .shards
            .get(usize::from(fold(key)) % self.shards.len())?;
        Some(act(&mut shard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)))
    }

    /// The entry of this key, unless it was probed under another generation of the index.
    pub(super) fn find(&self, key: &Key, generation: u64) -> Option<Stored> {
        self.with(key.bytes(), |shard| {
            let slot = shard.slots.get_mut(key.bytes())?;
            if slot.stored.entry.key != *key {
                return None;
            }
            if matches!(slot.found, Found::Probed(then) if then != generation) {
                shard.slots.remove(key.bytes());
                return None;
            }
            slot.used = true;
            Some(slot.stored.clone())
        })
        .flatten()
    }

    /// Holds an entry, unless its body is deleted or a newer one is held. What a clock that was ahead confirmed later than
    /// `now` is not newer.
    pub(super) fn insert(&self, stored: &Stored, found: Found, now: SystemTime) {
        let key = stored.entry.key.bytes();
        let _ = self.with(key, |shard| {
            if stored.body.is_retired() {
                return;
            }
            if let Some(slot) = shard.slots.get_mut(key) {
                let rank = |stored: &Stored| (stored.entry.sequence, stored.entry.validated_at);
                let is_ahead = slot.stored.entry.sequence == stored.entry.sequence
                    && slot.stored.entry.validated_at > now;
                let is_no_newer = is_ahead || rank(&slot.stored) <= rank(stored);
                if is_no_newer || matches!(slot.found, Found::Probed(_)) {
                    slot.stored = stored.clone();
                    slot.found = found;
                }
                return;
            }
            shard.make_room(self.max_of_shard);
            let slot = Slot {
                stored: stored.clone(),
                used: false,
                found,
            };
            shard.slots.insert(*key, slot);
            shard.clock.push_back(*key);
        });
    }

    pub(super) fn remove(&self, key: &[u8; 32]) {
        let removed = self.with(key, |shard| shard.slots.remove(key));
        // The file handle closes here, outside the lock.
        drop(removed);
    }

    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                shard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .slots
                    .len()
            })
            .sum()
    }
}

impl Shard {
    fn make_room(&mut self, max: usize) {
        while self.slots.len() >= max.max(1) {
            let Some(key) = self.clock.pop_front() else {
                return;
            };
            match self.slots.get_mut(&key) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.clock.push_back(key);
                }
                Some(_) => {
                    self.slots.remove(&key);
                }
                None => {}
            }
        }
        // Keys that were removed and put again stand in the ring twice; swept before they outnumber the slots.
        if self.clock.len() > max * 2 {
            let mut seen = std::collections::HashSet::new();
            let slots = &self.slots;
            self.clock
                .retain(|key| slots.contains_key(key) && seen.insert(*key));
        }
    }
}
