//! What Sluice keeps: answers in memory (moka), an index (sled), bodies (files). This is its only door.
//!
//! A body goes to a temporary file while clients read it, is synced, gets its name, and only then its row. Every file
//! tells everything about itself, so the index may be lost at any moment without an answer being lost; the index may
//! hang or panic without a request noticing. No fault here fails a request that the upstream can answer, and what is
//! stored is found whatever the upstream does. Refuses to know NuGet, the upstream and what is fresh.

mod absence;
mod body;
mod check;
mod commit;
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gates;
mod holds;
mod index;
mod layout;
mod limits;
mod lookup;
mod marks;
mod memory;
mod partial;
mod pending;
mod pins;
mod proofs;
mod purge;
mod quota;
mod record;
mod recover;
mod room;
mod scrub;
mod settings;
mod small_file;
mod space;
mod suspects;
mod tend;
#[cfg(test)]
mod tests;
mod usage;
mod verify;
mod walk;
mod write;
mod writers;

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::sync::{Semaphore, mpsc, watch};

pub use body::{Body, BodyReader, Stored};
pub use fault::StoreFault;
pub use gates::Raise;
pub use index::IndexState;
pub use marks::{Mark, MarkKind, Named};
pub use memory::{Answer, Answers};
pub use partial::Partial;
pub use pins::{Pin, Pins};
pub use purge::KeepUsedSince;
pub use settings::{Fault, NetworkFs, OpenError, Probe, Settings, Step};
pub use small_file::{ChangeError, SmallFile, Stamp};
pub use usage::Usage;
pub use verify::{Damage, Finding, Repair, Report, Serving};
pub use walk::{Choice, Kept, Progress, Removed, Scope, Tally};
pub use write::{BodyWriter, Draft};

use crate::cache::entry::Entry;
use crate::cache::epoch::{Epoch, Gate, draw_after};
use crate::cache::key::Key;
use crate::clock::Clock;
use crate::platform;
use crate::tasks::Tasks;
use fault::Io;
use index::{Index, row};
use layout::Layout;
use memory::Handles;
use pending::{Overlay, Pace, Pending};
use quota::Quota;
use suspects::Suspect;

/// Most entries whose rows are not durable yet; a writer beyond waits. At 64 rows a batch these are some seconds of a
/// slow disk.
const MAX_PENDING: usize = 4096;
/// Without `max_open_bodies`: at most this many, a few megabytes of kernel memory.
const MAX_OPEN_BODIES: u64 = 1024;
/// Overlay entries without a permit, from revalidations, before only the open bodies learn of one.
const MAX_CHANGES: usize = 4 * MAX_PENDING;

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Nothing is stored.
    Absent,
    /// This is stored, fresh or not.
    Found(Stored),
    /// The disk does not say: go on as if nothing were stored, but expect that something is.
    Unavailable(StoreFault),
}

/// Whether the bodies of an earlier process are counted: until then nobody knows how much room is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Count {
    Done,
    Running,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    limits: limits::Limits,
    clock: Clock,
    io: Arc<Io>,
    layout: Layout,
    /// Eight hex digits that tell this folder's owner from others.
    identity: String,
    index: Index,
    pending: Pending,
    overlay: Overlay,
    handles: Handles,
    open_bodies: body::OpenBodies,
    locks: commit::KeyLocks,
    quota: Arc<Quota>,
    scarcity: space::Scarcity,
    partials: partial::Partials,
    pins: pins::InForce,
    writers: writers::Writers,
    temporary_files: writers::TemporaryFiles,
    scrubbed: scrub::Scrubbed,
    absences: absence::Absences,
    marks: marks::Marks,
    proofs: proofs::Proofs,
    proof_key: proofs::HashKey,
    gates: gates::Gates,
    answers: Answers,
    /// Uses whose rows are due, with their hour.
    uses: Mutex<HashMap<[u8; 32], u32>>,
    /// Keys of bodies that may be damaged.
    to_check: mpsc::Sender<Suspect>,
    counted: watch::Sender<Count>,
    ending: watch::Sender<bool>,
    permits: Arc<Semaphore>,
    max_pending: u32,
    last_sequence: AtomicU64,
    temporary_names: AtomicU64,
    free_bytes: AtomicU64,
    written_rows: AtomicU64,
    failed_commits: AtomicU64,
    adopted: AtomicU64,
    quarantined: AtomicU64,
    /// Closed with the store, so that the next process may open the folder.
    lock: Mutex<Option<File>>,
}

