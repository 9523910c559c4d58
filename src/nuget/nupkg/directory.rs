//! Finding a zip's central directory and walking it.

use std::io::{self, Read};

use super::layout::{
    CENTRAL_BYTES, Central, END, END_BYTES, END64_BYTES, End, Extent, LOCATOR_BYTES, Packing,
    read_end64, read_locator,
};
use super::{MAX_ENTRIES, PackageFault, is_root_nuspec};

/// Longest comment behind the end record: its length has 16 bits.
const MAX_COMMENT_BYTES: usize = 65_535;

/// How much of a file's end holds its end record, comment and zip64 records.
pub(super) const END_WINDOW_BYTES: usize =
    MAX_COMMENT_BYTES + END_BYTES + LOCATOR_BYTES + END64_BYTES;

/// Where a central directory stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory {
    pub(super) extent: Extent,
    /// Where the records behind it begin, which it cannot overlap.
    pub(super) end: u64,
}

/// The central directory that the end record in `tail` names, the last bytes of a file of `total` bytes. `None` if a
/// record stands before `tail`.
pub(super) fn find(tail: &[u8], total: u64) -> Result<Option<Directory>, PackageFault> {
    let base = total - as_u64(tail.len()).min(total);
    let Some((at, end)) = find_end(tail) else {
        let whole = base == 0 || tail.len() >= END_WINDOW_BYTES;
        return if whole {
            Err(PackageFault::NotAZip)
        } else {
            Ok(None)
        };
    };
    let mut directory = Directory {
        extent: end.extent,
        end: base + as_u64(at),
    };
    if end.is_zip64 {
        let locator = at.checked_sub(LOCATOR_BYTES).and_then(|at| tail.get(at..));
        let Some(locator) = locator else {
            return if base == 0 {
                broken("the zip64 locator is missing")
            } else {
                Ok(None)
            };
        };
        // Without a locator the fields mean what they say, as the client reads them.
        if let Some(offset) = read_locator(locator) {
            let Some(offset_in_tail) = offset.checked_sub(base) else {
                return Ok(None);
            };
            let record = usize::try_from(offset_in_tail)
                .ok()
                .and_then(|at| tail.get(at..));
            let Some(extent) = record.and_then(read_end64) else {
                return broken("the zip64 end record is missing");
            };
            directory = Directory {
                extent,
                end: offset,
            };
        }
    }
    let Extent {
        start,
        bytes,
        entries,
        is_part,
    } = directory.extent;
    if is_part {
        return broken("the archive is one part of several");
    }
    if entries > MAX_ENTRIES {
        return broken("it has too many entries");
    }
    if start
        .checked_add(bytes)
        .is_none_or(|end| end > directory.end)
    {
        return broken("it does not lie before the end record");
    }
    Ok(Some(directory))
}

fn broken<T>(problem: &'static str) -> Result<T, PackageFault> {
    Err(PackageFault::BrokenDirectory(problem))
}

/// The last end record whose comment fits.
fn find_end(tail: &[u8]) -> Option<(usize, End)> {
    let floor = tail.len().saturating_sub(MAX_COMMENT_BYTES + END_BYTES);
    memchr::memmem::rfind_iter(tail, &END)
        .take_while(|at| *at >= floor)
        .find_map(|at| {
            let end = End::read(tail.get(at..)?)?;
            let comment = at + END_BYTES + usize::from(end.comment_bytes);
            (comment <= tail.len()).then_some((at, end))
        })
}

/// A file in the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) packing: Packing,
    /// Where its local header stands.
    pub(super) offset: u64,
}

/// Walks the whole directory, which `reader` begins with, and gives the first root nuspec.
pub(super) fn walk(reader: impl Read, directory: Directory) -> Result<Entry, PackageFault> {
    let mut nuspec = None;
    each(reader, directory, |name, entry| {
        if nuspec.is_none() && is_root_nuspec(name) {
            nuspec = Some(entry);
        }
    })?;
    nuspec.ok_or(PackageFault::NoNuspec)
}

/// Walks the whole directory, which `reader` begins with, and shows each file with its name.
pub(super) fn each(
    reader: impl Read,
    directory: Directory,
    mut see: impl FnMut(&[u8], Entry),
) -> Result<(), PackageFault> {
    let Extent { start, entries, .. } = directory.extent;
    let mut reader = reader.take(directory.end.saturating_sub(start));
    let mut variable = Vec::new();
    for _ in 0..entries {
        let mut fixed = [0; CENTRAL_BYTES];
        read_exact(&mut reader, &mut fixed)?;
        let Some(central) = Central::read(&fixed) else {
            return broken("an entry has no signature");
        };
        let (name_bytes, extra_bytes) = (
            usize::from(central.name_bytes),
            usize::from(central.extra_bytes),
        );
        variable.resize(
            name_bytes + extra_bytes + usize::from(central.comment_bytes),
            0,
        );
        read_exact(&mut reader, &mut variable)?;
        let (name, rest) = variable.split_at(name_bytes);
        let Some((packing, offset)) = central.resolve(rest.get(..extra_bytes).unwrap_or_default())
        else {
            return broken("an entry lacks its zip64 field");
        };
        if offset
            .checked_add(packing.packed_bytes)
            .is_none_or(|end| end >= start)
        {
            return broken("an entry does not lie before it");
        }
        see(name, Entry { packing, offset });
    }
    Ok(())
}

fn read_exact(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), PackageFault> {
    reader
        .read_exact(buffer)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                PackageFault::BrokenDirectory("it has fewer entries than it says")
            }
            _ => PackageFault::Io(error),
        })
}

/// Lengths in memory fit 64 bits.
pub(super) fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
