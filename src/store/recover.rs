//! Start-up: the folder's lock and format, what a crash left behind, and the count of what is there.
//!
//! Everything here that the first request would wait for is a handful of calls; the count runs behind it. Refuses to
//! use a folder that another process or a later release owns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::fault::StoreFault;
use super::layout::Layout;
use super::pins::InForce;
use super::proofs::HashKey;
use super::quota::Counted;
use super::settings::{NetworkFs, OpenError, Settings};
use super::{Shared, Store, limits, pins};
use crate::platform::{self, Locking};

/// Format of the data folder that this release writes; it reads those before it.
const FORMAT: u32 = 1;
/// Where it says so.
const FORMAT_FILE: &str = "VERSION";
/// How often a lock that another process holds is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// With less than this free, the ballast is given up: sled cannot open on a full disk, and writes about this much
/// before its first row.
const FULL_DISK_BYTES: u64 = 16 << 20;
/// Files that one blocking call looks at, so that calls stay short.
const COUNT_STEP: usize = 512;

/// What opening found.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Held until the store is closed.
    pub(super) lock: File,
    /// Number of the index folder to be opened.
    pub(super) index: u64,
    /// Eight hex digits that tell this folder's owner from others.
    pub(super) identity: String,
    /// Hashes clients' credentials.
    pub(super) proof_key: HashKey,
    /// What is never evicted.
    pub(super) pins: InForce,
}

/// Locks the folder and puts it in order.
pub(super) async fn prepare(
    settings: &Settings,
    layout: &Layout,
    tasks: &crate::tasks::Tasks,
) -> Result<Prepared, OpenError> {
    let limit = settings.index_deadline;
    let call = async |work: Box<dyn FnOnce() -> Result<Begun, OpenError> + Send>| {
        let timed_out = || unwritable(layout, io::ErrorKind::TimedOut.into());
        match tokio::time::timeout(limit, tasks.blocking("store open", work)).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) | Err(_) => Err(timed_out()),
        }
    };
    let (network_fs, owned) = (settings.network_fs, layout.clone());
    let mut lock = match call(Box::new(move || create(&owned, network_fs))).await? {
        Begun::Unlocked(lock) => lock,
        Begun::Locked(prepared) => return Ok(prepared),
    };
    let mut waited = Duration::ZERO;
    loop {
        let (owned, ballast) = (layout.clone(), settings.ballast_bytes);
        lock = match call(Box::new(move || lock_and_clear(&owned, lock, ballast))).await? {
            Begun::Locked(prepared) => return Ok(prepared),
            Begun::Unlocked(lock) => lock,
        };
        if waited >= settings.lock_wait {
            return Err(OpenError::Locked {
                path: layout.root().to_path_buf(),
                holder: holder(layout),
            });
        }
        tokio::time::sleep(LOCK_POLL).await;
        waited += LOCK_POLL;
    }
}

impl Store {
    /// Whether a folder is one of ours, for commands that must not make one.
    #[must_use]
    pub fn is_at(data_dir: &Path) -> bool {
        data_dir.join(FORMAT_FILE).is_file()
    }
}

/// How far opening has come.
#[derive(Debug)]
enum Begun {
    Locked(Prepared),
    /// With the lock file, which another process has locked or nobody has tried yet.
    Unlocked(File),
}

fn unwritable(layout: &Layout, source: io::Error) -> OpenError {
    OpenError::Unwritable {
        path: layout.root().to_path_buf(),
        source,
    }
}

fn create(layout: &Layout, network_fs: NetworkFs) -> Result<Begun, OpenError> {
    let root = layout.root();
    if root.exists() && !root.is_dir() {
        return Err(OpenError::NotADirectory {
            path: root.to_path_buf(),
        });
    }
    let failed = |error| unwritable(layout, error);
    fs::create_dir_all(root).map_err(failed)?;
    if let Some(name) = platform::network_file_system(root, layout.portability)
        && network_fs == NetworkFs::Refuse
    {
        return Err(OpenError::NetworkFileSystem {
            path: root.to_path_buf(),
            name,
        });
    }
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(layout.in_root("LOCK"))
        .map_err(failed)?;
    Ok(Begun::Unlocked(lock))
}

fn lock_and_clear(layout: &Layout, mut lock: File, ballast: u64) -> Result<Begun, OpenError> {
    let failed = |error| unwritable(layout, error);
    if platform::try_lock(&lock).map_err(failed)? == Locking::Held {
        return Ok(Begun::Unlocked(lock));
    }
    check_format(layout)?;
    let holder = format!("{}\n", std::process::id());
    lock.set_len(0)
        .and_then(|()| lock.write_all(holder.as_bytes()))
        .or_else(ignore_full_disk)
        .map_err(failed)?;
    let index = clear(layout, ballast).map_err(failed)?;
    let identity = identity(layout).map_err(failed)?;
    let proof_key = HashKey::of_folder(layout).map_err(failed)?;
    let pins = pins::at_start(layout)?;
    Ok(Begun::Locked(Prepared {
        lock,
        index,
        identity,
        proof_key,
        pins,
    }))
}

/// A full disk must not keep a store from answering from what it has.
pub(super) fn ignore_full_disk(error: io::Error) -> io::Result<()> {
    match StoreFault::from(&error) {
        StoreFault::DiskFull => Ok(()),
        _ => Err(error),
    }
}

