//! `sluice purge`, `sluice trim` and `sluice verify` at a running process: an order to its admin listener.
//!
//! One HTTP/1.0 request over TCP, so that the answer's lines come bare, read as they come. It refuses https: the admin
//! listener has none.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::healthcheck::{HealthError, address_of, authorization};

/// Longest wait for a connection: it is this machine's, or near.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for a line: progress is told each second.
const LINE_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read: a finding takes some hundred.
const MAX_ANSWER: u64 = 1 << 30;
/// Header lines of an answer: ours has a handful.
const MAX_HEADERS: usize = 64;

/// What became of an order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ordered {
    /// It was not: another is being carried out, in words.
    Busy(String),
    /// It was carried out, and every line was told.
    Done,
    /// It was not: why.
    Refused(String),
}

/// Has the process whose admin listener is at `url` carry out an order, a JSON text, and tells each line that comes of it;
/// brings `token` if there is one.
///
/// # Errors
/// Why nothing is known of that.
pub async fn order(
    url: &str,
    token: Option<&str>,
    name: &str,
    said: &str,
    mut each: impl FnMut(&str),
) -> Result<Ordered, HealthError> {
    let address = address_of(url)?;
    let header = authorization(token)?;
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(&address)).await;
    let mut stream = connected
        .map_err(|_| HealthError::TimedOut(CONNECT_LIMIT))?
        .map_err(HealthError::Io)?;
    let length = said.len();
    let request = format!(
        "POST /api/store/{name} HTTP/1.0\r\nhost: {address}\r\n{header}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{said}"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(HealthError::Io)?;
    let mut answer = BufReader::new(stream.take(MAX_ANSWER));
    let status = line(&mut answer).await?.unwrap_or_default();
    for _ in 0..MAX_HEADERS {
        if line(&mut answer).await?.is_none_or(|line| line.is_empty()) {
            break;
        }
    }
    match status.split(' ').nth(1) {
        Some("200") => {}
        Some(status @ ("400" | "409")) => {
            let is_busy = status == "409";
            let why = line(&mut answer).await?.unwrap_or_default();
            return Ok(match is_busy {
                true => Ordered::Busy(why),
                false => Ordered::Refused(why),
            });
        }
        Some("401" | "403") => {
            return Err(HealthError::Token(
                "a token that may administer in SLUICE_ADMIN_TOKEN",
            ));
        }
        Some(_) | None => return Err(HealthError::Status(status)),
    }
    let mut last = String::new();
    while let Some(line) = line(&mut answer).await? {
        each(&line);
        last = line;
    }
    if last.starts_with("{\"done\":") {
        Ok(Ordered::Done)
    } else {
        // It may have been carried out in part.
        Err(HealthError::Io(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// The next line; `None` at the end.
async fn line(
    answer: &mut BufReader<tokio::io::Take<TcpStream>>,
) -> Result<Option<String>, HealthError> {
    let mut line = String::new();
    let read = tokio::time::timeout(LINE_LIMIT, answer.read_line(&mut line)).await;
    let read = read
        .map_err(|_| HealthError::TimedOut(LINE_LIMIT))?
        .map_err(HealthError::Io)?;
    let text = line.trim_end_matches(['\r', '\n']);
    Ok((read > 0).then(|| text.to_owned()))
}
