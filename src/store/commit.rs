//! What changes the stored body of a key: publishing, deleting, evicting, setting aside.
//!
//! Each happens under the key's lock, and the lock is given back by the blocking call itself: one that misses its
//! deadline still holds it, so that nobody follows who could be overtaken. Refuses to decide what is to be changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::Shared;
use super::body::{Retire, Stored};
use super::fault::StoreFault;
use super::index::{MAX_VALUE_BYTES, row};
use super::layout::{fold, hex, trailer_bytes};
use super::memory::Found;
use super::pending::Change;
use super::quota::Checked;
use super::record::{Row, Trailer};
use super::settings::Step;
use super::write::{self, Sink, Temporary};
use crate::cache::key::Key;
use crate::platform;
use crate::sync::{AtomicU64, Mutex};

/// Keys share this many locks, so that their number does not grow with the store.
const LOCKS: usize = 256;

/// The locks of keys, and how often what stands behind each was changed.
#[derive(Debug)]
pub(super) struct KeyLocks(Vec<(Arc<tokio::sync::Mutex<()>>, AtomicU64)>);

impl KeyLocks {
    pub(super) fn new() -> Self {
        Self((0..LOCKS).map(|_| Default::default()).collect())
    }

    fn of(&self, key: &[u8; 32]) -> Option<&(Arc<tokio::sync::Mutex<()>>, AtomicU64)> {
        self.0.get(usize::from(fold(key)) % LOCKS)
    }

    /// Waits for the key's lock, at most `limit`.
    pub(super) async fn lock(
        &self,
        key: &[u8; 32],
        limit: Duration,
    ) -> Result<OwnedMutexGuard<()>, StoreFault> {
        let (lock, _) = self.of(key).ok_or(StoreFault::Timeout)?;
        tokio::time::timeout(limit, Arc::clone(lock).lock_owned())
            .await
            .map_err(|_| StoreFault::Timeout)
    }

    /// How often a body behind this key's lock was changed. A reader that sees the same number before and after saw
    /// one state.
    pub(super) fn changes(&self, key: &[u8; 32]) -> u64 {
        self.of(key)
            .map_or(0, |(_, changes)| changes.load(Ordering::Acquire))
    }

    fn changed(&self, key: &[u8; 32]) {
        if let Some((_, changes)) = self.of(key) {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// A checked body on its way to its name.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) stored: Stored,
    pub(super) sink: Arc<Mutex<Sink>>,
    pub(super) crc: u32,
    /// Bytes of the disk that are reserved for it.
    pub(super) reserved: u64,
    pub(super) temporary: Temporary,
}

/// How a publication ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Committed {
    /// A later body was there already, or it was removed meanwhile.
    Overtaken,
    Stored,
}

/// Makes a published body durable.
pub(super) async fn commit(shared: Arc<Shared>, mut publication: Publication) {
    let key = publication.stored.entry.key.clone();
    let sequence = publication.stored.entry.sequence;
    match try_commit(&shared, &mut publication).await {
        Ok(Committed::Stored) => shared.send_row(&key, sequence),
        Ok(Committed::Overtaken) => shared.overlay.withdraw(key.bytes(), sequence),
        Err(fault) => {
            shared.overlay.withdraw(key.bytes(), sequence);
            shared.failed_commits.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(?key, %fault, "a response could not be stored");
        }
    }
}

async fn try_commit(
    shared: &Arc<Shared>,
    publication: &mut Publication,
) -> Result<Committed, StoreFault> {
    let limit = shared.settings.index_deadline;
    let stored = &publication.stored;
    let (key, sequence) = (*stored.entry.key.bytes(), stored.entry.sequence);
    write::flush(shared, &publication.sink, &stored.body).await?;

    let (file, end) = (Arc::clone(stored.body.file()), stored.entry.body_bytes);
    let trailer = Trailer {
        entry: (*stored.entry).clone(),
        body_crc: publication.crc,
    };
    let bytes = trailer_bytes(&trailer).map_err(|error| StoreFault::from(&error))?;
    let length = end + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > publication.reserved {
        let missing = length - publication.reserved;
        let more = shared.make_room(missing, length).await?;
        stored.body.join_reservation(more);
    }
    let write_trailer = move || {
        platform::write_all_at(&file, &bytes, end)?;
        // Cuts what was reserved and not needed.
        file.set_len(length)
    };
    shared.io.call(Step::Trailer, limit, write_trailer).await?;

    let (file, portability) = (Arc::clone(stored.body.file()), shared.layout.portability);
    let sync = move || {
        platform::sync_data(&file)?;
        Ok(platform::disk_bytes(&file.metadata()?, portability))
    };
    let disk_bytes = shared.io.call(Step::Sync, limit, sync).await?;

    let guard = shared.locks.lock(&key, limit).await?;
    if !shared.overlay.shows(&key, sequence) {
        return Ok(Committed::Overtaken);
    }
    let (mover, path, moved) = (
        Arc::clone(shared),
        publication.temporary.path(),
        stored.clone(),
    );
    let rename = move || {
        let _guard = guard;
        // What stands there decides, not what the index says of it. An unreadable one is replaced.
        if let Ok(Some(there)) = mover.layout.open(&key)
            && there.trailer.entry.sequence > sequence
        {
            return Ok(Committed::Overtaken);
        }
        mover.layout.install(&path, &key)?;
        mover.locks.changed(&key);
        let held = moved.body.take_reservation();
        let keep = mover.pins.keep(&moved.entry.key);
        let replaced = mover
            .quota
            .insert(&key, disk_bytes, Checked::Yes, keep, held);
        mover
            .open_bodies
            .retire(&key, Retire::Below(sequence), replaced, &mover.quota);
        let _ = mover.open_bodies.share(&key, sequence, moved.body);
        Ok(Committed::Stored)
    };
    let committed = shared.io.call(Step::Rename, limit, rename).await?;
    if committed == Committed::Stored {
        publication.temporary.keep();
    }
    Ok(committed)
}

impl Shared {
    /// Sends the row of a body that has its name.
    pub(super) fn send_row(&self, key: &Key, sequence: u64) {
        self.overlay.send_row(key.bytes(), sequence, |entry| {
            let value = Row::encode(entry, MAX_VALUE_BYTES);
            self.change(row::entry(key.bytes()), Some(value), Some(*key.bytes()))
        });
    }

