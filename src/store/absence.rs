//! The memory of 404s, 410s and 204s: a bounded table in RAM whose rows make it survive a restart.
//!
//! An absence is not worth a file, and a client asks every source for every id, so there may be many of them; the
//! oldest go first. Refuses to judge how long one holds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use ring::digest;

use super::Store;
use super::index::{self, row};
use super::record::{self, from_micros, micros};
use crate::cache::entry::Absence;
use crate::cache::epoch::Epoch;
use crate::cache::key::Key;

#[derive(Debug)]
pub(super) struct Absences {
    max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<[u8; 32], Slot, RandomState>,
    /// When which key was said to be absent; a stamp that is not its slot's is old news and skipped.
    order: VecDeque<([u8; 32], u64)>,
}

/// An absence without padding and without the key's text: a hundred thousand of them are held.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Hash of the key's text, since 32 bytes of hashes may collide and their text tells.
    check: u64,
    epoch: u64,
    first_at: u64,
    last_at: u64,
    status: u16,
}

impl Slot {
    fn absence(&self) -> Option<Absence> {
        Some(Absence {
            status: http::StatusCode::from_u16(self.status).ok()?,
            epoch: Epoch(self.epoch),
            first_at: from_micros(self.first_at),
            last_at: from_micros(self.last_at),
        })
    }
}

impl Store {
    /// The remembered absence of a key.
    pub async fn absence(&self, key: &Key) -> Option<Absence> {
        self.shared.absences.find(key)
    }

    /// Remembers that the upstream has nothing under a key.
    pub fn put_absence(&self, key: &Key, absence: Absence) {
        let shared = &self.shared;
        let gone = shared.absences.put(key, &absence);
        let value = record::encode_absence(key, &absence);
        if value.len() <= index::MAX_VALUE_BYTES {
            shared.change(row::absence(key.bytes()), Some(value), None);
        }
        for key in gone {
            shared.change(row::absence(&key), None, None);
        }
    }

    /// Forgets an absence: the upstream has something there now.
    pub fn forget_absence(&self, key: &Key) {
        if let Some(key) = self.shared.absences.forget(key) {
            self.shared.change(row::absence(&key), None, None);
        }
    }
}

impl Absences {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            table: Mutex::default(),
        }
    }

    pub(super) fn find(&self, key: &Key) -> Option<Absence> {
        let slot = *self.lock().slots.get(key.bytes())?;
        (slot.check == check(key)).then(|| slot.absence()).flatten()
    }

    /// Remembers; says whose row went to make room.
    pub(super) fn put(&self, key: &Key, absence: &Absence) -> Vec<[u8; 32]> {
        if self.max == 0 {
            return Vec::new();
        }
        let slot = Slot {
            check: check(key),
            epoch: absence.epoch.0,
            first_at: micros(absence.first_at),
            last_at: micros(absence.last_at),
            status: absence.status.as_u16(),
        };
        let mut table = self.lock();
        table.slots.insert(*key.bytes(), slot);
        table.order.push_back((*key.bytes(), slot.last_at));
        let mut gone = Vec::new();
        while table.slots.len() > self.max {
            let Some((oldest, stamp)) = table.order.pop_front() else {
                break;
            };
            if table.is_current(&oldest, stamp) {
                table.slots.remove(&oldest);
                gone.push(oldest);
            }
        }
        // A key that is asked again and again leaves old stamps behind; swept when they outnumber the slots.
        if table.order.len() > table.slots.len().saturating_mul(2).max(64) {
            let mut order = std::mem::take(&mut table.order);
            order.retain(|(key, stamp)| table.is_current(key, *stamp));
            table.order = order;
        }
        gone
    }

    /// Takes in a row of the index, unless something newer is known.
    pub(super) fn load(&self, key: &Key, absence: &Absence) -> Vec<[u8; 32]> {
        if self.lock().slots.contains_key(key.bytes()) {
            return Vec::new();
        }
        self.put(key, absence)
    }

    /// Forgets; says whether there was something to forget.
    pub(super) fn forget(&self, key: &Key) -> Option<[u8; 32]> {
        let gone = self.lock().slots.remove(key.bytes());
        gone.map(|_| *key.bytes())
    }

    /// Forgets every key that is chosen; says which.
    pub(super) fn forget_where(&self, chosen: impl Fn(&[u8; 32]) -> bool) -> Vec<[u8; 32]> {
        let mut table = self.lock();
        let gone: Vec<_> = table
            .slots
            .keys()
            .filter(|key| chosen(key))
            .copied()
            .collect();
        for key in &gone {
            table.slots.remove(key);
        }
        gone
    }

    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn is_current(&self, key: &[u8; 32], stamp: u64) -> bool {
        self.slots
            .get(key)
            .is_some_and(|slot| slot.last_at == stamp)
    }
}

fn check(key: &Key) -> u64 {
    let digest = digest::digest(&digest::SHA256, key.text().as_bytes());
    let first = digest.as_ref().first_chunk::<8>();
    u64::from_le_bytes(first.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Parts;
    use http::StatusCode;

    fn key(n: usize) -> Key {
        Key::new(&Parts {
            feed: "f",
            id: Some(&format!("id{n}")),
            class: "list",
            ..Parts::default()
        })
    }

    fn absence(micros: u64) -> Absence {
        Absence {
            status: StatusCode::NOT_FOUND,
            epoch: Epoch(1),
            first_at: from_micros(micros),
            last_at: from_micros(micros),
        }
    }

    #[test]
    fn the_oldest_goes_first_and_one_said_again_is_not_old() {
        let absences = Absences::new(3);
        for n in 0..3 {
            assert!(absences.put(&key(n), &absence(n as u64)).is_empty());
        }
        absences.put(&key(0), &absence(10));
        assert_eq!(absences.put(&key(3), &absence(11)), [*key(1).bytes()]);
        assert_eq!(absences.find(&key(0)), Some(absence(10)));
        assert_eq!(absences.find(&key(1)), None);
        assert_eq!(absences.len(), 3);
    }

    #[test]
    fn saying_one_again_and_again_takes_no_more_room() {
        let absences = Absences::new(100);
        for n in 0..10_000 {
            absences.put(&key(n % 5), &absence(n as u64));
        }
        assert_eq!(absences.len(), 5);
        assert!(absences.lock().order.len() <= 64);
    }

    #[test]
    fn forgets_one_and_all_of_an_id() {
        let absences = Absences::new(10);
        absences.put(&key(1), &absence(1));
        absences.put(&key(2), &absence(1));
        assert!(absences.forget(&key(1)).is_some());
        assert!(absences.forget(&key(1)).is_none());
        let prefix = crate::cache::key::id_prefix("f", "id2");
        let is_of_id = |key: &[u8; 32]| key.starts_with(&prefix);
        assert_eq!(absences.forget_where(is_of_id), [*key(2).bytes()]);
        assert_eq!(absences.len(), 0);
    }

    #[test]
    fn a_loaded_row_yields_to_what_is_known() {
        let absences = Absences::new(10);
        absences.put(&key(1), &absence(9));
        absences.load(&key(1), &absence(1));
        assert_eq!(absences.find(&key(1)), Some(absence(9)));
    }
}
