//! The index: sled 0.34, in the only form in which it is safe.
//!
//! One writer; small batches; after each `flush` a sync of our own on its file; every call with a deadline and its
//! panic caught. An index that panicked, was corrupt or missed a deadline is *dead*: its handle is leaked, because
//! dropping it flushes and may panic, and a new one gets a new folder, since a call that is merely late still writes
//! by path. Refuses to hold a body, a value above 4 KiB, or anything that the bodies' files do not also tell but epochs,
//! absences, marks, proofs and times of revalidation.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::fault::StoreFault;
use super::pending::Batch;
use super::record::GateRow;
use crate::platform::{self, Locking};

/// sled moves values above this out of its leaves at some fan-outs, into files that it never syncs nor deletes.
pub(super) const MAX_VALUE_BYTES: usize = 4096;
/// sled's page cache. It holds rows of hot entries, which the tier of open bodies holds already, and its memory is
/// several times this number.
const CACHE_BYTES: u64 = 8 << 20;
/// An index that died this often is not tried again by this process: what kills it is not chance.
pub(super) const MAX_REBUILDS: u64 = 3;
/// So often it may run out of room besides: chance, and somebody else's, but each leaves some memory behind.
const MAX_FULL_DISKS: u64 = 20;
/// How often an index that is still locked is tried again, and how long after each try.
const LOCK_TRIES: u32 = 100;
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Reads past their deadline that are waited for in the background; with more, lookups go straight to the files.
const MAX_LATE_READS: usize = 8;

/// Names of rows: a letter for their kind, then a key.
pub(super) mod row {
    use super::GateRow;
    use crate::cache::proof::ProofKey;
    use ring::digest;

    /// Rows of entries.
    pub(in super::super) const ENTRY: u8 = b'e';
    /// Rows of absences.
    pub(in super::super) const ABSENCE: u8 = b'n';
    /// Rows of epochs.
    pub(in super::super) const GATE: u8 = b'g';
    /// Rows of marks that say that the upstream has it no more.
    pub(in super::super) const MARK: u8 = b'm';
    /// Rows of marks that say that its bytes should be others.
    pub(in super::super) const DISPUTE: u8 = b'd';
    /// Rows of marks that say that it has no signature that it should have.
    pub(in super::super) const UNSIGNED: u8 = b'f';
    /// Rows of proofs.
    pub(in super::super) const PROOF: u8 = b'p';
    /// Rows of last uses.
    pub(in super::super) const USE: u8 = b'u';
    /// Set once every body that an earlier index knew has a row in this one.
    pub(in super::super) const REBUILT: &[u8] = b"s-rebuilt";

    fn of(kind: u8, key: &[u8; 32]) -> Vec<u8> {
        let mut row = Vec::with_capacity(33);
        row.push(kind);
        row.extend_from_slice(key);
        row
    }

    pub(in super::super) fn entry(key: &[u8; 32]) -> Vec<u8> {
        of(ENTRY, key)
    }

    /// What the rows of all entries begin with whose keys begin with `prefix`.
    pub(in super::super) fn entries_of(prefix: &[u8]) -> Vec<u8> {
        [&[ENTRY], prefix].concat()
    }

    pub(in super::super) fn mark(kind: u8, key: &[u8; 32]) -> Vec<u8> {
        of(kind, key)
    }

    pub(in super::super) fn absence(key: &[u8; 32]) -> Vec<u8> {
        of(ABSENCE, key)
    }

    pub(in super::super) fn proof(key: &ProofKey) -> Vec<u8> {
        of(PROOF, key.bytes())
    }

    pub(in super::super) fn last_use(key: &[u8; 32]) -> Vec<u8> {
        of(USE, key)
    }

    pub(in super::super) fn gate(row: &GateRow) -> Vec<u8> {
        let GateRow {
            feed, id, version, ..
        } = row;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let text = format!("{feed}\u{1f}{}\u{1f}{}", part(id), part(version));
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let mut name = vec![GATE];
        name.extend_from_slice(digest.as_ref());
        name
    }
}

