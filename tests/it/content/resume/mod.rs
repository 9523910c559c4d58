//! Bodies that break off and go on: within one fetch, and with the next.

mod mended;
mod partials;
mod refused;

use std::io::{Cursor, Write as _};

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{HOLD_BACK, ID, NAME, PATH, big, file, origin, place, proxy};
use crate::harness::fixture::manifest;
use crate::harness::{Reply, Seen, TestProxy};

/// Ranges that the upstream was asked for, in order; empty where it was asked for the whole.
pub(super) fn ranges(proxy: &TestProxy) -> Vec<String> {
    let range = |seen: &Seen| seen.header("range").unwrap_or_default().to_owned();
    proxy.origin.seen(NAME).iter().map(range).collect()
}

/// The range from `at` to the end of `whole`.
fn from(at: usize, whole: &[u8]) -> String {
    format!("bytes={at}-{}", whole.len() - 1)
}

/// How often asking for the rest of a body ended so.
fn resumes(proxy: &TestProxy, outcome: &str) -> u64 {
    let line = format!("sluice_resumes_total{{feed=\"nuget\",outcome=\"{outcome}\"}} ");
    let text = proxy.telemetry.render();
    let found = text.lines().find_map(|found| found.strip_prefix(&line));
    found.map_or(0, |count| count.parse().expect("a count"))
}

/// The rest of `whole` from `at` on, as a 206 with these validators.
fn rest(whole: &[u8], at: usize) -> Reply {
    let etag = file(whole).value("etag").expect("a tag").to_owned();
    let range = format!("bytes {at}-{}/{}", whole.len() - 1, whole.len());
    Reply::new(206, whole[at..].to_vec())
        .header("Content-Range", &range)
        .header("ETag", &etag)
}

/// A package of `mib` MiB that takes little time to make.
fn heavy(mib: usize) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let block = big(1 << 20);
    writer
        .start_file(format!("{ID}.nuspec"), stored)
        .expect("a name");
    writer
        .write_all(manifest(ID, "1.0.0").as_bytes())
        .expect("memory");
    writer.start_file("lib/a.dll", stored).expect("a name");
    for number in 0..mib {
        writer.write_all(&number.to_le_bytes()).expect("memory");
        writer.write_all(&block[..(1 << 20) - 8]).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}
