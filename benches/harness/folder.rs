//! A data folder that no process uses: what stands in it, and what the next start would make of that.
//!
//! A copy is opened by the library's own store, verified as `sluice verify` does, and every body is looked up, read and
//! compared with what the upstream made. Bodies of the copy are hard links where they can be, which nobody writes into.
//! It refuses to touch the original.

use super::stock::{Stock, Thing};
use sluice::cache::entry::Entry;
use sluice::cache::key::Key;
use sluice::clock::Clock;
use sluice::store::{
    Choice, IndexState, Kept, Lookup, Progress, Repair, Report, Scope, Serving, Settings, Store,
};
use sluice::tasks::Tasks;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Findings that wait to be taken down.
const MAX_FINDINGS: usize = 64;

/// How long an index may take to open, a rebuild included, on a machine that is busy with other things.
const INDEX_LIMIT: Duration = Duration::from_secs(120);

/// What stands in it.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// The bodies that are whole and of the stock, with their generation and sequence.
    pub(crate) held: HashMap<Thing, Held>,
    /// What a verification found, and what cannot be found or read.
    pub(crate) damaged: Vec<String>,
    /// Each body whose bytes the upstream never made.
    pub(crate) wrong: Vec<String>,
    /// What is amiss with the store as a whole: its accounts, its index.
    pub(crate) faults: Vec<String>,
    pub(crate) disk: Disk,
    /// Names of files that were being written.
    pub(crate) temporary: Vec<String>,
    /// Snapshots of the index that were being written.
    pub(crate) half_snapshots: usize,
    /// Bodies without a row: the process ended between the two.
    pub(crate) without_row: u64,
    /// Indexes that could not be opened, or not be used.
    pub(crate) index_deaths: u64,
}

/// A body of the stock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
}

/// What the bodies take on the disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Disk {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Folder {
    /// Reads all of it, by way of a copy that is made at `copy` and removed again.
    ///
    /// # Panics
    /// If it cannot be copied or opened.
    pub(crate) fn read(data: &Path, copy: &Path, stock: &Stock) -> Self {
        let mut folder = Self {
            temporary: names_in(&data.join("tmp")),
            ..Self::default()
        };
        for name in names_in(data) {
            if name.starts_with("index-") {
                let inside = names_in(&data.join(name));
                let halves = inside.iter().filter(|name| name.ends_with(".generating"));
                folder.half_snapshots += halves.count();
            }
        }
        let _ = fs::remove_dir_all(copy);
        clone(data, copy).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
        folder.disk = disk(copy);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        runtime.block_on(folder.look(copy, stock));
        drop(runtime);
        fs::remove_dir_all(copy).expect("the copy can be removed");
        folder
    }

    async fn look(&mut self, copy: &Path, stock: &Stock) {
        let settings = Settings {
            data_dir: copy.to_path_buf(),
            max_store_bytes: Some(1 << 40),
            min_free_bytes: 0,
            ballast_bytes: 0,
            ..Settings::default()
        };
        let store = Store::open(settings, Clock::system(), Tasks::new()).await;
        let store = store.unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
        let ready = tokio::time::timeout(INDEX_LIMIT, store.ready()).await;
        if ready.is_err() || store.usage().index != IndexState::Ready {
            self.faults.push("the index does not open".to_owned());
        }
        let report = self.verify(&store).await;
        self.without_row = report.without_row;
        for entry in entries(&store).await {
            self.compare(&store, &entry, stock).await;
        }
        let usage = store.usage();
        let counted = Disk {
            bytes: usage.body_bytes,
            files: usage.entries as u64,
        };
        if counted != self.disk {
            let said = format!("counted {counted:?}, on the disk {:?}", self.disk);
            self.faults.push(said);
        }
        if report.bodies != self.disk.files {
            let said = format!("{} verified, on the disk {:?}", report.bodies, self.disk);
            self.faults.push(said);
        }
        self.index_deaths = usage.index_deaths;
        store.close(Duration::from_secs(5)).await;
    }

    async fn verify(&mut self, store: &Store) -> Report {
        let (findings, mut found) = mpsc::channel(MAX_FINDINGS);
        let progress = Progress::default();
        let verify = async {
            let (repair, serving) = (Repair::ReportOnly, Serving::Nobody);
            let report = store.verify(repair, serving, &findings, &progress).await;
            drop(findings);
            report
        };
        let take_down = async {
            while let Some(finding) = found.recv().await {
                let (word, key) = (finding.damage.word(), finding.key);
                self.damaged
                    .push(format!("{}: {word} {key:?}", finding.file));
            }
        };
        let (report, ()) = tokio::join!(verify, take_down);
        if !report.is_complete {
            self.faults.push("it could not be verified".to_owned());
        }
        report
    }

    /// Looks an entry up as a request would, and compares what it reads.
    async fn compare(&mut self, store: &Store, entry: &Entry, stock: &Stock) {
        let key = &entry.key;
        let stored = match store.lookup(key).await {
            Lookup::Found(stored) => stored,
            other => {
                let said = format!("{key:?} is there and not found: {other:?}");
                return self.damaged.push(said);
            }
        };
        let bytes = match stored.body.read_all().await {
            Ok(bytes) => bytes,
            Err(fault) => return self.damaged.push(format!("{key:?}: {fault}")),
        };
        let thing = thing_of(key, stock);
        let known = thing.and_then(|thing| Some((thing, stock.recognise(thing, &bytes)?)));
        match known {
            Some((thing, generation)) => {
                let sequence = stored.entry.sequence;
                let held = Held {
                    generation,
                    sequence,
                };
                self.held.insert(thing, held);
            }
            None => {
                let said = format!("{key:?}, {} bytes, was never made so", bytes.len());
                self.wrong.push(said);
            }
        }
    }
}

