//! The disk: temporary files, and bodies by their key.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sync::{Mutex, MutexGuard};

/// Which disks the store may be on: here one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portability;

/// What the files of all bodies are.
#[derive(Default)]
pub(crate) struct Disk(Mutex<Names>);

#[derive(Default)]
struct Names {
    /// The sequence of the body with this key.
    bodies: BTreeMap<[u8; 32], u64>,
    temporary: BTreeMap<PathBuf, Arc<File>>,
    set_aside: BTreeSet<String>,
}

/// A body's file.
pub(crate) struct File {
    pub(crate) sequence: u64,
    state: Mutex<Written>,
}

/// How far a file has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Written {
    Body,
    Whole,
    Durable,
}

impl File {
    pub(crate) fn write_trailer(&self) {
        *self.state() = Written::Whole;
    }

    pub(crate) fn sync(&self) {
        let mut state = self.state();
        if *state == Written::Whole {
            *state = Written::Durable;
        }
    }

    pub(crate) fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn metadata(&self) -> io::Result<()> {
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, Written> {
        self.state.lock().expect("no panic")
    }
}

impl Disk {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().expect("no panic")
    }

    /// A temporary file with a body of this sequence.
    pub(crate) fn begin(&self, sequence: u64) -> (PathBuf, Arc<File>) {
        let path = PathBuf::from(sequence.to_string());
        let file = Arc::new(File {
            sequence,
            state: Mutex::new(Written::Body),
        });
        let before = self
            .names()
            .temporary
            .insert(path.clone(), Arc::clone(&file));
        assert!(before.is_none(), "two bodies with one sequence");
        (path, file)
    }

    pub(crate) fn forget(&self, temporary: &Path) {
        self.names().temporary.remove(temporary);
    }

    pub(crate) fn bodies(&self) -> BTreeMap<[u8; 32], u64> {
        self.names().bodies.clone()
    }

    pub(crate) fn temporary_files(&self) -> usize {
        self.names().temporary.len()
    }
}

/// Names of files.
#[derive(Clone)]
pub(crate) struct Layout {
    disk: Arc<Disk>,
    pub(crate) portability: Portability,
}

pub(crate) struct OpenedFile {
    pub(crate) trailer: OpenedTrailer,
}

pub(crate) struct OpenedTrailer {
    pub(crate) entry: OpenedEntry,
}

pub(crate) struct OpenedEntry {
    pub(crate) sequence: u64,
}

impl Layout {
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        Self {
            disk,
            portability: Portability,
        }
    }

    pub(crate) fn open(&self, key: &[u8; 32]) -> io::Result<Option<OpenedFile>> {
        let sequence = self.disk.names().bodies.get(key).copied();
        Ok(sequence.map(|sequence| OpenedFile {
            trailer: OpenedTrailer {
                entry: OpenedEntry { sequence },
            },
        }))
    }

    pub(crate) fn install(&self, temporary: &Path, key: &[u8; 32]) -> io::Result<()> {
        let mut names = self.disk.names();
        let file = names.temporary.remove(temporary);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        assert_eq!(
            *file.state(),
            Written::Durable,
            "named before it is durable"
        );
        names.bodies.insert(*key, file.sequence);
        Ok(())
    }

    pub(crate) fn unlink(&self, key: &[u8; 32]) -> io::Result<bool> {
        Ok(self.disk.names().bodies.remove(key).is_some())
    }

    pub(crate) fn sync_shard(&self, _: u8) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn set_aside(&self, key: &[u8; 32], name: &str) -> io::Result<()> {
        let mut names = self.disk.names();
        let body = names.bodies.remove(key);
        body.ok_or(io::ErrorKind::NotFound)?;
        names.set_aside.insert(name.to_owned());
        Ok(())
    }
}

pub(crate) fn fold(key: &[u8; 32]) -> u8 {
    key.first().copied().unwrap_or_default()
}

pub(crate) fn hex(key: &[u8; 32]) -> String {
    format!("{key:x?}")
}

pub(crate) fn trailer_bytes(_: &super::record::Trailer) -> io::Result<Vec<u8>> {
    Ok(Vec::new())
}