impl Store {
    /// Opens the store in its folder. The index opens behind this call; lookups probe the files meanwhile.
    ///
    /// # Errors
    /// When the folder cannot be used: see [`OpenError`].
    pub async fn open(settings: Settings, clock: Clock, tasks: Tasks) -> Result<Self, OpenError> {
        let layout = Layout::new(settings.data_dir.clone(), settings.portability);
        let prepared = recover::prepare(&settings, &layout, &tasks).await?;
        let (to_check, queue) = mpsc::channel(suspects::MAX_TO_CHECK);
        let index = prepared.index;
        let shared = Arc::new(Shared::new(
            settings, clock, tasks, layout, prepared, to_check,
        ));
        let tasks = shared.io.tasks.clone();
        let own = || Arc::clone(&shared);
        tasks.spawn("store count", recover::count_bodies(own()));
        tasks.spawn("index", tend::open_index(own(), index));
        tasks.spawn("index writer", tend::write_rows(own()));
        tasks.spawn("store upkeep", tend::keep_up(own()));
        tasks.spawn("store check", suspects::check_bodies(own(), queue));
        tasks.spawn("store scrub", scrub::run(own()));
        tasks.spawn("store end", tend::end_on_drain(own()));
        Ok(Self { shared })
    }

    /// Writes the rows that wait, for at most `limit`, closes the index and gives the folder up.
    pub async fn close(&self, limit: Duration) {
        let shared = &self.shared;
        shared.write_uses();
        shared.pending.set_pace(Pace::Hurry);
        let all = Arc::clone(&shared.permits).acquire_many_owned(shared.max_pending);
        let flush = async {
            let permits = all.await;
            shared.pending.below(0).await;
            // An index that is still being opened could not be closed.
            shared.index.settled().await;
            drop(permits);
        };
        if tokio::time::timeout(limit, flush).await.is_err() {
            tracing::warn!(rows = shared.pending.len(), "rows were given up at the end");
        }
        shared.end();
        if let Some(live) = shared.index.close() {
            let close = move || {
                live.close();
                Ok(())
            };
            let _ = shared.quiet(close).await;
        }
        let lock = shared
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(lock);
    }

    /// Finds what is stored under a key.
    pub async fn lookup(&self, key: &Key) -> Lookup {
        self.shared.lookup(key).await
    }

    /// Whether something is stored under each of these keys, in their order. Cheap: for thousands of keys at once.
    pub async fn holds(&self, keys: &[Key]) -> Vec<bool> {
        self.shared.holds(keys).await
    }

    /// Begins a new body: draws its sequence, holds room for it and creates its temporary file. Who does so has looked the
    /// key up before: else, under a clock that went back, the sequence may be below that of the stored body, which stays.
    ///
    /// # Errors
    /// [`StoreFault::NoRoom`] if eviction cannot make room or the store does not know yet how full it is, else what the
    /// disk does.
    pub async fn begin(
        &self,
        key: &Key,
        expected_bytes: Option<u64>,
    ) -> Result<BodyWriter, StoreFault> {
        self.shared.begin(key, expected_bytes).await
    }

    /// Draws a sequence: higher than every one drawn or seen before.
    #[must_use]
    pub fn draw_sequence(&self) -> u64 {
        self.shared.draw_sequence()
    }

