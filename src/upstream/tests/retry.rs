//! What is tried again, for how long, and what comes back at the end of the hold.

use tokio::time::Instant;

use super::*;

fn status(line: &str, headers: &str) -> Reply {
    Reply::Keep(answer(line, headers, "reason"))
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again() {
    for fault in [
        status("408 Late", ""),
        status("429 Slow Down", ""),
        status("500 Oops", ""),
        status("502 Bad", ""),
        status("503 Busy", ""),
        status("504 Late", ""),
        Reply::Close(String::new()),
        Reply::Close("HTTP/1.1 200".into()),
    ] {
        let bench = Bench::new();
        let site = bench.site(HOME);
        site.set([fault.clone(), fault, Reply::Keep(ok("at last"))]);
        let before = Instant::now();
        assert_eq!(bench.get(HOME).await, (200, "at last".into()));
        assert_eq!(site.asked(), 3);
        // One pause of 100 to 200 ms, one of twice that.
        let waited = before.elapsed().as_millis();
        assert!((300..=605).contains(&waited), "{waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_tried_again() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("up"))]);
    site.set_door(Door::Refuse);
    let read = bench.start(HOME);
    tokio::time::sleep(Duration::from_millis(250)).await;
    site.set_door(Door::Open);
    assert_eq!(read.await.unwrap().unwrap().status, 200);
    assert!(site.connections.load(Ordering::SeqCst) >= 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_handed_on_when_the_hold_ends() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([status("503 Busy", "X-Why: maintenance\r\n")]);
    let before = Instant::now();
    let fetched = bench.fetch(HOME).await.unwrap();
    assert_eq!(fetched.status, 503);
    assert_eq!(fetched.headers["x-why"], "maintenance");
    assert_eq!(text(fetched.body).await.unwrap(), "reason");
    let waited = before.elapsed().as_secs();
    assert!((12..=15).contains(&waited), "{waited}");
    assert!((8..=13).contains(&site.asked()), "{}", site.asked());
    assert_eq!(bench.home_state(), OriginState::Live);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_handed_on_before_the_hold_ends_where_that_is_wanted() {
    let bench = Bench::new();
    bench.site(HOME).set([status("503 Busy", "")]);
    let before = Instant::now();
    let read = Fetch {
        retry_until: bench.clock.instant() + Duration::from_secs(2),
        ..bench.read(HOME)
    };
    let fetched = bench.upstream.fetch(read).await.unwrap();
    assert_eq!(fetched.status, 503);
    assert!(before.elapsed() <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_more_than_a_later_silence() {
    let bench = Bench::new();
    bench.site(HOME).set([status("503 Busy", ""), Reply::Hang]);
    let before = Instant::now();
    let fetched = bench.fetch(HOME).await.unwrap();
    assert_eq!((fetched.status.as_u16(), fetched.length), (503, Some(0)));
    assert_eq!(before.elapsed(), Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_within_the_hold() {
    for wait in ["7", "Tue, 14 Nov 2023 22:13:27 GMT"] {
        let bench = Bench::new();
        let site = bench.site(HOME);
        let headers = format!("Retry-After: {wait}\r\n");
        site.set([status("429 Slow Down", &headers), Reply::Keep(ok("now"))]);
        let before = Instant::now();
        assert_eq!(bench.get(HOME).await, (200, "now".into()));
        assert_eq!(before.elapsed().as_secs(), 7, "{wait}");
        assert_eq!(site.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_wish_of_a_server_that_fails_otherwise_is_an_answer_at_once() {
    for line in ["408 Late", "500 Oops", "502 Bad", "504 Late"] {
        let bench = Bench::new();
        let site = bench.site(HOME);
        site.set([status(line, "Retry-After: 15\r\n")]);
        let before = Instant::now();
        assert_eq!(bench.get(HOME).await.1, "reason");
        assert_eq!((before.elapsed(), site.asked()), (Duration::ZERO, 1));
        // It says nothing of other requests.
        assert_eq!(bench.home_state(), OriginState::Live);
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_is_not_tried_again() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Close("<html>\r\n\r\n".into())]);
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!((error.word(), site.asked()), ("protocol", 1));
}

#[tokio::test(start_paused = true)]
async fn a_header_beyond_the_limit_is_refused() {
    let bench = Bench::new();
    let long = format!("X-Long: {}\r\n", "x".repeat(70_000));
    bench
        .site(HOME)
        .set([Reply::Keep(answer("200 OK", &long, ""))]);
    assert_eq!(bench.fetch(HOME).await.unwrap_err().word(), "protocol");
}

#[tokio::test(start_paused = true)]
async fn a_silent_request_is_tried_again_on_a_new_connection() {
    // No probes.
    let settings = Settings {
        stale_after: Duration::from_secs(60),
        ..Settings::default()
    };
    let bench = Bench::with(HOME, settings);
    let site = bench.site(HOME);
    site.set([Reply::Hang]);
    let warm = [bench.start(HOME), bench.start(HOME)];
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.released.send_replace(true);
    for read in warm {
        text(read.await.unwrap().unwrap().body).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.released.send_replace(false);

    site.set([Reply::Hang, Reply::Keep(ok("again"))]);
    let before = Instant::now();
    assert_eq!(bench.get(HOME).await, (200, "again".into()));
    assert_eq!(before.elapsed().as_secs(), 10);
    // Neither the connection that hung nor the other idle one.
    assert_eq!(site.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_hold_already_over_asks_nobody() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang]);
    let mut read = bench.read(HOME);
    read.hold = bench.clock.instant();
    let error = bench.upstream.fetch(read).await.unwrap_err();
    assert_eq!(error.word(), "held-out");
    assert!(error.is_timeout());
    assert_eq!(bench.home_state(), OriginState::Live);
}