/// The state of the index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IndexState {
    /// Given up until the next start; lookups probe the files.
    Dead,
    /// Being opened; lookups probe the files meanwhile.
    Opening,
    /// In use.
    Ready,
    /// In use, while rows of bodies that it does not know are added.
    Rebuilding,
}

impl IndexState {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Opening => "opening",
            Self::Ready => "ready",
            Self::Rebuilding => "rebuilding",
        }
    }
}

/// What comes after an index that died.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Burial {
    /// Somebody else saw it die before.
    Already,
    /// None: too many died.
    Last,
    /// One in the folder with this number.
    Next(u64),
}

#[derive(Debug)]
pub(super) struct Index {
    slot: RwLock<Slot>,
    /// Rises with each change of state.
    generation: AtomicU64,
    pub(super) deaths: AtomicU64,
    /// How many of those were for want of room.
    full_disks: AtomicU64,
    late_reads: AtomicUsize,
    changed: Notify,
}

#[derive(Debug)]
struct Slot {
    state: IndexState,
    /// Number of the folder.
    number: u64,
    live: Option<Arc<Live>>,
}

/// An open index.
pub(super) struct Live {
    pub(super) number: u64,
    /// Read-locked by every call, so that closing waits for those under way: sled gives its folder up with the last
    /// handle.
    db: RwLock<Option<sled::Db>>,
    /// sled's own `flush` is not durable on Linux: it does not commit the file's metadata. This handle is for the sync
    /// that is.
    barrier: File,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let db = self.db.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Only a close that was asked for may run sled's own closing, which blocks, flushes and may panic.
        std::mem::forget(db.take());
    }
}

impl Index {
    pub(super) fn new(number: u64) -> Self {
        Self {
            slot: RwLock::new(Slot {
                state: IndexState::Opening,
                number,
                live: None,
            }),
            generation: AtomicU64::new(0),
            deaths: AtomicU64::new(0),
            full_disks: AtomicU64::new(0),
            late_reads: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    fn set(&self, change: impl FnOnce(&mut Slot) -> bool) -> bool {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut slot);
        drop(slot);
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.changed.notify_waiters();
        }
        changed
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn state(&self) -> IndexState {
        self.slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .state
    }

    /// Number of the folder in use or being opened.
    pub(super) fn number(&self) -> u64 {
        self.slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .number
    }

    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .live
            .clone()
    }

    /// Puts an opened index in use, unless it was given up meanwhile.
    pub(super) fn opened(&self, live: &Arc<Live>) -> bool {
        self.set(|slot| {
            let wanted = slot.state == IndexState::Opening && slot.number == live.number;
            if wanted {
                slot.state = IndexState::Rebuilding;
                slot.live = Some(Arc::clone(live));
            }
            wanted
        })
    }

