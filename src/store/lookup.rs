//! Finding a stored response: the overlay, the open bodies, the index, and the file by its name.
//!
//! Where index and file differ, the file is what exists. An entry whose times no row tells is *adopted*: it gets epoch
//! 0, which is below every gate, so that a document is asked again and content, which obeys no gate, keeps its times.
//! Refuses to judge freshness.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::body::{Body, Stored};
use super::commit::Aside;
use super::fault::StoreFault;
use super::index::row;
use super::layout::{OpenedFile, belongs};
use super::memory::Found;
use super::quota::Checked;
use super::record::Row;
use super::settings::Step;
use super::{Lookup, Shared};
use crate::cache::entry::Entry;
use crate::cache::epoch::Epoch;
use crate::cache::key::Key;

/// How long opening a file may take: as long as a client with a stored copy waits for the upstream, since after it
/// the upstream is asked in its place.
pub(super) const OPEN_DEADLINE: Duration = Duration::from_secs(2);

/// What the index says of a key.
#[derive(Debug)]
pub(super) enum InIndex {
    Nothing,
    Row(Row),
    /// It is not open, dead or late.
    Silent,
}

/// What index and file together say of a key.
#[derive(Debug)]
enum Examined {
    /// Neither knows it.
    Absent,
    /// The file is there, and the index tells other or nothing.
    Adopt(Box<OpenedFile>),
    /// Both agree, or the index is silent.
    Agreed(Box<(OpenedFile, Entry, Found)>),
    /// The index knows what is not there.
    Orphan,
    /// The file is none of ours, or cut.
    Rotten(StoreFault),
}

impl Shared {
    pub(super) async fn lookup(self: &Arc<Self>, key: &Key) -> Lookup {
        if let Some(stored) = self.held(key) {
            self.check_once(&stored);
            return Lookup::Found(stored);
        }
        let changes = self.locks.changes(key.bytes());
        let examined = match self.examine(key).await {
            Ok(examined) => examined,
            Err(fault) => return Lookup::Unavailable(fault),
        };
        match examined {
            Examined::Agreed(found) if self.quota.contains(key.bytes()) => {
                let (opened, entry, found) = *found;
                let stored = self.open(opened, entry);
                if self.locks.changes(key.bytes()) == changes {
                    return self.unless_suspect(stored, found);
                }
            }
            Examined::Absent
                if !self.quota.contains(key.bytes())
                    && self.locks.changes(key.bytes()) == changes =>
            {
                return Lookup::Absent;
            }
            Examined::Absent
            | Examined::Adopt(_)
            | Examined::Agreed(_)
            | Examined::Orphan
            | Examined::Rotten(_) => {}
        }
        self.lookup_locked(key).await
    }

    /// A lookup that found a disagreement or a change looks again, while nobody changes anything.
    async fn lookup_locked(self: &Arc<Self>, key: &Key) -> Lookup {
        let guard = match self.locks.lock(key.bytes(), OPEN_DEADLINE).await {
            Ok(guard) => guard,
            Err(fault) => return Lookup::Unavailable(fault),
        };
        if let Some(stored) = self.held(key) {
            return Lookup::Found(stored);
        }
        match self.examine(key).await {
            Err(fault) => Lookup::Unavailable(fault),
            Ok(Examined::Absent) => {
                self.forget_missing(key).await;
                Lookup::Absent
            }
            Ok(Examined::Orphan) => {
                self.change(row::entry(key.bytes()), None, None);
                self.forget_missing(key).await;
                Lookup::Absent
            }
            Ok(Examined::Rotten(fault)) => {
                drop(guard);
                self.set_aside(Aside::nameless(key, fault.word())).await;
                Lookup::Absent
            }
            Ok(Examined::Agreed(found)) => {
                let (opened, entry, found) = *found;
                self.count_found(key, &opened);
                let stored = self.open(opened, entry);
                self.unless_suspect(stored, found)
            }
            Ok(Examined::Adopt(opened)) => {
                self.count_found(key, &opened);
                let entry = adopted(&opened);
                let stored = self.open(*opened, entry);
                self.send_change(&stored);
                self.adopted.fetch_add(1, Ordering::Relaxed);
                self.unless_suspect(stored, Found::Row)
            }
        }
    }

    /// Holds what was found. A file that could not be sent to its end is given to nobody until its checksum was checked: its
    /// name and its trailer do not tell of a sector that cannot be read.
    fn unless_suspect(self: &Arc<Self>, stored: Stored, found: Found) -> Lookup {
        if stored.body.is_suspect() {
            return Lookup::Absent;
        }
        Lookup::Found(self.hold(stored, found))
    }

    /// What memory holds of a key, unless its file is suspected to be damaged: then it is looked at by name.
    pub(super) fn held(&self, key: &Key) -> Option<Stored> {
        let generation = self.index.generation();
        self.overlay
            .find(key)
            .or_else(|| self.handles.find(key, generation))
            .filter(|stored| !stored.body.is_suspect())
    }

