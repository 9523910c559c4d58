//! Writing a new body: a temporary file, hashed while it grows.
//!
//! What a write returned for can be read through the writer's body. Small pieces gather in memory and go to the file
//! together, so that a chunk of 8 KiB costs no trip to another thread. A writer that is dropped aborts. Refuses to
//! judge what it writes: `publish` is called once somebody else has.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ring::digest;
use tokio::sync::OwnedSemaphorePermit;

use super::body::{Body, Stored};
use super::fault::StoreFault;
use super::settings::Step;
use super::writers::Writing;
use super::{Shared, commit};
use crate::cache::entry::{Entry, UpstreamValidator};
use crate::cache::epoch::Epoch;
use crate::platform;

/// Bytes that gather in memory before they are written: one trip to a blocking thread then carries about half a
/// millisecond of hashing.
const FLUSH_BYTES: usize = 256 * 1024;
/// Reserved for the trailer beside the body: headers and key of nearly every entry fit in a block or two.
pub(super) const TRAILER_ROOM: u64 = 8 * 1024;
/// First reservation of a body of unknown length. Most are small documents; doubling from here keeps a hundred of
/// them from reserving, and so evicting, gigabytes.
pub(super) const FIRST_STEP: u64 = 256 * 1024;
/// Largest step by which a reservation of unknown length grows.
const MAX_STEP: u64 = 64 << 20;

/// All of an entry that a writer cannot know.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The epoch that the flight began with.
    pub epoch: Epoch,
    /// Status of the upstream's answer.
    pub status: StatusCode,
    /// Headers worth keeping.
    pub headers: HeaderMap,
    /// To revalidate with.
    pub upstream_validator: UpstreamValidator,
    /// The host that sent the body.
    pub origin: String,
    /// When it was received.
    pub fetched_at: SystemTime,
    /// When the upstream last vouched for it.
    pub validated_at: SystemTime,
}

/// Writes one new body. Dropping it aborts: the temporary file is deleted and its room given back.
#[derive(Debug)]
pub struct BodyWriter {
    shared: Arc<Shared>,
    /// Its key and sequence, and whether a purge has come over it.
    place: Writing,
    body: Body,
    sink: Arc<Mutex<Sink>>,
    temporary: Temporary,
    permit: OwnedSemaphorePermit,
    /// Bytes of the disk that are reserved, the trailer's included.
    reserved: u64,
    /// Why no further write succeeds. Not in the sink, whose lock a hanging write may hold for ever.
    fault: Option<StoreFault>,
}

/// Puts bytes into the file and its hashes, in order. Survives a caller that stops waiting: what is not done yet is
/// done by the next call.
pub(super) struct Sink {
    body: Body,
    sha512: digest::Context,
    crc: u32,
    /// Offset up to which bytes are hashed.
    hashed: u64,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("hashed", &self.hashed)
            .finish_non_exhaustive()
    }
}

impl Sink {
    fn hash(&mut self, offset: u64, chunk: &[u8]) {
        // After an interrupted write, some of the tail is hashed already.
        if offset == self.hashed {
            self.sha512.update(chunk);
            self.crc = crc32c::crc32c_append(self.crc, chunk);
            self.hashed += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        }
    }

    /// Writes the tail to the file. Blocks.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (mut offset, chunks) = {
            let tail = self.body.tail();
            (tail.start, Vec::from_iter(tail.chunks.iter().cloned()))
        };
        for chunk in &chunks {
            platform::write_all_at(self.body.file(), chunk, offset)?;
            self.hash(offset, chunk);
            offset += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        }
        self.body.flushed(chunks.len());
        Ok(())
    }

    /// Hashes of everything, the part that is not in the file yet included.
    fn finish(&mut self) -> ([u8; 64], u32) {
        let (mut offset, chunks) = {
            let tail = self.body.tail();
            (tail.start, Vec::from_iter(tail.chunks.iter().cloned()))
        };
        for chunk in &chunks {
            self.hash(offset, chunk);
            offset += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        }
        (self.sha512_so_far(), self.crc)
    }

    fn sha512_so_far(&self) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.sha512.clone().finish().as_ref());
        out
    }
}

