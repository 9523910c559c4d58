//! The table of what is counted, and its two queues. Refuses to lock, and to know the cap.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;

use super::keep::{Keep, Seen};
use super::{Checked, USES_FOR_MAIN};

/// Part of the bytes that bodies used only once may hold: S3-FIFO's own choice, a tenth.
const SMALL_SHARE: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) slots: Vec<Slot>,
    /// Slots that no queue names.
    free: Vec<u32>,
    pub(super) by_key: HashMap<[u8; 32], u32, RandomState>,
    pub(super) small: VecDeque<u32>,
    pub(super) main: VecDeque<u32>,
    /// Fingerprints of what left the small queue lately: coming back, it goes to the main one at once.
    ghosts: VecDeque<u64>,
    ghost_set: HashSet<u64, RandomState>,
    pub(super) live_bytes: u64,
    pub(super) small_bytes: u64,
    pub(super) pinned_bytes: u64,
    pub(super) pinned_bodies: u64,
    pub(super) reserved_bytes: u64,
    pub(super) promised_bytes: u64,
    pub(super) counting: Counting,
}

/// A body that is to be counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct New<'a> {
    pub(super) key: &'a [u8; 32],
    pub(super) disk_bytes: u64,
    pub(super) checked: Checked,
    pub(super) keep: Keep,
    /// Hours since 1970, now.
    pub(super) hour: u32,
}

/// A body that is to go.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Victim {
    pub(in crate::store) key: [u8; 32],
    /// Hours since 1970 of its last use.
    pub(in crate::store) used_hour: u32,
}

impl Victim {
    pub(super) fn of(slot: &Slot) -> Self {
        Self {
            key: slot.key,
            used_hour: slot.used_hour,
        }
    }
}

/// Whether the bodies that an earlier process left have all been counted.
#[derive(Debug)]
pub(super) enum Counting {
    Done,
    /// With the keys deleted meanwhile, which the count may have seen before.
    Running(HashSet<[u8; 32], RandomState>),
}

impl Default for Counting {
    fn default() -> Self {
        Self::Running(HashSet::default())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) key: [u8; 32],
    /// In units of 512 bytes, so that 32 bits reach 2 TiB.
    pub(super) units: u32,
    /// Hours since 1970 of the last use that was written to the index.
    pub(super) noted_hour: u32,
    /// Hours since 1970 of the last use that is known of, the writing of the body included.
    pub(super) used_hour: u32,
    pub(super) seen: Seen,
    pub(super) uses: u8,
    pub(super) place: Place,
    pub(super) checked: Checked,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Deleted; free once its queue has let go of it.
    Gone,
    Main,
    /// In no queue: it is never evicted.
    Pinned,
    Small,
}

impl Table {
    pub(super) fn slot_of(&mut self, key: &[u8; 32]) -> Option<&mut Slot> {
        let slot = *self.by_key.get(key)?;
        self.slots.get_mut(index(slot))
    }

    /// Counts a body; says what the one of this key that it replaces took.
    pub(super) fn insert(&mut self, new: &New<'_>) -> Option<u64> {
        let units = u32::try_from(new.disk_bytes.div_ceil(512)).unwrap_or(u32::MAX);
        let bytes = u64::from(units) * 512;
        let seen = Seen::of(new.checked);
        self.live_bytes += bytes;
        if let Some(slot) = self.slot_of(new.key) {
            let before = u64::from(std::mem::replace(&mut slot.units, units)) * 512;
            slot.checked = new.checked;
            slot.used_hour = slot.used_hour.max(new.hour);
            slot.seen = slot.seen.max(seen);
            let place = slot.place;
            self.live_bytes -= before;
            match place {
                Place::Pinned => self.pinned_bytes = self.pinned_bytes + bytes - before,
                Place::Small => self.small_bytes = self.small_bytes + bytes - before,
                Place::Gone | Place::Main => {}
            }
            return Some(before);
        }
        let place = match new.keep {
            Keep::Pinned => Place::Pinned,
            Keep::WhileUsed if self.ghost_set.remove(&fingerprint(new.key)) => Place::Main,
            Keep::WhileUsed => Place::Small,
        };
        let at = self.fill(Slot {
            key: *new.key,
            units,
            noted_hour: 0,
            used_hour: new.hour,
            seen,
            uses: 0,
            place,
            checked: new.checked,
        });
        self.by_key.insert(*new.key, at);
        match place {
            Place::Main => self.main.push_back(at),
            Place::Pinned => {
                self.pinned_bytes += bytes;
                self.pinned_bodies += 1;
            }
            Place::Gone | Place::Small => {
                self.small_bytes += bytes;
                self.small.push_back(at);
            }
        }
        None
    }

