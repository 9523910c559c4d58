//! `sluice healthcheck`, `sluice reload` and the lists of what is wrong with what is stored: ask a running process, for containers without a shell.
//!
//! One HTTP/1.1 request over TCP, written and read by hand, within a deadline. It refuses https: the admin listener has
//! none.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::access::secret::TokenSecret;
use crate::proxy::MarkKind;

/// Longest check: half of the shortest interval that orchestrators use by default (Kubernetes: 10 s, 1 s timeout is
/// the exception).
const LIMIT: Duration = Duration::from_secs(2);

/// Longest reload: secrets may lie behind slow disks and commands.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of an answer that are read: the status line is all that counts for health, and a reload of a thousand feeds is
/// told in less.
const MAX_ANSWER: u64 = 4 << 20;

/// Why a process does not count as alive.
#[derive(Debug)]
pub enum HealthError {
    /// It could not be asked.
    Io(io::Error),
    /// It answered something else than expected.
    Status(String),
    /// It did not answer within this time.
    TimedOut(Duration),
    /// The token that was to be brought is missing or none: what was expected.
    Token(&'static str),
    /// The address is none.
    Url(String),
}

impl fmt::Display for HealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot ask: {error}"),
            Self::Status(line) => write!(f, "answered {line:?} and not 200"),
            Self::TimedOut(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Token(expected) => write!(f, "expected {expected}"),
            Self::Url(url) => write!(f, "{url:?} is no URL such as http://127.0.0.1:6851"),
        }
    }
}

impl std::error::Error for HealthError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Status(_) | Self::TimedOut(_) | Self::Token(_) | Self::Url(_) => None,
        }
    }
}

/// The URL at which a process that listens on `address` can be asked from the same machine.
#[must_use]
pub fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// Asks `/healthz` of the admin listener at `url`.
///
/// # Errors
/// Why the process does not count as alive.
pub async fn check(url: &str) -> Result<(), HealthError> {
    let answer = ask(url, "GET /healthz", "", LIMIT).await?;
    match status_of(&answer) {
        "200" => Ok(()),
        _ => Err(HealthError::Status(first_line(&answer))),
    }
}

/// What a process said to an order to reload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reloaded {
    /// It obeys its configuration; the report is JSON.
    Obeyed(String),
    /// The configuration has problems, which the report, JSON, names; nothing changed.
    Refused(String),
}

/// Has the process whose admin listener is at `url` read its configuration again; brings `token` if there is one.
///
/// # Errors
/// Why nothing is known of that.
pub async fn reload(url: &str, token: Option<&str>) -> Result<Reloaded, HealthError> {
    let header = authorization(token)?;
    let answer = ask(url, "POST /api/reload", &header, RELOAD_LIMIT).await?;
    let body = body_of(&answer);
    match status_of(&answer) {
        "200" => Ok(Reloaded::Obeyed(body.to_owned())),
        "401" | "403" => Err(HealthError::Token(
            "a token that may administer in SLUICE_ADMIN_TOKEN",
        )),
        "422" => Ok(Reloaded::Refused(body.to_owned())),
        _ => Err(HealthError::Status(first_line(&answer))),
    }
}

/// The versions that the process whose admin listener is at `url` holds and has marked so, as JSON; brings `token` if there
/// is one.
///
/// # Errors
/// Why nothing is known of that.
pub async fn marked(url: &str, kind: MarkKind, token: Option<&str>) -> Result<String, HealthError> {
    let header = authorization(token)?;
    let request = format!("GET /api/{}", kind.word());
    let answer = ask(url, &request, &header, LIMIT).await?;
    match status_of(&answer) {
        "200" => Ok(body_of(&answer).to_owned()),
        "401" | "403" => Err(HealthError::Token(
            "a token that may administer in SLUICE_ADMIN_TOKEN",
        )),
        _ => Err(HealthError::Status(first_line(&answer))),
    }
}

/// The header line that brings a token; none without one.
pub(super) fn authorization(token: Option<&str>) -> Result<String, HealthError> {
    match token.map(|token| TokenSecret::read(token.trim())) {
        None => Ok(String::new()),
        Some(Some(token)) => Ok(format!("authorization: Bearer {}\r\n", token.reveal())),
        // It could end the header.
        Some(None) => {
            let expected = "a token (slc_…) in SLUICE_ADMIN_TOKEN, which holds something else";
            Err(HealthError::Token(expected))
        }
    }
}

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn first_line(answer: &str) -> String {
    answer.lines().next().unwrap_or_default().to_owned()
}

fn status_of(answer: &str) -> &str {
    let line = answer.lines().next().unwrap_or_default();
    line.split(' ').nth(1).unwrap_or_default()
}

/// The answer of the admin listener at `url` to a request for `what`, a method and a path.
async fn ask(url: &str, what: &str, header: &str, limit: Duration) -> Result<String, HealthError> {
    let address = address_of(url)?;
    match tokio::time::timeout(limit, exchange(&address, what, header)).await {
        Ok(answer) => answer.map_err(HealthError::Io),
        Err(_) => Err(HealthError::TimedOut(limit)),
    }
}

/// Host and port of the admin listener at `url`.
pub(super) fn address_of(url: &str) -> Result<String, HealthError> {
    let wrong = || HealthError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?.as_str();
    if uri.scheme_str() != Some("http") || authority.contains('@') {
        return Err(wrong());
    }
    Ok(match uri.port_u16() {
        Some(_) => authority.to_owned(),
        None => format!("{authority}:{}", super::DEFAULT_ADMIN_PORT),
    })
}

async fn exchange(address: &str, what: &str, header: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{what} HTTP/1.1\r\nhost: {address}\r\n{header}content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