/// Every entry of a store.
async fn entries(store: &Store) -> Vec<Entry> {
    let found: Arc<Mutex<HashMap<[u8; 32], Entry>>> = Arc::default();
    let seen = Arc::clone(&found);
    let everything = Choice::everything(Scope::default()).aged(move |kept| {
        if let Kept::Entry(entry) = kept {
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.insert(*entry.key.bytes(), entry.clone());
        }
        false
    });
    store.ids(&everything).await;
    let found = std::mem::take(&mut *found.lock().expect("nobody panics with it"));
    found.into_values().collect()
}

/// What is stored under a key, of the stock.
fn thing_of(key: &Key, stock: &Stock) -> Option<Thing> {
    let id = key.id().map(|name| stock.id_of(name));
    match (key.class(), id) {
        ("package", Some(id)) => {
            let version = key.rest().strip_prefix("1.0.")?.parse().ok()?;
            Some(Thing::Package(id?, version))
        }
        ("registration-index", Some(id)) => Some(Thing::Registration(id?)),
        ("service-index", None) => Some(Thing::ServiceIndex),
        ("version-list", Some(id)) => Some(Thing::List(id?)),
        _ => None,
    }
}

fn clone(data: &Path, copy: &Path) -> io::Result<()> {
    fs::create_dir_all(copy)?;
    for name in names_in(data) {
        let (from, to) = (data.join(&name), copy.join(&name));
        match &*name {
            "bodies" => {
                for shard in names_in(&from) {
                    clone_files(&from.join(&shard), &to.join(&shard))?;
                }
            }
            index if index.starts_with("index-") => copy_files(&from, &to)?,
            "IDENTITY" | "PROOFKEY" | "VERSION" => drop(fs::copy(from, to)?),
            _ => {}
        }
    }
    Ok(())
}

fn clone_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in names_in(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        match fs::hard_link(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                fs::copy(from, to)?;
            }
            done => done?,
        }
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in names_in(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            // sled's own folder for large values, which are never written.
            fs::create_dir_all(to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// Names in a folder; none if it is missing.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.map_while(Result::ok).map(|entry| entry.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// What the bodies of a folder take, also while a process works on it.
pub(crate) fn disk(data: &Path) -> Disk {
    let mut disk = Disk::default();
    let bodies = data.join("bodies");
    for shard in names_in(&bodies) {
        let shard = bodies.join(shard);
        for name in names_in(&shard) {
            // One that was deleted meanwhile takes nothing.
            if let Ok(metadata) = fs::metadata(shard.join(name)) {
                disk.bytes += metadata.blocks() * 512;
                disk.files += 1;
            }
        }
    }
    disk
}
