//! What the scripted upstream does with a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::origin::Seen;

/// A point where the upstream waits until the test lets it go on.
#[derive(Clone)]
pub(crate) struct Gate {
    state: Arc<watch::Sender<(bool, usize)>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(watch::Sender::new((false, 0))),
        }
    }

    /// Lets everybody pass, now and later.
    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.0 = true);
    }

    /// Waits until somebody has come to the gate.
    pub(crate) async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until so many have come to the gate, all in all.
    pub(crate) async fn reached_by(&self, count: usize) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.1 >= count).await;
    }

    /// Waits for the gate to be opened.
    pub(crate) async fn pass(&self) {
        self.state.send_modify(|state| state.1 += 1);
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.0).await;
    }
}

/// How a body's length is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Chunked,
    /// The end of the connection is the end of the body.
    Close,
    Length,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// After so many bytes comes the size of a chunk that is none.
    BadChunk(usize),
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// The connection is reset after so many bytes.
    Reset(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// After the whole body come so many bytes more.
    Surplus(usize),
    Whole,
}

/// What is done with a request.
#[derive(Clone)]
pub(crate) enum Act {
    Answer(Reply),
    /// The connection is closed without a byte.
    Close,
    /// Nothing ever comes.
    Hang,
    /// Made for each request.
    Make(Arc<dyn Fn(&Seen) -> Self + Send + Sync>),
    /// The connection is reset without a byte.
    Reset,
}

impl Act {
    pub(crate) fn make(make: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::Make(Arc::new(move |seen| Self::Answer(make(seen))))
    }
}

impl From<Reply> for Act {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply)
    }
}

/// An answer. A request whose `If-None-Match` or `If-Modified-Since` repeats the answer's own validator byte for byte
/// gets a 304; with [`Reply::ranges`], a `Range` gets its part.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(super) status: u16,
    pub(super) phrase: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) framing: Framing,
    /// The `Content-Length`, if it is not the body's.
    pub(super) told_length: Option<usize>,
    pub(super) ending: Ending,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
    /// Where within the body a gate stands.
    pub(super) body_gate: Option<(usize, Gate)>,
    /// The body comes in pieces of so many bytes, with a pause before each.
    pub(super) pace: Option<(usize, Duration)>,
    pub(super) ranges: bool,
    /// Whether the answer comes before the request's body was read, and the connection ends with it.
    pub(super) early: bool,
}

impl Reply {
    /// An answer with this status and body.
    pub(crate) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let phrase = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Odd");
        Self {
            status,
            phrase: phrase.into(),
            headers: Vec::new(),
            body: body.into(),
            framing: Framing::Length,
            told_length: None,
            ending: Ending::Whole,
            delay: Duration::ZERO,
            gate: None,
            body_gate: None,
            pace: None,
            ranges: false,
            early: false,
        }
    }

    /// A JSON document.
    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, body).header("Content-Type", "application/json")
    }

    /// A file.
    pub(crate) fn file(body: impl Into<Bytes>) -> Self {
        Self::new(200, body).header("Content-Type", "application/octet-stream")
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, "").header("Location", location)
    }

    pub(crate) fn phrase(mut self, phrase: &str) -> Self {
        self.phrase = phrase.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With the digest of its body, as nuget.org sends it.
    pub(crate) fn md5(self) -> Self {
        use base64::Engine as _;
        use md5::Digest as _;
        let digest = md5::Md5::digest(&self.body);
        let value = base64::engine::general_purpose::STANDARD.encode(digest);
        self.header("Content-MD5", &value)
    }

    /// The same, its body gzip-coded.
    pub(crate) fn gzip(mut self) -> Self {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&self.body).expect("memory");
        self.body = encoder.finish().expect("memory").into();
        self.header("Content-Encoding", "gzip")
    }

    pub(crate) fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// With this `Content-Length`, whatever its body has.
    pub(crate) fn told_length(mut self, bytes: usize) -> Self {
        self.told_length = Some(bytes);
        self
    }

    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// The head comes this late.
    pub(crate) fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The head comes when the gate is opened.
    pub(crate) fn gate(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// After so many bytes of the body the gate must be opened.
    pub(crate) fn body_gate(mut self, at: usize, gate: &Gate) -> Self {
        self.body_gate = Some((at, gate.clone()));
        self
    }

    pub(crate) fn pace(mut self, bytes: usize, pause: Duration) -> Self {
        self.pace = Some((bytes, pause));
        self
    }

    /// Answers ranges with parts.
    pub(crate) fn ranges(mut self) -> Self {
        self.ranges = true;
        self
    }

    /// Comes before the request's body was read; the connection ends with it.
    pub(crate) fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// Its body.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The value of a header of it.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// What this answer becomes for a request with conditions or a range.
    pub(super) fn to(mut self, seen: &Seen) -> Self {
        if self.status != 200 {
            return self;
        }
        let same = |condition: &str, own: &str| {
            let wanted = seen.header(condition);
            wanted.is_some() && wanted == self.value(own)
        };
        let not_modified = match seen.header("if-none-match") {
            Some(_) => same("if-none-match", "etag"),
            None => same("if-modified-since", "last-modified"),
        };
        if not_modified {
            self.status = 304;
            self.phrase = "Not Modified".into();
            self.body = Bytes::new();
            self.headers
                .retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
            return self;
        }
        let applies = seen.header("if-range").is_none()
            || same("if-range", "etag")
            || same("if-range", "last-modified");
        let range = seen.header("range").filter(|_| self.ranges && applies);
        let Some((first, last)) = range
            .and_then(|range| range.strip_prefix("bytes="))
            .and_then(|range| range.split_once('-'))
        else {
            return self;
        };
        let total = self.body.len();
        let first: usize = first.parse().expect("a first byte");
        let last = last.parse().unwrap_or(total - 1).min(total - 1);
        self.body = self.body.slice(first..=last);
        self.status = 206;
        self.phrase = "Partial Content".into();
        self.header("Content-Range", &format!("bytes {first}-{last}/{total}"))
    }
}
