//! The bodies being written, so that a purge can come over them: what was begun before it must not come back after it.
//!
//! Refuses to know what is purged.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::cache::key::Key;

/// Every body being written, by its sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Writers(Arc<Mutex<HashMap<u64, Begun, RandomState>>>);

#[derive(Clone, Debug)]
struct Begun {
    key: Key,
    fate: Fate,
}

/// What becomes of a body once it is whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// Nothing: a purge has come over it.
    Dropped,
    Stored,
}

/// A body being written; it leaves the table on drop.
#[derive(Debug)]
pub(super) struct Writing {
    writers: Writers,
    key: Key,
    sequence: u64,
}

impl Writers {
    /// Enters a body that is about to be written.
    pub(super) fn enter(&self, key: &Key, sequence: u64) -> Writing {
        let begun = Begun {
            key: key.clone(),
            fate: Fate::Stored,
        };
        self.lock().insert(sequence, begun);
        Writing {
            writers: self.clone(),
            key: key.clone(),
            sequence,
        }
    }

    /// Keys of the bodies that are chosen.
    pub(super) fn keys(&self, chosen: impl Fn(&Key) -> bool) -> Vec<Key> {
        let begun = self.lock();
        let keys = begun.values().map(|begun| &begun.key);
        keys.filter(|key| chosen(key)).cloned().collect()
    }

    /// Has none of the chosen bodies stored, whenever they are whole.
    pub(super) fn drop_where(&self, chosen: impl Fn(&Key) -> bool) {
        for begun in self.lock().values_mut() {
            if chosen(&begun.key) {
                begun.fate = Fate::Dropped;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Begun, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether no purge has come over it.
    pub(super) fn is_wanted(&self) -> bool {
        let writers = self.writers.lock();
        let begun = writers.get(&self.sequence);
        begun.is_some_and(|begun| begun.fate == Fate::Stored)
    }

    /// The same body under another sequence; a purge that has come over this one has come over that.
    pub(super) fn again(self, sequence: u64) -> Self {
        let mut writers = self.writers.lock();
        if let Some(begun) = writers.get(&self.sequence).cloned() {
            writers.insert(sequence, begun);
        }
        drop(writers);
        Self {
            writers: self.writers.clone(),
            key: self.key.clone(),
            sequence,
        }
    }

    /// Shows the body unless a purge has come over it; says whether it is shown. A purge comes before or after this whole.
    pub(super) fn publish(&self, show: impl FnOnce() -> bool) -> bool {
        let writers = self.writers.lock();
        let is_stored = writers
            .get(&self.sequence)
            .is_some_and(|begun| begun.fate == Fate::Stored);
        is_stored && show()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.writers.lock().remove(&self.sequence);
    }
}

/// Names of the temporary files that somebody writes, or will name or delete.
#[derive(Debug, Default)]
pub(super) struct TemporaryFiles(Mutex<HashSet<OsString, RandomState>>);

impl TemporaryFiles {
    pub(super) fn add(&self, path: &Path) {
        self.lock().extend(path.file_name().map(OsStr::to_owned));
    }

    pub(super) fn remove(&self, path: &Path) {
        if let Some(name) = path.file_name() {
            self.lock().remove(name);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.lock().contains(OsStr::new(name))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<OsString, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Parts;

    fn key(id: &str) -> Key {
        Key::new(&Parts {
            feed: "f",
            id: Some(id),
            class: "package",
            rest: "1.0.0",
            ..Parts::default()
        })
    }

    #[test]
    fn what_a_purge_has_come_over_is_not_shown() {
        let writers = Writers::default();
        let (one, other) = (writers.enter(&key("a"), 1), writers.enter(&key("b"), 2));
        let is_a = |key: &Key| key.id() == Some("a");
        assert_eq!(writers.keys(is_a), [key("a")]);
        writers.drop_where(is_a);
        let later = writers.enter(&key("a"), 3);
        assert!(!one.publish(|| true));
        assert!(other.publish(|| true) && later.publish(|| true));
        // One that goes on under another sequence goes on as what it was.
        let (one, later) = (one.again(4), later.again(5));
        assert!(!one.is_wanted() && later.is_wanted());
        assert!(!one.publish(|| true) && later.publish(|| true));
        drop((one, other, later));
        assert!(writers.keys(|_| true).is_empty());
    }
}
