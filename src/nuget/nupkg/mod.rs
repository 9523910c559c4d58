//! Checks of packages and nuspecs before they are kept.
//!
//! A proxy that keeps a truncated file, an error page or another package's bytes breaks every build that follows. So a
//! package is read as the client reads it: end record, central directory, root nuspec, and the id and version in it.
//! The other entries are the client's business, signatures are read elsewhere, and no byte is ever changed.

mod covered;
mod directory;
mod entries;
pub(super) mod layout;
pub(super) mod nuspec;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

pub use self::covered::{Signed, signed};
pub use self::entries::check_entries;
use super::id::PackageId;
use super::version::Version;
use directory::{Directory, END_WINDOW_BYTES, Entry, as_u64};
use layout::{LOCAL_BYTES, Local, Method};
use nuspec::Nuspec;

/// Longest nuspec, in bytes unpacked. Real ones have kilobytes; embedded release notes reach some hundred.
pub const MAX_NUSPEC_BYTES: u64 = 4 * 1024 * 1024;

/// Most entries of a package: more than twice what the format holds without zip64, so a bound on work, not on packages.
pub const MAX_ENTRIES: u64 = 200_000;

/// How much of a stream's end to keep for [`check_tail`]: the directory of some ten thousand entries.
pub const TAIL_BYTES: usize = 1024 * 1024;

/// Most characters of a found id or version that an error repeats.
const MAX_SHOWN_CHARS: usize = 128;

/// Why a body is not the package it should be.
#[derive(Debug)]
pub enum PackageFault {
    /// The central directory is damaged or does not lie where the end record says.
    BrokenDirectory(&'static str),
    /// A file in the archive is not what the central directory says of it.
    BrokenEntry(&'static str),
    /// The body could not be read; this says nothing about the package.
    Io(io::Error),
    /// No `.nuspec` at the root.
    NoNuspec,
    /// No end record: another kind of file, or a truncated one.
    NotAZip,
    /// The nuspec cannot be unpacked, or is no well-formed XML with id and version.
    NuspecUnreadable(String),
    /// The package of another id.
    WrongId {
        /// The id asked for.
        expected: String,
        /// The nuspec's.
        found: String,
    },
    /// Another version.
    WrongVersion {
        /// The version asked for.
        expected: String,
        /// The nuspec's.
        found: String,
    },
}

impl fmt::Display for PackageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenDirectory(problem) => write!(f, "broken zip directory: {problem}"),
            Self::BrokenEntry(problem) => write!(f, "broken file in the zip: {problem}"),
            Self::Io(error) => write!(f, "cannot read the package: {error}"),
            Self::NoNuspec => f.write_str("no .nuspec at the root of the package"),
            Self::NotAZip => f.write_str("no zip archive, or a truncated one"),
            Self::NuspecUnreadable(problem) => write!(f, "unreadable nuspec: {problem}"),
            Self::WrongId { expected, found } => {
                write!(f, "expected the package {expected:?}, found {found:?}")
            }
            Self::WrongVersion { expected, found } => {
                write!(f, "expected version {expected:?}, found {found:?}")
            }
        }
    }
}

impl std::error::Error for PackageFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::BrokenDirectory(_)
            | Self::BrokenEntry(_)
            | Self::NoNuspec
            | Self::NotAZip
            | Self::NuspecUnreadable(_)
            | Self::WrongId { .. }
            | Self::WrongVersion { .. } => None,
        }
    }
}

/// Checks that the whole body is the package of this id and version: end record, every entry of the central directory,
/// and the first root nuspec with its checksum. Other entries' data are not read; see [`check_entries`].
///
/// # Errors
/// If it is not, or `reader` fails.
pub fn check_package(
    reader: impl Read + Seek,
    id: &PackageId,
    version: &Version,
) -> Result<(), PackageFault> {
    check_nuspec(&nuspec_of(reader)?, id, version)
}

/// The first root nuspec of a package, with end record, central directory and its checksum checked on the way.
///
/// # Errors
/// If the body is no package, or `reader` fails.
pub fn nuspec_of(mut reader: impl Read + Seek) -> Result<Vec<u8>, PackageFault> {
    let (directory, _) = directory_of(&mut reader)?;
    let entry = directory::walk(BufReader::new(&mut reader), directory)?;
    unpack_nuspec(&mut reader, &entry)
}

/// The central directory, at which `reader` stands then, and the length of the whole.
fn directory_of(reader: &mut (impl Read + Seek)) -> Result<(Directory, u64), PackageFault> {
    let total = reader.seek(SeekFrom::End(0)).map_err(PackageFault::Io)?;
    let window = total.min(as_u64(END_WINDOW_BYTES));
    seek(reader, total - window)?;
    let mut tail = Vec::with_capacity(END_WINDOW_BYTES);
    let read = reader.by_ref().take(window).read_to_end(&mut tail);
    read.map_err(PackageFault::Io)?;
    let directory = directory::find(&tail, total)?.ok_or(PackageFault::BrokenDirectory(
        "the zip64 end record is missing",
    ))?;
    seek(reader, directory.extent.start)?;
    Ok((directory, total))
}

