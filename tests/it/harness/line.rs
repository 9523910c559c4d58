//! A line to an upstream that breaks, and counts what came over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::MODIFIED;
use super::reply::{Act, Ending, Reply};

/// A line that breaks after so many bytes of each body. Clones share it.
#[derive(Clone)]
pub(crate) struct BreakingLine {
    every: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl BreakingLine {
    pub(crate) fn new(every: usize) -> Self {
        Self {
            every: Arc::new(AtomicUsize::new(every)),
            sent: Arc::default(),
        }
    }

    /// From now on it breaks after so many bytes.
    pub(crate) fn set(&self, every: usize) {
        self.every.store(every, Ordering::Relaxed);
    }

    /// From now on it does not break.
    pub(crate) fn mend(&self) {
        self.set(usize::MAX);
    }

    /// Bytes of bodies that were sent over it.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// A file at its other end. A part of it has no digest, as blob storage sends it.
    pub(crate) fn act(&self, file: Reply) -> Act {
        let line = self.clone();
        Act::make(move |seen| {
            let mut reply = file.clone().to(seen);
            if reply.status == 206 {
                let is_digest = |name: &str| name.eq_ignore_ascii_case("content-md5");
                reply.headers.retain(|(name, _)| !is_digest(name));
            }
            let every = line.every.load(Ordering::Relaxed);
            let sent = reply.body.len().min(every);
            line.sent.fetch_add(sent, Ordering::Relaxed);
            if sent < reply.body.len() {
                reply.ending(Ending::Cut(every))
            } else {
                reply
            }
        })
    }
}

/// A package with the headers that nuget.org sends (protocol facts 2.8.1 to 2.8.3): an entity tag without quotes.
pub(crate) fn as_nuget_org(bytes: &[u8]) -> Reply {
    let etag = format!("0x8D{:08X}", crc32c::crc32c(bytes));
    Reply::file(bytes.to_vec())
        .header("Cache-Control", "max-age=120")
        .header("ETag", &etag)
        .header("Last-Modified", MODIFIED)
        .header("Accept-Ranges", "bytes")
        .header("x-ms-version", "2009-09-19")
        .header("x-ms-blob-type", "BlockBlob")
        .md5()
        .ranges()
}
