//! Cold restores, replayed with the recorded client's own concurrency against an upstream that
//! takes 30 ms for each answer: one alone and two at once, then 64 at once.
//!
//! Two at once should take no longer than one alone: what one has asked for, the other shares.
//! Prints times and the ratio; fails if any key was fetched twice.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use harness::measure::{is_smoke, median, spread};
use harness::replay::{RECORDED_CONNECTIONS, Trace, play_together};
use harness::upstream::{self, Upstream, counts};
use harness::{fresh_folder, shared, sluice};
use std::sync::Arc;

/// Milliseconds that the upstream takes for an answer: a near data centre.
const LATENCY: u32 = 30;

fn main() {
    let (pairs, crowd) = if is_smoke() { (1, 4) } else { (7, 64) };
    let trace = Arc::new(Trace::restore_cold(&shared()));
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // In turning order, so that neither always comes after the other.
        for turn in 0..2 {
            if (pair + turn) % 2 == 0 {
                alone.push(cold(&trace, 1, RECORDED_CONNECTIONS));
            } else {
                together.push(cold(&trace, 2, RECORDED_CONNECTIONS));
            }
        }
    }
    let ratios: Vec<f64> = together
        .iter()
        .zip(&alone)
        .map(|(two, one)| two / one)
        .collect();
    println!(
        "{} requests over {RECORDED_CONNECTIONS} connections, {pairs} pairs: one alone {:.2} s, \
         two at once {:.2} s, ratio {}",
        trace.len(),
        median(&alone),
        median(&together),
        spread(&ratios),
    );
    // Eight connections each: more would only queue for the CPUs.
    println!(
        "{crowd} at once: {:.2} s, each key fetched once",
        cold(&trace, crowd, 8)
    );
}

/// Seconds until the last of some players has all, from an empty store.
fn cold(trace: &Arc<Trace>, players: usize, connections: usize) -> f64 {
    let folder = fresh_folder("bench-replay");
    let settings = upstream::Settings {
        latency: Some(LATENCY),
        ..upstream::Settings::default()
    };
    let upstream = Upstream::start(settings, &folder);
    let sluice = sluice::Settings::new(&folder, &folder)
        .upstream(&upstream.source())
        .start();
    let times = play_together(trace, sluice.address, players, connections);
    for (key, times) in counts(&upstream.assert_no_leak()) {
        assert_eq!(
            times, 1,
            "{key} was fetched {times} times for {players} clients"
        );
    }
    times.iter().max().expect("there are players").as_secs_f64()
}
