//! Finding room: reservations, eviction, purging, and the temporary file of a new body.
//!
//! The cap is never exceeded: room is made before it is promised, or the caller goes on without the store. Refuses to
//! choose what is evicted; `quota` does.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::body::{Body, Stored};
use super::commit::Durability;
use super::fault::StoreFault;
use super::index::row;
use super::layout::Layout;
use super::quota::{Reservation, Sums};
use super::settings::Step;
use super::write::{BodyWriter, FIRST_STEP, TRAILER_ROOM, Temporary};
use super::{Count, Shared, recover};
use crate::cache::key::Key;
use crate::platform;

/// How long a new body waits for the count of what is there, after a start with a full store. Longer, and clients
/// are served faster without the store.
const COUNT_WAIT: Duration = Duration::from_secs(2);
/// Beyond what is asked for, eviction frees this part of the cap, so that not every new body has to evict.
const SLACK_SHARE: u64 = 128;
/// Evictions and looks at the free space that one request pays for. A body of 64 MiB that displaces documents of one
/// block each needs more and does without the store; the next finds the room that this one made.
const MAX_EVICTIONS: usize = 1024;

impl Shared {
    pub(super) async fn begin(
        self: &Arc<Self>,
        key: &Key,
        expected_bytes: Option<u64>,
    ) -> Result<BodyWriter, StoreFault> {
        let permit = self.permit().await?;
        self.wait_for_count().await?;
        let sequence = self.draw_sequence();
        let room = expected_bytes
            .unwrap_or(FIRST_STEP)
            .saturating_add(TRAILER_ROOM);
        let reservation = self.make_room(room).await?;
        let name = self.temporary_names.fetch_add(1, Ordering::Relaxed);
        let path = self.layout.temporary().join(format!("{sequence}-{name}"));
        let temporary = Temporary::new(self, path.clone());
        // A small body is in memory until it is complete, so there is nothing to allocate it for.
        let known = expected_bytes.filter(|bytes| *bytes > FIRST_STEP);
        let portability = self.layout.portability;
        let create = move || {
            let file = OpenOptions::new()
                .create_new(true)
                .read(true)
                .write(true)
                .open(&path)?;
            if known.is_some() {
                platform::allocate(&file, room, portability)?;
            }
            Ok(file)
        };
        let limit = self.settings.index_deadline;
        let file = self.io.call(Step::Reserve, limit, create).await?;
        let body = Body::growing(
            Arc::new(file),
            Arc::clone(&self.io),
            Arc::clone(&self.quota),
            self.settings.body_deadline,
        );
        body.join_reservation(reservation);
        Ok(BodyWriter::new(
            key, sequence, body, temporary, permit, room,
        ))
    }

