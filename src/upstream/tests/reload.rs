//! Other settings while requests run: what is known of an origin stays, and its next requests obey.

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn waits_and_limits_hold_from_the_next_request_on() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang]);
    let under_way = bench.start(HOME);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.upstream.reload(Settings {
        breaker_failures: 1,
        first_byte_timeout: Duration::from_secs(4),
        ..Settings::default()
    });
    let before = Instant::now();
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!(before.elapsed(), Duration::from_secs(4));
    assert_eq!(error.word(), "breaker-open");
    assert!(matches!(bench.home_state(), OriginState::Open { .. }));
    // What is known stays with further settings, and a breaker that opened under others stays open.
    bench.upstream.reload(Settings::default());
    assert!(matches!(bench.home_state(), OriginState::Open { .. }));
    assert_eq!(under_way.await.unwrap().unwrap_err().word(), "breaker-open");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_pooled_stay_and_new_ones_obey() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    bench.get(HOME).await;
    bench.upstream.reload(Settings {
        idle_timeout: Duration::from_secs(7),
        ..Settings::default()
    });
    bench.get(HOME).await;
    assert_eq!(site.connections.load(Ordering::SeqCst), 1);
    // A pooled client connects as it was told when it was made, so there must be another.
    bench.upstream.reload(Settings {
        breaker_failures: 1,
        connect_timeout: Duration::from_millis(500),
        ..Settings::default()
    });
    site.set_door(Door::Hang);
    let before = Instant::now();
    bench.fetch(HOME).await.unwrap_err();
    assert_eq!(before.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn probes_come_at_the_new_pace() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    bench.fetch(HOME).await.unwrap_err();
    bench.upstream.reload(Settings {
        probe_after: Duration::from_secs(1),
        probe_max: Duration::from_secs(1),
        ..Settings::default()
    });
    tokio::time::sleep(Duration::from_secs(6)).await;
    let tried = site.connections.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(site.connections.load(Ordering::SeqCst), tried + 10);
}
