//! Whether every file in an archive is what the central directory says: for a body that came in pieces, of which nothing
//! else says that they belong together.
//!
//! Reads with a fixed buffer. A file that unpacks to more than the directory says, files that overlap and archives that
//! unpack to far more than they take are refused, so that no archive costs more than its length justifies.

use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::directory::{self, Entry, as_u64};
use super::layout::{LOCAL_BYTES, Local, Method, Packing};
use super::{PackageFault, directory_of, seek};

/// Bytes unpacked at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// An archive may unpack to this many times its length: assemblies and texts shrink to a fifth or a tenth, deflate's own
/// limit is a thousandth.
const MAX_EXPANSION: u64 = 64;
/// A smaller archive may unpack to this much all the same.
const UNPACKED_FLOOR_BYTES: u64 = 1 << 30;

/// A file of the archive, and what tells its name.
struct Listed {
    entry: Entry,
    name_bytes: u16,
    name_crc: u32,
}

/// Checks every file of a package: its local header has the name that the central directory gives it, and its data unpack
/// to the length and the checksum there. Takes what the client takes: stored and deflated files.
///
/// # Errors
/// If one is not so, encrypted or packed in another way, or `reader` fails.
pub fn check_entries(mut reader: impl Read + Seek) -> Result<(), PackageFault> {
    let (directory, total) = directory_of(&mut reader)?;
    let mut listed = Vec::new();
    directory::each(BufReader::new(&mut reader), directory, |name, entry| {
        listed.push(Listed {
            entry,
            name_bytes: u16::try_from(name.len()).unwrap_or(u16::MAX),
            name_crc: crc_of(name),
        });
    })?;
    listed.sort_unstable_by_key(|listed| listed.entry.offset);
    let mut end = 0;
    let mut left = total
        .saturating_mul(MAX_EXPANSION)
        .max(UNPACKED_FLOOR_BYTES);
    for Listed {
        entry: Entry { packing, offset },
        name_bytes,
        name_crc,
    } in listed
    {
        if offset < end {
            return broken("two of them overlap");
        }
        let Some(rest) = left.checked_sub(packing.unpacked_bytes) else {
            return broken("they unpack to too much");
        };
        left = rest;
        seek(&mut reader, offset)?;
        let mut fixed = [0; LOCAL_BYTES];
        read_exact(&mut reader, &mut fixed)?;
        let Some(local) = Local::read(&fixed) else {
            return broken("its local header is missing");
        };
        let mut name = vec![0; usize::from(local.name_bytes)];
        read_exact(&mut reader, &mut name)?;
        if local.name_bytes != name_bytes || crc_of(&name) != name_crc {
            return broken("its local header names another");
        }
        let start = offset.saturating_add(as_u64(local.data_offset()));
        end = start.saturating_add(packing.packed_bytes);
        reader
            .seek(SeekFrom::Start(start))
            .map_err(PackageFault::Io)?;
        check_data(reader.by_ref().take(packing.packed_bytes), packing)?;
    }
    Ok(())
}

fn broken<T>(problem: &'static str) -> Result<T, PackageFault> {
    Err(PackageFault::BrokenEntry(problem))
}

fn crc_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Checks the data of one file, of which `packed` gives all.
fn check_data(packed: impl Read, packing: Packing) -> Result<(), PackageFault> {
    if packing.is_encrypted() {
        return broken("it is encrypted, so nothing can be said of it");
    }
    let packed = BufReader::with_capacity(BUFFER_BYTES, packed);
    match packing.method {
        Method::Deflated => check_plain(DeflateDecoder::new(packed), packing),
        Method::Other(_) => broken("it is packed by a method that is neither 0 nor 8"),
        Method::Stored => check_plain(packed, packing),
    }
}

fn check_plain(mut plain: impl Read, packing: Packing) -> Result<(), PackageFault> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut crc, mut length) = (Crc::new(), 0_u64);
    loop {
        let count = match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(fault_of(error)),
        };
        crc.update(buffer.get(..count).unwrap_or_default());
        length += as_u64(count);
        if length > packing.unpacked_bytes {
            return broken("it unpacks to more than the directory says");
        }
    }
    if length < packing.unpacked_bytes {
        return broken("it unpacks to less than the directory says");
    }
    if crc.sum() != packing.crc {
        return broken("its checksum does not match");
    }
    Ok(())
}

fn read_exact(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), PackageFault> {
    reader.read_exact(buffer).map_err(fault_of)
}

