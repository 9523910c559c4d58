//! What the signature of a package covers: every byte of the archive but the signature's own file, as if that had never been
//! added (NuGet, "Package Signatures Technical Details"; the client's `SignedPackageArchiveUtility`).

use std::io::{Read, Seek};

use ring::digest::{Algorithm, Context, Digest};

use super::directory::as_u64;
use super::layout::{CENTRAL_BYTES, Central, END, END_BYTES, LOCAL_BYTES, Local, Method, Packing};
use super::{PackageFault, directory_of, seek};

/// The signature's file: at the root, in this case, stored as it is.
const NAME: &[u8] = b".signature.p7s";
/// Longest signature: real ones have ten or twenty kilobytes.
const MAX_SIGNATURE_BYTES: u64 = 1 << 20;
/// Longest central directory of a signed package: that of some hundred thousand files.
const MAX_DIRECTORY_BYTES: u64 = 32 << 20;
/// Bytes hashed at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// Where a record of the directory has the offset of its file (APPNOTE 4.3.12).
const OFFSET_AT: usize = 42;

/// A package that holds a signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// The signature.
    pub signature: Vec<u8>,
    /// Where its file stands, header included.
    file: (u64, u64),
    /// The central directory without its record, as it was before the file was added.
    directory: Vec<u8>,
    /// Where the directory stands.
    directory_at: u64,
    /// The end record as it was then, with what follows it.
    end: Vec<u8>,
}

/// A record of the central directory.
struct Record<'d> {
    bytes: &'d [u8],
    name: &'d [u8],
    offset: u64,
    packing: Packing,
}

/// The signature of a package; `None` if it has none.
///
/// # Errors
/// If the body is no package, holds several signatures, or one in a form that the client refuses, or `reader` fails.
pub fn signed(mut reader: impl Read + Seek) -> Result<Option<Signed>, PackageFault> {
    let (place, total) = directory_of(&mut reader)?;
    let (start, bytes) = (place.extent.start, place.extent.bytes);
    if bytes > MAX_DIRECTORY_BYTES {
        return broken("it is too large for a signed package");
    }
    let mut directory = read_at(&mut reader, start, bytes)?;
    let mut end = read_at(&mut reader, place.end, total.saturating_sub(place.end))?;
    let records = records_in(&directory, place.extent.entries)?;
    let mut own = records.iter().filter(|record| record.name == NAME);
    let Some(record) = own.next() else {
        return Ok(None);
    };
    if own.next().is_some() {
        return broken("it names two signatures");
    }
    let after = records.iter().map(|record| record.offset);
    let until = after.filter(|offset| *offset > record.offset).min();
    let file = (record.offset, until.unwrap_or(start));
    let file_bytes = file.1.saturating_sub(file.0);
    let signature = signature_in(&mut reader, record)?;
    if !end.starts_with(&END) || end.len() < END_BYTES {
        return broken("a signed package in zip64 form");
    }
    let gone = [(8, 1), (10, 1)];
    for (at, less) in gone {
        lessen(&mut end, at, 2, less)?;
    }
    lessen(&mut end, 12, 4, as_u64(record.bytes.len()))?;
    lessen(&mut end, 16, 4, file_bytes)?;
    let mut before = Vec::with_capacity(directory.len());
    for record in records.iter().filter(|record| record.name != NAME) {
        let at = before.len();
        before.extend_from_slice(record.bytes);
        if record.offset > file.0 {
            lessen(&mut before, at + OFFSET_AT, 4, file_bytes)?;
        }
    }
    directory = before;
    Ok(Some(Signed {
        signature,
        file,
        directory,
        directory_at: start,
        end,
    }))
}

