//! `sluice healthcheck`: asks a running process whether it is alive, for containers without a shell.
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

/// Longest check: half of the shortest interval that orchestrators use by default (Kubernetes: 10 s, 1 s timeout is
/// the exception).
const LIMIT: Duration = Duration::from_secs(2);

/// Bytes of an answer that are read: its status line is all that counts.
const MAX_ANSWER: u64 = 4096;

/// Why a process does not count as alive.
#[derive(Debug)]
pub enum HealthError {
    /// It could not be asked.
    Io(io::Error),
    /// It answered something else than 200.
    Status(String),
    /// It did not answer in time.
    TimedOut,
    /// The address is none.
    Url(String),
}

impl fmt::Display for HealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot ask: {error}"),
            Self::Status(line) => write!(f, "answered {line:?} and not 200"),
            Self::TimedOut => write!(f, "no answer within {} s", LIMIT.as_secs()),
            Self::Url(url) => write!(f, "{url:?} is no URL such as http://127.0.0.1:6851"),
        }
    }
}

impl std::error::Error for HealthError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Status(_) | Self::TimedOut | Self::Url(_) => None,
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
    let wrong = || HealthError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?.as_str();
    if uri.scheme_str() != Some("http") || authority.contains('@') {
        return Err(wrong());
    }
    let address = match uri.port_u16() {
        Some(_) => authority.to_owned(),
        None => format!("{authority}:{}", super::DEFAULT_ADMIN_PORT),
    };
    match tokio::time::timeout(LIMIT, ask(&address)).await {
        Ok(Ok(line)) if line.split(' ').nth(1) == Some("200") => Ok(()),
        Ok(Ok(line)) => Err(HealthError::Status(line)),
        Ok(Err(error)) => Err(HealthError::Io(error)),
        Err(_) => Err(HealthError::TimedOut),
    }
}

/// The status line of the answer.
async fn ask(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
