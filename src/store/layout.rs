//! The data folder: names of its files, and the trailer that makes a body's file tell everything about itself.
//!
//! `CACHEDIR.TAG VERSION IDENTITY PROOFKEY LOCK BALLAST bodies/<ab>/<64 hex> index-<n>/ tmp/ quarantine/`, where `ab` is the
//! exclusive or of the name's 32 bytes: neither the bodies of one feed nor those of one class (every version list ends in
//! the same 16 bytes) share one folder. Every call blocks. Refuses to decide which body is the right one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::record::Trailer;
use crate::cache::key::Key;
use crate::platform::{self, Portability};

/// Ends every body's file: what tells it from a stranger's.
const MAGIC: &[u8; 8] = b"SLUICEB1";
/// Length of the record (4 bytes), its crc32c (4 bytes), magic.
const FOOTER_BYTES: u64 = 16;
/// Longest record of a trailer: headers are limited long before, so a longer one is rot.
const MAX_RECORD_BYTES: u64 = 1 << 20;
/// Read in one call from the end of the file: nearly every trailer fits.
const TRAILER_READ_BYTES: u64 = 4096;
/// Quarantined bodies that are kept for somebody to look at; the oldest go first.
const MAX_QUARANTINED: usize = 8;

/// The paths of one data folder.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
    pub(super) portability: Portability,
}

/// A stored body that was opened by name.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) file: File,
    pub(super) trailer: Trailer,
    pub(super) disk_bytes: u64,
}

