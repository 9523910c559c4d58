//! Who abuses Sluice, in one way each: what is sent, how often, and how much of the answer is read.

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a well-behaved client asks for, and many of the others.
pub(crate) const LIST: &str = "/v3/flatcontainer/stock.p0/index.json";
/// A large package that is stored.
pub(crate) const LARGE: &str = "/v3/flatcontainer/stock.p0/1.0.0/stock.p0.1.0.0.nupkg";
/// Requests a second of who sends requests: many times what a restore sends, and no more than leaves room on one CPU.
const RATE: u64 = 1000;
/// The same where each costs the fetch of a package: a line of 50 MB a second.
const FETCH_RATE: u64 = 100;
/// The same of bombs, of which each is unpacked to its limit.
const BOMB_RATE: u64 = 4;
/// Between two pieces of a slow client.
const DRIP: Duration = Duration::from_millis(100);

/// One kind of abuse; `Honest` is none, to compare the others with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flood {
    Bombs,
    DroppedDownloads,
    DroppedFetches,
    EndlessPushes,
    HeaderLines,
    /// So many well-behaved requests a second.
    Honest(u64),
    /// So many well-behaved downloads a second of what is not stored.
    HonestFetches(u64),
    IdleConnections,
    NoCache,
    OddPaths,
    Pipelines,
    RandomHosts,
    RandomIds,
    RandomVersions,
    SlowBodies,
    SlowHeads,
}

impl Flood {
    pub(crate) const ALL: [Self; 14] = [
        Self::Bombs,
        Self::DroppedDownloads,
        Self::DroppedFetches,
        Self::EndlessPushes,
        Self::HeaderLines,
        Self::IdleConnections,
        Self::NoCache,
        Self::OddPaths,
        Self::Pipelines,
        Self::RandomHosts,
        Self::RandomIds,
        Self::RandomVersions,
        Self::SlowBodies,
        Self::SlowHeads,
    ];

    /// Requests a second, where it is a matter of requests.
    fn rate(self) -> Option<u64> {
        match self {
            Self::Bombs => Some(BOMB_RATE),
            Self::DroppedFetches => Some(FETCH_RATE),
            Self::DroppedDownloads
            | Self::HeaderLines
            | Self::NoCache
            | Self::OddPaths
            | Self::Pipelines
            | Self::RandomHosts
            | Self::RandomIds
            | Self::RandomVersions => Some(RATE),
            Self::Honest(rate) | Self::HonestFetches(rate) => Some(rate),
            Self::EndlessPushes | Self::IdleConnections | Self::SlowBodies | Self::SlowHeads => {
                None
            }
        }
    }

    /// Requests without abuse: as many, where it is a matter of requests.
    pub(crate) fn honest(self) -> Self {
        let rate = self.rate().unwrap_or(RATE);
        match self {
            Self::DroppedFetches => Self::HonestFetches(rate),
            _ => Self::Honest(rate),
        }
    }

    /// Goes on until `ended`.
    pub(crate) fn run(self, to: SocketAddr, ended: &AtomicBool, done: &AtomicU64) {
        let way = Way::to(to);
        let head =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
        let get = |path: &str| head(path) + "\r\n";
        let paced = |take: Take, next: &dyn Fn(u64) -> String| {
            paced(way, ended, done, self.rate().unwrap_or(RATE), take, next);
        };
        let drip = |count, first: &str, more: &str| drip(way, ended, done, count, first, more);
        match self {
            Self::Bombs => paced(Take::All, &|n| match n % 3 {
                0 => get(&format!("/v3/flatcontainer/bomb.gzip{n}/index.json")),
                1 => get(&format!("/v3/flatcontainer/bomb.deep{n}/index.json")),
                _ => {
                    let file = format!("bomb.zip{n}/1.0.0/bomb.zip{n}.1.0.0.nupkg");
                    get(&format!("/v3/flatcontainer/{file}"))
                }
            }),
            Self::DroppedDownloads => paced(Take::Some, &|_| get(LARGE)),
            Self::DroppedFetches => paced(Take::Some, &|n| get(&fetched('d', n))),
            Self::EndlessPushes => {
                // 32 MB a second in all.
                let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
                let head = format!(
                    "PUT /v3/package HTTP/1.1\r\nHost: {to}\r\nX-NuGet-ApiKey: stock.p1\r\n\
                     Transfer-Encoding: chunked\r\n\r\n"
                );
                drip(200, &head, &piece);
            }
            Self::HeaderLines => paced(Take::Some, &|n| {
                let lines: String = (0..2000).map(|line| format!("x{line}: {n}\r\n")).collect();
                format!("{}{lines}\r\n", head(LIST))
            }),
            Self::Honest(_) => paced(Take::All, &|_| get(LIST)),
            Self::HonestFetches(_) => paced(Take::All, &|n| get(&fetched('h', n))),
            Self::IdleConnections => drip(10_000, "", ""),
            Self::NoCache => paced(Take::All, &|_| {
                format!("{}Cache-Control: no-cache\r\n\r\n", head(LIST))
            }),
            Self::OddPaths => paced(Take::All, &|n| {
                get(match n % 4 {
                    0 => "/v3/flatcontainer/%2e%2e/%2e%2e/etc/passwd",
                    1 => "/v3/flatcontainer/a%2fb/index.json",
                    2 => "/v3/flatcontainer/a%00/index.json",
                    _ => "/v3/flatcontainer/%c0%ae%c0%ae/index.json",
                })
            }),
            Self::Pipelines => paced(Take::Some, &|_| {
                let one = format!("GET {LIST} HTTP/1.1\r\nHost: {to}\r\n\r\n");
                // A hundredth as often, so that as many requests come.
                std::thread::sleep(Duration::from_micros(100 * 1_000_000 / RATE));
                one.repeat(100)
            }),
            Self::RandomHosts => paced(Take::All, &|n| {
                format!(
                    "GET /v3/index.json HTTP/1.1\r\nHost: h{n}.test\r\nConnection: close\r\n\r\n"
                )
            }),
            Self::RandomIds => paced(Take::All, &|n| {
                get(&format!("/v3/flatcontainer/no.such.{n}/index.json"))
            }),
            Self::RandomVersions => paced(Take::All, &|n| {
                let file = format!("stock.p0/0.0.{n}/stock.p0.0.0.{n}.nupkg");
                get(&format!("/v3/flatcontainer/{file}"))
            }),
            Self::SlowBodies => {
                let head = format!(
                    "PUT /v3/package HTTP/1.1\r\nHost: {to}\r\nContent-Length: 1000000\r\n\r\n"
                );
                drip(200, &head, "x");
            }
            Self::SlowHeads => {
                let head = format!("GET {LIST} HTTP/1.1\r\nHost: {to}\r\nX-Slow: ");
                drip(5000, &head, "x");
            }
        }
    }
}

