//! Walking what is stored: bodies by the names of their files, which miss nothing that the index does not know.
//!
//! Refuses to change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::StoreFault;
use super::index::row;
use super::lookup::{InIndex, OPEN_DEADLINE, adopted, merged};
use super::record::decode_absence;
use super::settings::Step;
use super::{Shared, Store, recover, tend};
use crate::cache::entry::{Absence, Entry};
use crate::cache::key::{Key, feed_prefix, id_hash};

/// The feeds, and perhaps the one id, that a walk is about.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Beginnings of names; none are all.
    feeds: Vec<[u8; 8]>,
    id: Option<[u8; 8]>,
}

impl Scope {
    /// Everything of these feeds, of every feed if there are none, or what is of one id in them.
    #[must_use]
    pub fn new<'a>(feeds: impl IntoIterator<Item = &'a str>, id: Option<&str>) -> Self {
        Self {
            feeds: feeds.into_iter().map(feed_prefix).collect(),
            id: id.map(id_hash),
        }
    }

    pub(super) fn holds(&self, key: &[u8; 32]) -> bool {
        let part = |from: usize| key.get(from..from + 8).and_then(|part| part.first_chunk());
        let is_of_feed = || part(0).is_some_and(|feed: &[u8; 8]| self.feeds.contains(feed));
        (self.feeds.is_empty() || is_of_feed()) && self.id.is_none_or(|id| part(8) == Some(&id))
    }
}

/// Something stored, for whoever chooses by its age.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// The memory of a 404.
    Absence(&'a Key, &'a Absence),
    /// A response.
    Entry(&'a Entry),
}

/// Chooses by name.
struct OfKey(Box<dyn Fn(&Key) -> bool + Send + Sync>);

/// Chooses by age.
struct OfAge(Box<dyn Fn(Kept<'_>) -> bool + Send + Sync>);

/// What of a store is chosen.
pub struct Choice {
    scope: Scope,
    of_key: Option<OfKey>,
    of_age: Option<OfAge>,
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Choice {
    /// Everything there.
    #[must_use]
    pub fn everything(scope: Scope) -> Self {
        Self {
            scope,
            of_key: None,
            of_age: None,
        }
    }

    /// Of that, what has such a name.
    #[must_use]
    pub fn named(mut self, of_key: impl Fn(&Key) -> bool + Send + Sync + 'static) -> Self {
        self.of_key = Some(OfKey(Box::new(of_key)));
        self
    }

    /// Of that, what has come to such an age.
    #[must_use]
    pub fn aged(mut self, of_age: impl Fn(Kept<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.of_age = Some(OfAge(Box::new(of_age)));
        self
    }

    pub(super) fn is_by_age(&self) -> bool {
        self.of_age.is_some()
    }

    /// Whether the scope alone decides.
    pub(super) fn is_plain(&self) -> bool {
        self.of_key.is_none() && self.of_age.is_none()
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn takes_key(&self, key: &Key) -> bool {
        self.scope.holds(key.bytes()) && self.of_key.as_ref().is_none_or(|takes| (takes.0)(key))
    }

    pub(super) fn takes(&self, kept: Kept<'_>) -> bool {
        let key = match kept {
            Kept::Absence(key, _) => key,
            Kept::Entry(entry) => &entry.key,
        };
        self.takes_key(key) && self.of_age.as_ref().is_none_or(|takes| (takes.0)(kept))
    }
}

/// How far something has come that takes its time.
#[derive(Debug, Default)]
pub struct Progress {
    bodies: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// Bodies that were looked at, and bytes that were read or freed.
    #[must_use]
    pub fn now(&self) -> (u64, u64) {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (now(&self.bodies), now(&self.bytes))
    }

    pub(super) fn add(&self, bodies: u64, bytes: u64) {
        self.bodies.fetch_add(bodies, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Responses and the bytes that they took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// How many.
    pub responses: u64,
    /// Blocks of the disk, in bytes; those of a body that is still read are free with its last reader.
    pub bytes: u64,
}

/// What was removed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    /// By the name of the feed.
    pub feeds: BTreeMap<String, Tally>,
    /// Remembered 404s.
    pub absences: u64,
    /// How many of the responses are pinned: they are stored again once they are asked for, and stay then.
    pub pinned: u64,
    /// What should have gone and could not: the disk did not let it, and the log says why.
    pub failed: u64,
}

/// What a name of a body leads to.
#[derive(Debug)]
pub(super) enum Met {
    /// Nothing any more, or something of a later release.
    Gone,
    /// A response, with its times as far as they are known.
    Entry(Box<Entry>),
    /// No body of ours, or a cut one.
    Rotten,
}

impl Store {
    /// The feeds and ids that something chosen is kept for, or is being fetched for.
    pub async fn ids(&self, choice: &Choice) -> BTreeSet<(String, String)> {
        let shared = &self.shared;
        let mut ids = BTreeSet::new();
        let mut see = |key: &Key| {
            if let Some(id) = key.id() {
                ids.insert((key.feed().to_owned(), id.to_owned()));
            }
        };
        let writing = shared.writers.keys(|key| choice.takes_key(key));
        writing.iter().for_each(&mut see);
        for stored in shared.overlay.all() {
            if choice.takes(Kept::Entry(&stored.entry)) {
                see(&stored.entry.key);
            }
        }
        for folder in 0..=u8::MAX {
            for key in recover::list(shared, folder).await {
                if choice.scope.holds(&key)
                    && let Ok(Met::Entry(entry)) = shared.meet(key).await
                    && choice.takes(Kept::Entry(&entry))
                {
                    see(&entry.key);
                }
            }
            if shared.is_ending() {
                break;
            }
        }
        for (key, absence) in shared.absences_in_index().await.unwrap_or_default() {
            if choice.takes(Kept::Absence(&key, &absence)) {
                see(&key);
            }
        }
        ids
    }
}

impl Shared {
    /// What is stored under a name, as a lookup would tell it.
    pub(super) async fn meet(self: &Arc<Self>, key: [u8; 32]) -> Result<Met, StoreFault> {
        let layout = self.layout.clone();
        let open = move || layout.open(&key);
        let opened = match self.io.call(Step::Open, OPEN_DEADLINE, open).await {
            Err(StoreFault::Rotten | StoreFault::Truncated) => return Ok(Met::Rotten),
            opened => opened?,
        };
        let Some(opened) = opened else {
            return Ok(Met::Gone);
        };
        let trailer = &opened.trailer.entry;
        if let Some(known) = self.held(&trailer.key)
            && known.entry.sequence == trailer.sequence
        {
            return Ok(Met::Entry(Box::new((*known.entry).clone())));
        }
        let entry = match self.read_row(&trailer.key).await {
            InIndex::Row(row) if row.sequence == trailer.sequence => merged(trailer, row),
            InIndex::Nothing | InIndex::Row(_) | InIndex::Silent => adopted(&opened),
        };
        Ok(Met::Entry(Box::new(entry)))
    }

    /// The absences as their rows tell them; `None` if the index cannot say.
    pub(super) async fn absences_in_index(self: &Arc<Self>) -> Option<Vec<(Key, Absence)>> {
        let live = self.index.live()?;
        let limit = self.settings.index_deadline;
        // What was said a moment ago has its row by then.
        tokio::time::timeout(limit, self.pending.below(0))
            .await
            .ok()?;
        let mut found = Vec::new();
        tend::scan(self, &live, row::ABSENCE, |_, value| {
            found.extend(decode_absence(value))
        })
        .await
        .ok()?;
        Some(found)
    }
}
