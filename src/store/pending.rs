//! What is decided but not durable yet: rows on their way to the index, and the overlay of entries that lookups must
//! find meanwhile.
//!
//! Rows are coalesced by name, so what waits is bounded by what there is. Refuses to know the index.

use std::collections::{HashMap, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::body::Stored;
use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::sync::{Mutex, MutexGuard};

/// With more than some hundred records or 128 KiB between two barriers, sled lost batches in simulated power cuts;
/// this is half of what never did.
const MAX_BATCH_ROWS: usize = 64;
const MAX_BATCH_BYTES: usize = 64 * 1024;
/// A row may wait this long for others to share its sync.
const GATHER: Duration = Duration::from_millis(100);

/// A change of one row.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The new value; `None` deletes the row.
    pub(super) value: Option<Vec<u8>>,
    /// The entry of the overlay that waits for it.
    pub(super) entry: Option<[u8; 32]>,
    /// Tells a change from a later one of the same row.
    pub(super) stamp: u64,
}

/// Rows that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) changes: Vec<(Vec<u8>, Change)>,
}

/// The queue of changes. One writer takes from it.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: Mutex<Queue>,
    changed: Notify,
    settled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    changes: HashMap<Vec<u8>, Change, RandomState>,
    order: VecDeque<Vec<u8>>,
    bytes: usize,
    last_stamp: u64,
    /// Changes in the batch that is being written.
    in_flight: usize,
    first_at: Option<Instant>,
    pace: Pace,
}

/// How the writer goes about its batches.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Pace {
    /// A batch waits for more rows.
    #[default]
    Gather,
    /// Every batch goes at once: the process ends.
    Hurry,
    /// As `Hurry`, and the writer ends when there is nothing left.
    End,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a change and says its stamp.
    pub(super) fn change(
        &self,
        row: Vec<u8>,
        value: Option<Vec<u8>>,
        entry: Option<[u8; 32]>,
        now: Instant,
    ) -> u64 {
        let mut queue = self.lock();
        queue.last_stamp += 1;
        let stamp = queue.last_stamp;
        queue.bytes += value.as_ref().map_or(0, Vec::len) + row.len();
        let change = Change {
            value,
            entry,
            stamp,
        };
        match queue.changes.insert(row.clone(), change) {
            Some(before) => {
                queue.bytes -= before.value.as_ref().map_or(0, Vec::len) + row.len();
            }
            None => queue.order.push_back(row),
        }
        queue.first_at.get_or_insert(now);
        drop(queue);
        self.changed.notify_one();
        stamp
    }

    /// Changes that are not durable yet.
    pub(super) fn len(&self) -> usize {
        let queue = self.lock();
        queue.changes.len() + queue.in_flight
    }

    /// Changes that wait for a batch.
    pub(super) fn waiting(&self) -> usize {
        self.lock().changes.len()
    }

    /// Whether a change of this row waits for a batch.
    pub(super) fn has(&self, row: &[u8]) -> bool {
        self.lock().changes.contains_key(row)
    }

    pub(super) fn set_pace(&self, pace: Pace) {
        let mut queue = self.lock();
        queue.pace = queue.pace.max(pace);
        drop(queue);
        self.changed.notify_one();
    }

    /// Waits until there is a batch to write; `false` when there will be none.
    pub(super) async fn ready(&self) -> bool {
        loop {
            let (full, due, pace, empty) = {
                let queue = self.lock();
                let full = queue.changes.len() >= MAX_BATCH_ROWS || queue.bytes >= MAX_BATCH_BYTES;
                let due = queue.first_at.map(|first| first + GATHER);
                (full, due, queue.pace, queue.changes.is_empty())
            };
            match (empty, due) {
                (true, _) if pace == Pace::End => return false,
                (true, _) | (_, None) => self.changed.notified().await,
                _ if full || pace > Pace::Gather => return true,
                (false, Some(due)) => {
                    let more = tokio::time::timeout_at(due, self.changed.notified()).await;
                    if more.is_err() {
                        return true;
                    }
                }
            }
        }
    }

    /// Takes the next batch. Until it is settled its rows count as not durable.
    pub(super) fn take(&self, now: Instant) -> Batch {
        let mut queue = self.lock();
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some(row) = queue.order.front() {
            let next = row.len()
                + queue
                    .changes
                    .get(row)
                    .and_then(|change| change.value.as_ref())
                    .map_or(0, Vec::len);
            let full = batch.changes.len() >= MAX_BATCH_ROWS || bytes + next > MAX_BATCH_BYTES;
            if full && !batch.changes.is_empty() {
                break;
            }
            let Some(row) = queue.order.pop_front() else {
                break;
            };
            bytes += next;
            queue.bytes = queue.bytes.saturating_sub(next);
            if let Some(change) = queue.changes.remove(&row) {
                batch.changes.push((row, change));
            }
        }
        queue.first_at = (!queue.changes.is_empty()).then_some(now);
        queue.in_flight = batch.changes.len();
        batch
    }

    /// The batch that was taken is durable, or given up.
    pub(super) fn settle(&self) {
        self.lock().in_flight = 0;
        self.settled.notify_waiters();
    }

    /// Gives up everything that waits, and says what that was.
    pub(super) fn drain(&self) -> Vec<Change> {
        let mut queue = self.lock();
        queue.order.clear();
        queue.bytes = 0;
        queue.first_at = None;
        let changes = std::mem::take(&mut queue.changes).into_values().collect();
        drop(queue);
        self.settled.notify_waiters();
        changes
    }

    /// Waits until at most `most` changes are not durable.
    pub(super) async fn below(&self, most: usize) {
        loop {
            let settled = self.settled.notified();
            if self.len() <= most {
                return;
            }
            settled.await;
        }
    }
}

