//! Marks on stored responses: what is known to be wrong with them, since when.
//!
//! A mark lives as long as the body that it is on: whoever deletes that deletes the mark, but a new body of the same name
//! keeps it until whoever put it takes it away. They are few, held in RAM, since every hit asks, and their rows make them
//! survive a restart; losing the index loses them. Refuses to know what a mark means to whoever asks for the body.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::index::{MAX_VALUE_BYTES, row};
use super::record::{Row, encode_mark};
use super::settings::Step;
use super::{Shared, Store};
use crate::cache::key::{Key, id_prefix};

/// Most marks: as many as the answer of the admin listener has room for, and far more than any feed withdraws.
const MAX_MARKS: usize = 10_000;
/// Marks that ended before the rows of an earlier process are loaded: they must not bring them back. With more, a mark
/// may outlive its end until it is ended again.
const MAX_EARLY_ENDS: usize = 4096;
/// Rows of one id that are read to find its stored responses: more than the files of its versions are never asked for.
const MAX_ROWS_OF_ID: usize = 16 * 1024;

/// What a mark says. A response may have one of each kind.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MarkKind {
    /// The upstream says that its bytes should be others.
    Disputed,
    /// It has no signature that it should have.
    Unsigned,
    /// The upstream has it no more.
    Withdrawn,
}

impl MarkKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Disputed, Self::Unsigned, Self::Withdrawn];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Disputed => "disputed",
            Self::Unsigned => "unsigned",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The letter that names of its rows begin with.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Disputed => row::DISPUTE,
            Self::Unsigned => row::UNSIGNED,
            Self::Withdrawn => row::MARK,
        }
    }
}

/// A mark on a stored response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The response.
    pub key: Key,
    /// Since when.
    pub since: SystemTime,
    /// What whoever put it wants to know again; at most some hundred bytes, since a longer one is forgotten at the end of
    /// the process.
    pub detail: String,
}

/// The marks of every kind.
#[derive(Debug, Default)]
pub(super) struct Marks {
    disputed: MarksOfKind,
    unsigned: MarksOfKind,
    withdrawn: MarksOfKind,
}

impl Marks {
    pub(super) fn of(&self, kind: MarkKind) -> &MarksOfKind {
        match kind {
            MarkKind::Disputed => &self.disputed,
            MarkKind::Unsigned => &self.unsigned,
            MarkKind::Withdrawn => &self.withdrawn,
        }
    }
}

/// What the index tells of a stored response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    /// Its name.
    pub key: Key,
    /// When the upstream last vouched for it.
    pub validated_at: SystemTime,
}

#[derive(Debug, Default)]
pub(super) struct MarksOfKind {
    table: Mutex<Table>,
    /// How many there are, so that a hit need not lock the table while there are none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    slots: BTreeMap<[u8; 32], Mark>,
    early_ends: HashSet<[u8; 32]>,
    is_loaded: bool,
}

impl MarksOfKind {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, table: &Table) {
        self.count.store(table.slots.len(), Ordering::Release);
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Puts a mark; says whether there was none and is one now.
    fn put(&self, mark: Mark) -> bool {
        let mut table = self.lock();
        let bytes = *mark.key.bytes();
        if table.slots.len() >= MAX_MARKS || table.slots.contains_key(&bytes) {
            return false;
        }
        table.early_ends.remove(&bytes);
        table.slots.insert(bytes, mark);
        self.count(&table);
        true
    }

    /// Takes in a row of the index; `false` if it is to go.
    pub(super) fn load(&self, mark: Mark) -> bool {
        let is_ended = self.lock().early_ends.contains(mark.key.bytes());
        !is_ended && (self.put(mark.clone()) || self.find(&mark.key).is_some())
    }

    /// Every row of an earlier process was loaded.
    pub(super) fn end_loading(&self) {
        let mut table = self.lock();
        table.is_loaded = true;
        table.early_ends = HashSet::new();
    }

    /// Takes a mark away; says whether its row is to go.
    pub(super) fn end(&self, key: &[u8; 32]) -> bool {
        let mut table = self.lock();
        if table.slots.remove(key).is_some() {
            self.count(&table);
            return true;
        }
        let is_early = !table.is_loaded && table.early_ends.len() < MAX_EARLY_ENDS;
        is_early && table.early_ends.insert(*key)
    }

    fn find(&self, key: &Key) -> Option<Mark> {
        if self.len() == 0 {
            return None;
        }
        let table = self.lock();
        let mark = table.slots.get(key.bytes())?;
        (mark.key == *key).then(|| mark.clone())
    }

    pub(super) fn all(&self) -> Vec<Mark> {
        self.lock().slots.values().cloned().collect()
    }
}