    /// The right to have an entry without a durable row.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreFault> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        tokio::time::timeout(self.settings.index_deadline, permit)
            .await
            .map_err(|_| StoreFault::Timeout)?
            .map_err(|_| StoreFault::IndexDead)
    }

    async fn wait_for_count(&self) -> Result<(), StoreFault> {
        let mut counted = self.counted.subscribe();
        let done = counted.wait_for(|count| *count == Count::Done);
        match tokio::time::timeout(COUNT_WAIT, done).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                self.io.faults.count(StoreFault::NoRoom);
                Err(StoreFault::NoRoom)
            }
        }
    }

    /// Holds `bytes`, evicting what must go for them and for the free-space floor.
    pub(super) async fn make_room(self: &Arc<Self>, bytes: u64) -> Result<Reservation, StoreFault> {
        let made = self.try_make_room(bytes).await;
        if let Err(fault) = made {
            self.io.faults.count(fault);
        }
        made
    }

    async fn try_make_room(self: &Arc<Self>, bytes: u64) -> Result<Reservation, StoreFault> {
        let cap = self.quota.sums().cap;
        if bytes > cap {
            return Err(StoreFault::NoRoom);
        }
        let mut left = MAX_EVICTIONS;
        let reservation = loop {
            match self.quota.reserve(bytes) {
                Ok(reservation) => break reservation,
                // What may never be asked for again goes before what is whole.
                Err(_) if self.drop_partial().await => {}
                Err(missing) => {
                    let wanted = missing.saturating_add(cap / SLACK_SHARE);
                    let freed = self.evict(wanted, &mut left).await;
                    // Bytes that linger with readers are freed only in name.
                    if freed == 0 || left == 0 {
                        return self.quota.reserve(bytes).map_err(|_| StoreFault::NoRoom);
                    }
                }
            }
        };
        loop {
            let missing = self.missing_on_disk(bytes).await?;
            if missing == 0 {
                return Ok(reservation);
            }
            if self.drop_partial().await {
                continue;
            }
            if left == 0 || self.evict(missing, &mut left).await == 0 {
                return Err(StoreFault::NoRoom);
            }
        }
    }

    /// Evicts what stands above the cap: after a restart with a lower one, or because the index grew.
    pub(super) async fn shrink(self: &Arc<Self>) {
        let mut sums = self.quota.sums();
        let taken = |sums: &Sums| sums.live + sums.reserved + sums.lingering + sums.overhead;
        while taken(&sums) > sums.cap && self.drop_partial().await {
            sums = self.quota.sums();
        }
        let taken = taken(&sums);
        if taken > sums.cap && *self.counted.borrow() == Count::Done {
            let mut left = MAX_EVICTIONS;
            self.evict(taken - sums.cap, &mut left).await;
        }
    }

    /// Bytes that must be freed before `bytes` can be written without going below the floor.
    async fn missing_on_disk(&self, bytes: u64) -> Result<u64, StoreFault> {
        let layout = self.layout.clone();
        let space = move || Ok(platform::space(layout.root(), layout.portability));
        let Some(space) = self.quiet(space).await? else {
            return Ok(0);
        };
        self.free_bytes.store(space.free, Ordering::Relaxed);
        let wanted = bytes.saturating_add(self.limits.min_free_bytes());
        Ok(wanted.saturating_sub(space.free))
    }

    /// Evicts until `wanted` bytes are freed or nothing can go; says how many were.
    async fn evict(self: &Arc<Self>, wanted: u64, left: &mut usize) -> u64 {
        let mut freed = 0;
        while freed < wanted && *left > 0 {
            *left -= 1;
            let Some(victim) = self.quota.victim() else {
                break;
            };
            match self.delete(&victim, Durability::None).await {
                Ok(deleted) => {
                    self.quota.count_eviction(deleted.freed);
                    freed += deleted.freed;
                }
                Err(fault) => {
                    tracing::warn!(%fault, "a stored response could not be evicted");
                    break;
                }
            }
        }
        freed
    }

    /// Deletes every body and absence whose key begins with `prefix`.
    pub(super) async fn purge(self: &Arc<Self>, prefix: &[u8]) -> u64 {
        self.partials.forget_prefix(prefix);
        for key in self.absences.forget_prefix(prefix) {
            self.change(row::absence(&key), None, None);
        }
        let mut purged = 0;
        for key in self.overlay.keys(prefix) {
            purged += self.delete_purged(&key).await;
        }
        // The names of the files are the keys, so this misses nothing that the index does not know.
        for folder in 0..=u8::MAX {
            let mut touched = false;
            for key in recover::list(self, folder).await {
                if key.starts_with(prefix) {
                    purged += self.delete_purged(&key).await;
                    touched = true;
                }
            }
            let layout: Layout = self.layout.clone();
            if touched && self.quiet(move || layout.sync_shard(folder)).await.is_err() {
                tracing::warn!("a purge may not outlive a power cut");
            }
        }
        purged
    }

    async fn delete_purged(self: &Arc<Self>, key: &[u8; 32]) -> u64 {
        match self.delete(key, Durability::None).await {
            Ok(deleted) => deleted.entries,
            Err(fault) => {
                tracing::warn!(%fault, "a stored response could not be purged");
                0
            }
        }
    }

    pub(super) async fn quarantine(self: &Arc<Self>, stored: &Stored, why: &'static str) {
        tracing::warn!(key = ?stored.entry.key, why, "a stored body is set aside");
        self.set_aside(stored.entry.key.bytes(), Some(stored.entry.sequence))
            .await;
    }
}
