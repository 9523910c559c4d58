//! Which package a push carries, seen while its body passes by.
//!
//! After a push that package's documents must be asked again, so its id is looked for in the first bytes of the upload:
//! the root `.nuspec`, which packages hold at their front. Best effort and never an error: who finds nothing takes the
//! whole feed for changed. The body is neither checked nor changed.

use memchr::memmem;

use super::id::PackageId;
use super::nupkg::layout::Method;
use super::nupkg::layout::{Local, find_local, length_by_descriptor};
use super::nupkg::{is_root_nuspec, nuspec, unpack};
use super::version::Version;

/// How much of a push is looked at, in bytes. Writers put the nuspec first or second.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// The beginning of a push.
#[derive(Clone, Debug)]
pub struct PushPeek {
    /// What separates the parts of a multipart body, with its two dashes; `None` for another kind of body.
    delimiter: Option<Vec<u8>>,
    /// The first bytes, at most [`WINDOW_BYTES`].
    window: Vec<u8>,
}

impl PushPeek {
    /// A peek at a body of this `Content-Type`, if it has one.
    #[must_use]
    pub fn new(content_type: Option<&str>) -> Self {
        let boundary = content_type.and_then(boundary);
        Self {
            delimiter: boundary.map(|boundary| format!("--{boundary}").into_bytes()),
            window: Vec::new(),
        }
    }

    /// Takes the next bytes of the body; what lies behind the window is ignored.
    pub fn feed(&mut self, chunk: &[u8]) {
        let room = WINDOW_BYTES - self.window.len();
        self.window
            .extend_from_slice(chunk.get(..room).unwrap_or(chunk));
    }

    /// Whether further bytes are of no use.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.window.len() == WINDOW_BYTES
    }

    /// The package, if its nuspec lies in what was fed and names one. To be asked once, when the window is full or the
    /// body at its end: it reads the window from the start.
    #[must_use]
    pub fn identify(&self) -> Option<(PackageId, Version)> {
        let mut rest = self.payload()?;
        loop {
            let local = Local::read(rest)?;
            let name = local.name(rest)?;
            let data = rest.get(local.data_offset()..)?;
            if is_root_nuspec(name) {
                return read_nuspec(&local, rest, data);
            }
            rest = data.get(packed_length(&local, rest, data)?..)?;
            if local.packing.has_descriptor() {
                rest = rest.get(find_local(rest)?..)?;
            }
        }
    }

    /// The first part's content, or the whole of a body without parts.
    fn payload(&self) -> Option<&[u8]> {
        const BLANK_LINE: &[u8] = b"\r\n\r\n";
        let Some(delimiter) = &self.delimiter else {
            return Some(&self.window);
        };
        let part = memmem::find(&self.window, delimiter)? + delimiter.len();
        let part = self.window.get(part..)?;
        part.get(memmem::find(part, BLANK_LINE)? + BLANK_LINE.len()..)
    }
}

/// The length of an entry's packed data.
fn packed_length(local: &Local, header: &[u8], data: &[u8]) -> Option<usize> {
    match local.packed_bytes(header)? {
        0 if local.packing.has_descriptor() => length_by_descriptor(data),
        length => usize::try_from(length).ok(),
    }
}

fn read_nuspec(local: &Local, header: &[u8], data: &[u8]) -> Option<(PackageId, Version)> {
    let packed = match local.packing.method {
        // It says itself where it ends.
        Method::Deflated => data,
        Method::Other(_) | Method::Stored => data.get(..packed_length(local, header, data)?)?,
    };
    let bytes = unpack(packed, local.packing.method).ok()?;
    nuspec::read(&bytes).ok()?.identity()
}

