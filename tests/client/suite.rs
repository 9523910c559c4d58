//! Whether the suite runs at all, and which tests run side by side.

use crate::harness;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The right to run a test; while one of a test that measures lives, no other test of this suite runs.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The folder of this test.
    pub(crate) folder: PathBuf,
    /// The installed client's folder.
    pub(crate) sdk: PathBuf,
    share: Share,
}

/// What of the machine a test has.
#[derive(Debug)]
enum Share {
    All {
        _alone: RwLockWriteGuard<'static, ()>,
    },
    Lent,
    Some {
        _beside: RwLockReadGuard<'static, ()>,
    },
}

impl Turn {
    fn of(test: &str, share: Share) -> Self {
        Self {
            folder: harness::fresh_folder(&format!("client/{test}")),
            sdk: installed().to_owned(),
            share,
        }
    }

    /// The same turn with another folder, for what several tests share.
    pub(crate) fn elsewhere(turn: &Self, folder: PathBuf) -> Self {
        Self {
            folder,
            sdk: turn.sdk.clone(),
            share: Share::Lent,
        }
    }
}

impl Drop for Turn {
    /// What a test that passed leaves is a gigabyte that nobody reads; of one that failed it stays.
    fn drop(&mut self) {
        if !matches!(self.share, Share::Lent) && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Waits until no test measures; `None`, said loudly, where the suite was not chosen.
///
/// # Panics
/// If it was chosen and its needs are not there.
pub(crate) fn turn(test: &str) -> Option<Turn> {
    is_chosen(test).then(|| {
        // A failed test must not fail those after it.
        let share = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Turn::of(test, Share::Some { _beside: share })
    })
}

/// The same for a test that compares times: waits until no other test runs.
///
/// # Panics
/// As [`turn`].
pub(crate) fn turn_alone(test: &str) -> Option<Turn> {
    is_chosen(test).then(|| {
        let all = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        Turn::of(test, Share::All { _alone: all })
    })
}

static MACHINE: RwLock<()> = RwLock::new(());

fn is_chosen(test: &str) -> bool {
    let is_chosen = std::env::var_os("SLUICE_CLIENT_TESTS").is_some_and(|value| value == "1");
    if !is_chosen {
        // Written past the test harness, which would hide it.
        let line = format!("skipped: {test} (set SLUICE_CLIENT_TESTS=1 to run the real client)\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    is_chosen
}

/// Installs the client once; a second process of this suite waits until this one has ended.
fn installed() -> &'static Path {
    static SDK: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (sdk, _lock) = SDK.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        let target = target.expect("cargo's folder for tests lies in the target folder");
        let lock = File::create(target.join("client-suite.lock")).expect("a lock can be made");
        lock.lock().expect("the suite's lock can be waited for");
        let sdk = target.join("client-sdk");
        let install = harness::shared().join("client/install.sh");
        let done = Command::new(&install).arg(&sdk).output();
        let done = done.unwrap_or_else(|error| panic!("{}: {error}", install.display()));
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        (sdk, lock)
    });
    sdk
}
