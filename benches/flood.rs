//! What abuse costs the others: a well-behaved neighbour's latency beside each kind of it, against its latency alone in
//! the same run and against that beside honest requests: as many a second as the abuser sends, and as the others do in
//! their rows where the abuse is a matter of connections. That is what is normal for a server in use: one on an idle
//! machine answers in half the time, whatever else begins to come. Sluice and the neighbour share one CPU; the abuser, who
//! has an address of its own, and the upstream, which has bombs, share the other.
//!
//! `SLUICE_BENCH_FLOODS` names those that are wanted, else it is all.
//!
//! Prints medians and ratios, the memory held at the most and the connections left at the end; fails if an answer to the
//! neighbour is not the right one, and in its long form if the latency is more than doubled by what is no honest load.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use harness::abuse::{Flood, LARGE, LIST};
use harness::bombs;
use harness::http::{Connection, Request, ask};
use harness::measure::{is_smoke, median};
use harness::scripted::{Extent, Scripted};
use harness::sluice::Sluice;
use harness::{fresh_folder, sluice};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two requests of the neighbour.
const PAUSE: Duration = Duration::from_millis(2);
/// Files that may be open once the last abuser has gone: those of the store.
const MAX_LEFT: usize = 300;
/// How long it takes at most until connections have ended that their clients have.
const GONE_LIMIT: Duration = Duration::from_secs(10);

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

/// The neighbour's latency beside a flood, the bytes that Sluice holds in memory then, and how much came of the abuser.
fn beside(sluice: &Sluice, flood: Flood, length: Duration, expected: &[u8]) -> (Latency, u64, u64) {
    let (ended, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (latency, held) = std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            flood.run(sluice.address, &ended, &done);
        });
        // Time to open its connections.
        std::thread::sleep(length / 2);
        let latency = neighbour(sluice, length, expected);
        let held = sluice.process.anonymous_bytes();
        ended.store(true, Relaxed);
        (latency, held)
    });
    (latency, held, done.load(Relaxed))
}

impl Latency {
    /// How many times as long as that.
    fn against(&self, other: &Self) -> f64 {
        (self.kept / other.kept).max(self.fresh / other.fresh)
    }
}

fn main() {
    let (length, limit) = if is_smoke() {
        (Duration::from_millis(700), f64::INFINITY)
    } else {
        (Duration::from_secs(8), 2.0)
    };
    let folder = fresh_folder("bench-flood");
    // Its threads stay where they begin.
    pin(1);
    let extent = Extent {
        beside: Some(bombs::at),
        large: Some(16 << 20),
        idle: None,
    };
    let upstream = Scripted::of(2, 0, extent);
    let sluice = sluice::Settings::new(&folder, &folder)
        .upstream(&upstream.source())
        .windows("1h")
        .without_access_log()
        .on_cpu(0)
        .start();
    pin(0);
    sluice.get(LARGE);
    let expected = sluice.get(LIST).body;
    neighbour(&sluice, length / 2, &expected);
    let rest = sluice.process.anonymous_bytes();
    println!(
        "flood: the neighbour's latency in µs, alone and beside it, and what Sluice holds in memory"
    );
    let mut worst: f64 = 0.0;
    let wanted = std::env::var("SLUICE_BENCH_FLOODS").unwrap_or_default();
    let is_wanted = |flood: &Flood| wanted.is_empty() || wanted.contains(&format!("{flood:?}"));
    for flood in Flood::ALL.into_iter().filter(is_wanted) {
        let alone = neighbour(&sluice, length / 2, &expected);
        let (honest, ..) = beside(&sluice, flood.honest(), length / 2, &expected);
        let (latency, held, done) = beside(&sluice, flood, length, &expected);
        let ratio = latency.against(&honest);
        worst = worst.max(ratio);
        println!(
            "{flood:?}: kept {:.0} → {:.0}, new {:.0} → {:.0} (98 %: {:.0} → {:.0}), {ratio:.2} of that beside honest \
             requests, {:.2} of that alone; {done} of the abuser's, {:.1} MiB",
            alone.kept,
            latency.kept,
            alone.fresh,
            latency.fresh,
            alone.slow,
            latency.slow,
            latency.against(&alone),
            held as f64 / f64::from(1 << 20),
        );
    }
    let left = open_files(&sluice);
    println!(
        "at rest {:.1} MiB, at the end {:.1} MiB and {left} open files; the worst ratio is {worst:.2}",
        rest as f64 / f64::from(1 << 20),
        sluice.process.anonymous_bytes() as f64 / f64::from(1 << 20),
    );
    assert!(
        left < MAX_LEFT,
        "{left} files are still open: connections leak"
    );
    assert!(worst <= limit, "a neighbour waits {worst:.2} times as long");
}

/// Files and connections that Sluice has open, once the last abuser has gone: those in line are seated before it shows
/// that they have gone.
fn open_files(sluice: &Sluice) -> usize {
    let path = format!("/proc/{}/fd", sluice.process.id());
    let count = || std::fs::read_dir(&path).expect("Sluice runs").count();
    let began = Instant::now();
    while count() >= MAX_LEFT && began.elapsed() < GONE_LIMIT {
        std::thread::sleep(Duration::from_millis(100));
    }
    count()
}