impl Shared {
    pub(super) fn put_mark(&self, kind: MarkKind, mark: &Mark) {
        let value = encode_mark(mark);
        if value.len() <= MAX_VALUE_BYTES {
            let name = row::mark(kind.letter(), mark.key.bytes());
            self.change(name, Some(value), None);
        }
    }

    fn end_mark(&self, kind: MarkKind, key: &[u8; 32]) {
        if self.marks.of(kind).end(key) {
            self.change(row::mark(kind.letter(), key), None, None);
        }
    }

    /// Takes every mark on a response away.
    pub(super) fn end_marks(&self, key: &[u8; 32]) {
        for kind in MarkKind::ALL {
            self.end_mark(kind, key);
        }
    }

    /// What the index knows of an id; `None` if it cannot be asked.
    async fn named_of(&self, feed: &str, id: &str) -> Option<Vec<Named>> {
        let live = self.index.live().filter(|_| self.index.may_read())?;
        let prefix = row::entries_of(&id_prefix(feed, id));
        let read = move || live.begin_with(&prefix, MAX_ROWS_OF_ID);
        let limit = self.settings.index_deadline;
        let rows = match self.io.call(Step::IndexRead, limit, read).await {
            Ok(rows) => rows,
            Err(fault) => {
                // Whoever looks something up finds out what is wrong with it.
                tracing::debug!(%fault, "the index does not tell what is stored of an id");
                return None;
            }
        };
        let named = rows.iter().filter_map(|value| {
            let row = Row::decode(value)?;
            let key = Key::parse(row.key_text.as_deref()?)?;
            let validated_at = row.validated_at;
            (key.feed() == feed && key.id() == Some(id)).then_some(Named { key, validated_at })
        });
        Some(named.collect())
    }
}

impl Store {
    /// Puts a mark on a stored response; says whether it had none of this kind. There is room for so many of each;
    /// beyond, none is put.
    pub fn mark(&self, kind: MarkKind, mark: Mark) -> bool {
        let is_new = self.shared.marks.of(kind).put(mark.clone());
        if is_new {
            self.shared.put_mark(kind, &mark);
        }
        is_new
    }

    /// Takes a mark away.
    pub fn end_mark(&self, kind: MarkKind, key: &Key) {
        self.shared.end_mark(kind, key.bytes());
    }

    /// The mark of this kind on a stored response. Cheap.
    #[must_use]
    pub fn mark_of(&self, kind: MarkKind, key: &Key) -> Option<Mark> {
        self.shared.marks.of(kind).find(key)
    }

    /// Whether anything is marked so. Cheaper still.
    #[must_use]
    pub fn has_marks(&self, kind: MarkKind) -> bool {
        self.shared.marks.of(kind).len() > 0
    }

    /// Every mark of a kind.
    #[must_use]
    pub fn marks(&self, kind: MarkKind) -> Vec<Mark> {
        self.shared.marks.of(kind).all()
    }

    /// What is stored of an id of a feed, as far as its rows are durable; `None` while the index cannot be asked.
    pub async fn stored_of(&self, feed: &str, id: &str) -> Option<Vec<Named>> {
        self.shared.named_of(feed, id).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::key::Parts;

    fn mark(n: usize, seconds: u64) -> Mark {
        let id = format!("id{n}");
        let key = Key::new(&Parts {
            feed: "f",
            id: Some(&id),
            class: "package",
            ..Parts::default()
        });
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let detail = format!("number {n}");
        Mark { key, since, detail }
    }

    #[test]
    fn the_first_time_stays_and_one_that_ended_is_gone() {
        let marks = MarksOfKind::default();
        assert!(marks.put(mark(1, 10)));
        assert!(!marks.put(mark(1, 20)));
        assert_eq!(marks.find(&mark(1, 0).key), Some(mark(1, 10)));
        assert_eq!(marks.find(&mark(2, 0).key), None);
        marks.end_loading();
        assert!(marks.end(mark(1, 0).key.bytes()));
        assert!(!marks.end(mark(1, 0).key.bytes()));
        assert_eq!((marks.find(&mark(1, 0).key), marks.len()), (None, 0));
    }

    #[test]
    fn a_row_does_not_bring_back_what_ended_before_it_was_loaded() {
        let marks = MarksOfKind::default();
        assert!(marks.end(mark(1, 0).key.bytes()));
        assert!(!marks.load(mark(1, 5)));
        assert!(marks.load(mark(2, 5)));
        // Known already: its row stays.
        marks.put(mark(3, 9));
        assert!(marks.load(mark(3, 5)));
        marks.end_loading();
        assert_eq!(marks.all().len(), 2);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let marks = MarksOfKind::default();
        for n in 0..MAX_MARKS {
            assert!(marks.put(mark(n, 1)));
        }
        assert!(!marks.put(mark(MAX_MARKS, 1)));
        assert_eq!(marks.len(), MAX_MARKS);
    }
}