impl Signed {
    /// The hash of what the signature covers.
    ///
    /// # Errors
    /// If `reader` fails or is shorter than it was.
    pub fn hash(
        &self,
        mut reader: impl Read + Seek,
        algorithm: &'static Algorithm,
    ) -> Result<Digest, PackageFault> {
        let mut context = Context::new(algorithm);
        let mut buffer = vec![0; BUFFER_BYTES];
        for (from, to) in [(0, self.file.0), (self.file.1, self.directory_at)] {
            seek(&mut reader, from)?;
            let mut left = to.saturating_sub(from);
            while left > 0 {
                let most = usize::try_from(left)
                    .unwrap_or(BUFFER_BYTES)
                    .min(BUFFER_BYTES);
                let piece = buffer.get_mut(..most).unwrap_or_default();
                reader.read_exact(piece).map_err(PackageFault::Io)?;
                context.update(piece);
                left -= as_u64(most);
            }
        }
        context.update(&self.directory);
        context.update(&self.end);
        Ok(context.finish())
    }
}

fn records_in(mut rest: &[u8], entries: u64) -> Result<Vec<Record<'_>>, PackageFault> {
    let mut records = Vec::new();
    for _ in 0..entries {
        let central = rest.first_chunk::<CENTRAL_BYTES>().and_then(Central::read);
        let Some(central) = central else {
            return broken("an entry has no signature");
        };
        let [name, extra, comment] = [
            central.name_bytes,
            central.extra_bytes,
            central.comment_bytes,
        ]
        .map(usize::from);
        let Some((bytes, after)) = rest.split_at_checked(CENTRAL_BYTES + name + extra + comment)
        else {
            return broken("it has fewer entries than it says");
        };
        let name_and_rest = bytes.get(CENTRAL_BYTES..).unwrap_or_default();
        let (name, more) = name_and_rest.split_at_checked(name).unwrap_or_default();
        let Some((packing, offset)) = central.resolve(more.get(..extra).unwrap_or_default()) else {
            return broken("an entry lacks its zip64 field");
        };
        records.push(Record {
            bytes,
            name,
            offset,
            packing,
        });
        rest = after;
    }
    Ok(records)
}

fn signature_in(
    reader: &mut (impl Read + Seek),
    record: &Record<'_>,
) -> Result<Vec<u8>, PackageFault> {
    let packing = record.packing;
    if packing.method != Method::Stored || packing.is_encrypted() {
        return Err(PackageFault::BrokenEntry("the signature is packed"));
    }
    if packing.packed_bytes > MAX_SIGNATURE_BYTES {
        return Err(PackageFault::BrokenEntry("the signature is too long"));
    }
    let fixed = read_at(reader, record.offset, as_u64(LOCAL_BYTES))?;
    let local = Local::read(&fixed).ok_or(PackageFault::BrokenEntry(
        "the signature's local header is missing",
    ))?;
    let at = record.offset.saturating_add(as_u64(local.data_offset()));
    read_at(reader, at, packing.packed_bytes)
}

fn read_at(reader: &mut (impl Read + Seek), at: u64, bytes: u64) -> Result<Vec<u8>, PackageFault> {
    seek(reader, at)?;
    let mut read = Vec::new();
    let taken = reader.by_ref().take(bytes).read_to_end(&mut read);
    taken.map_err(PackageFault::Io)?;
    if as_u64(read.len()) == bytes {
        Ok(read)
    } else {
        broken("it reaches beyond the end")
    }
}

/// Lessens the little-endian number of so many bytes at `at`.
fn lessen(record: &mut [u8], at: usize, bytes: usize, less: u64) -> Result<(), PackageFault> {
    let field = record.get_mut(at..at + bytes).unwrap_or_default();
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(field.iter()) {
        *to = *from;
    }
    let Some(number) = u64::from_le_bytes(number).checked_sub(less) else {
        return broken("it does not count the signature");
    };
    for (to, from) in field.iter_mut().zip(number.to_le_bytes()) {
        *to = from;
    }
    Ok(())
}

fn broken<T>(problem: &'static str) -> Result<T, PackageFault> {
    Err(PackageFault::BrokenDirectory(problem))
}
