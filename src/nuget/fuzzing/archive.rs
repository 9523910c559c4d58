//! Packages, whole and as they are pushed, and the nuspecs in them.

use std::collections::BTreeSet;
use std::io::Cursor;

use flate2::Crc;

use crate::nuget::id::PackageId;
use crate::nuget::nupkg::nuspec::read;
use crate::nuget::nupkg::{
    MAX_NUSPEC_BYTES, PackageFault, TailVerdict, check_entries, check_nuspec, check_package,
    check_tail, nuspec_of, signed,
};
use crate::nuget::package_signature::{check, read_alone};
use crate::nuget::push::PushPeek;
use crate::nuget::version::Version;

/// A nuspec: it reads the same in each of its encodings; what it names passes the check, anything else does not; and an
/// id and version are read back from the nuspec that is written with them.
pub(crate) fn nuspec(data: &[u8]) {
    let read_as = read(data);
    if let Ok(text) = std::str::from_utf8(data)
        && !text.starts_with('\u{feff}')
    {
        let marked = format!("\u{feff}{text}");
        let units = || marked.encode_utf16();
        assert_eq!(read(marked.as_bytes()), read_as);
        let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(&little), read_as);
        let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
        assert_eq!(read(&big), read_as);
    }
    let Some((id, version)) = read_as.ok().and_then(|nuspec| nuspec.identity()) else {
        return;
    };
    assert!(check_nuspec(data, &id, &version).is_ok());
    if let Ok(other) = Version::parse("0.0.0-other.9")
        && other != version
    {
        let fault = check_nuspec(data, &id, &other);
        assert!(matches!(fault, Err(PackageFault::WrongVersion { .. })));
    }
    if let Ok(other) = PackageId::parse("an.other.id")
        && other != id
    {
        let fault = check_nuspec(data, &other, &version);
        assert!(matches!(fault, Err(PackageFault::WrongId { .. })));
    }
    let written = write_nuspec(&id, &version);
    let again = read(&written).ok().and_then(|nuspec| nuspec.identity());
    assert_eq!(again, Some((id, version)));
}

fn write_nuspec(id: &PackageId, version: &Version) -> Vec<u8> {
    let id = quick_xml::escape::escape(id.as_str());
    let text = format!(
        "<package><metadata><id>{id}</id><version>{version}</version></metadata></package>"
    );
    text.into_bytes()
}

/// A signature, and a package that may hold one: without a list of certificates nothing is signed; whatever holds a
/// signature can be hashed without it; and what was put into DER stays as it is.
pub(crate) fn package_signature(data: &[u8]) {
    let _ = read_alone(data);
    assert!(check(Cursor::new(data), &BTreeSet::new()).is_err());
    if let Ok(Some(package)) = signed(Cursor::new(data)) {
        let hash = package.hash(Cursor::new(data), &ring::digest::SHA256);
        assert!(hash.is_ok(), "{hash:?}");
    }
}

/// Packages with something in a signature's place.
pub(crate) fn signed_packages() -> Vec<Vec<u8>> {
    let nuspec = b"<package/>";
    // A sequence and a string in pieces, of lengths that are not told.
    let pieces = b"0\x80\x24\x80\x04\x01a\x04\x01b\0\0\0\0";
    let last = write_package(&[("a.nuspec", nuspec), (".signature.p7s", pieces)]);
    let first = write_package(&[(".signature.p7s", pieces), ("a.nuspec", nuspec)]);
    vec![last, first, pieces.to_vec()]
}

/// A package: whatever it is, the verdict is about it and not about reading; a good one passes as what its nuspec names
/// and as nothing else, and no tail of it is called damaged. One that is written with the same id passes, and is
/// recognised when it is pushed.
pub(crate) fn package(data: &[u8]) {
    let total = u64::try_from(data.len()).unwrap_or(u64::MAX);
    let entries = check_entries(Cursor::new(data));
    assert!(!matches!(entries, Err(PackageFault::Io(_))));
    let nuspec = match nuspec_of(Cursor::new(data)) {
        Ok(nuspec) => nuspec,
        Err(fault) => {
            assert!(!matches!(fault, PackageFault::Io(_)), "{fault}");
            return;
        }
    };
    assert!(u64::try_from(nuspec.len()).is_ok_and(|length| length <= MAX_NUSPEC_BYTES));
    for tenth in 0..10 {
        let tail = data.get(data.len() * tenth / 10..).unwrap_or_default();
        let verdict = check_tail(tail, total);
        assert!(
            verdict.is_ok(),
            "a tail of {} of {total} bytes: {verdict:?}",
            tail.len()
        );
        assert!(tenth > 0 || matches!(verdict, Ok(TailVerdict::Good)));
    }
    let identity = read(&nuspec).ok().and_then(|nuspec| nuspec.identity());
    let Some((id, version)) = identity else {
        return;
    };
    assert!(check_package(Cursor::new(data), &id, &version).is_ok());
    if let Ok(other) = Version::parse("0.0.0-other.9")
        && other != version
    {
        assert!(check_package(Cursor::new(data), &id, &other).is_err());
    }
    let written = write_package(&[
        ("_rels/.rels", b"<Relationships/>"),
        ("a.nuspec", &write_nuspec(&id, &version)),
        ("lib/net8.0/_._", data),
    ]);
    assert!(check_package(Cursor::new(&written), &id, &version).is_ok());
    for chunk_bytes in [1 << 20, 61] {
        let mut peek = PushPeek::new(Some("multipart/form-data; boundary=\"7f-e\""));
        peek.feed(b"--7f-e\r\nContent-Type: application/octet-stream\r\n\r\n");
        written
            .chunks(chunk_bytes)
            .for_each(|chunk| peek.feed(chunk));
        peek.feed(b"\r\n--7f-e--\r\n");
        assert_eq!(peek.identify(), Some((id.clone(), version.clone())));
    }
}

