//! Accounting of the disk, and the choice of what goes when it is full.
//!
//! Counted are the blocks of every stored body, reservations of bodies under way, and *lingering* bytes: bodies that
//! were deleted or replaced while somebody still reads them, whose blocks the disk gives back with the last reader.
//! The order of eviction is S3-FIFO, in RAM alone: a body enters a small queue and reaches the main one only if it is
//! used again, so a scan of a thousand packages evicts no other. Refuses to touch a file.

mod keep;
mod table;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use keep::{Keep, UnusedSince};
use keep::{Recent, Seen};
pub(super) use table::Victim;
use table::{Counting, New, Table, index};

/// Uses are counted up to this; more tells nothing more about the future (S3-FIFO).
const MAX_USES: u8 = 3;
/// Room that is left for the index to grow into until it is measured again: at most this, a minute of writing rows,
/// and at most this part of the cap.
const MAX_INDEX_GROWTH: u64 = 16 << 20;
const INDEX_GROWTH_SHARE: u64 = 16;
/// A body whose one use brought it in needs another to reach the main queue.
const USES_FOR_MAIN: u8 = 1;

#[derive(Debug)]
pub(super) struct Quota {
    table: Mutex<Table>,
    cap: AtomicU64,
    lingering: AtomicU64,
    /// Blocks of the index and what else of ours is no body.
    overhead: AtomicU64,
    evictions: AtomicU64,
    evicted_bytes: AtomicU64,
    recent: Mutex<Recent>,
    /// Hours since 1970, as last told.
    hour: AtomicU32,
}

/// Whether a body's bytes are known to be what was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Checked {
    No,
    Yes,
}

/// A body that an earlier process left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) key: [u8; 32],
    pub(super) disk_bytes: u64,
    /// Seconds since 1970 when the file was written.
    pub(super) modified: u64,
}

/// Bytes held for a body under way; given back on drop.
#[derive(Debug)]
pub(super) struct Reservation {
    quota: Arc<Quota>,
    bytes: u64,
    /// Of those, what the disk does not know of yet.
    promised: u64,
}

impl Reservation {
    /// Takes over what `more` holds.
    pub(super) fn join(&mut self, mut more: Self) {
        self.bytes += std::mem::take(&mut more.bytes);
        self.promised += std::mem::take(&mut more.promised);
    }

    /// The disk holds all of it now.
    pub(super) fn is_allocated(&mut self) {
        let promised = std::mem::take(&mut self.promised);
        self.quota.lock().promised_bytes -= promised;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut table = self.quota.lock();
        table.reserved_bytes = table.reserved_bytes.saturating_sub(self.bytes);
        table.promised_bytes = table.promised_bytes.saturating_sub(self.promised);
    }
}

/// Sums of the accounting, in bytes where not said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) live: u64,
    pub(super) reserved: u64,
    /// Of the reserved ones, what the disk does not know of yet.
    pub(super) promised: u64,
    pub(super) lingering: u64,
    pub(super) overhead: u64,
    pub(super) cap: u64,
    pub(super) entries: usize,
    pub(super) evictions: u64,
    pub(super) evicted: u64,
    pub(super) pinned: u64,
    pub(super) pinned_bodies: u64,
    pub(super) recent_evictions: u64,
    pub(super) recent_evicted: u64,
}