/// What the process that holds the lock wrote about itself.
fn holder(layout: &Layout) -> String {
    let mut text = String::new();
    let read =
        File::open(layout.in_root("LOCK")).and_then(|file| file.take(64).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn check_format(layout: &Layout) -> Result<(), OpenError> {
    let path = layout.in_root(FORMAT_FILE);
    let failed = |error| unwritable(layout, error);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(OpenError::NewerFormat {
                found,
                known: FORMAT,
            }),
            Ok(_) => Ok(()),
            // An empty file is what a full disk or a crash leaves; only this release's format can be there.
            Err(_) => fs::write(&path, format!("{FORMAT}\n"))
                .or_else(ignore_full_disk)
                .map_err(failed),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::write(&path, format!("{FORMAT}\n"))
                .or_else(ignore_full_disk)
                .map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The folder's identity: kept in it, made anew where it is missing or unreadable.
fn identity(layout: &Layout) -> io::Result<String> {
    let path = layout.in_root("IDENTITY");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let is_one = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_one(kept.trim()) {
        return Ok(kept.trim().to_owned());
    }
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let identity = format!("{:08x}", u32::from_be_bytes(bytes));
    fs::write(&path, format!("{identity}\n")).or_else(ignore_full_disk)?;
    Ok(identity)
}

/// Deletes what a crash left, gives up the ballast if the disk is full, and says which index is the current one.
fn clear(layout: &Layout, ballast: u64) -> io::Result<u64> {
    let temporary = layout.temporary();
    // What holds them stays: on a full disk a folder that is gone cannot be made again.
    if temporary.is_dir() {
        for entry in fs::read_dir(&temporary)? {
            remove_whatever(&entry?.path())?;
        }
    } else if temporary.exists() {
        remove_whatever(&temporary)?;
    }
    let space = platform::space(layout.root(), layout.portability);
    let ballast_file = layout.in_root("BALLAST");
    let full = space.is_some_and(|space| space.free < FULL_DISK_BYTES);
    if full || ballast == 0 {
        match fs::remove_file(&ballast_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for folder in [layout.bodies(), temporary, layout.quarantine()] {
        fs::create_dir_all(folder)?;
    }
    // So that backups leave the folder out: bford.info/cachedir.
    fs::write(
        layout.in_root("CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is the cache of Sluice.\n",
    )
    .or_else(ignore_full_disk)?;
    let mut indexes = layout.indexes()?;
    let current = indexes.pop().unwrap_or(1);
    // What died in an earlier process; nothing writes there any more.
    for dead in indexes {
        remove_whatever(&layout.index(dead))?;
    }
    Ok(current)
}

/// Deletes a folder, or what somebody put in its place.
fn remove_whatever(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// Makes the ballast if there is none and the disk has room for it.
pub(super) fn make_ballast(layout: &Layout, wanted: u64, min_free: u64) -> io::Result<()> {
    let path = layout.in_root("BALLAST");
    let Some(space) = platform::space(layout.root(), layout.portability) else {
        return Ok(());
    };
    let bytes = wanted.min(space.total / 100);
    if bytes == 0 || path.exists() || space.free < min_free.saturating_add(2 * bytes) {
        return Ok(());
    }
    let file = File::create(&path)?;
    let made = platform::allocate(&file, bytes, layout.portability);
    if made.is_err() {
        fs::remove_file(&path)?;
    }
    made
}

/// Counts the bodies that an earlier process left, then settles cap and order of eviction.
pub(super) async fn count_bodies(shared: Arc<Shared>) {
    for folder in 0..=u8::MAX {
        let mut keys = list(&shared, folder).await;
        while !keys.is_empty() {
            let step = keys.split_off(keys.len().saturating_sub(COUNT_STEP));
            let layout = shared.layout.clone();
            let stat = move || Ok(stat_all(&layout, &step));
            if let Ok(found) = shared.quiet(stat).await {
                shared.quota.count(&found);
            }
        }
        if shared.is_ending() {
            return;
        }
    }
    limits::set_cap(&shared).await;
    shared.quota.end_counting();
    // Before anything can be evicted.
    pins::apply(&shared).await;
    shared.counted.send_replace(super::Count::Done);
}

/// Keys of the bodies in one folder; an unreadable folder counts as empty, its bodies are counted when they are hit.
pub(super) async fn list(shared: &Arc<Shared>, folder: u8) -> Vec<[u8; 32]> {
    let layout = shared.layout.clone();
    let read = move || layout.keys_in(folder);
    shared.quiet(read).await.unwrap_or_default()
}

fn stat_all(layout: &Layout, keys: &[[u8; 32]]) -> Vec<Counted> {
    let stat = |key: &[u8; 32]| {
        let metadata = fs::metadata(layout.body(key)).ok()?;
        let modified = metadata.modified().ok()?;
        let modified = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Counted {
            key: *key,
            disk_bytes: platform::disk_bytes(&metadata, layout.portability),
            modified: modified.as_secs(),
        })
    };
    keys.iter().filter_map(stat).collect()
}

/// Bytes on the disk that are ours and no bodies.
pub(super) fn overhead_bytes(layout: &Layout, index: u64) -> u64 {
    let folders = [layout.index(index), layout.quarantine()];
    folders
        .iter()
        .map(|folder: &std::path::PathBuf| layout.folder_bytes(Path::new(folder)))
        .sum()
}