/// A package that is not stored.
fn fetched(mark: char, number: u64) -> String {
    let id = format!("large.{mark}{number}");
    format!("/v3/flatcontainer/{id}/1.0.0/{id}.1.0.0.nupkg")
}

/// From an abuser's address of its own to Sluice.
#[derive(Clone, Copy, Debug)]
struct Way {
    from: SocketAddr,
    to: SocketAddr,
}

impl Way {
    /// The next address of loopback: connections that are ended occupy the ports of theirs for a while.
    fn to(to: SocketAddr) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(2);
        let from = Ipv4Addr::new(127, 0, 0, NEXT.fetch_add(1, Relaxed));
        Self {
            from: SocketAddrV4::new(from, 0).into(),
            to,
        }
    }

    fn connect(self) -> io::Result<TcpStream> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &self.from)?;
        connect(&socket, &self.to)?;
        Ok(TcpStream::from(socket))
    }
}

/// How much of an answer an abuser takes before it goes.
#[derive(Clone, Copy, Debug)]
enum Take {
    All,
    /// The first bytes that come within a moment.
    Some,
}

/// Requests on connections of their own, so many a second.
fn paced(
    way: Way,
    ended: &AtomicBool,
    done: &AtomicU64,
    rate: u64,
    take: Take,
    next: &dyn Fn(u64) -> String,
) {
    let began = Instant::now();
    for n in 0.. {
        let due = began + Duration::from_micros(n * 1_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if ended.load(Relaxed) {
            return;
        }
        let Ok(mut stream) = way.connect() else {
            continue;
        };
        let patience = match take {
            Take::All => Duration::from_secs(1),
            Take::Some => Duration::from_millis(1),
        };
        let _ = stream.set_read_timeout(Some(patience));
        if stream.write_all(next(n).as_bytes()).is_ok() {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                if matches!(take, Take::Some) {
                    break;
                }
            }
            done.fetch_add(1, Relaxed);
        }
    }
}

/// That many connections, which begin so and go on with another piece every `DRIP`. One that is ended is opened again.
fn drip(way: Way, ended: &AtomicBool, done: &AtomicU64, count: usize, first: &str, more: &str) {
    let mut open: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    while !ended.load(Relaxed) {
        let round = Instant::now();
        for slot in &mut open {
            if ended.load(Relaxed) {
                break;
            }
            if slot.as_mut().is_none_or(|stream| !goes_on(stream, more)) {
                *slot = way.connect().ok().filter(|mut stream| {
                    done.fetch_add(1, Relaxed);
                    stream.set_nonblocking(true).is_ok()
                        && stream.write_all(first.as_bytes()).is_ok()
                });
            }
        }
        std::thread::sleep(DRIP.saturating_sub(round.elapsed()));
    }
    for stream in open.into_iter().flatten() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Whether a connection is still there; sends its next piece.
fn goes_on(stream: &mut TcpStream, more: &str) -> bool {
    match stream.read(&mut [0; 512]) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            more.is_empty() || stream.write_all(more.as_bytes()).is_ok()
        }
        Err(_) => false,
    }
}