fn fault_of(error: io::Error) -> PackageFault {
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            PackageFault::BrokenEntry("it cannot be unpacked")
        }
        _ => PackageFault::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use zip::CompressionMethod;
    use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

    use super::*;

    const TEXT: &str = "the same text again and the same text again, ";

    fn options(method: CompressionMethod) -> SimpleFileOptions {
        SimpleFileOptions::default().compression_method(method)
    }

    /// A package of two files, the second of `bytes` bytes.
    fn archive(options: SimpleFileOptions, bytes: usize) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let content = TEXT.repeat(bytes.div_ceil(TEXT.len()));
        for (name, content) in [
            ("a.nuspec", "<package/>"),
            ("lib/a.dll", content.get(..bytes).expect("text")),
        ] {
            writer.start_file(name, options).expect("a name");
            writer.write_all(content.as_bytes()).expect("memory");
        }
        writer.add_directory("lib/empty/", options).expect("a name");
        writer.finish().expect("memory").into_inner()
    }

    fn checked(bytes: &[u8]) -> Result<(), String> {
        check_entries(Cursor::new(bytes)).map_err(|fault| fault.to_string())
    }

    #[track_caller]
    fn check(bytes: &[u8], problem: &str) {
        let expected = format!("broken file in the zip: {problem}");
        assert_eq!(checked(bytes), Err(expected));
    }

    /// Where the `nth` occurrence of `needle` stands.
    #[track_caller]
    fn find(bytes: &[u8], needle: &[u8], nth: usize) -> usize {
        let mut found = memchr::memmem::find_iter(bytes, needle);
        found.nth(nth).expect("it is there")
    }

    #[test]
    fn whole_packages_pass_however_they_are_packed() {
        for method in [CompressionMethod::Deflated, CompressionMethod::Stored] {
            for bytes in [0, 1, 1000, 300_000] {
                let plain = archive(options(method), bytes);
                assert_eq!(checked(&plain), Ok(()), "{method} {bytes}");
                let large = archive(options(method).large_file(true), bytes);
                assert_eq!(checked(&large), Ok(()), "{method} {bytes}");
            }
        }
        let mut writer = ZipWriter::new_stream(Vec::new());
        let deflated = options(CompressionMethod::Deflated);
        writer.start_file("a.nuspec", deflated).expect("a name");
        writer.write_all(TEXT.as_bytes()).expect("memory");
        let streamed = writer
            .finish()
            .map(StreamWriter::into_inner)
            .expect("memory");
        assert_eq!(checked(&streamed), Ok(()));
    }

    #[test]
    fn every_changed_byte_of_the_data_is_seen() {
        for method in [CompressionMethod::Deflated, CompressionMethod::Stored] {
            let good = archive(options(method), 500);
            let data = find(&good, b"lib/a.dll", 0) + b"lib/a.dll".len();
            let end = find(&good, b"PK\x03\x04", 2);
            for at in data..end {
                let mut bad = good.clone();
                bad[at] ^= 0x10;
                assert!(checked(&bad).is_err(), "{method} {at}");
            }
        }
    }

    #[test]
    fn a_local_header_that_is_missing_or_of_another_file_is_seen() {
        let good = archive(options(CompressionMethod::Stored), 500);
        let mut bad = good.clone();
        bad[find(&good, b"lib/a.dll", 0)] ^= 1;
        check(&bad, "its local header names another");
        let mut bad = good.clone();
        bad[find(&good, b"PK\x03\x04", 1)] ^= 1;
        check(&bad, "its local header is missing");
    }

    #[test]
    fn lengths_that_belie_the_data_are_seen() {
        let good = archive(options(CompressionMethod::Deflated), 500);
        let central = find(&good, b"PK\x01\x02", 1);
        for (length, problem) in [
            (499_u32, "it unpacks to more than the directory says"),
            (501, "it unpacks to less than the directory says"),
        ] {
            let mut bad = good.clone();
            bad[central + 24..central + 28].copy_from_slice(&length.to_le_bytes());
            check(&bad, problem);
        }
        let mut bad = good.clone();
        bad[central + 10] = 12;
        check(&bad, "it is packed by a method that is neither 0 nor 8");
        let mut bad = good;
        bad[central + 8] |= 1;
        check(&bad, "it is encrypted, so nothing can be said of it");
    }

    #[test]
    fn no_archive_costs_more_than_its_length_justifies() {
        let good = archive(options(CompressionMethod::Deflated), 500);
        let (first, second) = (find(&good, b"PK\x01\x02", 0), find(&good, b"PK\x01\x02", 1));
        // Two files that share their data: a bomb that no single file shows.
        let mut bad = good.clone();
        let offset = good[second + 42..second + 46].to_vec();
        bad[first + 42..first + 46].copy_from_slice(&offset);
        assert!(checked(&bad).is_err());
        let mut bad = good;
        bad[second + 24..second + 28].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        check(&bad, "they unpack to too much");
        // Megabytes of zeros in some kilobytes are read to their declared end and no further.
        let content = vec![0; 8 << 20];
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let deflated = options(CompressionMethod::Deflated);
        writer.start_file("a.nuspec", deflated).expect("a name");
        writer.write_all(&content).expect("memory");
        let mut bomb = writer.finish().expect("memory").into_inner();
        let central = find(&bomb, b"PK\x01\x02", 0);
        bomb[central + 24..central + 28].copy_from_slice(&1000_u32.to_le_bytes());
        check(&bomb, "it unpacks to more than the directory says");
    }
}
