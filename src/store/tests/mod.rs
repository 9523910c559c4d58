//! Tests of the store through its door: what lookups find, what a crash leaves, what a fault costs.

mod conformance;
mod crash;
mod damage;
mod eviction;
mod faults;
mod formats;
mod marks;
mod partial;
mod pins;
mod proofs;
mod purge;
mod scrub;
mod share;
mod space;
mod start;
mod verify;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tempfile::TempDir;

use super::*;
use crate::cache::entry::UpstreamValidator;
use crate::cache::key::Parts;

/// 2026-01-01, in seconds.
const START: u64 = 1_767_225_600;

/// One folder, and what opens stores in it.
struct Rig {
    folder: TempDir,
    clock: Clock,
    settings: Settings,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut settings = Settings {
            data_dir: folder.path().to_path_buf(),
            max_store_bytes: Some(1 << 30),
            min_free_bytes: 0,
            ballast_bytes: 0,
            ..Settings::default()
        };
        change(&mut settings);
        Self {
            folder,
            clock: Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(START)),
            settings,
        }
    }

    async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    async fn try_open(&self) -> Result<Store, OpenError> {
        Store::open(self.settings.clone(), self.clock.clone(), Tasks::new()).await
    }

    async fn open_ready(&self) -> Store {
        let store = self.open().await;
        until(|| store.usage().index == IndexState::Ready).await;
        store
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Lets time pass until something holds.
async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never held");
}

/// Waits until every row is durable.
async fn settle(store: &Store) {
    until(|| {
        let usage = store.usage();
        usage.pending_rows == 0 && usage.pending_entries == 0
    })
    .await;
}

fn key(name: &str) -> Key {
    key_of("nuget", name)
}

fn key_of(feed: &str, name: &str) -> Key {
    Key::new(&Parts {
        feed,
        id: Some(name),
        class: "package",
        rest: "1.0.0",
        ..Parts::default()
    })
}

fn draft(store: &Store) -> Draft {
    let now = store.shared.clock.now();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/zip"));
    Draft {
        epoch: store.gate("nuget", None).epoch,
        status: StatusCode::OK,
        headers,
        upstream_validator: UpstreamValidator {
            etag: Some(HeaderValue::from_static("0x8DC")),
            last_modified: None,
        },
        origin: "api.nuget.org".to_owned(),
        fetched_at: now,
        validated_at: now,
    }
}

async fn put(store: &Store, key: &Key, body: &[u8]) -> Stored {
    let mut writer = store
        .begin(key, u64::try_from(body.len()).ok())
        .await
        .unwrap();
    for chunk in body.chunks(50_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.sync_hash().await.unwrap();
    writer.publish(draft(store))
}

#[track_caller]
fn found(lookup: Lookup) -> Stored {
    match lookup {
        Lookup::Found(stored) => stored,
        other => panic!("expected an entry, not {other:?}"),
    }
}

fn is_absent(lookup: &Lookup) -> bool {
    matches!(lookup, Lookup::Absent)
}

async fn body_of(store: &Store, key: &Key) -> Bytes {
    found(store.lookup(key).await)
        .body
        .read_all()
        .await
        .unwrap()
}

/// Bytes that no compression or hole makes smaller, different for each `seed`.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Faults that a test puts at steps, and takes away again.
#[derive(Clone, Debug, Default)]
struct Saboteur(Arc<Mutex<HashMap<Step, Fault>>>);

impl Saboteur {
    fn probe(&self) -> Probe {
        let faults = self.clone();
        Probe::new(move |step| faults.0.lock().unwrap().get(&step).copied())
    }

    fn put(&self, step: Step, fault: Fault) {
        self.0.lock().unwrap().insert(step, fault);
    }

    fn stop(&self) {
        self.0.lock().unwrap().clear();
    }
}

fn sabotaged() -> (Rig, Saboteur) {
    let saboteur = Saboteur::default();
    let rig = Rig::with(|settings| settings.probe = Some(saboteur.probe()));
    (rig, saboteur)
}

/// What the accounts must say: bytes and number of the bodies in the folder.
fn on_disk(root: &Path) -> (u64, usize) {
    let mut sums = (0, 0);
    for folder in fs::read_dir(root.join("bodies")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let metadata = file.unwrap().metadata().unwrap();
            sums.0 += platform::disk_bytes(&metadata, platform::Portability::Native);
            sums.1 += 1;
        }
    }
    sums
}

#[track_caller]
fn assert_accounts(store: &Store, root: &Path) {
    let usage = store.usage();
    assert_eq!((usage.body_bytes, usage.entries), on_disk(root));
    assert_eq!((usage.reserved_bytes, usage.lingering_bytes), (0, 0));
    let temporary = fs::read_dir(root.join("tmp")).unwrap().count();
    assert_eq!(temporary, 0, "temporary files are left");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
