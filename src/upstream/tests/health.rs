//! Breakers, slow origins, probes.

use tokio::time::Instant;

use super::*;

async fn sleep(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn is_open(bench: &Bench) -> bool {
    matches!(bench.home_state(), OriginState::Open { .. })
}

fn is_slow(bench: &Bench) -> bool {
    matches!(bench.home_state(), OriginState::Slow { .. })
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_the_breaker() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    let began = bench.clock.now();
    let error = bench.fetch(HOME).await.unwrap_err();
    let UpstreamError::BreakerOpen { since, why, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*since, began);
    assert_eq!(
        why.to_string(),
        "cannot connect to http://home.test: connection refused"
    );
    assert_eq!(site.connections.load(Ordering::SeqCst), 5);
    assert!(is_open(&bench));

    let before = Instant::now();
    assert_eq!(bench.fetch(HOME).await.unwrap_err(), error);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(site.connections.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn a_byte_between_failures_starts_the_count_anew() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    let broken = Reply::Close(String::new());
    let mut replies = vec![broken.clone(); 4];
    replies.push(Reply::Close(ok("x")));
    replies.extend(vec![broken; 4]);
    replies.push(Reply::Close(ok("x")));
    site.set(replies);
    assert_eq!(bench.get(HOME).await.0, 200);
    assert_eq!(bench.get(HOME).await.0, 200);
    assert_eq!(site.asked(), 10);
}

#[tokio::test(start_paused = true)]
async fn failures_side_by_side_count_once() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    site.set_door(Door::Refuse);
    let reads: Vec<_> = (0..40).map(|_| bench.start(HOME)).collect();
    sleep(50).await;
    assert_eq!(site.connections.load(Ordering::SeqCst), 40);
    assert!(!is_open(&bench));
    site.set_door(Door::Open);
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn probes_come_after_five_seconds_doubling_to_thirty() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    bench.fetch(HOME).await.unwrap_err();
    let opened = Instant::now();
    let mut probed = Vec::new();
    let mut seen = site.connections.load(Ordering::SeqCst);
    while probed.len() < 6 {
        sleep(100).await;
        let now = site.connections.load(Ordering::SeqCst);
        if now > seen {
            probed.push(opened.elapsed().as_secs());
        }
        seen = now;
    }
    assert_eq!(probed, [5, 15, 35, 65, 95, 125]);
}

#[tokio::test(start_paused = true)]
async fn each_outage_begins_with_a_probe_after_five_seconds() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    for _ in 0..2 {
        site.set_door(Door::Refuse);
        bench.fetch(HOME).await.unwrap_err();
        let before = site.connections.load(Ordering::SeqCst);
        sleep(4_900).await;
        assert_eq!(site.connections.load(Ordering::SeqCst), before);
        sleep(200).await;
        assert_eq!(site.connections.load(Ordering::SeqCst), before + 1);
        // By then the probes are half a minute apart.
        sleep(100_000).await;
        site.set_door(Door::Open);
        sleep(31_000).await;
        assert_eq!(bench.home_state(), OriginState::Live);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answered_probe_closes_the_breaker() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    bench
        .upstream
        .set_probe(&format!("{HOME}/v3/index.json?x"), &bench.access)
        .unwrap();
    site.set_door(Door::Refuse);
    bench.fetch(HOME).await.unwrap_err();
    site.set([Reply::Keep(answer("500 Oops", "", ""))]);
    site.set_door(Door::Open);
    sleep(4_900).await;
    assert!(is_open(&bench));
    sleep(200).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    let probe = &site.requests()[0];
    assert!(
        probe.starts_with("GET /v3/index.json?x HTTP/1.1"),
        "{probe}"
    );
    assert!(probe.contains("via: 1.1 sluice-0badcafe\r\n"), "{probe}");
    assert!(probe.contains("host: home.test\r\n"), "{probe}");
    assert!(!probe.contains("authorization"), "{probe}");
    site.set([Reply::Keep(ok("back"))]);
    assert_eq!(bench.get(HOME).await, (200, "back".into()));
}

#[tokio::test(start_paused = true)]
async fn without_an_address_the_root_is_probed() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    bench.fetch(HOME).await.unwrap_err();
    site.set_door(Door::Open);
    site.set([Reply::Close("HTTP/1.1 404 None\r\n\r\n".into())]);
    sleep(5_100).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    assert!(site.requests()[0].starts_with("HEAD / HTTP/1.1"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_alone_is_no_proof() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    bench.fetch(HOME).await.unwrap_err();
    site.set_door(Door::Open);
    site.set([Reply::Hang]);
    sleep(60_000).await;
    assert!(is_open(&bench));
    // A probe is waiting or comes within the longest gap.
    site.released.send_replace(true);
    sleep(31_000).await;
    assert_eq!(bench.home_state(), OriginState::Live);
}

#[tokio::test(start_paused = true)]
async fn an_expired_hold_without_a_byte_opens_the_breaker_and_releases_everyone() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang]);
    let before = Instant::now();
    let began = bench.clock.now();
    let first = bench.start(&format!("{HOME}/a"));
    sleep(8_000).await;
    let later: Vec<_> = (0..70).map(|_| bench.start(&format!("{HOME}/b"))).collect();
    let error = first.await.unwrap().unwrap_err();
    assert_eq!((error.word(), error.is_timeout()), ("held-out", true));
    for read in later {
        let error = read.await.unwrap().unwrap_err();
        assert_eq!(error.word(), "breaker-open");
    }
    assert_eq!(before.elapsed(), Duration::from_secs(15));
    let OriginState::Open { since, why } = bench.home_state() else {
        panic!("not open");
    };
    assert_eq!(since, began);
    assert_eq!(
        why.to_string(),
        "http://home.test accepted the request and did not answer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_byte_at_any_time_of_a_hold_keeps_the_breaker_closed() {
    let bench = Bench::new();
    bench
        .site(HOME)
        .set([Reply::Close("H".into()), Reply::Hang]);
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!(error.word(), "held-out");
    assert!(is_slow(&bench));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_connect_counts_after_three_seconds() {
    // The fifth attempt begins after 15 s at the latest.
    let settings = Settings {
        max_hold: Duration::from_secs(16),
        ..Settings::default()
    };
    let bench = Bench::with(HOME, settings);
    let site = bench.site(HOME);
    site.set_door(Door::Hang);
    let before = Instant::now();
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no usable answer in time: connecting to http://home.test timed out"
    );
    assert_eq!(before.elapsed(), Duration::from_secs(16));
    // Five attempts; a probe after two seconds and one five seconds after that had failed.
    assert_eq!(site.connections.load(Ordering::SeqCst), 7);
    assert!(is_open(&bench));
}

