//! Packages as the zip crate writes them, and each kind of damage. Cases: APPNOTE 4.3.7, 4.3.9, 4.3.12, 4.3.14–4.3.16, 4.4.4,
//! 4.4.5, 4.5.3; the client's own choice of the nuspec.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

use super::*;

const NUSPEC: &str =
    "<package><metadata><id>Contoso.Log</id><version>1.02.0</version></metadata></package>";

fn deflated() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

/// An archive of these files.
fn archive(files: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, options).expect("a name");
        writer.write_all(content).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

/// A package with this nuspec and a file before and behind it.
fn package(nuspec: &str, options: SimpleFileOptions) -> Vec<u8> {
    let content = noise(2000);
    archive(
        &[
            ("_rels/.rels", b"<Relationships/>"),
            ("Contoso.Log.nuspec", nuspec.as_bytes()),
            ("lib/net8.0/Contoso.Log.dll", &content),
        ],
        options,
    )
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn id(text: &str) -> PackageId {
    PackageId::parse(text).expect("an id")
}

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn checked(bytes: &[u8]) -> Result<(), String> {
    let reader = Cursor::new(bytes);
    check_package(reader, &id("contoso.LOG"), &version("1.2")).map_err(|fault| fault.to_string())
}

fn tail_checked(tail: &[u8], total: usize) -> Result<TailVerdict, String> {
    check_tail(tail, as_u64(total)).map_err(|fault| fault.to_string())
}

/// Both checks of the whole give the same.
#[track_caller]
fn check(bytes: &[u8], expected: Result<(), &str>) {
    assert_eq!(checked(bytes), expected.map_err(str::to_owned));
    let tail = tail_checked(bytes, bytes.len());
    assert_eq!(
        tail,
        expected.map(|()| TailVerdict::Good).map_err(str::to_owned)
    );
}

/// Only the check of the content sees it.
#[track_caller]
fn check_content(bytes: &[u8], expected: &str) {
    assert_eq!(checked(bytes), Err(expected.to_owned()));
    assert_eq!(tail_checked(bytes, bytes.len()), Ok(TailVerdict::Good));
}

/// Where `needle` first stands.
#[track_caller]
fn find(bytes: &[u8], needle: &[u8]) -> usize {
    memchr::memmem::find(bytes, needle).expect("it is there")
}

#[test]
fn takes_packages_however_they_are_packed() {
    check(&package(NUSPEC, deflated()), Ok(()));
    check(&package(NUSPEC, stored()), Ok(()));
    check(&package(NUSPEC, deflated().large_file(true)), Ok(()));
    let plain = Cursor::new(package(NUSPEC, deflated()));
    let mut writer = ZipWriter::new_append(plain).expect("an archive");
    writer.set_comment("PK\u{5}\u{6} is no end record");
    check(&writer.finish().expect("memory").into_inner(), Ok(()));
    let mut padded = package(NUSPEC, deflated());
    padded.extend_from_slice(b"\r\n");
    check(&padded, Ok(()));
}

#[test]
fn takes_entries_with_descriptors() {
    let mut writer = ZipWriter::new_stream(Vec::new());
    writer.start_file("a.nuspec", deflated()).expect("a name");
    writer.write_all(NUSPEC.as_bytes()).expect("memory");
    let bytes = writer
        .finish()
        .map(StreamWriter::into_inner)
        .expect("memory");
    assert!(memchr::memmem::find(&bytes, b"PK\x07\x08").is_some());
    check(&bytes, Ok(()));
}

/// A package whose zip64 end record tells of so many entries; it has 3.
fn zip64_package(entries: u64) -> Vec<u8> {
    let plain = package(NUSPEC, deflated());
    let end = plain.len() - layout::END_BYTES;
    let (mut bytes, end_record) = (plain[..end].to_vec(), &plain[end..]);
    let field = |at: usize| u32::from_le_bytes(end_record[at..at + 4].try_into().expect("4 bytes"));
    bytes.extend_from_slice(b"PK\x06\x06");
    bytes.extend_from_slice(&44_u64.to_le_bytes());
    bytes.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [entries, entries, field(12).into(), field(16).into()] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    bytes.extend_from_slice(&as_u64(end).to_le_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 0]);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&[0xff; 12]);
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