    /// Puts a slot into a free place; says which.
    fn fill(&mut self, slot: Slot) -> u32 {
        match self.free.pop() {
            Some(at) => {
                if let Some(free) = self.slots.get_mut(index(at)) {
                    *free = slot;
                }
                at
            }
            None => {
                // 2^32 bodies of a block each are 16 TiB of names alone; the cap is reached long before.
                let at = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                self.slots.push(slot);
                at
            }
        }
    }

    /// Empties a slot whose key is gone from `by_key`; says what it took.
    pub(super) fn vacate(&mut self, at: u32) -> u64 {
        let Some(slot) = self.slots.get_mut(index(at)) else {
            return 0;
        };
        let bytes = u64::from(std::mem::take(&mut slot.units)) * 512;
        let place = std::mem::replace(&mut slot.place, Place::Gone);
        self.live_bytes -= bytes;
        match place {
            Place::Pinned => {
                self.pinned_bytes -= bytes;
                self.pinned_bodies -= 1;
                // No queue has to let go of it first.
                self.free.push(at);
            }
            Place::Small => self.small_bytes -= bytes,
            Place::Gone | Place::Main => {}
        }
        bytes
    }

    pub(super) fn victim(&mut self) -> Option<Victim> {
        // Each pass moves, forgets or weakens something, and uses end at `MAX_USES`.
        loop {
            let from_small = !self.small.is_empty()
                && (self.main.is_empty() || self.small_bytes > self.live_bytes / SMALL_SHARE);
            let at = if from_small {
                self.small.pop_front()
            } else {
                self.main.pop_front()
            }?;
            let slot = self.slots.get_mut(index(at))?;
            match slot.place {
                Place::Gone => self.free.push(at),
                Place::Pinned => {}
                Place::Small if slot.uses > USES_FOR_MAIN => {
                    slot.uses = 0;
                    slot.place = Place::Main;
                    self.small_bytes -= u64::from(slot.units) * 512;
                    self.main.push_back(at);
                }
                Place::Main if slot.uses > 0 => {
                    slot.uses -= 1;
                    self.main.push_back(at);
                }
                Place::Main | Place::Small => return Some(self.name_victim(at)),
            }
        }
    }

    /// The body in slot `at`, which is put back at the end, so that a body whose deletion fails is not lost from sight.
    fn name_victim(&mut self, at: u32) -> Victim {
        let Some(slot) = self.slots.get(index(at)) else {
            return Victim::default();
        };
        let (victim, place) = (Victim::of(slot), slot.place);
        match place {
            Place::Main => self.main.push_back(at),
            Place::Gone | Place::Small => {
                self.small.push_back(at);
                self.remember_ghost(fingerprint(&victim.key));
            }
            Place::Pinned => {}
        }
        victim
    }

    fn remember_ghost(&mut self, fingerprint: u64) {
        if self.ghost_set.insert(fingerprint) {
            self.ghosts.push_back(fingerprint);
        }
        // As many ghosts as bodies in the main queue (S3-FIFO), but some also while that is still empty.
        while self.ghosts.len() > self.main.len().max(1024) {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.ghost_set.remove(&oldest);
            }
        }
    }
}

pub(super) fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// The key is made of hashes already, so any eight bytes that tell id and rest apart will do.
pub(super) fn fingerprint(key: &[u8; 32]) -> u64 {
    let part = |at: usize| {
        let bytes = key
            .get(at..at + 8)
            .and_then(|bytes| bytes.first_chunk::<8>());
        u64::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    part(0) ^ part(8).rotate_left(1) ^ part(16) ^ part(24)
}