    /// Takes a body out of the accounts that somebody else deleted. Its key's lock is held.
    async fn forget_missing(self: &Arc<Self>, key: &Key) {
        let bytes = *key.bytes();
        if !self.quota.contains(&bytes) {
            return;
        }
        let layout = self.layout.clone();
        // One of a later release is no body to us, and stays.
        if self.quiet(move || Ok(layout.has_body(&bytes))).await == Ok(false) {
            self.forget_body(&bytes);
            self.io.faults.count(StoreFault::Missing);
            tracing::warn!(?key, "a stored body was deleted by somebody else");
        }
    }

    /// Holds what was found, but answers with what somebody published or refreshed meanwhile.
    fn hold(self: &Arc<Self>, stored: Stored, found: Found) -> Stored {
        if let Some(newer) = self.overlay.find(&stored.entry.key) {
            return newer;
        }
        self.handles.insert(&stored, found, self.clock.now());
        self.check_once(&stored);
        stored
    }

    async fn examine(self: &Arc<Self>, key: &Key) -> Result<Examined, StoreFault> {
        let generation = self.index.generation();
        let in_index = self.read_row(key).await;
        let (layout, bytes) = (self.layout.clone(), *key.bytes());
        let open = move || layout.open(&bytes);
        let opened = match self.io.call(Step::Open, OPEN_DEADLINE, open).await {
            Err(fault @ (StoreFault::Rotten | StoreFault::Truncated)) => {
                return Ok(Examined::Rotten(fault));
            }
            opened => opened?.filter(|opened| belongs(opened, key)),
        };
        let Some(opened) = opened else {
            return Ok(match in_index {
                InIndex::Row(_) => Examined::Orphan,
                InIndex::Nothing | InIndex::Silent => Examined::Absent,
            });
        };
        self.saw_sequence(opened.trailer.entry.sequence);
        Ok(match in_index {
            InIndex::Row(row) if row.sequence == opened.trailer.entry.sequence => {
                let entry = merged(&opened.trailer.entry, row);
                Examined::Agreed(Box::new((opened, entry, Found::Row)))
            }
            InIndex::Nothing | InIndex::Row(_) => Examined::Adopt(Box::new(opened)),
            InIndex::Silent => {
                let entry = adopted(&opened);
                Examined::Agreed(Box::new((opened, entry, Found::Probed(generation))))
            }
        })
    }

    /// Asks the index, for as long as a lookup waits for it. A read that is late goes on being watched: one that never
    /// comes back means that the index is dead.
    pub(super) async fn read_row(self: &Arc<Self>, key: &Key) -> InIndex {
        let Some(live) = self.index.live().filter(|_| self.index.may_read()) else {
            return InIndex::Silent;
        };
        let number = live.number;
        let name = row::entry(key.bytes());
        let shared = Arc::clone(self);
        let limit = self.settings.index_deadline;
        let mut read = Box::pin(async move {
            let work = move || live.read(&name);
            shared.io.call(Step::IndexRead, limit, work).await
        });
        let waited = tokio::time::timeout(self.settings.read_deadline, &mut read).await;
        let found = match waited {
            Ok(Ok(found)) => found,
            Ok(Err(fault)) => {
                self.index_died(number, fault);
                return InIndex::Silent;
            }
            Err(_) => {
                let shared = Arc::clone(self);
                self.index.count_late_read();
                self.io.tasks.spawn("late index read", async move {
                    let outcome = read.await;
                    shared.index.end_late_read();
                    if let Err(fault) = outcome {
                        shared.index_died(number, fault);
                    }
                });
                return InIndex::Silent;
            }
        };
        // An unreadable row, and one of another key with the same hashes, count as none.
        let row = found.as_deref().and_then(Row::decode).filter(|row| {
            row.key_text
                .as_deref()
                .is_none_or(|text| text == key.text())
        });
        row.map_or(InIndex::Nothing, InIndex::Row)
    }

    /// An opened file as the body of an entry.
    pub(super) fn open(&self, opened: OpenedFile, entry: Entry) -> Stored {
        let key = *entry.key.bytes();
        let body = Body::finished(
            opened.file,
            entry.body_bytes,
            opened.trailer.body_crc,
            Arc::clone(&self.io),
            Arc::clone(&self.quota),
            self.settings.body_deadline,
        );
        if self.quota.checked(&key) == Checked::No {
            body.want_check();
        }
        let body = self.open_bodies.share(&key, entry.sequence, body);
        Stored {
            entry: Arc::new(entry),
            body,
        }
    }

    /// Counts a file that the count at the start has not come to, or that somebody put there since.
    pub(super) fn count_found(&self, key: &Key, opened: &OpenedFile) {
        if !self.quota.contains(key.bytes()) {
            let keep = self.pins.keep(key);
            self.quota
                .insert(key.bytes(), opened.disk_bytes, Checked::No, keep, None);
        }
    }
}

/// The entry that a trailer tells and a row brings up to date.
pub(super) fn merged(trailer: &Entry, row: Row) -> Entry {
    Entry {
        epoch: row.epoch,
        validated_at: row.validated_at,
        headers: row.headers.unwrap_or_else(|| trailer.headers.clone()),
        ..trailer.clone()
    }
}

/// The entry that a trailer tells, when no row brings it up to date.
pub(super) fn adopted(opened: &OpenedFile) -> Entry {
    Entry {
        epoch: Epoch::default(),
        ..opened.trailer.entry.clone()
    }
}
