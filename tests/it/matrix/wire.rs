//! An answer as a client hears it on its connection: every byte of it, and what becomes of the connection.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::harness::Wire;
use crate::harness::client::HOST;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    /// It ends in the middle of the answer.
    Broken,
    /// It ends with the answer.
    Closed,
    /// It takes the next request.
    Kept,
}

impl After {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Closed => "closed",
            Self::Kept => "kept",
        }
    }
}

/// An answer.
pub(super) struct Heard {
    pub(super) status: u16,
    pub(super) phrase: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(super) is_whole: bool,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Outcome and reason, as `Cache-Status` has them.
    pub(super) fn detail(&self) -> &str {
        let note = self.header("cache-status").unwrap_or_default();
        let detail = note
            .split("; ")
            .find_map(|part| part.strip_prefix("detail="));
        detail.unwrap_or("none")
    }
}

/// Sends a GET and hears the answer to the end of its body.
pub(super) async fn hear(wire: &mut Wire, path: &str, headers: &str) -> Heard {
    wire.send(&format!(
        "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n"
    ))
    .await;
    let head = wire.head().await;
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
    let status = first.nth(1).and_then(|text| text.parse().ok());
    let mut heard = Heard {
        status: status.expect("a status"),
        phrase: first.next().unwrap_or_default().to_owned(),
        headers: lines.map(header).collect(),
        body: Vec::new(),
        is_whole: false,
    };
    let length = heard.header("content-length").map(str::parse::<u64>);
    if let Some(length) = length {
        let length = length.expect("a length");
        heard.body = wire.take(length).await;
        heard.is_whole = heard.body.len() as u64 == length;
    } else if heard.header("transfer-encoding") == Some("chunked") {
        heard.is_whole = chunks(wire, &mut heard.body).await.is_some();
    } else {
        heard.is_whole = true;
    }
    heard
}

/// What became of the connection after an answer.
pub(super) async fn after(wire: &mut Wire, heard: &Heard) -> After {
    if !heard.is_whole {
        return After::Broken;
    }
    wire.send(&format!("GET /-/healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    let next = wire.take(12).await;
    if next == b"HTTP/1.1 200" {
        After::Kept
    } else {
        assert_eq!(next, b"", "an answer to nothing");
        After::Closed
    }
}

fn header(line: &str) -> (HeaderName, HeaderValue) {
    let (name, value) = line.split_once(": ").expect("a header");
    (
        name.parse().expect("a name"),
        value.parse().expect("a value"),
    )
}

/// Takes chunks up to the last; `None` if the connection ends before.
async fn chunks(wire: &mut Wire, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(*wire.take(1).await.first()?);
        }
        let size = std::str::from_utf8(&line).expect("a size").trim();
        let size = u64::from_str_radix(size, 16).expect("a size");
        let bytes = wire.take(size).await;
        body.extend_from_slice(&bytes);
        let end = wire.take(2).await;
        if bytes.len() as u64 != size || end.len() != 2 {
            return None;
        }
        if size == 0 {
            return Some(());
        }
    }
}
