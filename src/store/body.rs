//! Bodies: open files that readers share, growing or finished.
//!
//! A [`Body`] keeps its file open, so that replacing, evicting or deleting it disturbs no reader. The last bytes of a
//! growing body stand in memory until enough are together for one write; a reader sees no difference. Refuses to know
//! names of files, and to read a byte that was not written.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;

use super::fault::{Io, StoreFault};
use super::quota::{Quota, Reservation};
use super::settings::Step;
use crate::cache::entry::Entry;
use crate::{mapped, platform};

/// A stored response.
#[derive(Clone, Debug)]
pub struct Stored {
    /// All but its body.
    pub entry: Arc<Entry>,
    /// Its body, held open.
    pub body: Body,
}

/// The bytes of one body, finished or growing. Clones share one open file.
#[derive(Clone)]
pub struct Body(Arc<Inner>);

pub(super) struct Inner {
    file: Arc<File>,
    io: Arc<Io>,
    quota: Arc<Quota>,
    deadline: Duration,
    /// Bytes that may be read.
    length: AtomicU64,
    /// Bytes that stand in the file; the rest stands in the tail.
    flushed: AtomicU64,
    tail: Mutex<Tail>,
    /// Set once no byte will be added.
    finished: AtomicBool,
    /// Set once this is no longer the stored body of its key.
    retired: AtomicBool,
    /// What the file takes on the disk and in no other sum: bytes that are given back when the last reader ends.
    lingering: AtomicU64,
    /// The room of a body under way; after an abort it counts until the last reader ends.
    reservation: Mutex<Option<Reservation>>,
    mapping: OnceLock<Option<mapped::Reservation>>,
    /// crc32c of the whole, for the check after a start.
    crc: OnceLock<u32>,
    check: AtomicBool,
    /// Set when the file turned out to be damaged while it was sent.
    suspect: Arc<AtomicBool>,
}

/// The end of a growing body that is not in the file yet.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Offset of the first chunk.
    pub(super) start: u64,
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) bytes: usize,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("length", &self.len())
            .field("finished", &self.0.finished)
            .field("retired", &self.0.retired)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.quota.lingered(self.lingering.load(Ordering::Acquire));
    }
}