impl Layout {
    pub(super) fn new(root: PathBuf, portability: Portability) -> Self {
        Self { root, portability }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn in_root(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn bodies(&self) -> PathBuf {
        self.in_root("bodies")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.in_root("tmp")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.in_root("quarantine")
    }

    pub(super) fn index(&self, number: u64) -> PathBuf {
        self.in_root(&format!("index-{number}"))
    }

    /// One of the 256 folders of bodies.
    pub(super) fn shard(&self, folder: u8) -> PathBuf {
        self.bodies().join(format!("{folder:02x}"))
    }

    pub(super) fn body(&self, key: &[u8; 32]) -> PathBuf {
        self.shard(fold(key)).join(hex(key))
    }

    /// Numbers of the index folders, ascending.
    pub(super) fn indexes(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("index-"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Keys of the bodies in one folder; none if it is missing. Files with other names, or in the wrong folder, are not
    /// ours.
    pub(super) fn keys_in(&self, folder: u8) -> io::Result<Vec<[u8; 32]>> {
        let entries = match fs::read_dir(self.shard(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut keys = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let key = name.to_str().and_then(unhex);
            keys.extend(key.filter(|key| fold(key) == folder));
        }
        Ok(keys)
    }

    /// Files in a folder of bodies that are none, as paths below that of the bodies.
    pub(super) fn foreign_in(&self, folder: u8) -> io::Result<Vec<String>> {
        let is_foreign = |name: &str| unhex(name).is_none_or(|key| fold(&key) != folder);
        let names = names_in(&self.shard(folder))?;
        let foreign = names.into_iter().filter(|(name, _)| is_foreign(name));
        Ok(foreign
            .map(|(name, _)| format!("{folder:02x}/{name}"))
            .collect())
    }

    /// Names of the files in `tmp/`.
    pub(super) fn temporary_files(&self) -> io::Result<Vec<String>> {
        let names = names_in(&self.temporary())?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Deletes a file in `tmp/`.
    pub(super) fn remove_temporary(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.temporary().join(name))
    }

    /// Names and lengths of the bodies that were set aside.
    pub(super) fn quarantined(&self) -> io::Result<Vec<(String, u64)>> {
        names_in(&self.quarantine())
    }

    /// Bytes that a body takes on the disk; `None` if there is none.
    pub(super) fn disk_bytes_of(&self, key: &[u8; 32]) -> io::Result<Option<u64>> {
        match fs::metadata(self.body(key)) {
            Ok(metadata) => Ok(Some(platform::disk_bytes(&metadata, self.portability))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a file for a body.
    pub(super) fn has_body(&self, key: &[u8; 32]) -> bool {
        self.body(key).exists()
    }

    /// Opens the body of these key bytes; `None` if there is none, or one of a later release. A file that is no body
    /// of ours, or was cut, is `InvalidData`.
    pub(super) fn open(&self, key: &[u8; 32]) -> io::Result<Option<OpenedFile>> {
        let file = match File::open(self.body(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        match read_trailer(&file, metadata.len()) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            trailer => Ok(Some(OpenedFile {
                trailer: trailer?,
                disk_bytes: platform::disk_bytes(&metadata, self.portability),
                file,
            })),
        }
    }

    /// Gives a temporary file its name, replacing what is there.
    pub(super) fn install(&self, temporary: &Path, key: &[u8; 32]) -> io::Result<()> {
        let path = self.body(key);
        match fs::rename(temporary, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.shard(fold(key)))?;
                fs::rename(temporary, &path)
            }
            done => done,
        }
    }

    /// Deletes a body; it is no error if there is none. Answers whether there was.
    pub(super) fn unlink(&self, key: &[u8; 32]) -> io::Result<bool> {
        match fs::remove_file(self.body(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the deletions in a folder of bodies durable.
    pub(super) fn sync_shard(&self, folder: u8) -> io::Result<()> {
        match platform::sync_directory(&self.shard(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Moves a body out of the way, and deletes the oldest of those moved before it.
    pub(super) fn set_aside(&self, key: &[u8; 32], name: &str) -> io::Result<()> {
        let folder = self.quarantine();
        fs::create_dir_all(&folder)?;
        fs::rename(self.body(key), folder.join(name))?;
        let mut kept = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
        kept.sort();
        let excess = kept.len().saturating_sub(MAX_QUARANTINED);
        for (_, path) in kept.iter().take(excess) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Bytes that the files directly in a folder take on the disk; zero if it is missing.
    pub(super) fn folder_bytes(&self, folder: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(folder) else {
            return 0;
        };
        entries
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .filter(fs::Metadata::is_file)
            .map(|metadata| platform::disk_bytes(&metadata, self.portability))
            .sum()
    }
}

/// Names and lengths of the files in a folder, sorted; none if it is missing.
fn names_in(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Gone meanwhile, perhaps.
        let length = entry.metadata().map_or(0, |metadata| metadata.len());
        names.push((entry.file_name().to_string_lossy().into_owned(), length));
    }
    names.sort();
    Ok(names)
}

/// Reads the trailer of a body's file of `length` bytes. `InvalidData` if it holds none or was cut, `Unsupported` if a
/// later release wrote it.
pub(super) fn read_trailer(file: &File, length: u64) -> io::Result<Trailer> {
    find_trailer(length, |from, to| read_range(file, from, to))
}

/// Finds the trailer at the end of `length` bytes, of which `read` gives a range.
pub(super) fn find_trailer(
    length: u64,
    read: impl Fn(u64, u64) -> io::Result<Vec<u8>>,
) -> io::Result<Trailer> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let from = length.saturating_sub(TRAILER_READ_BYTES);
    let mut end = read(from, length)?;
    let footer = end.len().checked_sub(16).and_then(|at| end.get(at..));
    let (record_bytes, crc) = footer.and_then(footer_of).ok_or_else(invalid)?;
    let record_from = length
        .checked_sub(FOOTER_BYTES + record_bytes)
        .ok_or_else(invalid)?;
    if record_from < from {
        end = read(record_from, length)?;
    }
    let record = end
        .len()
        .checked_sub(narrow(FOOTER_BYTES + record_bytes)?)
        .and_then(|at| end.get(at..end.len() - 16))
        .ok_or_else(invalid)?;
    if crc32c::crc32c(record) != crc {
        return Err(invalid());
    }
    let trailer =
        Trailer::decode(record).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    if trailer.entry.body_bytes != record_from {
        return Err(invalid());
    }
    Ok(trailer)
}

/// Length and checksum of the record before a footer.
fn footer_of(footer: &[u8]) -> Option<(u64, u32)> {
    let (length, rest) = footer.split_first_chunk::<4>()?;
    let (crc, magic) = rest.split_first_chunk::<4>()?;
    let length = u64::from(u32::from_le_bytes(*length));
    (magic == MAGIC && length <= MAX_RECORD_BYTES).then(|| (length, u32::from_le_bytes(*crc)))
}

fn read_range(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; narrow(to - from)?];
    platform::read_exact_at(file, &mut buffer, from)?;
    Ok(buffer)
}

fn narrow(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The bytes that follow the body.
pub(super) fn trailer_bytes(trailer: &Trailer) -> io::Result<Vec<u8>> {
    let mut bytes = trailer.encode();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if u64::from(length) > MAX_RECORD_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(MAGIC);
    Ok(bytes)
}

/// Whether an opened body is of this key, and not of another whose hashes collide.
pub(super) fn belongs(opened: &OpenedFile, key: &Key) -> bool {
    opened.trailer.entry.key == *key
}

/// One byte that all bytes of a key decide: keys of one feed, id or class differ in it.
pub(super) fn fold(key: &[u8; 32]) -> u8 {
    key.iter().fold(0, |folded, byte| folded ^ byte)
}

pub(super) fn hex(key: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    key.iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub(super) fn unhex(name: &str) -> Option<[u8; 32]> {
    let digits = name.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| !pair.contains('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Parts;
    use std::collections::HashSet;

    #[test]
    fn one_class_of_one_feed_spreads_over_the_folders() {
        let key = |n: usize| {
            Key::new(&Parts {
                feed: "nuget",
                id: Some(&format!("id{n}")),
                class: "list",
                ..Parts::default()
            })
        };
        let folders: HashSet<u8> = (0..2000).map(|n| fold(key(n).bytes())).collect();
        assert!(folders.len() > 250, "{} folders", folders.len());
    }

    #[test]
    fn a_name_tells_its_key() {
        let key = [0xa5; 32];
        assert_eq!(unhex(&hex(&key)), Some(key));
        for name in [
            "",
            "a5",
            &"+5".repeat(32),
            &"zz".repeat(32),
            &"ä".repeat(32),
        ] {
            assert_eq!(unhex(name), None, "{name}");
        }
    }
}