#[test]
fn reads_zip64_end_records() {
    let mut bytes = zip64_package(3);
    check(&bytes, Ok(()));
    let record = find(&bytes, b"PK\x06\x06");
    let tail = tail_checked(&bytes[record + 1..], bytes.len());
    assert_eq!(tail, Ok(TailVerdict::Unknown));
    bytes[record] = 0;
    check(
        &bytes,
        Err("broken zip directory: the zip64 end record is missing"),
    );
    check(
        &zip64_package(MAX_ENTRIES),
        Err("broken zip directory: it has fewer entries than it says"),
    );
    check(
        &zip64_package(MAX_ENTRIES + 1),
        Err("broken zip directory: it has too many entries"),
    );
}

#[test]
fn refuses_other_files_and_truncated_ones() {
    let not_a_zip = Err("no zip archive, or a truncated one");
    check(b"", not_a_zip);
    check(b"<html>gateway timeout</html>", not_a_zip);
    check(&[0; 200_000], not_a_zip);
    let whole = package(NUSPEC, deflated());
    for length in 0..whole.len() {
        assert!(checked(&whole[..length]).is_err(), "cut to {length}");
        assert!(
            tail_checked(&whole[..length], length).is_err(),
            "cut to {length}"
        );
    }
    for length in 1..whole.len() {
        assert!(
            checked(&whole[length..]).is_err(),
            "without the first {length}"
        );
    }
}

#[test]
fn refuses_damaged_directories() {
    let whole = package(NUSPEC, deflated());
    let (first, end) = (find(&whole, b"PK\x01\x02"), whole.len() - layout::END_BYTES);
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    for (at, bytes, expected) in [
        (first, &b"X"[..], "an entry has no signature"),
        (
            first + 28,
            &[0xff, 0xff],
            "it has fewer entries than it says",
        ),
        (
            first + 42,
            &[0xff, 0xff, 0, 0],
            "an entry does not lie before it",
        ),
        (first + 42, &[0xff; 4], "an entry lacks its zip64 field"),
        (end + 8, &[4, 0, 4, 0], "it has fewer entries than it says"),
        (end + 8, &[3, 0, 4, 0], "the archive is one part of several"),
        (end + 4, &[1, 0], "the archive is one part of several"),
        (
            end + 12,
            &[0xff, 0xff, 0xff, 0],
            "it does not lie before the end record",
        ),
    ] {
        check(
            &with(at, bytes),
            Err(&format!("broken zip directory: {expected}")),
        );
    }
}

#[test]
fn finds_the_root_nuspec_as_the_client_does() {
    let (id, nuspec) = ("other", NUSPEC.replace("Contoso.Log", "Other"));
    let files: [(&str, &[u8]); 5] = [
        ("content/a.nuspec", id.as_bytes()),
        ("content\\b.nuspec", id.as_bytes()),
        ("c.nuspec.bak", id.as_bytes()),
        ("X.NuSpec", NUSPEC.as_bytes()),
        ("y.nuspec", nuspec.as_bytes()),
    ];
    check(&archive(&files, deflated()), Ok(()));
    check(
        &archive(&files[..3], deflated()),
        Err("no .nuspec at the root of the package"),
    );
    check(
        &archive(&[], deflated()),
        Err("no .nuspec at the root of the package"),
    );
}

#[test]
fn refuses_another_package() {
    let package = |from: &str, to: &str| package(&NUSPEC.replace(from, to), stored());
    check_content(
        &package("Contoso.Log", "Contoso.Blog"),
        "expected the package \"contoso.log\", found \"Contoso.Blog\"",
    );
    check_content(
        &package("1.02.0", "1.2.1"),
        "expected version \"1.2.0\", found \"1.2.1\"",
    );
    check_content(
        &package("1.02.0", "1.2.0-a"),
        "expected version \"1.2.0\", found \"1.2.0-a\"",
    );
    check_content(
        &package("1.02.0", "latest"),
        "expected version \"1.2.0\", found \"latest\"",
    );
    check_content(
        &package("<version>1.02.0</version>", ""),
        "unreadable nuspec: expected an element metadata/version",
    );
    check(&package("1.02.0", "1.2.0.0+build"), Ok(()));
}

