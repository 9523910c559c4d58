//! What is kept whatever comes, what a huge body may displace, and what went too early.
//!
//! Refuses to choose among equals: that is the table's.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use foldhash::fast::RandomState;

use super::table::{Place, Slot, Table, Victim, fingerprint, index};
use super::{Checked, Quota, USES_FOR_MAIN};

/// A body above this part of the cap displaces nothing that is in use: one that was asked for once would else push out an
/// eighth of what all others ask for.
const HUGE_SHARE: u64 = 8;
/// What was used within this many hours went too early: a build that runs each day asks for it again.
const DAY_HOURS: u32 = 24;
/// Bodies that went too early and are told apart, so that one that goes twice a day counts once; some megabytes.
const MAX_LATELY: usize = 64 * 1024;

/// Whether a body may be evicted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::store) enum Keep {
    /// Never.
    Pinned,
    /// When others need its room.
    #[default]
    WhileUsed,
}

/// Whether this process has used a body.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Seen {
    /// Not yet: an earlier one left it.
    Before,
    /// It wrote it or served it.
    Here,
}

impl Seen {
    /// Only what this process wrote is known to be good when it is counted.
    pub(super) fn of(checked: Checked) -> Self {
        match checked {
            Checked::No => Self::Before,
            Checked::Yes => Self::Here,
        }
    }
}

/// Since when a body must not have been used to be trimmed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::store) enum UnusedSince {
    /// This hour since 1970.
    Hour(u32),
    /// The start of this process.
    Start,
}

/// Evictions of what was used within a day.
#[derive(Debug, Default)]
pub(super) struct Recent {
    evictions: u64,
    bytes: u64,
    /// Those since the last warning, by fingerprint of their keys.
    lately: HashMap<u64, u64, RandomState>,
    /// Bytes of those beyond the most that are told apart.
    beyond: u64,
    warned: Option<u32>,
}

/// That the cap is too low for what is used within a day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::store) struct Shortage {
    /// Bodies that went within a day of their last use, since the last warning.
    pub(in crate::store) bodies: usize,
    /// Bytes of those.
    pub(in crate::store) bytes: u64,
    /// The cap under which they would have stayed.
    pub(in crate::store) sufficient_cap: u64,
}

impl Quota {
    /// Tells what hour it is, in hours since 1970.
    pub(in crate::store) fn set_hour(&self, hour: u32) {
        self.hour.store(hour, Ordering::Relaxed);
    }

    pub(super) fn hour(&self) -> u32 {
        self.hour.load(Ordering::Relaxed)
    }

    /// Counts that a body was evicted, and what that freed.
    pub(in crate::store) fn count_eviction(&self, victim: &Victim, bytes: u64) {
        self.evictions.fetch_add(1, Ordering::Relaxed);
        self.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
        if victim.used_hour.saturating_add(DAY_HOURS) <= self.hour() {
            return;
        }
        let mut recent = self.lock_recent();
        recent.evictions += 1;
        recent.bytes += bytes;
        let name = fingerprint(&victim.key);
        if recent.lately.len() < MAX_LATELY || recent.lately.contains_key(&name) {
            recent.lately.insert(name, bytes);
        } else {
            recent.beyond += bytes;
        }
    }

    /// The warning that is due: at most one a day.
    pub(in crate::store) fn take_shortage(&self) -> Option<Shortage> {
        let (hour, cap) = (self.hour(), self.cap.load(Ordering::Relaxed));
        let mut recent = self.lock_recent();
        let is_early = recent
            .warned
            .is_some_and(|warned| (warned..warned + DAY_HOURS).contains(&hour));
        if is_early || recent.lately.is_empty() {
            return None;
        }
        recent.warned = Some(hour);
        let lately = std::mem::take(&mut recent.lately);
        let bytes = lately.values().sum::<u64>() + std::mem::take(&mut recent.beyond);
        Some(Shortage {
            bodies: lately.len(),
            bytes,
            sufficient_cap: cap.saturating_add(bytes),
        })
    }

    /// How many bodies went within a day of their last use, and their bytes.
    pub(super) fn recent_totals(&self) -> (u64, u64) {
        let recent = self.lock_recent();
        (recent.evictions, recent.bytes)
    }

    fn lock_recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a body of so many bytes displaces only what is not in use.
    pub(in crate::store) fn is_huge(&self, bytes: u64) -> bool {
        bytes > self.cap.load(Ordering::Relaxed) / HUGE_SHARE
    }