    /// Records that the upstream vouched for a stored response: a 304. Lookups see it at once. A response that was
    /// replaced or deleted meanwhile stays as it is.
    pub fn refresh(
        &self,
        stored: &Stored,
        validated_at: SystemTime,
        epoch: Epoch,
        headers: Option<HeaderMap>,
    ) {
        let entry = Entry {
            validated_at,
            epoch,
            headers: headers.unwrap_or_else(|| stored.entry.headers.clone()),
            ..(*stored.entry).clone()
        };
        let changed = Stored {
            entry: Arc::new(entry),
            body: stored.body.clone(),
        };
        let shared = &self.shared;
        if shared.overlay.len() < MAX_CHANGES {
            shared.send_change(&changed);
        }
        let now = shared.clock.now();
        shared.handles.insert(&changed, memory::Found::Row, now);
    }

    /// Deletes what is stored under a key; durable when this returns.
    pub async fn remove(&self, key: &Key) {
        let synced = commit::Durability::Synced;
        if let Err(fault) = self.shared.delete(key.bytes(), synced).await {
            tracing::warn!(?key, %fault, "a stored response could not be deleted");
        }
    }

    /// Sets a body aside whose bytes are not what they should be, forgets it, and says so in the log, once however many
    /// readers found out.
    pub async fn quarantine(&self, stored: &Stored, why: &'static str) {
        self.shared.quarantine(stored, why).await;
    }

    /// What gates the documents of a feed, or of one id in it: the higher of the two epochs, at least 1.
    #[must_use]
    pub fn gate(&self, feed: &str, id: Option<&str>) -> Gate {
        self.shared.gates.gate(feed, id)
    }

    /// Raises the epoch of a feed or of one id in it: in force at once, durable with the next batch.
    pub fn raise(&self, feed: &str, id: Option<&str>, cause: Raise) -> Epoch {
        let now = self.shared.clock.now();
        self.shared
            .apply(self.shared.gates.raise(feed, id, cause, now))
    }

    /// The epoch of one version's content: 0 unless that was deleted or purged. Content whose entry is below it must be
    /// asked again, so a flight for content carries the higher of this and the gate's epoch.
    #[must_use]
    pub fn version_gate(&self, feed: &str, id: &str, version: &str) -> Epoch {
        self.shared.gates.version(feed, id, version)
    }

    /// Raises the epoch of one version's content.
    pub fn raise_version(&self, feed: &str, id: &str, version: &str) -> Epoch {
        let now = self.shared.clock.now();
        self.shared
            .apply(self.shared.gates.raise_version(feed, id, version, now))
    }

    /// Raises the epoch of all content of a feed, or of one id in it.
    pub fn raise_content(&self, feed: &str, id: Option<&str>) -> Epoch {
        let now = self.shared.clock.now();
        self.shared
            .apply(self.shared.gates.raise_content(feed, id, now))
    }

    /// Finished answers in memory.
    #[must_use]
    pub fn answers(&self) -> &Answers {
        &self.shared.answers
    }

    /// Counts a use of a stored body, for the order of eviction.
    pub fn note_use(&self, key: &Key) {
        let hour = tend::hour(self.shared.clock.now());
        if self.shared.quota.note_use(key.bytes(), hour) {
            self.shared.lock_uses().insert(*key.bytes(), hour);
        }
    }

    /// Eight hex digits, drawn at random when the folder was made and kept in it: they tell this installation from
    /// others.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// How full and how well the store is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.usage()
    }
}