/// The boundary of a multipart content type, quoted or not (RFC 2046 section 5.1.1).
fn boundary(content_type: &str) -> Option<&str> {
    const KIND: &str = "multipart/";
    let (kind, mut parameters) = content_type.split_once(';')?;
    let kind = kind.trim_start().get(..KIND.len())?;
    if !kind.eq_ignore_ascii_case(KIND) {
        return None;
    }
    loop {
        let (name, rest) = parameters.split_once('=')?;
        let (value, after) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(';').unwrap_or((rest, "")),
        };
        let name = name.trim_matches(|c: char| c == ';' || c.is_whitespace());
        if name.eq_ignore_ascii_case("boundary") {
            return Some(value.trim()).filter(|value| !value.is_empty());
        }
        parameters = after;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::CompressionMethod;
    use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

    use super::*;

    const NUSPEC: &[u8] =
        b"<package><metadata><id>Contoso.Log</id><version>1.02.0+a</version></metadata></package>";
    const DLL: &[u8] =
        b"PK\x03\x04 is no header here, and PK\x07\x08 no descriptor of any such data";
    const FILES: [(&str, &[u8]); 4] = [
        ("_rels/.rels", b"<Relationships/>"),
        ("lib/empty", b""),
        ("lib/a.dll", DLL),
        ("Contoso.Log.nuspec", NUSPEC),
    ];
    /// As the official client writes it (protocol fact 4.1.3).
    const CONTENT_TYPE: &str = "multipart/form-data; boundary=\"d0-1a\"";

    fn options(method: CompressionMethod) -> SimpleFileOptions {
        SimpleFileOptions::default().compression_method(method)
    }

    fn package(files: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, options).expect("a name");
            writer.write_all(content).expect("memory");
        }
        writer.finish().expect("memory").into_inner()
    }

    /// A package written without seeking: sizes stand behind the data.
    fn streamed(method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new_stream(Vec::new());
        for (name, content) in FILES {
            writer.start_file(name, options(method)).expect("a name");
            writer.write_all(content).expect("memory");
        }
        writer
            .finish()
            .map(StreamWriter::into_inner)
            .expect("memory")
    }

    fn multipart(package: &[u8]) -> Vec<u8> {
        let head = "--d0-1a\r\nContent-Type: application/octet-stream\r\nContent-Disposition: form-data; \
                    name=package; filename=package.nupkg\r\n\r\n";
        [head.as_bytes(), package, b"\r\n--d0-1a--\r\n"].concat()
    }

    /// What is found, the body coming in pieces of 7 bytes or as a whole.
    fn peek(content_type: Option<&str>, body: &[u8]) -> Option<(String, String)> {
        let mut whole = PushPeek::new(content_type);
        whole.feed(body);
        let mut pieces = PushPeek::new(content_type);
        body.chunks(7).for_each(|piece| pieces.feed(piece));
        let found = whole.identify();
        assert_eq!(found, pieces.identify());
        found.map(|(id, version)| (id.as_str().to_owned(), version.as_str().to_owned()))
    }

    #[track_caller]
    fn check_found(content_type: Option<&str>, body: &[u8]) {
        let expected = Some(("contoso.log".into(), "1.2.0".into()));
        assert_eq!(peek(content_type, body), expected);
    }

    #[test]
    fn finds_the_nuspec_however_the_package_is_written() {
        for method in [CompressionMethod::Deflated, CompressionMethod::Stored] {
            let seekable = package(&FILES, options(method));
            check_found(Some(CONTENT_TYPE), &multipart(&seekable));
            let zip64 = package(&FILES, options(method).large_file(true));
            check_found(Some(CONTENT_TYPE), &multipart(&zip64));
            let streamed = streamed(method);
            assert!(Local::read(&streamed).is_some_and(|local| local.packing.has_descriptor()));
            check_found(Some(CONTENT_TYPE), &multipart(&streamed));
        }
    }

    #[test]
    fn takes_a_body_without_parts() {
        let package = package(&FILES, options(CompressionMethod::Deflated));
        check_found(None, &package);
        check_found(Some("application/octet-stream"), &package);
    }

    #[test]
    fn the_end_of_the_package_is_not_needed() {
        let package = package(&FILES, options(CompressionMethod::Deflated));
        let directory = memmem::find(&package, b"PK\x01\x02").expect("it is there");
        check_found(None, &package[..directory]);
        assert_eq!(peek(None, &package[..directory - 20]), None);
    }

    #[test]
    fn finds_nothing_rather_than_something_wrong() {
        let body = multipart(&package(&FILES, options(CompressionMethod::Stored)));
        assert_eq!(
            peek(Some("multipart/form-data; boundary=other"), &body),
            None
        );
        assert_eq!(peek(None, &body), None);
        assert_eq!(peek(Some(CONTENT_TYPE), b""), None);
        assert_eq!(peek(Some(CONTENT_TYPE), b"--d0-1a\r\n\r\n"), None);
        let bad = [(
            "a.nuspec",
            &b"<package><metadata><id>a/b</id><version>1</version></metadata></package>"[..],
        )];
        assert_eq!(
            peek(None, &package(&bad, options(CompressionMethod::Stored))),
            None
        );
        let nested = [("lib/a.nuspec", NUSPEC), ("lib/b.nuspec", NUSPEC)];
        assert_eq!(
            peek(None, &package(&nested, options(CompressionMethod::Stored))),
            None
        );
    }

    #[test]
    fn keeps_no_more_than_the_window() {
        let mut peek = PushPeek::new(None);
        peek.feed(&package(&FILES, options(CompressionMethod::Stored)));
        assert!(!peek.is_full());
        for _ in 0..3 {
            peek.feed(&vec![0; WINDOW_BYTES / 2]);
        }
        assert!(peek.is_full());
        assert_eq!(peek.window.len(), WINDOW_BYTES);
        assert!(peek.identify().is_some());
        let large = vec![0; WINDOW_BYTES];
        let late = [("lib/large", &large[..]), ("a.nuspec", NUSPEC)];
        let mut peek = PushPeek::new(None);
        peek.feed(&package(&late, options(CompressionMethod::Stored)));
        assert_eq!(peek.identify(), None);
    }

    #[test]
    fn reads_boundaries() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=a-b", Some("a-b")),
            (
                "Multipart/Mixed;charset=x; BOUNDARY=\"a; b=c\"; d=e",
                Some("a; b=c"),
            ),
            (
                "multipart/form-data;x=\"y;boundary=no\";boundary= a ",
                Some("a"),
            ),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"a", None),
            ("multipart/form-data", None),
            ("text/plain; boundary=a", None),
            ("é; boundary=a", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }
}
