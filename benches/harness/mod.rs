//! What the benches and the real-client suite (`tests/client`) stand on: processes that end with
//! their owner, the reference upstream, a running Sluice, a plain HTTP/1.1 client, the replay of a
//! recorded restore.
//!
//! Everything here is outside the product: it knows the binary by its command line, its printed
//! lines, its access log and its answers, and refuses to know anything inside it; but `fill`
//! and `folder`, which write and read data folders by the library's own store.

#![allow(
    dead_code,
    reason = "each bench, and the client suite, uses its own part"
)]

pub(crate) mod abuse;
pub(crate) mod accounts;
pub(crate) mod bombs;
pub(crate) mod crowd;
pub(crate) mod fill;
pub(crate) mod filler;
pub(crate) mod first_answer;
pub(crate) mod folder;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod measure;
pub(crate) mod mischief;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod replay;
pub(crate) mod scripted;
pub(crate) mod sluice;
pub(crate) mod stock;
pub(crate) mod upstream;
pub(crate) mod visitors;
pub(crate) mod vitals;

use std::path::{Path, PathBuf};

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The folder with the reference upstream, its packages, the traces and the client's bundle:
/// `SLUICE_SHARED`, else `../shared` beside this repository.
///
/// # Panics
/// If there is no reference upstream in it.
pub(crate) fn shared() -> PathBuf {
    let named = std::env::var_os("SLUICE_SHARED").unwrap_or_else(|| "../shared".into());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(named);
    let upstream = path.join("feed/upstream.py");
    assert!(
        upstream.is_file(),
        "no reference upstream at {}: set SLUICE_SHARED",
        upstream.display()
    );
    path.canonicalize().expect("it was found a moment ago")
}

/// A new empty folder `name` below cargo's folder for the files of tests.
///
/// What an earlier run left under that name is removed, so that a failed run can be looked at.
pub(crate) fn fresh_folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("the folder of an earlier run can be removed");
    }
    std::fs::create_dir_all(&path).expect("a folder can be made below the target folder");
    path
}