pub(super) fn lock(sink: &Mutex<Sink>) -> MutexGuard<'_, Sink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file, deleted on drop unless it got its name.
#[derive(Debug)]
pub(super) struct Temporary {
    shared: Arc<Shared>,
    path: Option<PathBuf>,
}

impl Temporary {
    pub(super) fn new(shared: &Arc<Shared>, path: PathBuf) -> Self {
        shared.temporary_files.add(&path);
        Self {
            shared: Arc::clone(shared),
            path: Some(path),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.clone().unwrap_or_default()
    }

    /// The file has its name.
    pub(super) fn keep(&mut self) {
        if let Some(path) = self.path.take() {
            self.shared.temporary_files.remove(&path);
        }
    }

    /// Deletes the file and waits for that.
    pub(super) async fn delete(mut self) {
        if let Some(path) = self.path.take() {
            self.shared.temporary_files.remove(&path);
            let limit = self.shared.settings.index_deadline;
            let unlink = move || std::fs::remove_file(path);
            let _ = self.shared.io.call(Step::Unlink, limit, unlink).await;
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else {
            return;
        };
        self.shared.temporary_files.remove(&path);
        let shared = Arc::clone(&self.shared);
        // Without a runtime the process is ending; the next start clears what is left.
        if tokio::runtime::Handle::try_current().is_ok() {
            let tasks = shared.io.tasks.clone();
            tasks.spawn("store abort", async move {
                let limit = shared.settings.index_deadline;
                let unlink = move || std::fs::remove_file(path);
                let _ = shared.io.call(Step::Unlink, limit, unlink).await;
            });
        }
    }
}

/// A writer without what only a fetch under way has: its permit and its sequence.
#[derive(Debug)]
pub(super) struct Parts {
    /// A purge that comes over its key finds it here.
    pub(super) place: Writing,
    pub(super) temporary: Temporary,
    /// Bytes of the disk that are reserved.
    pub(super) reserved: u64,
    body: Body,
    sink: Arc<Mutex<Sink>>,
}

impl BodyWriter {
    /// Takes it apart once all that was written stands in its file; `None` if it can write no more, or if a purge has come
    /// over it.
    pub(super) async fn take_apart(mut self) -> Option<Parts> {
        self.sync_hash().await.ok()?;
        self.place.is_wanted().then(|| Parts {
            place: self.place,
            temporary: self.temporary,
            reserved: self.reserved,
            body: self.body,
            sink: self.sink,
        })
    }

    /// Goes on with what another writer wrote.
    pub(super) fn from_parts(parts: Parts, sequence: u64, permit: OwnedSemaphorePermit) -> Self {
        Self {
            shared: Arc::clone(&parts.temporary.shared),
            place: parts.place.again(sequence),
            body: parts.body,
            sink: parts.sink,
            temporary: parts.temporary,
            permit,
            reserved: parts.reserved,
            fault: None,
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn new(
        body: Body,
        temporary: Temporary,
        permit: OwnedSemaphorePermit,
        place: Writing,
        reserved: u64,
    ) -> Self {
        let sink = Sink {
            body: body.clone(),
            sha512: digest::Context::new(&digest::SHA512),
            crc: 0,
            hashed: 0,
        };
        Self {
            shared: Arc::clone(&temporary.shared),
            place,
            body,
            sink: Arc::new(Mutex::new(sink)),
            temporary,
            permit,
            reserved,
            fault: None,
        }
    }

    /// The body's sequence, drawn when the writer began.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.place.sequence()
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.body.len()
    }

    /// The growing body: what was written so far can be read from it, also after the writer is gone.
    #[must_use]
    pub fn body(&self) -> Body {
        self.body.clone()
    }

    /// Appends a chunk. When this returns it can be read.
    ///
    /// # Errors
    /// No room or a fault of the disk. No further write succeeds then.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), StoreFault> {
        if chunk.is_empty() {
            return Ok(());
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let written = self.append(chunk).await;
        self.fault = written.err();
        written
    }

    /// SHA-512 of everything written so far, when all of it stands in the file.
    ///
    /// # Errors
    /// A fault of the disk.
    pub async fn sync_hash(&mut self) -> Result<[u8; 64], StoreFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let flushed = flush(&self.shared, &self.sink, &self.body).await;
        self.fault = flushed.err();
        flushed?;
        Ok(lock(&self.sink).sha512_so_far())
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), StoreFault> {
        self.make_room(u64::try_from(chunk.len()).unwrap_or(u64::MAX))
            .await?;
        self.body.append(chunk);
        if self.body.tail().bytes >= FLUSH_BYTES {
            flush(&self.shared, &self.sink, &self.body).await?;
        }
        Ok(())
    }

    async fn make_room(&mut self, more: u64) -> Result<(), StoreFault> {
        let wanted = self.written() + more + TRAILER_ROOM;
        if wanted <= self.reserved {
            return Ok(());
        }
        let step = self.reserved.clamp(FIRST_STEP, MAX_STEP);
        let step = step.max(wanted - self.reserved);
        let total = self.reserved + step;
        let more = self.shared.make_room(step, total).await?;
        let (file, portability) = (Arc::clone(self.body.file()), self.shared.layout.portability);
        let limit = self.shared.settings.index_deadline;
        let allocate = move || platform::allocate(&file, total, portability);
        self.shared.io.call(Step::Reserve, limit, allocate).await?;
        self.body.join_reservation(more);
        self.body.is_allocated();
        self.reserved = total;
        Ok(())
    }

    /// The body passed its checks: any lookup from now on finds it, and it becomes durable behind this call. A failure
    /// of that is counted and logged; the entry is then found no more, but what was handed out stays readable.
    ///
    /// Call [`BodyWriter::sync_hash`] before; else up to 256 KiB are hashed right here. After a write that failed there
    /// is nothing to publish: what this returns then is not stored, and its hash may be missing (zeros). Nor is what a
    /// purge has come over.
    #[must_use]
    pub fn publish(self, draft: Draft) -> Stored {
        // Held only by a write that somebody stopped waiting for; this call must not wait for the disk.
        let hashes = self.sink.try_lock().ok().map(|mut sink| sink.finish());
        let whole = hashes.is_some() && self.fault.is_none();
        let (sha512, crc) = hashes.unwrap_or(([0; 64], 0));
        let entry = Entry {
            key: self.place.key().clone(),
            sequence: self.place.sequence(),
            epoch: draft.epoch,
            status: draft.status,
            headers: draft.headers,
            upstream_validator: draft.upstream_validator,
            origin: draft.origin,
            fetched_at: draft.fetched_at,
            validated_at: draft.validated_at,
            body_bytes: self.body.len(),
            sha512,
        };
        self.body.finish(crc);
        let stored = Stored {
            entry: Arc::new(entry),
            body: self.body,
        };
        let show = || self.shared.overlay.publish(&stored, self.permit);
        if whole && self.place.publish(show) {
            let publication = commit::Publication {
                stored: stored.clone(),
                sink: self.sink,
                crc,
                reserved: self.reserved,
                temporary: self.temporary,
            };
            let shared = Arc::clone(&self.shared);
            let tasks = self.shared.io.tasks.clone();
            tasks.spawn("store commit", commit::commit(shared, publication));
        }
        stored
    }
}

/// Writes the tail of a body to its file, if there is one.
pub(super) async fn flush(
    shared: &Arc<Shared>,
    sink: &Arc<Mutex<Sink>>,
    body: &Body,
) -> Result<(), StoreFault> {
    if body.tail().chunks.is_empty() {
        return Ok(());
    }
    let sink = Arc::clone(sink);
    let work = move || lock(&sink).flush();
    let limit = shared.settings.index_deadline;
    shared.io.call(Step::Write, limit, work).await
}