impl Body {
    /// A body that is about to be written to `file`.
    pub(super) fn growing(
        file: Arc<File>,
        io: Arc<Io>,
        quota: Arc<Quota>,
        deadline: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            file,
            io,
            quota,
            deadline,
            length: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            tail: Mutex::default(),
            finished: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            lingering: AtomicU64::new(0),
            reservation: Mutex::new(None),
            mapping: OnceLock::new(),
            crc: OnceLock::new(),
            // What this process wrote it need not check.
            check: AtomicBool::new(false),
            suspect: Arc::default(),
        }))
    }

    /// The first `length` bytes of `file`, a finished body with this checksum.
    pub(super) fn finished(
        file: File,
        length: u64,
        crc: u32,
        io: Arc<Io>,
        quota: Arc<Quota>,
        deadline: Duration,
    ) -> Self {
        let body = Self::growing(Arc::new(file), io, quota, deadline);
        body.0.length.store(length, Ordering::Release);
        body.0.flushed.store(length, Ordering::Release);
        body.finish(crc);
        body
    }

    /// Length in bytes; of a growing body, what was written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.length.load(Ordering::Acquire)
    }

    /// Whether there is no byte (yet).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes `range`.
    ///
    /// # Errors
    /// [`StoreFault::Truncated`] if they reach beyond [`Body::len`] or the file is shorter than it was,
    /// [`StoreFault::Rotten`] if they are the whole body and not what was written, else what the disk does.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreFault> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let plan = self.0.plan(&range)?;
        if plan.from_disk == 0 && plan.from_tail.len() == 1 {
            return Ok(plan.from_tail.into_iter().next().unwrap_or_default());
        }
        if plan.from_disk == 0 {
            return Ok(joined(BytesMut::new(), &plan.from_tail));
        }
        let file = Arc::clone(&self.0.file);
        let is_whole = self.0.finished.load(Ordering::Acquire) && range == (0..self.len());
        let expected = self.crc().filter(|_| is_whole);
        let work = move || {
            let mut buffer = BytesMut::zeroed(plan.from_disk);
            platform::read_exact_at(&file, &mut buffer, range.start)?;
            let bytes = joined(buffer, &plan.from_tail);
            match expected {
                Some(crc) if crc != crc32c::crc32c(&bytes) => {
                    Err(io::ErrorKind::InvalidData.into())
                }
                Some(_) | None => Ok(bytes),
            }
        };
        self.0.io.call(Step::Read, self.0.deadline, work).await
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub async fn read_all(&self) -> Result<Bytes, StoreFault> {
        self.read(0..self.len()).await
    }

    /// The address token of these bytes, as `Store::token` gives it. `on_damage` makes what is called once the file turns
    /// out to be damaged; it says whether somebody will look at it, else the next who finds out calls it again.
    pub(super) fn token<F>(&self, range: Range<u64>, on_damage: impl FnOnce() -> F) -> Option<Bytes>
    where
        F: Fn() -> bool + Send + Sync + 'static,
    {
        let inner = &self.0;
        let length = self.len();
        let settled = inner.finished.load(Ordering::Acquire)
            && inner.flushed.load(Ordering::Acquire) == length;
        if !settled {
            return None;
        }
        inner
            .mapping
            .get_or_init(|| {
                let (suspect, tell) = (Arc::clone(&inner.suspect), on_damage());
                let on_damage = move || {
                    if !suspect.swap(true, Ordering::AcqRel) && !tell() {
                        suspect.store(false, Ordering::Release);
                    }
                };
                mapped::Reservation::new(Arc::clone(&inner.file), length, on_damage).ok()
            })
            .as_ref()?
            .token(range)
    }

    /// A blocking reader of what is written so far, for checks that run off the async threads.
    #[must_use]
    pub fn reader(&self) -> BodyReader {
        BodyReader {
            body: self.clone(),
            position: 0,
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.0.retired.load(Ordering::Acquire)
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.0.file
    }

    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        self.0.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a chunk, which can be read from now on.
    pub(super) fn append(&self, chunk: Bytes) {
        let bytes = chunk.len();
        let mut tail = self.tail();
        tail.bytes += bytes;
        tail.chunks.push_back(chunk);
        self.0.length.fetch_add(widen(bytes), Ordering::Release);
    }

    /// The first `chunks` of the tail stand in the file now.
    pub(super) fn flushed(&self, chunks: usize) {
        let mut tail = self.tail();
        let bytes: usize = tail.chunks.drain(..chunks).map(|chunk| chunk.len()).sum();
        tail.bytes -= bytes;
        tail.start += widen(bytes);
        self.0.flushed.store(tail.start, Ordering::Release);
    }

    /// No byte will be added.
    pub(super) fn finish(&self, crc: u32) {
        let _ = self.0.crc.set(crc);
        self.0.finished.store(true, Ordering::Release);
    }

    /// Whether the first hit since the start has yet to have its checksum checked; true once.
    pub(super) fn take_check(&self) -> bool {
        self.0.check.swap(false, Ordering::AcqRel)
    }

    pub(super) fn want_check(&self) {
        self.0.check.store(true, Ordering::Release);
    }

    /// Whether the file turned out to be damaged while it was sent.
    pub(super) fn is_suspect(&self) -> bool {
        self.0.suspect.load(Ordering::Acquire)
    }

    /// It was checked, and is as it should be.
    pub(super) fn trust(&self) {
        self.0.suspect.store(false, Ordering::Release);
    }

    pub(super) fn crc(&self) -> Option<u32> {
        self.0.crc.get().copied()
    }

    /// Holds more room for this body.
    pub(super) fn join_reservation(&self, more: Reservation) {
        let mut held = self.lock_reservation();
        match &mut *held {
            Some(held) => held.join(more),
            None => *held = Some(more),
        }
    }

    /// The disk holds all the room of this body now.
    pub(super) fn is_allocated(&self) {
        if let Some(held) = &mut *self.lock_reservation() {
            held.is_allocated();
        }
    }

    /// Hands over the room of a body that is complete.
    pub(super) fn take_reservation(&self) -> Option<Reservation> {
        self.lock_reservation().take()
    }

    fn lock_reservation(&self) -> MutexGuard<'_, Option<Reservation>> {
        self.0
            .reservation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Where the bytes of `range` stand.
    fn plan(&self, range: &Range<u64>) -> Result<Plan, StoreFault> {
        if range.end > self.length.load(Ordering::Acquire) {
            return Err(StoreFault::Truncated);
        }
        let narrow = |bytes: u64| usize::try_from(bytes).map_err(|_| StoreFault::Truncated);
        if range.end <= self.flushed.load(Ordering::Acquire) {
            return Ok(Plan {
                from_disk: narrow(range.end - range.start)?,
                from_tail: Vec::new(),
            });
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from_tail = Vec::new();
        let mut at = tail.start;
        for chunk in &tail.chunks {
            let end = at + widen(chunk.len());
            if end > range.start && at < range.end {
                let from = narrow(range.start.saturating_sub(at))?;
                let to = narrow(range.end.min(end) - at)?;
                from_tail.push(chunk.slice(from..to));
            }
            at = end;
        }
        Ok(Plan {
            from_disk: narrow(tail.start.min(range.end).saturating_sub(range.start))?,
            from_tail,
        })
    }
}

/// Where the bytes of a range stand: the first `from_disk` in the file, the others in memory.
#[derive(Debug)]
struct Plan {
    from_disk: usize,
    from_tail: Vec<Bytes>,
}

fn joined(mut buffer: BytesMut, chunks: &[Bytes]) -> Bytes {
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
    }
    buffer.freeze()
}

