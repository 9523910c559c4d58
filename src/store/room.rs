//! Finding room: reservations, eviction, and the temporary file of a new body.
//!
//! The cap is never exceeded: room is made before it is promised, or the caller goes on without the store. Refuses to
//! choose what is evicted; `quota` does.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::body::{Body, Stored};
use super::commit::{Aside, Durability};
use super::fault::StoreFault;
use super::quota::{Reservation, Sums, Victim};
use super::settings::Step;
use super::write::{BodyWriter, FIRST_STEP, TRAILER_ROOM, Temporary};
use super::{Count, Shared};
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

/// What a new body may displace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum MayGo {
    /// Whatever is used least.
    Anything,
    /// Only what is not in use.
    Unused,
}

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
        let reservation = self.make_room(room, room).await?;
        let name = self.temporary_names.fetch_add(1, Ordering::Relaxed);
        let path = self.layout.temporary().join(format!("{sequence}-{name}"));
        let temporary = Temporary::new(self, path.clone());
        let place = self.writers.enter(key, sequence);
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
        if known.is_some() {
            body.is_allocated();
        }
        Ok(BodyWriter::new(body, temporary, permit, place, room))
    }

    /// The right to have an entry without a durable row.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreFault> {
        let permits = Arc::clone(&self.permits);
        if self.scarcity.is_waited_out() {
            // Nobody gives one back before there is room.
            return permits.try_acquire_owned().map_err(|_| {
                self.io.faults.count(StoreFault::NoRoom);
                StoreFault::NoRoom
            });
        }
        let permit = permits.acquire_owned();
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

    /// Holds `bytes` for a body that then has `total`, evicting what must go for them and for the free-space floor. A huge
    /// body gets free room and that of bodies that are not in use, so that it cannot flush the rest.
    pub(super) async fn make_room(
        self: &Arc<Self>,
        bytes: u64,
        total: u64,
    ) -> Result<Reservation, StoreFault> {
        let made = self.try_make_room(bytes, total).await;
        if let Err(fault) = made {
            self.io.faults.count(fault);
            if fault == StoreFault::NoRoom {
                self.warn_of_pins(total);
            }
        }
        made
    }

    async fn try_make_room(
        self: &Arc<Self>,
        bytes: u64,
        total: u64,
    ) -> Result<Reservation, StoreFault> {
        let cap = self.quota.sums().cap;
        if bytes > cap {
            return Err(StoreFault::NoRoom);
        }
        let may_go = if self.quota.is_huge(total) {
            MayGo::Unused
        } else {
            MayGo::Anything
        };
        let mut left = MAX_EVICTIONS;
        let reservation = loop {
            match self.quota.reserve(bytes) {
                Ok(reservation) => break reservation,
                // What may never be asked for again goes before what is whole.
                Err(_) if self.drop_partial().await => {}
                Err(missing) => {
                    let wanted = missing.saturating_add(cap / SLACK_SHARE);
                    let freed = self.evict(wanted, may_go, &mut left).await;
                    // Bytes that linger with readers are freed only in name.
                    if freed == 0 || left == 0 {
                        return self.quota.reserve(bytes).map_err(|_| StoreFault::NoRoom);
                    }
                }
            }
        };
        loop {
            let missing = self.missing_on_disk().await?;
            if missing == 0 {
                return Ok(reservation);
            }
            if self.drop_partial().await {
                continue;
            }
            if left == 0 || self.evict(missing, may_go, &mut left).await == 0 {
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
            self.evict(taken - sums.cap, MayGo::Anything, &mut left)
                .await;
        }
    }

    /// Evicts for the index: until so many bytes are freed, and so many bodies are gone.
    pub(super) async fn evict_for_index(self: &Arc<Self>, bytes: u64, bodies: u64) {
        let mut left = MAX_EVICTIONS;
        self.evict(bytes, MayGo::Anything, &mut left).await;
        let mut left = usize::try_from(bodies).unwrap_or(MAX_EVICTIONS);
        self.evict(u64::MAX, MayGo::Anything, &mut left).await;
    }

    /// Bytes that must be freed before all that is promised can be written without going below the floor.
    async fn missing_on_disk(&self) -> Result<u64, StoreFault> {
        let (layout, probe) = (self.layout.clone(), self.settings.probe.clone());
        let free = move || {
            let of_test = probe.and_then(|probe| probe.free_space());
            let space = || platform::space(layout.root(), layout.portability);
            Ok(of_test.or_else(|| Some(space()?.free)))
        };
        let Some(free) = self.quiet(free).await? else {
            return Ok(0);
        };
        self.free_bytes.store(free, Ordering::Relaxed);
        let promised = self.quota.sums().promised;
        let wanted = promised.saturating_add(self.limits.min_free_bytes());
        Ok(wanted.saturating_sub(free))
    }

    /// Evicts until `wanted` bytes are freed or nothing can go; says how many were.
    async fn evict(self: &Arc<Self>, wanted: u64, may_go: MayGo, left: &mut usize) -> u64 {
        let mut chosen = match may_go {
            MayGo::Anything => Vec::new(),
            MayGo::Unused => self.quota.unused(wanted, *left),
        }
        .into_iter();
        let mut freed = 0;
        while freed < wanted && *left > 0 {
            *left -= 1;
            let victim: Option<Victim> = match may_go {
                MayGo::Anything => self.quota.victim(),
                MayGo::Unused => chosen.next(),
            };
            let Some(victim) = victim else {
                break;
            };
            match self.delete(&victim.key, Durability::None).await {
                Ok(deleted) => {
                    self.quota.count_eviction(&victim, deleted.freed);
                    freed += deleted.freed;
                }
                Err(fault) => {
                    tracing::debug!(%fault, "a stored response could not be evicted");
                    break;
                }
            }
        }
        freed
    }

    pub(super) async fn quarantine(self: &Arc<Self>, stored: &Stored, why: &'static str) {
        let key = &stored.entry.key;
        self.set_aside(Aside {
            file: key.bytes(),
            key: Some(key),
            sequence: Some(stored.entry.sequence),
            why,
        })
        .await;
    }
}
