//! One package of a gibibyte to twenty clients at once, cold and then warm: how much anonymous
//! memory that takes, and how soon the first bytes come.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use harness::measure::is_smoke;
use harness::upstream::{self, Upstream};
use harness::{crowd, fresh_folder, sluice};
use std::time::UNIX_EPOCH;

/// Bytes a second that the upstream sends: a good line.
const RATE: u32 = 20_000_000;

/// What the memory tier may hold, so that the rest is what the transfer takes.
const MEMORY_TIER: &str = "32MiB";

fn main() {
    let (mebibytes, clients) = if is_smoke() { (32, 4) } else { (1024, 20) };
    let folder = fresh_folder("bench-memory");
    let more = upstream::Settings::default();
    let settings = upstream::Settings {
        big: Some(mebibytes),
        rate: Some(RATE),
        ..more
    };
    let upstream = Upstream::start(settings, &folder);
    let sluice = sluice::Settings::new(&folder, &folder)
        .upstream(&upstream.source())
        .variable("SLUICE_MEMORY_BYTES", MEMORY_TIER)
        .start();
    let size = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    println!("idle: {} RssAnon", size(sluice.process.anonymous_bytes()));
    upstream.prepare(&format!("/v3-flatcontainer/{}", crowd::BIG));
    let path = format!("/v3/flatcontainer/{}", crowd::BIG);
    for state in ["cold", "warm"] {
        let crowd = crowd::send(&sluice, &path, clients);
        println!(
            "{state}: {} to {clients} clients in {:.1?}, peak {} RssAnon",
            size(crowd.bytes),
            crowd.elapsed,
            size(crowd.peak_bytes)
        );
        if state == "cold" {
            let asked = upstream.assert_no_leak();
            let asked = asked.iter().find(|asked| asked.path.ends_with(".nupkg"));
            let asked = asked.expect("the package came from the upstream").time;
            let first = crowd
                .first_byte_at
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            let first = first.as_secs_f64() - asked;
            let sent = first * f64::from(RATE) / crowd.bytes as f64 * 100.0;
            println!("last first byte after {first:.3} s, {sent:.2} % of what the upstream sends");
        }
    }
}
