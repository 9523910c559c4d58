//! Many clients at once, without a .NET runtime each: what they cost the upstream and the memory.

use crate::harness::replay::{Trace, play_together};
use crate::harness::sluice::{self, Sluice};
use crate::harness::upstream::{self, Upstream, counts};
use crate::harness::{crowd, shared};
use crate::stage::say;
use crate::suite::{Turn, turn_alone};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

#[test]
fn cold_replays_at_once_fetch_each_key_exactly_once() {
    let Some(turn) = turn_alone("cold_replays_at_once_fetch_each_key_exactly_once") else {
        return;
    };
    let (sluice, upstream) = scene(&turn, upstream::Settings::default(), |settings| settings);
    let trace = Arc::new(Trace::restore_cold(&shared()));
    // Eight connections for each of 64 clients: more would only queue for two cores.
    let times = play_together(&trace, sluice.address, 64, 8);
    let slowest = times.iter().max().expect("there are players");
    say(&format!(
        "64 clients, {} requests each, slowest {slowest:?}",
        trace.len()
    ));
    let asked = upstream.assert_no_leak();
    for (key, times) in counts(&asked) {
        assert_eq!(times, 1, "{key} was fetched {times} times");
    }
    let packages = asked
        .iter()
        .filter(|asked| asked.path.ends_with(".nupkg"))
        .count();
    assert_eq!(packages, 175);
    sluice.access_after(0, 64 * trace.len());
}

#[test]
fn a_package_of_one_gibibyte_to_twenty_clients_needs_little_memory() {
    let name = "a_package_of_one_gibibyte_to_twenty_clients_needs_little_memory";
    let Some(turn) = turn_alone(name) else { return };
    const RATE: u32 = 20_000_000;
    let settings = upstream::Settings {
        big: Some(1024),
        rate: Some(RATE),
        ..upstream::Settings::default()
    };
    let (sluice, upstream) = scene(&turn, settings, |settings| {
        settings.variable("SLUICE_MEMORY_BYTES", "32MiB")
    });
    upstream.prepare(&format!("/v3-flatcontainer/{}", crowd::BIG));
    let path = format!("/v3/flatcontainer/{}", crowd::BIG);

    let cold = crowd::send(&sluice, &path, 20);
    let asked = upstream.assert_no_leak();
    let packages: Vec<_> = asked
        .iter()
        .filter(|asked| asked.path.ends_with(".nupkg"))
        .collect();
    let [package] = packages[..] else {
        panic!("fetched more than once: {packages:?}")
    };
    let first = cold
        .first_byte_at
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970");
    let first = first.as_secs_f64() - package.time;
    let hundredth = cold.bytes as f64 / 100.0 / f64::from(RATE);
    assert!(
        first < hundredth,
        "the last first byte came after {first:.3} s, 1 % takes {hundredth:.3} s"
    );

    let warm = crowd::send(&sluice, &path, 20);
    assert_eq!((warm.bytes, warm.digest), (cold.bytes, cold.digest));
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (cold_peak, warm_peak) = (mebibytes(cold.peak_bytes), mebibytes(warm.peak_bytes));
    say(&format!(
        "first byte {first:.3} s; cold {:.1?}, {cold_peak:.1} MiB; warm {:.1?}, {warm_peak:.1} MiB",
        cold.elapsed, warm.elapsed
    ));
    assert!(
        cold_peak <= 96.0 && warm_peak <= 96.0,
        "peak {cold_peak:.1} and {warm_peak:.1} MiB"
    );
}

/// An upstream and a Sluice before it, without a machine.
fn scene(
    turn: &Turn,
    settings: upstream::Settings,
    more: impl FnOnce(sluice::Settings) -> sluice::Settings,
) -> (Sluice, Upstream) {
    let upstream = Upstream::start(settings, &turn.folder);
    let settings = sluice::Settings::new(&turn.folder, &turn.folder);
    (
        more(settings.upstream(&upstream.source())).start(),
        upstream,
    )
}