    /// Bodies of `wanted` bytes together that are not in use: not used again since they came, or not within a day. None
    /// if there are not so many bytes of them, so that nothing goes in vain; else the first `most`.
    pub(in crate::store) fn unused(&self, wanted: u64, most: usize) -> Vec<Victim> {
        let hour = self.hour();
        let table = self.lock();
        let is_unused = |slot: &&Slot| {
            let is_old = slot.used_hour.saturating_add(DAY_HOURS) <= hour;
            match slot.place {
                Place::Gone | Place::Pinned => false,
                Place::Main => is_old,
                Place::Small => is_old || slot.uses <= USES_FOR_MAIN,
            }
        };
        let queued = table.small.iter().chain(&table.main);
        let slots = queued.filter_map(|at| table.slots.get(index(*at)));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for slot in slots.filter(is_unused) {
            if bytes >= wanted {
                break;
            }
            bytes += u64::from(slot.units) * 512;
            found.push(Victim::of(slot));
        }
        if bytes < wanted {
            return Vec::new();
        }
        found.truncate(most);
        found
    }

    /// Bodies that nobody used since then and that may go.
    pub(in crate::store) fn idle(&self, since: UnusedSince) -> Vec<[u8; 32]> {
        let table = self.lock();
        let is_idle = |slot: &&Slot| match since {
            UnusedSince::Hour(hour) => slot.used_hour < hour,
            UnusedSince::Start => slot.seen == Seen::Before,
        };
        let slots = table.by_key.values();
        slots
            .filter_map(|at| table.slots.get(index(*at)))
            .filter(is_idle)
            .filter(|slot| slot.place != Place::Pinned)
            .map(|slot| slot.key)
            .collect()
    }

    /// Keys of the bodies that are counted and chosen.
    pub(in crate::store) fn keys(&self, chosen: impl Fn(&[u8; 32]) -> bool) -> Vec<[u8; 32]> {
        let table = self.lock();
        let keys = table.by_key.keys();
        keys.filter(|key| chosen(key)).copied().collect()
    }

    /// Bytes that a body is counted with, if it is.
    pub(in crate::store) fn bytes_of(&self, key: &[u8; 32]) -> Option<u64> {
        let mut table = self.lock();
        table.slot_of(key).map(|slot| u64::from(slot.units) * 512)
    }

    /// Keys of the pinned bodies.
    pub(in crate::store) fn pinned(&self) -> Vec<[u8; 32]> {
        let table = self.lock();
        let pinned = table.slots.iter();
        pinned
            .filter(|slot| slot.place == Place::Pinned)
            .map(|slot| slot.key)
            .collect()
    }

    /// Of the bodies that were `judged`, has exactly these pinned.
    pub(in crate::store) fn pin_only(
        &self,
        pinned: &HashSet<[u8; 32]>,
        judged: &HashSet<[u8; 32]>,
    ) {
        self.lock().pin_only(pinned, judged);
    }
}

impl Table {
    fn pin_only(&mut self, pinned: &HashSet<[u8; 32]>, judged: &HashSet<[u8; 32]>) {
        for (at, slot) in (0_u32..).zip(&mut self.slots) {
            if slot.place == Place::Gone || !judged.contains(&slot.key) {
                continue;
            }
            let bytes = u64::from(slot.units) * 512;
            match (slot.place, pinned.contains(&slot.key)) {
                (Place::Main | Place::Small, true) => {
                    if slot.place == Place::Small {
                        self.small_bytes -= bytes;
                    }
                    slot.place = Place::Pinned;
                    self.pinned_bytes += bytes;
                    self.pinned_bodies += 1;
                }
                (Place::Pinned, false) => {
                    slot.place = Place::Main;
                    self.main.push_back(at);
                    self.pinned_bytes -= bytes;
                    self.pinned_bodies -= 1;
                }
                (Place::Gone | Place::Main | Place::Pinned | Place::Small, _) => {}
            }
        }
        // Out of their queues at once, so that none names them twice once they are pinned no more.
        let slots = &self.slots;
        let is_queued = |at: &u32| {
            let slot = slots.get(index(*at));
            slot.is_some_and(|slot| slot.place != Place::Pinned)
        };
        self.small.retain(is_queued);
        self.main.retain(is_queued);
    }
}
