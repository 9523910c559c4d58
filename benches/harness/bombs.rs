//! What an upstream sends to whoever unpacks without a limit, and packages of any id.

use super::random::Random;
use super::scripted::Beside;
use super::stock::package;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::borrow::Cow;
use std::io::{Cursor, Write};
use std::sync::LazyLock;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// What each bomb unpacks to: more than any document may have.
const UNPACKED: usize = 256 << 20;
/// A body that is long enough to be left in its middle.
const LARGE: usize = 512 << 10;

static GZIP: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    unpacked(&mut encoder);
    encoder.finish().expect("memory")
});
static DEEP: LazyLock<Vec<u8>> = LazyLock::new(|| vec![b'['; 8 << 20]);
static ZIP: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    writer.start_file("bomb.nuspec", options).expect("a name");
    unpacked(&mut writer);
    writer.finish().expect("memory").into_inner()
});
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| Random::new(0).bytes(LARGE));

/// What stands at a path: `bomb.gzip…`, `bomb.deep…`, `bomb.zip…` and `large.…` are ids below the flat container.
pub(crate) fn at(path: &str) -> Option<Beside> {
    let id = path.strip_prefix("/flat/")?.split('/').next()?;
    let document: &[(&str, &str)] = &[("Content-Type", "application/json")];
    let coded: &[(&str, &str)] = &[
        ("Content-Type", "application/json"),
        ("Content-Encoding", "gzip"),
    ];
    let (headers, body) = if id.starts_with("bomb.gzip") {
        (coded, Cow::Borrowed(&**GZIP))
    } else if id.starts_with("bomb.deep") {
        (document, Cow::Borrowed(&**DEEP))
    } else if id.starts_with("bomb.zip") {
        (&[][..], Cow::Borrowed(&**ZIP))
    } else if id.starts_with("large.") {
        (&[][..], Cow::Owned(package(id, "1.0.0", &NOISE)))
    } else {
        return None;
    };
    Some(Beside { headers, body })
}

fn unpacked(into: &mut impl Write) {
    let piece = vec![b' '; 1 << 20];
    for _ in 0..UNPACKED >> 20 {
        into.write_all(&piece).expect("memory");
    }
}