fn seek(reader: &mut impl Seek, to: u64) -> Result<(), PackageFault> {
    reader
        .seek(SeekFrom::Start(to))
        .map(|_| ())
        .map_err(PackageFault::Io)
}

/// What the end of a stream says about the whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TailVerdict {
    /// The central directory is whole and names a root nuspec.
    Good,
    /// The directory begins before the tail.
    Unknown,
}

/// Checks end record and central directory of a package that was only streamed, from its last bytes ([`TAIL_BYTES`], or
/// all if it is shorter) and its length. Id and version stay unchecked.
///
/// # Errors
/// If the package is damaged, truncated or none.
pub fn check_tail(tail: &[u8], total: u64) -> Result<TailVerdict, PackageFault> {
    let Some(directory) = directory::find(tail, total)? else {
        return Ok(TailVerdict::Unknown);
    };
    let base = total - as_u64(tail.len()).min(total);
    let start = directory.extent.start.checked_sub(base);
    let Some(bytes) = start.and_then(|at| tail.get(usize::try_from(at).ok()?..)) else {
        return Ok(TailVerdict::Unknown);
    };
    directory::walk(bytes, directory).map(|_| TailVerdict::Good)
}

/// Checks that `bytes` are a nuspec of this id and version.
///
/// # Errors
/// If they are not.
pub fn check_nuspec(bytes: &[u8], id: &PackageId, version: &Version) -> Result<(), PackageFault> {
    let Nuspec {
        id: found_id,
        version: found_version,
    } = nuspec::read(bytes).map_err(PackageFault::NuspecUnreadable)?;
    if PackageId::parse(&found_id).as_ref() != Ok(id) {
        return Err(PackageFault::WrongId {
            expected: id.as_str().to_owned(),
            found: found_id.chars().take(MAX_SHOWN_CHARS).collect(),
        });
    }
    if Version::parse(&found_version).as_ref() != Ok(version) {
        return Err(PackageFault::WrongVersion {
            expected: version.as_str().to_owned(),
            found: found_version.chars().take(MAX_SHOWN_CHARS).collect(),
        });
    }
    Ok(())
}

/// Whether an entry of this name is the package's nuspec: at the root, by its ending in any case, as the client finds it.
pub(super) fn is_root_nuspec(name: &[u8]) -> bool {
    const ENDING: &[u8] = b".nuspec";
    let ending = name
        .len()
        .checked_sub(ENDING.len())
        .and_then(|at| name.get(at..));
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case(ENDING))
        && !name.iter().any(|byte| matches!(byte, b'/' | b'\\'))
}

fn unpack_nuspec(reader: &mut (impl Read + Seek), entry: &Entry) -> Result<Vec<u8>, PackageFault> {
    let unreadable = |problem: &str| PackageFault::NuspecUnreadable(problem.to_owned());
    let packing = entry.packing;
    if packing.is_encrypted() {
        return Err(unreadable("it is encrypted"));
    }
    seek(reader, entry.offset)?;
    let mut fixed = [0; LOCAL_BYTES];
    reader.read_exact(&mut fixed).map_err(PackageFault::Io)?;
    let local = Local::read(&fixed).ok_or_else(|| unreadable("its local header is missing"))?;
    seek(reader, entry.offset + as_u64(local.data_offset()))?;
    let packed = BufReader::new(reader.take(packing.packed_bytes));
    let nuspec = unpack(packed, packing.method).map_err(|error| match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            unreadable(&error.to_string())
        }
        _ => PackageFault::Io(error),
    })?;
    let mut crc = Crc::new();
    crc.update(&nuspec);
    if crc.sum() != packing.crc {
        return Err(unreadable("its checksum does not match"));
    }
    Ok(nuspec)
}

/// Unpacks a nuspec.
///
/// # Errors
/// Kind `InvalidData` or `InvalidInput` if it is damaged, packed in a way the client does not know or longer than
/// [`MAX_NUSPEC_BYTES`]; else as `packed`.
pub(super) fn unpack(packed: impl BufRead, method: Method) -> io::Result<Vec<u8>> {
    let mut nuspec = Vec::new();
    let limit = MAX_NUSPEC_BYTES + 1;
    match method {
        Method::Deflated => DeflateDecoder::new(packed)
            .take(limit)
            .read_to_end(&mut nuspec)?,
        Method::Stored => packed.take(limit).read_to_end(&mut nuspec)?,
        Method::Other(method) => {
            let problem = format!("it is packed by method {method}, not by 0 or 8");
            return Err(io::Error::new(ErrorKind::InvalidData, problem));
        }
    };
    if as_u64(nuspec.len()) == limit {
        let problem = format!("it is longer than {MAX_NUSPEC_BYTES} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, problem));
    }
    Ok(nuspec)
}