/// A push: the content type on the first line, the body behind it. Into which pieces the body is cut makes no difference,
/// and what is found is a valid id and version.
pub(crate) fn push(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let content_type = std::str::from_utf8(parts.next().unwrap_or_default()).ok();
    let content_type = content_type.filter(|text| !text.is_empty());
    let body = parts.next().unwrap_or_default();
    let found = |chunk_bytes: usize| {
        let mut peek = PushPeek::new(content_type);
        body.chunks(chunk_bytes).for_each(|chunk| peek.feed(chunk));
        peek.identify()
    };
    let whole = found(body.len().max(1));
    assert_eq!(whole, found(7));
    if let Some((id, version)) = whole {
        assert_eq!(PackageId::parse(id.as_str()), Ok(id));
        assert_eq!(Version::parse(version.as_str()), Ok(version));
    }
}

/// Some nuspecs.
#[must_use]
pub(crate) fn nuspecs() -> Vec<Vec<u8>> {
    let full = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<!-- written by nobody -->\n<package \
        xmlns=\"http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd\"><metadata minClientVersion=\"2.12\">\n  \
        <id>Contoso.Log</id>\n <version>1.2.0-beta.1+sha.7</version><authors>J&amp;K</authors><description>\
        <![CDATA[a <b> c]]></description><dependencies><group targetFramework=\"net8.0\"><dependency id=\"x\" \
        version=\"[1.0,2.0)\" /></group></dependencies></metadata><files/></package>\n";
    let mut seeds: Vec<Vec<u8>> = vec![
        full.into(),
        "<p:package xmlns:p='u'><p:metadata><p:id> \u{e9}&#x41;&lt;</p:id><p:version>1</p:version></p:metadata></p:package>"
            .into(),
    ];
    seeds.push(
        format!("\u{feff}{full}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect(),
    );
    seeds
}

/// Some packages.
#[must_use]
pub(crate) fn packages() -> Vec<Vec<u8>> {
    let nuspec = nuspecs().swap_remove(0);
    vec![
        write_package(&[("Contoso.Log.nuspec", &nuspec)]),
        write_package(&[
            ("_rels/.rels", b"<Relationships/>"),
            ("Contoso.Log.nuspec", &nuspec),
            (
                "lib/netstandard2.0/Contoso.Log.dll",
                b"MZ\x90\x00PK\x03\x04",
            ),
            ("[Content_Types].xml", b"<Types/>"),
        ]),
        deflated(&nuspec),
    ]
}

/// Some pushes.
#[must_use]
pub(crate) fn pushes() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for package in packages() {
        seeds.push([b"\n", package.as_slice()].concat());
        let head = "multipart/form-data; boundary=\"d0-1a\"\n--d0-1a\r\nContent-Disposition: form-data; name=package; \
            filename=package.nupkg\r\n\r\n";
        seeds.push([head.as_bytes(), &package, b"\r\n--d0-1a--\r\n"].concat());
    }
    seeds
}

/// What a zip says of one entry, as local header and central directory have it.
struct Written<'a> {
    name: &'a str,
    method: u16,
    crc: u32,
    packed: &'a [u8],
    unpacked_bytes: usize,
}

impl Written<'_> {
    fn fields(&self) -> Vec<u8> {
        let mut fields = vec![20, 0, 0, 0];
        fields.extend(self.method.to_le_bytes());
        fields.extend([0; 4]);
        fields.extend(self.crc.to_le_bytes());
        fields.extend(narrow(self.packed.len()).to_le_bytes());
        fields.extend(narrow(self.unpacked_bytes).to_le_bytes());
        fields.extend(
            narrow(self.name.len())
                .to_le_bytes()
                .get(..2)
                .unwrap_or_default(),
        );
        fields.extend([0; 2]);
        fields
    }
}

fn write_package(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<Written<'_>> = files
        .iter()
        .map(|(name, content)| Written {
            name,
            method: 0,
            crc: crc_of(content),
            packed: content,
            unpacked_bytes: content.len(),
        })
        .collect();
    write_zip(&entries)
}

/// A package whose nuspec is packed as deflate has it: in one block of literals.
fn deflated(nuspec: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let packed = encoder.write_all(nuspec).and_then(|()| encoder.finish());
    write_zip(&[Written {
        name: "a.nuspec",
        method: 8,
        crc: crc_of(nuspec),
        packed: &packed.unwrap_or_default(),
        unpacked_bytes: nuspec.len(),
    }])
}

fn write_zip(entries: &[Written<'_>]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(entry.fields());
        directory.extend([0; 10]);
        directory.extend(narrow(zip.len()).to_le_bytes());
        directory.extend(entry.name.as_bytes());
        zip.extend(b"PK\x03\x04");
        zip.extend(entry.fields());
        zip.extend(entry.name.as_bytes());
        zip.extend(entry.packed);
    }
    let (start, bytes, count) = (
        narrow(zip.len()),
        narrow(directory.len()),
        narrow(entries.len()).to_le_bytes(),
    );
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\x00\x00\x00\x00");
    zip.extend(count.get(..2).into_iter().chain(count.get(..2)).flatten());
    zip.extend(bytes.to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0; 2]);
    zip
}

fn crc_of(content: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(content);
    crc.sum()
}

/// Archives of fuzzing are small.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