fn widen(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Reads a body from blocking code, at a position of its own.
#[derive(Clone, Debug)]
pub struct BodyReader {
    body: Body,
    position: u64,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.body.len();
        let end = length.min(self.position.saturating_add(widen(buffer.len())));
        if self.position >= end {
            return Ok(0);
        }
        let plan = self
            .body
            .0
            .plan(&(self.position..end))
            .map_err(io::Error::other)?;
        let (disk, mut rest) = buffer.split_at_mut(plan.from_disk.min(buffer.len()));
        platform::read_exact_at(&self.body.0.file, disk, self.position)?;
        let mut bytes = disk.len();
        for chunk in &plan.from_tail {
            let (now, after) = rest.split_at_mut(chunk.len().min(rest.len()));
            now.copy_from_slice(chunk.get(..now.len()).unwrap_or_default());
            bytes += now.len();
            rest = after;
        }
        self.position += widen(bytes);
        Ok(bytes)
    }
}

impl Seek for BodyReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.body.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The bodies that somebody holds open, by key: who deletes or replaces one finds its readers here.
#[derive(Debug, Default)]
pub(super) struct OpenBodies(Mutex<HashMap<[u8; 32], Vec<OpenBody>, RandomState>>);

#[derive(Debug)]
struct OpenBody {
    sequence: u64,
    inner: Weak<Inner>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inner")
    }
}

/// Which open bodies of a key are retired.
#[derive(Clone, Copy, Debug)]
pub(super) enum Retire {
    /// All of them.
    All,
    /// Those below this sequence.
    Below(u64),
}

impl OpenBodies {
    /// Registers `body`, or answers with the one that is open already, so that a file is counted once.
    pub(super) fn share(&self, key: &[u8; 32], sequence: u64, body: Body) -> Body {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bodies = open.entry(*key).or_default();
        bodies.retain(|body| body.inner.strong_count() > 0);
        for known in bodies.iter().filter(|known| known.sequence == sequence) {
            if let Some(inner) = known.inner.upgrade() {
                drop(open);
                return Body(inner);
            }
        }
        bodies.push(OpenBody {
            sequence,
            inner: Arc::downgrade(&body.0),
        });
        body
    }

    /// Marks open bodies of `key` as stored no more. The `disk_bytes` of the deleted file, which linger in `quota`, do so
    /// until its last reader ends.
    pub(super) fn retire(&self, key: &[u8; 32], which: Retire, disk_bytes: u64, quota: &Quota) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bodies) = open.get_mut(key) else {
            drop(open);
            return quota.lingered(disk_bytes);
        };
        let mut kept = Vec::new();
        // Only the newest of them was the file that was deleted; the older ones linger already.
        let mut newest: Option<(u64, Arc<Inner>)> = None;
        for body in bodies.drain(..) {
            if matches!(which, Retire::Below(sequence) if body.sequence >= sequence) {
                kept.push(body);
                continue;
            }
            let Some(inner) = body.inner.upgrade() else {
                continue;
            };
            inner.retired.store(true, Ordering::Release);
            if newest
                .as_ref()
                .is_none_or(|(sequence, _)| *sequence < body.sequence)
            {
                newest = Some((body.sequence, inner));
            }
        }
        if kept.is_empty() {
            open.remove(key);
        } else if let Some(bodies) = open.get_mut(key) {
            *bodies = kept;
        }
        drop(open);
        match newest {
            Some((_, inner)) => {
                let before = inner.lingering.fetch_add(disk_bytes, Ordering::AcqRel);
                debug_assert_eq!(before, 0, "a body was retired twice");
            }
            None => quota.lingered(disk_bytes),
        }
    }

    /// Drops what nobody holds open.
    pub(super) fn sweep(&self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, bodies| {
            bodies.retain(|body| body.inner.strong_count() > 0);
            !bodies.is_empty()
        });
    }
}