#[test]
fn refuses_a_nuspec_that_cannot_be_unpacked() {
    let damaged = |needle: &[u8], offset: usize, bytes: &[u8]| {
        let mut damaged = package(NUSPEC, stored());
        let at = find(&damaged, needle) + offset;
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    check_content(
        &damaged(b"1.02.0", 0, b"1.2.00"),
        "unreadable nuspec: its checksum does not match",
    );
    // The second local header: its name begins 30 bytes behind its signature.
    let local = damaged(b"Contoso.Log.nuspec", 0, b"");
    let at = find(&local, b"Contoso.Log.nuspec") - LOCAL_BYTES;
    let mut without = local.clone();
    without[at] = 0;
    check_content(&without, "unreadable nuspec: its local header is missing");
    let central = memchr::memmem::rfind(&local, b"Contoso.Log.nuspec").expect("there")
        - layout::CENTRAL_BYTES;
    for (offset, byte, expected) in [
        (8, 1, "it is encrypted"),
        (10, 9, "it is packed by method 9, not by 0 or 8"),
        (10, 8, "corrupt deflate stream"),
    ] {
        let mut odd = local.clone();
        odd[central + offset] = byte;
        check_content(&odd, &format!("unreadable nuspec: {expected}"));
    }
}

#[test]
fn unpacks_no_more_than_the_limit() {
    let limit = usize::try_from(MAX_NUSPEC_BYTES).expect("it fits");
    let padded = |length: usize| format!("{NUSPEC}{}", " ".repeat(length - NUSPEC.len()));
    check(&package(&padded(limit), deflated()), Ok(()));
    let expected = "unreadable nuspec: it is longer than 4194304 bytes";
    check_content(&package(&padded(limit + 1), deflated()), expected);
    check_content(&package(&padded(limit + 1), stored()), expected);
}

#[test]
fn tails_are_good_from_the_directory_on_and_unknown_when_shorter() {
    let whole = package(NUSPEC, deflated());
    let first = find(&whole, b"PK\x01\x02");
    for from in 0..whole.len() {
        let expected = if from <= first {
            TailVerdict::Good
        } else {
            TailVerdict::Unknown
        };
        assert_eq!(
            tail_checked(&whole[from..], whole.len()),
            Ok(expected),
            "from {from}"
        );
    }
    let zeros = vec![0; END_WINDOW_BYTES];
    assert!(tail_checked(&zeros, 1_000_000).is_err());
    assert_eq!(
        tail_checked(&zeros[1..], 1_000_000),
        Ok(TailVerdict::Unknown)
    );
}

#[test]
fn stored_nuspecs_are_checked_alike() {
    let check = |bytes: &[u8]| {
        check_nuspec(bytes, &id("contoso.log"), &version("1.2.0"))
            .map_err(|fault| fault.to_string())
    };
    assert_eq!(check(NUSPEC.as_bytes()), Ok(()));
    let html = check(b"<html><body>503</body></html>");
    assert_eq!(
        html,
        Err("unreadable nuspec: expected an element metadata/id".into())
    );
    let long = NUSPEC.replace("Contoso.Log", &"x".repeat(1000));
    let expected = format!(
        "expected the package \"contoso.log\", found {:?}",
        "x".repeat(128)
    );
    assert_eq!(check(long.as_bytes()), Err(expected));
}

#[test]
fn a_failing_reader_is_no_fault_of_the_package() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk"))
        }
    }
    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let reader = Failing(Cursor::new(package(NUSPEC, deflated())));
    let fault = check_package(reader, &id("contoso.log"), &version("1.2.0"));
    assert!(matches!(fault, Err(PackageFault::Io(_))));
}

proptest! {
    /// Whatever bytes change, the checks come to an end, and the check of the tail refuses nothing that the other takes.
    #[test]
    fn damage_is_found_or_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = zip64_package(3);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let (whole, tail) = (checked(&bytes), tail_checked(&bytes, bytes.len()));
        prop_assert!(whole.is_err() || tail == Ok(TailVerdict::Good), "{:?} but {:?}", whole, tail);
        let mut peek = crate::nuget::push::PushPeek::new(None);
        peek.feed(&bytes);
        let found = peek.identify();
        prop_assert!(found.is_none_or(|(id, _)| !id.as_str().is_empty()));
    }
}
