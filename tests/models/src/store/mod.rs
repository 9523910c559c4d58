//! The store's commits over a disk and an index that are tables.
//!
//! [`commit`] and [`pending`] are the product's, whose visibility allows no wider one here than within this module. What they call has the product's names and keeps what scenarios look at.

pub(crate) mod body;
#[path = "../../../../src/store/commit.rs"]
pub(crate) mod commit;
pub mod commits;
pub(crate) mod disk;
pub(crate) mod fault;
#[path = "../../../../src/store/pending.rs"]
pub(crate) mod pending;
pub(crate) mod rim;

pub(crate) use disk as layout;
pub(crate) use rim::{index, memory, quota, record, settings, write};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use self::body::{OpenBodies, Reservation};
use self::commit::KeyLocks;
use self::disk::{Disk, Layout};
use self::fault::{Io, StoreFault};
use self::index::Index;
use self::memory::Handles;
use self::pending::{Overlay, Pending};
use self::quota::{Pins, Quota};
use self::settings::Settings;
use crate::sync::AtomicU64;

pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) disk: Arc<Disk>,
    pub(crate) failed_commits: AtomicU64,
    pub(crate) handles: Handles,
    pub(crate) index: Index,
    pub(crate) io: Io,
    pub(crate) layout: Layout,
    locks: KeyLocks,
    pub(crate) open_bodies: OpenBodies,
    overlay: Overlay,
    pending: Pending,
    pub(crate) pins: Pins,
    pub(crate) quarantined: AtomicU64,
    pub(crate) quota: Quota,
    pub(crate) settings: Settings,
}

impl Shared {
    pub(crate) fn new(io: Io) -> Self {
        let disk = Arc::<Disk>::default();
        Self {
            clock: Clock(Instant::now()),
            layout: Layout::new(Arc::clone(&disk)),
            disk,
            failed_commits: AtomicU64::new(0),
            handles: Handles::default(),
            index: Index::default(),
            io,
            locks: KeyLocks::new(),
            open_bodies: OpenBodies::default(),
            overlay: Overlay::default(),
            pending: Pending::default(),
            pins: Pins,
            quarantined: AtomicU64::new(0),
            quota: Quota::default(),
            settings: Settings {
                index_deadline: Duration::ZERO,
            },
        }
    }

    pub(crate) async fn make_room(&self, _: u64, _: u64) -> Result<Reservation, StoreFault> {
        Ok(Reservation)
    }

    /// No body here is marked as withdrawn.
    pub(crate) fn end_marks(&self, _: &[u8; 32]) {}
}

/// A clock that stands.
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn instant(&self) -> Instant {
        self.0
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}
