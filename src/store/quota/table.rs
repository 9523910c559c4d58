//! The table of what is counted, and its two queues. Refuses to lock, and to know the cap.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;

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
    small_bytes: u64,
    pub(super) reserved_bytes: u64,
    pub(super) counting: Counting,
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
    key: [u8; 32],
    /// In units of 512 bytes, so that 32 bits reach 2 TiB.
    units: u32,
    /// Hours since 1970 of the last use that was written to the index.
    pub(super) noted_hour: u32,
    pub(super) uses: u8,
    pub(super) place: Place,
    pub(super) checked: Checked,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Deleted; free once its queue has let go of it.
    Gone,
    Main,
    Small,
}

impl Table {
    pub(super) fn slot_of(&mut self, key: &[u8; 32]) -> Option<&mut Slot> {
        let slot = *self.by_key.get(key)?;
        self.slots.get_mut(index(slot))
    }

    pub(super) fn insert(&mut self, key: &[u8; 32], disk_bytes: u64, checked: Checked) -> Option<u64> {
        let units = u32::try_from(disk_bytes.div_ceil(512)).unwrap_or(u32::MAX);
        let bytes = u64::from(units) * 512;
        self.live_bytes += bytes;
        if let Some(slot) = self.slot_of(key) {
            let before = u64::from(std::mem::replace(&mut slot.units, units)) * 512;
            slot.checked = checked;
            let place = slot.place;
            self.live_bytes -= before;
            if place == Place::Small {
                self.small_bytes = self.small_bytes + bytes - before;
            }
            return Some(before);
        }
        let place = if self.ghost_set.remove(&fingerprint(key)) {
            Place::Main
        } else {
            Place::Small
        };
        let slot = Slot {
            key: *key,
            units,
            noted_hour: 0,
            uses: 0,
            place,
            checked,
        };
        let at = match self.free.pop() {
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
        };
        self.by_key.insert(*key, at);
        match place {
            Place::Main => self.main.push_back(at),
            Place::Gone | Place::Small => {
                self.small_bytes += bytes;
                self.small.push_back(at);
            }
        }
        None
    }

    /// Empties a slot whose key is gone from `by_key`; says what it took.
    pub(super) fn vacate(&mut self, at: u32) -> u64 {
        let Some(slot) = self.slots.get_mut(index(at)) else {
            return 0;
        };
        let bytes = u64::from(std::mem::take(&mut slot.units)) * 512;
        let place = std::mem::replace(&mut slot.place, Place::Gone);
        self.live_bytes -= bytes;
        if place == Place::Small {
            self.small_bytes -= bytes;
        }
        bytes
    }

    pub(super) fn victim(&mut self) -> Option<[u8; 32]> {
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

    /// The key in slot `at`, which is put back at the end, so that a body whose deletion fails is not lost from sight.
    fn name_victim(&mut self, at: u32) -> [u8; 32] {
        let Some(slot) = self.slots.get(index(at)) else {
            return [0; 32];
        };
        let (key, place) = (slot.key, slot.place);
        match place {
            Place::Main => self.main.push_back(at),
            Place::Gone | Place::Small => {
                self.small.push_back(at);
                self.remember_ghost(fingerprint(&key));
            }
        }
        key
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
fn fingerprint(key: &[u8; 32]) -> u64 {
    let part = |at: usize| {
        let bytes = key
            .get(at..at + 8)
            .and_then(|bytes| bytes.first_chunk::<8>());
        u64::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    part(0) ^ part(8).rotate_left(1) ^ part(16) ^ part(24)
}