#[tokio::test(start_paused = true)]
async fn one_slow_key_opens_nothing() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Keep(ok("x"))]);
    let slow = bench.start(&format!("{HOME}/hang"));
    for _ in 0..40 {
        sleep(500).await;
        assert_eq!(bench.get(HOME).await.0, 200);
        assert_eq!(bench.home_state(), OriginState::Live);
    }
    assert_eq!(slow.await.unwrap().unwrap_err().word(), "held-out");
}

#[tokio::test(start_paused = true)]
async fn a_private_origin_of_a_private_feed_is_probed() {
    let bench = Bench::new();
    bench.site(HOME).set_door(Door::Private);
    let inner = bench.site("http://inner.test");
    inner.set_door(Door::Private);
    inner.set([Reply::Hang]);
    bench.fetch("http://inner.test/").await.unwrap_err();
    inner.set([Reply::Keep(ok("x"))]);
    sleep(31_000).await;
    let state = bench
        .upstream
        .state(&Origin::of("http://inner.test").unwrap(), &bench.access);
    assert_eq!(state, OriginState::Live);
}

#[tokio::test(start_paused = true)]
async fn a_silent_origin_is_slow_until_its_first_byte() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang]);
    let began = bench.clock.now();
    let read = bench.start(HOME);
    sleep(1_900).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    sleep(200).await;
    assert_eq!(bench.home_state(), OriginState::Slow { since: began });
    // Probed at once: the request and the probe.
    assert_eq!(site.asked(), 2);
    site.released.send_replace(true);
    sleep(1).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    assert_eq!(read.await.unwrap().unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn slowness_outlives_its_requests_and_ends_by_a_probe() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang]);
    let mut read = bench.read(HOME);
    read.hold = bench.clock.instant() + Duration::from_millis(1_500);
    let second = {
        sleep(1_000).await;
        bench.start(HOME)
    };
    bench.upstream.fetch(read).await.unwrap_err();
    sleep(2_000).await;
    assert!(is_slow(&bench));
    second.abort();
    sleep(20_000).await;
    assert!(is_slow(&bench));
    site.released.send_replace(true);
    sleep(6_000).await;
    assert_eq!(bench.home_state(), OriginState::Live);
}

#[tokio::test(start_paused = true)]
async fn silence_without_requests_means_nothing() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Keep(ok("x"))]);
    bench.get(HOME).await;
    sleep(60_000).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    let read = bench.start(HOME);
    sleep(0).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    read.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_silence_is_noticed_too() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang, Reply::Keep(ok("probe")), Reply::Hang]);
    let first = bench.start(HOME);
    sleep(2_100).await;
    assert_eq!(
        bench.home_state(),
        OriginState::Live,
        "the probe was answered"
    );
    sleep(2_000).await;
    assert!(is_slow(&bench));
    site.released.send_replace(true);
    assert_eq!(first.await.unwrap().unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_byte_between_two_probes_brings_the_next_forward() {
    let settings = Settings {
        max_hold: Duration::from_secs(60),
        ..Settings::default()
    };
    let bench = Bench::with(HOME, settings);
    let site = bench.site(HOME);
    // The request, the probe after 2 s, which fails after 12 s so that the next is due after 17 s, and the request's
    // second attempt after 10 s, with a byte after 13 s.
    let byte = Reply::Slowly(vec![(Duration::from_secs(3), "H".into())]);
    site.set([Reply::Hang, Reply::Hang, byte, Reply::Hang]);
    let read = bench.start(HOME);
    sleep(12_900).await;
    assert_eq!((site.asked(), is_slow(&bench)), (3, true));
    sleep(500).await;
    assert!(!is_slow(&bench));
    sleep(2_100).await;
    assert_eq!((site.asked(), is_slow(&bench)), (4, true));
    read.abort();
}

#[tokio::test(start_paused = true)]
async fn watching_ends() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    bench.fetch(HOME).await.unwrap_err();
    let before = Instant::now();
    bench.tasks.drain(Duration::from_secs(60)).await;
    assert_eq!(before.elapsed(), Duration::ZERO);

    let bench = Bench::new();
    bench.site(HOME).set([Reply::Close(ok("x"))]);
    bench.get(HOME).await;
    sleep(10_000).await;
    // What waits for draining to begin.
    assert_eq!(bench.tasks.running(), 1);
}