/// Entries that lookups find before their rows are durable.
#[derive(Debug, Default)]
pub(super) struct Overlay(Mutex<HashMap<[u8; 32], Slot, RandomState>>);

#[derive(Debug)]
struct Slot {
    stored: Stored,
    phase: Phase,
    /// Held until the row is durable: it bounds the overlay.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The body has no name yet.
    Publishing,
    /// The row with this stamp is on its way.
    Row(u64),
}

impl Overlay {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Slot, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, key: &Key) -> Option<Stored> {
        let slots = self.lock();
        let slot = slots.get(key.bytes())?;
        (slot.stored.entry.key == *key).then(|| slot.stored.clone())
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Shows a checked body to lookups; `false` if a newer one is shown.
    pub(super) fn publish(&self, stored: &Stored, permit: OwnedSemaphorePermit) -> bool {
        let mut slots = self.lock();
        let key = stored.entry.key.bytes();
        if slots
            .get(key)
            .is_some_and(|slot| slot.stored.entry.sequence >= stored.entry.sequence)
        {
            return false;
        }
        let slot = Slot {
            stored: stored.clone(),
            phase: Phase::Publishing,
            _permit: Some(permit),
        };
        slots.insert(*key, slot);
        true
    }

    /// Whether the body with this sequence is still shown: if not, it was removed or overtaken meanwhile.
    pub(super) fn shows(&self, key: &[u8; 32], sequence: u64) -> bool {
        self.lock()
            .get(key)
            .is_some_and(|slot| slot.stored.entry.sequence == sequence)
    }

    /// Hands the row of a body that has its name to `send`, which answers with a stamp.
    pub(super) fn send_row(&self, key: &[u8; 32], sequence: u64, send: impl FnOnce(&Entry) -> u64) {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(key)
            && slot.stored.entry.sequence == sequence
        {
            slot.phase = Phase::Row(send(&slot.stored.entry));
        }
    }

    /// Shows changed times of a stored body, and hands its row to `send` unless its own publish will.
    pub(super) fn change(&self, stored: &Stored, send: impl FnOnce(&Entry) -> u64) {
        let mut slots = self.lock();
        let key = stored.entry.key.bytes();
        // Under the lock, since a removal retires first and clears the overlay then.
        if stored.body.is_retired() {
            return;
        }
        match slots.get_mut(key) {
            Some(slot) if slot.stored.entry.sequence != stored.entry.sequence => {}
            Some(slot) => {
                slot.stored = stored.clone();
                if let Phase::Row(_) = slot.phase {
                    slot.phase = Phase::Row(send(&stored.entry));
                }
            }
            None => {
                let slot = Slot {
                    phase: Phase::Row(send(&stored.entry)),
                    stored: stored.clone(),
                    _permit: None,
                };
                slots.insert(*key, slot);
            }
        }
    }

    /// The entry whose row with this stamp is durable.
    pub(super) fn waiting(&self, key: &[u8; 32], stamp: u64) -> Option<Stored> {
        let slots = self.lock();
        let slot = slots.get(key)?;
        (slot.phase == Phase::Row(stamp)).then(|| slot.stored.clone())
    }

    /// Shows an entry no more whose row with this stamp is durable.
    pub(super) fn settle(&self, key: &[u8; 32], stamp: u64) {
        let mut slots = self.lock();
        if slots
            .get(key)
            .is_some_and(|slot| slot.phase == Phase::Row(stamp))
        {
            slots.remove(key);
        }
    }

    /// Shows the body with this sequence no more: it could not be stored.
    pub(super) fn withdraw(&self, key: &[u8; 32], sequence: u64) {
        let mut slots = self.lock();
        if slots
            .get(key)
            .is_some_and(|slot| slot.stored.entry.sequence == sequence)
        {
            slots.remove(key);
        }
    }

    pub(super) fn contains(&self, key: &[u8; 32]) -> bool {
        self.lock().contains_key(key)
    }

    /// Shows nothing of this key any more.
    pub(super) fn remove(&self, key: &[u8; 32]) {
        self.lock().remove(key);
    }

    /// Everything that is shown.
    pub(super) fn all(&self) -> Vec<Stored> {
        let slots = self.lock();
        slots.values().map(|slot| slot.stored.clone()).collect()
    }
}
