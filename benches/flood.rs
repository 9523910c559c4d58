//! What abuse costs the others: a well-behaved neighbour's latency beside each kind of it, against its latency alone in
//! the same run. Sluice and the neighbour share one CPU, the abuser has the other.
//!
//! Prints medians and ratios, the memory held at the most and the connections left at the end; fails if an answer to the
//! neighbour is not the right one, and in its long form if a ratio is above two.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use harness::crowd::BIG;
use harness::http::{Connection, Request, ask};
use harness::measure::{is_smoke, median};
use harness::sluice::Sluice;
use harness::upstream::{self, Upstream};
use harness::{fresh_folder, sluice};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Requests a second of an abuser who sends requests: many times what a restore sends, and no more than leaves room on
/// one CPU, for a server that is asked for more than it can do is slow to everybody.
const RATE: u64 = 1000;
/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(100);
/// Between two requests of the neighbour.
const PAUSE: Duration = Duration::from_millis(2);
const LIST: &str = "/v3/flatcontainer/newtonsoft.json/index.json";

#[derive(Clone, Copy, Debug)]
enum Flood {
    DroppedDownloads,
    HeaderLines,
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
    const ALL: [Self; 11] = [
        Self::DroppedDownloads,
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

    /// Goes on until `ended`.
    fn run(self, to: SocketAddr, ended: &AtomicBool, done: &AtomicU64) {
        let get =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
        match self {
            Self::DroppedDownloads => paced(to, ended, done, Take::Some, |_| {
                format!("{}\r\n", get(&format!("/v3/flatcontainer/{BIG}")))
            }),
            Self::HeaderLines => paced(to, ended, done, Take::Some, |n| {
                let lines: String = (0..2000).map(|line| format!("x{line}: {n}\r\n")).collect();
                format!("{}{lines}\r\n", get(LIST))
            }),
            Self::IdleConnections => drip(to, ended, done, 10_000, "", ""),
            Self::NoCache => paced(to, ended, done, Take::All, |_| {
                format!("{}Cache-Control: no-cache\r\n\r\n", get(LIST))
            }),
            Self::OddPaths => paced(to, ended, done, Take::All, |n| {
                let path = match n % 4 {
                    0 => "/v3/flatcontainer/%2e%2e/%2e%2e/etc/passwd",
                    1 => "/v3/flatcontainer/a%2fb/index.json",
                    2 => "/v3/flatcontainer/a%00/index.json",
                    _ => "/v3/flatcontainer/%c0%ae%c0%ae/index.json",
                };
                format!("{}\r\n", get(path))
            }),
            Self::Pipelines => paced(to, ended, done, Take::Some, |_| {
                let one = format!("GET {LIST} HTTP/1.1\r\nHost: {to}\r\n\r\n");
                // A hundredth as often, so that as many requests come.
                std::thread::sleep(Duration::from_micros(100 * 1_000_000 / RATE));
                one.repeat(100)
            }),
            Self::RandomHosts => paced(to, ended, done, Take::All, |n| {
                format!(
                    "GET /v3/index.json HTTP/1.1\r\nHost: h{n}.test\r\nConnection: close\r\n\r\n"
                )
            }),
            Self::RandomIds => paced(to, ended, done, Take::Some, |n| {
                format!(
                    "{}\r\n",
                    get(&format!("/v3/flatcontainer/no.such.{n}/index.json"))
                )
            }),
            Self::RandomVersions => paced(to, ended, done, Take::Some, |n| {
                let file = format!("newtonsoft.json/0.0.{n}/newtonsoft.json.0.0.{n}.nupkg");
                format!("{}\r\n", get(&format!("/v3/flatcontainer/{file}")))
            }),
            Self::SlowBodies => {
                let head = format!(
                    "PUT /v3/package HTTP/1.1\r\nHost: {to}\r\nContent-Length: 1000000\r\n\r\n"
                );
                drip(to, ended, done, 200, &head, "x");
            }
            Self::SlowHeads => {
                let head = format!("GET {LIST} HTTP/1.1\r\nHost: {to}\r\nX-Slow: ");
                drip(to, ended, done, 5000, &head, "x");
            }
        }
    }
}

/// How much of an answer an abuser takes before it goes.
#[derive(Clone, Copy, Debug)]
enum Take {
    All,
    /// The first bytes that come within a moment.
    Some,
}

/// Requests on connections of their own, `RATE` a second.
fn paced(
    to: SocketAddr,
    ended: &AtomicBool,
    done: &AtomicU64,
    take: Take,
    mut next: impl FnMut(u64) -> String,
) {
    let began = Instant::now();
    for n in 0.. {
        let due = began + Duration::from_micros(n * 1_000_000 / RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if ended.load(Relaxed) {
            return;
        }
        let Ok(mut stream) = TcpStream::connect(to) else {
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
fn drip(
    to: SocketAddr,
    ended: &AtomicBool,
    done: &AtomicU64,
    count: usize,
    first: &str,
    more: &str,
) {
    let mut open: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    while !ended.load(Relaxed) {
        let round = Instant::now();
        for slot in &mut open {
            if ended.load(Relaxed) {
                break;
            }
            if slot.as_mut().is_none_or(|stream| !goes_on(stream, more)) {
                *slot = TcpStream::connect(to).ok().filter(|mut stream| {
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

/// Median latencies of a neighbour, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Latency {
    /// On a connection that it keeps.
    kept: f64,
    /// On a new one each time.
    fresh: f64,
    /// On a new one, of a hundred requests the second slowest.
    slow: f64,
}

/// Asks for a list for so long, and for nothing but the right answer.
fn neighbour(sluice: &Sluice, length: Duration, expected: &[u8]) -> Latency {
    let request = Request::get(LIST, &[]);
    let (mut kept, mut fresh) = (Vec::new(), Vec::new());
    let mut connection = Connection::open(sluice.address).expect("Sluice accepts connections");
    let began = Instant::now();
    while began.elapsed() < length {
        for is_kept in [true, false] {
            let started = Instant::now();
            let reply = if is_kept {
                connection.ask(&request)
            } else {
                ask(sluice.address, &request)
            };
            let took = started.elapsed().as_secs_f64() * 1e6;
            let reply = reply.expect("the neighbour is answered");
            assert_eq!(reply.status, 200, "{}", reply.reason);
            assert!(reply.body == expected, "the neighbour got other bytes");
            if is_kept { &mut kept } else { &mut fresh }.push(took);
            std::thread::sleep(PAUSE);
        }
    }
    let mut sorted = fresh.clone();
    sorted.sort_by(f64::total_cmp);
    Latency {
        kept: median(&kept),
        fresh: median(&fresh),
        slow: sorted[sorted.len() * 98 / 100],
    }
}

/// Pins the calling thread to one CPU, where there is that one.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    let _ = sched_setaffinity(None, &set);
}

fn main() {
    let (length, limit) = if is_smoke() {
        (Duration::from_millis(700), f64::INFINITY)
    } else {
        (Duration::from_secs(8), 2.0)
    };
    let folder = fresh_folder("bench-flood");
    let settings = upstream::Settings {
        big: Some(64),
        ..upstream::Settings::default()
    };
    let upstream = Upstream::start(settings, &folder);
    let sluice = sluice::Settings::new(&folder, &folder)
        .upstream(&upstream.source())
        .windows("1h")
        .without_access_log()
        .on_cpu(0)
        .start();
    pin(0);
    sluice.get(&format!("/v3/flatcontainer/{BIG}"));
    let expected = sluice.get(LIST).body;
    neighbour(&sluice, length / 2, &expected);
    let rest = sluice.process.anonymous_bytes();
    println!(
        "flood: the neighbour's latency in µs, alone and beside it, and what Sluice holds in memory"
    );
    let mut worst: f64 = 0.0;
    for flood in Flood::ALL {
        let alone = neighbour(&sluice, length / 2, &expected);
        let (ended, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let (beside, held) = std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(1);
                flood.run(sluice.address, &ended, &done);
            });
            // Time to open its connections.
            std::thread::sleep(length / 2);
            let beside = neighbour(&sluice, length, &expected);
            let held = sluice.process.anonymous_bytes();
            ended.store(true, Relaxed);
            (beside, held)
        });
        let ratio = (beside.kept / alone.kept).max(beside.fresh / alone.fresh);
        worst = worst.max(ratio);
        println!(
            "{flood:?}: kept {:.0} → {:.0}, new {:.0} → {:.0} (98 %: {:.0} → {:.0}), ratio {ratio:.2}; {} of the abuser's, \
             {:.1} MiB",
            alone.kept,
            beside.kept,
            alone.fresh,
            beside.fresh,
            alone.slow,
            beside.slow,
            done.load(Relaxed),
            held as f64 / f64::from(1 << 20),
        );
    }
    let left = open_files(&sluice);
    println!(
        "at rest {:.1} MiB, at the end {:.1} MiB and {left} open files; the worst ratio is {worst:.2}",
        rest as f64 / f64::from(1 << 20),
        sluice.process.anonymous_bytes() as f64 / f64::from(1 << 20),
    );
    assert!(left < 300, "{left} files are still open: connections leak");
    assert!(worst <= limit, "a neighbour waits {worst:.2} times as long");
}

/// Files and connections that Sluice has open, once the last abuser has gone.
fn open_files(sluice: &Sluice) -> usize {
    std::thread::sleep(Duration::from_secs(1));
    let path = format!("/proc/{}/fd", sluice.process.id());
    std::fs::read_dir(path).expect("Sluice runs").count()
}
