//! Origins that want to be left alone: at once, until when they said, and no longer than an hour.

use tokio::time::Instant;

use super::*;

const DAY: u64 = 86_400;

fn busy(line: &str, wait: &str) -> Reply {
    let wait = format!("Retry-After: {wait}\r\n");
    Reply::Keep(answer(line, &wait, "reason"))
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Has a site wish for this; gives how many seconds it is left alone.
async fn left_alone_for(line: &str, wait: &str) -> u64 {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([busy(line, wait), Reply::Keep(ok("well"))]);
    let (before, began) = (Instant::now(), bench.clock.now());
    let error = bench.fetch(HOME).await.unwrap_err();
    let UpstreamError::Resting { status, until, .. } = &error else {
        panic!("{error}");
    };
    assert!(line.starts_with(status.as_str()), "{status}");
    let rest = until.duration_since(began).unwrap();
    loop {
        match bench.fetch(HOME).await {
            Ok(fetched) => {
                assert_eq!(text(fetched.body).await.unwrap(), "well");
                break;
            }
            Err(refused) => assert_eq!(refused, error),
        }
        // Refused at once, and nothing was sent.
        assert_eq!(site.asked(), 1);
        assert_eq!(
            bench.home_state(),
            OriginState::Resting {
                status: *status,
                until: *until
            }
        );
        sleep(1).await;
    }
    assert_eq!(bench.home_state(), OriginState::Live);
    assert_eq!(before.elapsed(), rest);
    rest.as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_wish_beyond_the_hold_is_granted_to_the_second() {
    for line in ["429 Slow Down", "503 Busy"] {
        assert_eq!(left_alone_for(line, "15").await, 15);
        assert_eq!(left_alone_for(line, "60").await, 60);
    }
    let date = "Tue, 14 Nov 2023 22:15:00 GMT";
    assert_eq!(left_alone_for("429 Slow Down", date).await, 100);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_left_alone_for_more_than_an_hour() {
    assert_eq!(left_alone_for("503 Busy", "3600").await, 3600);
    for wait in [
        "3601",
        "18446744073709551615",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        assert_eq!(left_alone_for("429 Slow Down", wait).await, 3600, "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_no_wish() {
    for wait in [
        "soon",
        "-5",
        "1.5",
        "Tue, 14 Nov 2000 22:13:27 GMT",
        "0",
        "",
    ] {
        let bench = Bench::new();
        let site = bench.site(HOME);
        site.set([busy("429 Slow Down", wait), Reply::Keep(ok("well"))]);
        let before = Instant::now();
        assert_eq!(bench.get(HOME).await, (200, "well".into()), "{wait}");
        assert!(before.elapsed() < Duration::from_millis(250), "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_is_answered_and_what_waits_here_is_refused() {
    let settings = Settings {
        max_connections: 2,
        ..Settings::default()
    };
    let bench = Bench::with(HOME, settings);
    let site = bench.site(HOME);
    site.set([busy("429 Slow Down", "60")]);
    let sent = bench.start(&format!("{HOME}/hang"));
    sleep(1).await;
    let wisher = bench.start(&format!("{HOME}/a"));
    let waiting: Vec<_> = (0..5).map(|_| bench.start(&format!("{HOME}/b"))).collect();
    let before = Instant::now();
    for read in waiting {
        assert_eq!(read.await.unwrap().unwrap_err().word(), "resting");
    }
    assert_eq!(wisher.await.unwrap().unwrap_err().word(), "resting");
    assert_eq!((before.elapsed(), site.asked()), (Duration::ZERO, 2));
    site.released.send_replace(true);
    let fetched = sent.await.unwrap().unwrap();
    assert_eq!(text(fetched.body).await.unwrap(), "late");
}

#[tokio::test(start_paused = true)]
async fn a_request_between_two_attempts_is_refused_too() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([
        busy("503 Busy", "10"),
        busy("503 Busy", "60"),
        Reply::Keep(ok("x")),
    ]);
    let patient = bench.start(&format!("{HOME}/a"));
    sleep(1).await;
    let before = Instant::now();
    bench.fetch(&format!("{HOME}/b")).await.unwrap_err();
    assert_eq!(patient.await.unwrap().unwrap_err().word(), "resting");
    assert_eq!((before.elapsed(), site.asked()), (Duration::ZERO, 2));
}

#[tokio::test(start_paused = true)]
async fn the_longer_of_two_wishes_holds_and_it_is_said_once() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    let gated = |wait: &str| {
        let reply = answer("429 Slow Down", &format!("Retry-After: {wait}\r\n"), "");
        Reply::Slowly(vec![(Duration::from_secs(1), reply)])
    };
    site.set([gated("90"), gated("30"), Reply::Keep(ok("x"))]);
    let reads = [bench.start(HOME), bench.start(HOME)];
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap_err().word(), "resting");
    }
    sleep(89).await;
    assert_eq!(bench.fetch(HOME).await.unwrap_err().word(), "resting");
    sleep(1).await;
    assert_eq!(bench.get(HOME).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn whoever_rests_is_not_probed() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang, busy("429 Slow Down", "1800")]);
    let slow = bench.start(HOME);
    sleep(1).await;
    bench.fetch(HOME).await.unwrap_err();
    // Silent since the second answer, while one waits for the first: else it would be probed at once.
    assert_eq!(slow.await.unwrap().unwrap_err().word(), "resting");
    sleep(60).await;
    assert_eq!(site.asked(), 2);
    sleep(DAY).await;
    assert_eq!((site.asked(), bench.home_state()), (3, OriginState::Live));
}

#[tokio::test(start_paused = true)]
async fn one_origin_rests_and_others_do_not() {
    let bench = Bench::new();
    bench.site(HOME).set([busy("429 Slow Down", "60")]);
    let other = bench.site("http://other.test");
    other.set([Reply::Keep(ok("well"))]);
    bench.fetch(HOME).await.unwrap_err();
    assert_eq!(bench.get("http://other.test/").await, (200, "well".into()));
}