impl Quota {
    pub(super) fn new(cap: u64) -> Self {
        Self {
            table: Mutex::default(),
            cap: AtomicU64::new(cap),
            lingering: AtomicU64::new(0),
            overhead: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            evicted_bytes: AtomicU64::new(0),
            recent: Mutex::default(),
            hour: AtomicU32::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_cap(&self, cap: u64) {
        self.cap.store(cap, Ordering::Relaxed);
    }

    pub(super) fn set_overhead(&self, bytes: u64) {
        self.overhead.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that lingered are free.
    pub(super) fn lingered(&self, bytes: u64) {
        self.lingering.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn sums(&self) -> Sums {
        let (recent_evictions, recent_evicted) = self.recent_totals();
        let table = self.lock();
        Sums {
            live: table.live_bytes,
            reserved: table.reserved_bytes,
            promised: table.promised_bytes,
            lingering: self.lingering.load(Ordering::Relaxed),
            overhead: self.overhead.load(Ordering::Relaxed),
            cap: self.cap.load(Ordering::Relaxed),
            entries: table.by_key.len(),
            evictions: self.evictions.load(Ordering::Relaxed),
            evicted: self.evicted_bytes.load(Ordering::Relaxed),
            pinned: table.pinned_bytes,
            pinned_bodies: table.pinned_bodies,
            recent_evictions,
            recent_evicted,
        }
    }

    /// Holds `bytes`, or says how many must be evicted first.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, u64> {
        let cap = self.cap.load(Ordering::Relaxed);
        let mut table = self.lock();
        let beside = self.lingering.load(Ordering::Relaxed) + self.overhead.load(Ordering::Relaxed);
        let growth = MAX_INDEX_GROWTH.min(cap / INDEX_GROWTH_SHARE);
        let wanted = table.live_bytes + table.reserved_bytes + beside + growth + bytes;
        if wanted > cap {
            return Err(wanted - cap);
        }
        table.reserved_bytes += bytes;
        table.promised_bytes += bytes;
        drop(table);
        Ok(Reservation {
            quota: Arc::clone(self),
            bytes,
            promised: bytes,
        })
    }

    /// Counts a stored body in place of the room that was held for it. Says what the body of this key that it replaces
    /// took: that lingers from now on, until the caller knows that nobody reads it.
    pub(super) fn insert(
        &self,
        key: &[u8; 32],
        disk_bytes: u64,
        checked: Checked,
        keep: Keep,
        held: Option<Reservation>,
    ) -> u64 {
        let mut held = held;
        let new = New {
            key,
            disk_bytes,
            checked,
            keep,
            hour: self.hour(),
        };
        let mut table = self.lock();
        if let Some(held) = &mut held {
            let bytes = std::mem::take(&mut held.bytes);
            table.reserved_bytes = table.reserved_bytes.saturating_sub(bytes);
            let promised = std::mem::take(&mut held.promised);
            table.promised_bytes = table.promised_bytes.saturating_sub(promised);
        }
        let replaced = table.insert(&new).unwrap_or(0);
        self.lingering.fetch_add(replaced, Ordering::Relaxed);
        drop(table);
        // Emptied above; its drop takes the lock.
        drop(held);
        replaced
    }

    /// Counts a deleted body no more; says what it took, which lingers like a replaced one.
    pub(super) fn remove(&self, key: &[u8; 32]) -> u64 {
        let mut table = self.lock();
        if let Counting::Running(deleted) = &mut table.counting {
            deleted.insert(*key);
        }
        let Some(slot) = table.by_key.remove(key) else {
            return 0;
        };
        let freed = table.vacate(slot);
        self.lingering.fetch_add(freed, Ordering::Relaxed);
        freed
    }

    /// Counts bodies that an earlier process left, but those replaced or deleted meanwhile.
    pub(super) fn count(&self, found: &[Counted]) {
        let mut table = self.lock();
        for body in found {
            let Counting::Running(deleted) = &table.counting else {
                return;
            };
            if !deleted.contains(&body.key) && !table.by_key.contains_key(&body.key) {
                let hour = u32::try_from(body.modified / 3600).unwrap_or(u32::MAX);
                table.insert(&New {
                    key: &body.key,
                    disk_bytes: body.disk_bytes,
                    checked: Checked::No,
                    keep: Keep::WhileUsed,
                    hour,
                });
                if let Some(slot) = table.slot_of(&body.key) {
                    slot.noted_hour = hour;
                }
            }
        }
    }

    /// All bodies have been counted: puts them in the order of their last known use.
    pub(super) fn end_counting(&self) {
        let mut table = self.lock();
        table.counting = Counting::Done;
        let Table {
            slots, small, main, ..
        } = &mut *table;
        let age = |slot: &u32| slots.get(index(*slot)).map_or(0, |slot| slot.noted_hour);
        small.make_contiguous().sort_by_key(age);
        main.make_contiguous().sort_by_key(age);
    }

    /// Takes in a use that the index remembers: such a body was used again and stands in the main queue.
    pub(super) fn load_use(&self, key: &[u8; 32], hour: u32) {
        let mut table = self.lock();
        let Some(found) = table.by_key.get(key).copied() else {
            return;
        };
        let Some(slot) = table.slots.get_mut(index(found)) else {
            return;
        };
        slot.noted_hour = slot.noted_hour.max(hour);
        slot.used_hour = slot.used_hour.max(hour);
        slot.uses = slot.uses.max(USES_FOR_MAIN + 1);
    }

    /// Counts a use; answers whether it is worth a row: the last that was written is at least an hour old, or of a clock
    /// that was ahead.
    pub(super) fn note_use(&self, key: &[u8; 32], hour: u32) -> bool {
        let mut table = self.lock();
        let Some(slot) = table.slot_of(key) else {
            return false;
        };
        slot.uses = (slot.uses + 1).min(MAX_USES);
        let due = slot.noted_hour != hour;
        (slot.noted_hour, slot.used_hour) = (hour, hour);
        slot.seen = Seen::Here;
        due
    }

    pub(super) fn contains(&self, key: &[u8; 32]) -> bool {
        self.lock().by_key.contains_key(key)
    }

    /// Whether each of these is counted.
    pub(super) fn contain<'k>(&self, keys: impl Iterator<Item = &'k [u8; 32]>) -> Vec<bool> {
        let table = self.lock();
        keys.map(|key| table.by_key.contains_key(key)).collect()
    }

    pub(super) fn checked(&self, key: &[u8; 32]) -> Checked {
        let mut table = self.lock();
        table.slot_of(key).map_or(Checked::No, |slot| slot.checked)
    }

    pub(super) fn set_checked(&self, key: &[u8; 32]) {
        if let Some(slot) = self.lock().slot_of(key) {
            slot.checked = Checked::Yes;
        }
    }

    /// The body that should go next. It stays counted until `remove`, but is not named again.
    pub(super) fn victim(&self) -> Option<Victim> {
        self.lock().victim()
    }
}

#[cfg(test)]
mod tests;
