//! Makes a libFuzzer target of an entry point of `sluice::fuzzing`.
//!
//! Before it runs, a target writes the seeds of its entry point into the folder that `SLUICE_FUZZ_SEEDS` names.

#![allow(
    clippy::missing_panics_doc,
    reason = "a seed that cannot be written ends the run, as it should"
)]

use std::path::{Path, PathBuf};
use std::{env, fs};

pub use libfuzzer_sys;
use sluice::fuzzing::{TARGETS, Target};

/// The entry point of this name, its seeds written.
#[must_use]
pub fn begin(name: &str) -> &'static Target {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target of this name");
    if let Some(folder) = env::var_os("SLUICE_FUZZ_SEEDS") {
        write_seeds(target, Path::new(&folder));
    }
    target
}

fn write_seeds(target: &Target, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder for seeds");
    let mut seeds = (target.seeds)();
    for (below, beginning) in target.samples {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let is_sample = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(beginning) && !name.ends_with(".md") && !name.starts_with(".git")
        };
        let files = files(&root.join(below)).into_iter().filter(is_sample);
        seeds.extend(files.map(|path| fs::read(path).expect("a sample")));
    }
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of samples") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Makes this binary the target of one entry point.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        static TARGET: std::sync::OnceLock<&sluice::fuzzing::Target> = std::sync::OnceLock::new();

        $crate::libfuzzer_sys::fuzz_target!(
            init: {
                let _ = TARGET.set($crate::begin(stringify!($name)));
            },
            |data: &[u8]| {
                if let Some(target) = TARGET.get() {
                    (target.run)(data);
                }
            }
        );
    };
}
