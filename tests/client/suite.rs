//! Whether the suite runs at all, and one test at a time.

use crate::harness;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The right to run a test; while it lives no other test of this suite runs on this machine's copy.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The folder of this test.
    pub(crate) folder: PathBuf,
    /// The installed client's folder.
    pub(crate) sdk: PathBuf,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Turn {
    /// The same turn with another folder, for what several tests share.
    pub(crate) fn elsewhere(turn: &Self, folder: PathBuf) -> Self {
        Self {
            folder,
            sdk: turn.sdk.clone(),
            _turn: None,
        }
    }
}

impl Drop for Turn {
    /// What a test that passed leaves is a gigabyte that nobody reads; of one that failed it stays.
    fn drop(&mut self) {
        if self._turn.is_some() && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Waits for this test's turn; `None`, said loudly, where the suite was not chosen.
///
/// # Panics
/// If it was chosen and its needs are not there.
pub(crate) fn turn(test: &str) -> Option<Turn> {
    if std::env::var_os("SLUICE_CLIENT_TESTS").is_none_or(|value| value != "1") {
        // Written past the test harness, which would hide it.
        let line = format!("skipped: {test} (set SLUICE_CLIENT_TESTS=1 to run the real client)\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return None;
    }
    static ONE: Mutex<()> = Mutex::new(());
    // A failed test must not fail those after it.
    let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sdk = installed().to_owned();
    Some(Turn {
        folder: harness::fresh_folder(&format!("client/{test}")),
        sdk,
        _turn: Some(turn),
    })
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