    /// Every body has its row.
    pub(super) fn rebuilt(&self, number: u64) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.number == number && slot.state == IndexState::Rebuilding {
            slot.state = IndexState::Ready;
        }
    }

    /// Gives up the index in folder `number`.
    pub(super) fn bury(&self, number: u64, fault: StoreFault) -> Burial {
        let mut burial = Burial::Already;
        self.set(|slot| {
            if slot.number != number || slot.state == IndexState::Dead {
                return false;
            }
            let deaths = self.deaths.fetch_add(1, Ordering::AcqRel) + 1;
            let is_full = u64::from(fault == StoreFault::DiskFull);
            let full_disks = self.full_disks.fetch_add(is_full, Ordering::AcqRel) + is_full;
            slot.live = None;
            if deaths - full_disks > MAX_REBUILDS || full_disks > MAX_FULL_DISKS {
                slot.state = IndexState::Dead;
                burial = Burial::Last;
            } else {
                slot.state = IndexState::Opening;
                slot.number = number + 1;
                burial = Burial::Next(number + 1);
            }
            true
        });
        burial
    }

    /// Takes the index out of use for good, to close it.
    pub(super) fn close(&self) -> Option<Arc<Live>> {
        let mut live = None;
        self.set(|slot| {
            live = slot.live.take();
            slot.state = IndexState::Dead;
            true
        });
        live
    }

    /// Waits until there is an index, or until there will be none.
    pub(super) async fn settled(&self) -> Option<Arc<Live>> {
        loop {
            let changed = self.changed.notified();
            let live = self.live();
            if live.is_some() || self.state() == IndexState::Dead {
                return live;
            }
            changed.await;
        }
    }

    pub(super) fn may_read(&self) -> bool {
        self.late_reads.load(Ordering::Relaxed) < MAX_LATE_READS
    }

    pub(super) fn count_late_read(&self) {
        self.late_reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_late_read(&self) {
        self.late_reads.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    /// Opens the index in `folder`. Blocks, may panic, may hang.
    pub(super) fn open(folder: &Path, number: u64) -> io::Result<Self> {
        clear_half_written_snapshots(folder)?;
        wait_for_lock(folder)?;
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            // The writer flushes: two flushers deadlocked in other programs.
            .flush_every_ms(None)
            .open()
            .map_err(failure)?;
        let barrier = File::open(folder.join("db"))?;
        platform::sync_data(&barrier)?;
        platform::sync_directory(folder)?;
        Ok(Self {
            number,
            db: RwLock::new(Some(db)),
            barrier,
        })
    }

    fn with<R>(&self, call: impl FnOnce(&sled::Db) -> io::Result<R>) -> io::Result<R> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        match &*db {
            Some(db) => call(db),
            None => Err(io::Error::other("the index is closed")),
        }
    }

    pub(super) fn read(&self, row: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let found = self.with(|db| db.get(row).map_err(failure))?;
        Ok(found.map(|value| value.to_vec()))
    }

    /// At most `most` rows of one kind behind `after`.
    pub(super) fn scan(
        &self,
        kind: u8,
        after: Option<Vec<u8>>,
        most: usize,
    ) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Included(vec![kind]), Bound::Excluded);
        let to = Bound::Excluded(vec![kind + 1]);
        self.with(|db| {
            db.range::<Vec<u8>, _>((from, to))
                .take(most)
                .map(|row| {
                    row.map(|(name, value)| (name.to_vec(), value.to_vec()))
                        .map_err(failure)
                })
                .collect()
        })
    }

    /// The values of at most `most` rows whose names begin with `prefix`.
    pub(super) fn begin_with(&self, prefix: &[u8], most: usize) -> io::Result<Vec<Vec<u8>>> {
        self.with(|db| {
            let rows = db.scan_prefix(prefix).values().take(most);
            rows.map(|value| value.map(|value| value.to_vec()).map_err(failure))
                .collect()
        })
    }

    /// Writes a batch; it is durable when this returns.
    pub(super) fn write(&self, batch: &Batch) -> io::Result<()> {
        let mut changes = sled::Batch::default();
        for (row, change) in &batch.changes {
            match &change.value {
                Some(value) => changes.insert(row.as_slice(), value.as_slice()),
                None => changes.remove(row.as_slice()),
            }
        }
        self.with(|db| {
            db.apply_batch(changes).map_err(failure)?;
            db.flush().map_err(failure)?;
            platform::sync_data(&self.barrier)
        })
    }

    /// Runs sled's own closing. Blocks, may panic.
    pub(super) fn close(&self) {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(db.take());
    }
}

/// Waits until nobody has sled's file locked. The whole folder is ours, so that whoever has is an earlier handle of ours on
/// its way out, or a child between its fork and its exec: soon gone, and no reason to give an index up.
fn wait_for_lock(folder: &Path) -> io::Result<()> {
    let file = match File::open(folder.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    for _ in 0..LOCK_TRIES {
        match platform::try_lock(&file)? {
            Locking::Held => std::thread::sleep(LOCK_POLL),
            Locking::Ours => return file.unlock(),
        }
    }
    // sled says what it thinks of it.
    Ok(())
}

/// A snapshot that a crash left half written is what sled opens first, and fails on.
fn clear_half_written_snapshots(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn failure(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
        other => io::Error::other(other),
    }
}