    /// Shows changed times of a stored body, and sends its row.
    pub(super) fn send_change(&self, stored: &Stored) {
        let key = *stored.entry.key.bytes();
        self.overlay.change(stored, |entry| {
            let value = Row::encode(entry, MAX_VALUE_BYTES);
            self.change(row::entry(&key), Some(value), Some(key))
        });
    }

    /// Rows were written or given up: what waited for them is held open now, and shown no more by the overlay.
    pub(super) fn settle_changes<'a>(&self, changes: impl Iterator<Item = &'a Change>) {
        for change in changes {
            let Some(key) = &change.entry else {
                continue;
            };
            if let Some(stored) = self.overlay.waiting(key, change.stamp) {
                self.handles.insert(&stored, Found::Row, self.clock.now());
                self.overlay.settle(key, change.stamp);
            }
        }
    }

    /// Deletes the body of a key, then its row.
    pub(super) async fn delete(
        self: &Arc<Self>,
        key: &[u8; 32],
        durability: Durability,
    ) -> Result<Deleted, StoreFault> {
        let limit = self.settings.index_deadline;
        let guard = self.locks.lock(key, limit).await?;
        let shown = self.overlay.contains(key);
        self.overlay.remove(key);
        self.handles.remove(key);
        let (shared, key) = (Arc::clone(self), *key);
        let unlink = move || {
            let guard = guard;
            let was_there = shared.layout.unlink(&key)?;
            let freed = shared.forget_body(&key);
            if durability == Durability::Synced {
                shared.layout.sync_shard(fold(&key))?;
            }
            Ok((guard, was_there, freed))
        };
        let (guard, was_there, freed) = self.io.call(Step::Unlink, limit, unlink).await?;
        // A lookup may have shown it again between the two.
        self.overlay.remove(&key);
        self.handles.remove(&key);
        self.change(row::entry(&key), None, None);
        drop(guard);
        Ok(Deleted {
            entries: u64::from(was_there || shown),
            freed,
        })
    }

    /// Moves a body that is not what it should be out of the way, forgets it, and says so.
    pub(super) async fn set_aside(self: &Arc<Self>, aside: Aside<'_>) {
        let limit = self.settings.index_deadline;
        let Ok(guard) = self.locks.lock(aside.file, limit).await else {
            return;
        };
        let (shared, key, sequence) = (Arc::clone(self), *aside.file, aside.sequence);
        let work = move || {
            let guard = guard;
            if let Ok(there) = shared.layout.open(&key) {
                let found = there.map(|opened| opened.trailer.entry.sequence);
                if sequence.is_none() || found != sequence {
                    // Replaced or deleted meanwhile; what is there now is in order.
                    return Ok(None);
                }
            }
            let name = format!("{}-{}", hex(&key), sequence.unwrap_or(0));
            shared.layout.set_aside(&key, &name)?;
            shared.forget_body(&key);
            Ok(Some(guard))
        };
        if let Ok(Some(_guard)) = self.io.call(Step::Unlink, limit, work).await {
            self.overlay.remove(&key);
            self.handles.remove(&key);
            self.change(row::entry(&key), None, None);
            self.quarantined.fetch_add(1, Ordering::Relaxed);
            let (file, name, why) = (hex(&key), aside.key, aside.why);
            tracing::warn!(file, key = ?name, why, "a stored body is damaged and set aside");
        }
    }

    /// Takes a deleted body out of the accounts; its readers keep theirs.
    pub(super) fn forget_body(&self, key: &[u8; 32]) -> u64 {
        self.locks.changed(key);
        self.end_marks(key);
        let freed = self.quota.remove(key);
        self.open_bodies
            .retire(key, Retire::All, freed, &self.quota);
        freed
    }

    pub(super) fn change(
        &self,
        row: Vec<u8>,
        value: Option<Vec<u8>>,
        entry: Option<[u8; 32]>,
    ) -> u64 {
        self.pending.change(row, value, entry, self.clock.instant())
    }
}

/// A body to be set aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aside<'a> {
    pub(super) file: &'a [u8; 32],
    /// What is kept there, where that is known.
    pub(super) key: Option<&'a Key>,
    /// Of the body that is damaged; `None` if its trailer cannot be read.
    pub(super) sequence: Option<u64>,
    pub(super) why: &'static str,
}

impl<'a> Aside<'a> {
    /// A body whose trailer cannot be read.
    pub(super) fn nameless(key: &'a Key, why: &'static str) -> Self {
        Self {
            file: key.bytes(),
            key: Some(key),
            sequence: None,
            why,
        }
    }
}

/// What a deletion did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deleted {
    /// Responses that are stored no more: none or one.
    pub(super) entries: u64,
    /// Bytes that the body took; freed once nobody reads it.
    pub(super) freed: u64,
}

/// Whether a deletion must outlive a power cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Durability {
    /// If the body comes back it is found again: an eviction.
    None,
    /// It must not come back.
    Synced,
}
