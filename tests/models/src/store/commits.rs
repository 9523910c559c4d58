//! Bodies on their way to their names, rows on theirs to the index: what must hold of what is stored.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use tokio::sync::Semaphore;

use super::Shared;
use super::body::{Body, Stored};
use super::commit::{Aside, Durability, Publication, commit};
use super::fault::Io;
use super::pending::Pace;
use super::write::{Sink, Temporary};
use crate::cache::entry::{Entry, UpstreamValidator};
use crate::cache::epoch::Epoch;
use crate::cache::key::{Key, Parts};
use crate::sync::Mutex;

/// A store with one key, whose rows are written.
struct Model {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    writer: JoinHandle<()>,
}

fn key() -> Key {
    Key::new(&Parts {
        feed: "f",
        id: Some("a"),
        class: "package",
        rest: "1.0.0",
        ..Parts::default()
    })
}

impl Model {
    fn new(io: Io) -> Self {
        let shared = Arc::new(Shared::new(io));
        // Time stands, so nothing may wait for more rows.
        shared.pending.set_pace(Pace::Hurry);
        Self {
            permits: Arc::new(Semaphore::new(8)),
            writer: spawn(write_rows(Arc::clone(&shared))),
            shared,
        }
    }

    /// Has a body that is whole and checked shown and stored.
    fn publish(&self, sequence: u64) -> JoinHandle<()> {
        let (path, file) = self.shared.disk.begin(sequence);
        let temporary = Temporary {
            disk: Arc::clone(&self.shared.disk),
            path: Some(path),
        };
        let stored = Stored {
            entry: Arc::new(entry(sequence)),
            body: Body::new(file),
        };
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.expect("few are published");
        let shared = Arc::clone(&self.shared);
        let is_shown = shared.overlay.publish(&stored, permit);
        let publication = Publication {
            stored,
            sink: Arc::new(Mutex::new(Sink)),
            crc: 0,
            reserved: 1,
            temporary,
        };
        spawn(async move {
            if is_shown {
                commit(shared, publication).await;
            }
        })
    }

    /// Begins another body of the key in a task of its own, as the next fetch would.
    fn publish_beside(&self, sequence: u64) -> JoinHandle<()> {
        let beside = Self {
            shared: Arc::clone(&self.shared),
            permits: Arc::clone(&self.permits),
            writer: spawn(async {}),
        };
        spawn(async move {
            beside.publish(sequence).await.expect("a commit ends");
        })
    }

    fn delete(&self) -> JoinHandle<bool> {
        let shared = Arc::clone(&self.shared);
        spawn(async move {
            let key = key();
            shared.delete(key.bytes(), Durability::Synced).await.is_ok()
        })
    }

    fn set_aside(&self, sequence: u64) -> JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        spawn(async move {
            let key = key();
            let aside = Aside {
                file: key.bytes(),
                key: Some(&key),
                sequence: Some(sequence),
                why: "it is damaged",
            };
            shared.set_aside(aside).await;
        })
    }

    /// Waits for these, then until every row is written; says which body has the name.
    async fn end(self, commits: Vec<JoinHandle<()>>) -> Option<u64> {
        for commit in commits {
            commit.await.expect("a commit ends");
        }
        // What was given up is done by now or never.
        self.shared.pending.below(0).await;
        self.shared.pending.set_pace(Pace::End);
        self.writer.await.expect("the writer ends");
        assert_eq!(self.shared.pending.len(), 0, "rows are left");
        assert_eq!(self.shared.overlay.len(), 0, "entries wait for no row");
        assert_eq!(self.permits.available_permits(), 8, "a place is lost");
        self.shared.disk.bodies().get(key().bytes()).copied()
    }
}

fn entry(sequence: u64) -> Entry {
    Entry {
        key: key(),
        sequence,
        epoch: Epoch::default(),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        upstream_validator: UpstreamValidator::default(),
        origin: String::new(),
        fetched_at: SystemTime::UNIX_EPOCH,
        validated_at: SystemTime::UNIX_EPOCH,
        body_bytes: 1,
        sha512: [0; 64],
    }
}

/// As the product's one writer of the index, with an index that never dies.
async fn write_rows(shared: Arc<Shared>) {
    while shared.pending.ready().await {
        let batch = shared.pending.take(shared.clock.instant());
        yield_now().await;
        shared.index.write(&batch);
        yield_now().await;
        shared.settle_changes(batch.changes.iter().map(|(_, change)| change));
        shared.pending.settle();
    }
}

/// What a lookup finds: in the overlay, in memory, on the disk.
fn look(shared: &Shared) -> Option<u64> {
    let key = key();
    let held = shared.overlay.find(&key);
    let held = held.or_else(|| shared.handles.find(key.bytes()));
    let held = held.map(|stored| stored.entry.sequence);
    held.or_else(|| shared.disk.bodies().get(key.bytes()).copied())
}