impl Shared {
    fn new(
        settings: Settings,
        clock: Clock,
        tasks: Tasks,
        layout: Layout,
        prepared: recover::Prepared,
        to_check: mpsc::Sender<Suspect>,
    ) -> Self {
        let open_files = platform::raise_open_files(settings.portability);
        let share = open_files.map_or(MAX_OPEN_BODIES, |files| MAX_OPEN_BODIES.min(files / 4));
        let max_open = settings
            .max_open_bodies
            .unwrap_or_else(|| usize::try_from(share).unwrap_or(usize::MAX));
        // An entry without a durable row holds its file open, so the two limits go together.
        let max_pending = MAX_PENDING.min(max_open.max(64));
        let memory = platform::memory_limit(settings.portability)
            .map_or(settings.memory_bytes, |limit| {
                halved_to(settings.memory_bytes, limit / 8)
            });
        let quota = Quota::new(settings.max_store_bytes.unwrap_or(u64::MAX));
        quota.set_hour(tend::hour(clock.now()));
        Self {
            io: Arc::new(Io::new(tasks, clock.clone(), settings.probe.clone())),
            identity: prepared.identity,
            index: Index::new(prepared.index),
            pending: Pending::default(),
            overlay: Overlay::default(),
            handles: Handles::new(max_open),
            open_bodies: body::OpenBodies::default(),
            locks: commit::KeyLocks::new(),
            quota: Arc::new(quota),
            scarcity: space::Scarcity::default(),
            partials: partial::Partials::default(),
            pins: prepared.pins,
            writers: writers::Writers::default(),
            temporary_files: writers::TemporaryFiles::default(),
            scrubbed: scrub::Scrubbed::default(),
            absences: absence::Absences::new(settings.max_absences),
            marks: marks::Marks::default(),
            proofs: proofs::Proofs::new(settings.max_proofs),
            proof_key: prepared.proof_key,
            gates: gates::Gates::default(),
            answers: Answers::new(memory, settings.max_answer_bytes),
            uses: Mutex::default(),
            to_check,
            counted: watch::Sender::new(Count::Running),
            ending: watch::Sender::new(false),
            permits: Arc::new(Semaphore::new(max_pending)),
            max_pending: u32::try_from(max_pending).unwrap_or(u32::MAX),
            last_sequence: AtomicU64::new(0),
            temporary_names: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            written_rows: AtomicU64::new(0),
            failed_commits: AtomicU64::new(0),
            adopted: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            lock: Mutex::new(Some(prepared.lock)),
            limits: limits::Limits::of(&settings),
            settings,
            clock,
            layout,
        }
    }

    fn draw_sequence(&self) -> u64 {
        let now = self.clock.now();
        let draw = |last| Some(draw_after(last, now));
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let before = self.last_sequence.fetch_update(set, fetch, draw);
        before.map_or(u64::MAX, |last| draw_after(last, now))
    }

    /// A body with this sequence exists: those drawn later are above it.
    fn saw_sequence(&self, sequence: u64) {
        self.last_sequence.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Makes a blocking call that no test breaks.
    async fn quiet<R, F>(&self, work: F) -> Result<R, StoreFault>
    where
        F: FnOnce() -> std::io::Result<R> + Send + 'static,
        R: Send + 'static,
    {
        self.io.unseen(self.settings.index_deadline, work).await
    }

    fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Completes when the store ends.
    async fn ended(&self) {
        let mut ending = self.ending.subscribe();
        let _ = ending.wait_for(|ending| *ending).await;
    }

    /// Waits this long; `true` if the store ends meanwhile.
    async fn pause(&self, time: Duration) -> bool {
        let ended = async {
            tokio::select! {
                () = self.ended() => {}
                () = self.io.tasks.draining() => {}
            }
        };
        tokio::time::timeout(time, ended).await.is_ok()
    }

    fn apply(&self, raised: gates::Raised) -> Epoch {
        for gone in &raised.deleted {
            self.change(row::gate(gone), None, None);
        }
        for gate in &raised.put {
            self.put_gate(gate);
        }
        raised.epoch
    }

    fn lock_uses(&self) -> MutexGuard<'_, HashMap<[u8; 32], u32>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Half of `bytes`, and half of that, until it is at most `limit`.
fn halved_to(bytes: u64, limit: u64) -> u64 {
    let mut bytes = bytes;
    while bytes > limit && bytes > 1 << 20 {
        bytes /= 2;
    }
    bytes
}