/// Index, accounts and disk say the same, and no temporary file is left.
fn assert_agreed(shared: &Shared, is_indexed: IsIndexed) {
    let bodies = shared.disk.bodies();
    let counted: Vec<[u8; 32]> = bodies.keys().copied().collect();
    assert_eq!(shared.quota.keys(), counted, "accounts and disk differ");
    if is_indexed == IsIndexed::Exactly {
        assert_eq!(shared.index.rows(), bodies, "index and disk differ");
    }
    assert_eq!(shared.disk.temporary_files(), 0, "temporary files are left");
    let held = shared.handles.find(key().bytes());
    let held = held.map(|stored| stored.entry.sequence);
    let named = bodies.get(key().bytes()).copied();
    assert!(
        held.is_none() || held == named,
        "memory holds {held:?} of {named:?}"
    );
}

/// Whether every row must be what the disk has: not where something came to nothing half way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum IsIndexed {
    Exactly,
    Roughly,
}

/// From its publish on, a body or a later one is found by every lookup, while it gets its name, its row, and after.
pub fn a_publish_is_found_from_then_on() {
    block_on(async {
        let model = Model::new(Io::Well);
        let first = model.publish(1);
        let second = model.publish_beside(2);
        let shared = Arc::clone(&model.shared);
        let reader = spawn(async move {
            let mut last = 1;
            for _ in 0..6 {
                let found = look(&shared);
                assert!(found >= Some(last), "{found:?} after {last}");
                last = found.unwrap_or(last);
                yield_now().await;
            }
        });
        let shared = Arc::clone(&model.shared);
        model.end(vec![first, second, reader]).await;
        assert_agreed(&shared, IsIndexed::Exactly);
    });
}

/// Of several at once the latest is kept, whatever the order in which they are ready.
pub fn the_latest_is_what_is_kept() {
    block_on(async {
        let model = Model::new(Io::Well);
        let commits = [2, 3, 1].map(|sequence| model.publish_beside(sequence));
        let shared = Arc::clone(&model.shared);
        assert_eq!(model.end(commits.into()).await, Some(3));
        assert_agreed(&shared, IsIndexed::Exactly);
        assert_eq!(look(&shared), Some(3));
    });
}

/// What comes after a later one is stored, row and all, and was begun before it, is dropped.
pub fn an_older_one_comes_too_late() {
    block_on(async {
        let model = Model::new(Io::Well);
        model.publish(3).await.expect("a commit ends");
        model.shared.pending.below(0).await;
        let commits = [2, 1].map(|sequence| model.publish_beside(sequence));
        let shared = Arc::clone(&model.shared);
        assert_eq!(model.end(commits.into()).await, Some(3));
        assert_agreed(&shared, IsIndexed::Exactly);
    });
}

/// What was deleted is found no more, though it was being stored, named or looked up meanwhile.
pub fn what_was_deleted_stays_deleted() {
    block_on(async {
        let model = Model::new(Io::Well);
        let commit = model.publish(1);
        let aside = model.set_aside(1);
        let deletion = model.delete();
        let shared = Arc::clone(&model.shared);
        assert!(deletion.await.expect("it ends"), "nothing fails here");
        assert_eq!(look(&shared), None);
        assert_eq!(model.end(vec![commit, aside]).await, None);
        assert_agreed(&shared, IsIndexed::Exactly);
        assert_eq!(look(&shared), None);
    });
}

/// Whatever fails at whatever step: accounts and disk agree. A row may be missing, or one of nothing be left: lookups mend
/// that.
pub fn failures_leave_accounts_that_agree() {
    faulty(Io::Fails);
}

/// Whatever is given up and done later: accounts and disk agree, and no place is lost.
pub fn late_calls_leave_accounts_that_agree() {
    faulty(Io::Late);
}

fn faulty(io: Io) {
    block_on(async {
        let model = Model::new(io);
        let mut commits: Vec<_> = [1, 2].map(|sequence| model.publish_beside(sequence)).into();
        commits.push(model.set_aside(1));
        let deletion = model.delete();
        let shared = Arc::clone(&model.shared);
        let _ = deletion.await.expect("it ends");
        model.end(commits).await;
        // Locks are given back by the calls that were given up.
        let key = key();
        let lock = shared.locks.lock(key.bytes(), Duration::MAX);
        drop(lock.await.expect("nobody keeps it"));
        assert_agreed(&shared, IsIndexed::Roughly);
    });
}

/// Who waits for room among the rows, and the writer who waits for rows, are always woken.
pub fn who_waits_for_rows_is_woken() {
    block_on(async {
        let model = Model::new(Io::Well);
        let shared = Arc::clone(&model.shared);
        let waits = |most| {
            let shared = Arc::clone(&shared);
            spawn(async move { shared.pending.below(most).await })
        };
        let (few, none) = (waits(1), waits(0));
        let changes = (0..3).map(|row: u8| {
            let shared = Arc::clone(&shared);
            spawn(async move {
                let mut name = [0; 32];
                name[0] = row;
                let value = Some(7_u64.to_le_bytes().to_vec());
                shared.change(name.to_vec(), value, None);
            })
        });
        let changes: Vec<_> = changes.collect();
        model
            .end([changes, vec![few, none]].into_iter().flatten().collect())
            .await;
        assert_eq!(shared.index.rows().len(), 3);
    });
}
