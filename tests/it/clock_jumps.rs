//! The machine's clock is set back or forth by days, at run time and across a restart: nothing is fresh for days more,
//! nothing stored is lost, and nothing panics.

use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::harness::fixture::{LIST, LIST_ASKED, ONE, content_path, nuget_like};
use crate::harness::{TestProxy, pass, seconds};

const DAY: Duration = Duration::from_secs(86_400);
/// By how much the clock is set: a wrong time zone, a wrong date, a battery that is empty.
const JUMPS: [Duration; 3] = [
    Duration::from_secs(3600),
    DAY,
    Duration::from_secs(400 * 86_400),
];

#[derive(Clone, Copy, Debug)]
enum Way {
    Back,
    Forth,
}

fn set(now: SystemTime, way: Way, jump: Duration) -> SystemTime {
    match way {
        Way::Back => now - jump,
        Way::Forth => now + jump,
    }
}

const ABSENT: &str = "/v3/flatcontainer/sample.none/index.json";
const ABSENT_ASKED: &str = "GET api.test/v3-flatcontainer/sample.none/index.json";

struct Warm {
    proxy: TestProxy,
    registration: String,
    content: String,
}

/// Documents, a package and a 404, all of them fresh.
async fn warm() -> Warm {
    let proxy = TestProxy::with(nuget_like(), |_| {}).await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let warm = Warm {
        registration: format!("{hive}sample.one/index.json"),
        content: format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0")),
        proxy,
    };
    for path in [LIST, &warm.registration, &warm.content] {
        warm.proxy.get(path).await.expect("miss");
    }
    warm.proxy.get(ABSENT).await.expect_status(404, "absent");
    pass(seconds(1)).await;
    warm
}

/// After a jump: everything is asked once, is fresh for its time and not longer, and the package stays.
async fn check(warm: &Warm, context: &str) {
    let proxy = &warm.proxy;
    let entries = proxy.store.usage().entries;
    proxy.get(LIST).await.expect("revalidated");
    proxy.get(LIST).await.expect("hit");
    proxy.get(&warm.registration).await.expect("revalidated");
    proxy.get(&warm.registration).await.expect("hit");
    let before = proxy.origin.count(ABSENT_ASKED);
    assert_eq!(proxy.get(ABSENT).await.status, 404, "{context}");
    assert_eq!(proxy.get(ABSENT).await.status, 404, "{context}");
    assert_eq!(proxy.origin.count(ABSENT_ASKED), before + 1, "{context}");
    let content = proxy.get(&warm.content).await.expect("hit");
    let age: u64 = content.header("age").unwrap().parse().unwrap();
    assert!(age <= 401 * DAY.as_secs(), "{context}: {age}");
    pass(seconds(59)).await;
    proxy.get(LIST).await.expect("hit");
    pass(seconds(2)).await;
    let asked = proxy.origin.count(LIST_ASKED);
    proxy.get(LIST).await.expect("revalidated");
    assert_eq!(proxy.origin.count(LIST_ASKED), asked + 1, "{context}");
    let usage = proxy.store.usage();
    assert_eq!((usage.entries, usage.evictions), (entries, 0), "{context}");
}

#[tokio::test(start_paused = true)]
async fn a_jump_at_run_time_makes_everything_be_asked_once_and_no_more() {
    for way in [Way::Back, Way::Forth] {
        for jump in JUMPS {
            let warm = warm().await;
            let clock = &warm.proxy.clock;
            clock.set(set(clock.now(), way, jump));
            check(&warm, &format!("{way:?} {jump:?}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_across_a_restart_does_the_same() {
    for way in [Way::Back, Way::Forth] {
        for jump in JUMPS {
            let warm = warm().await;
            let clock = warm.proxy.clock.clone();
            let proxy = warm
                .proxy
                .restart_with(|_| clock.set(set(clock.now(), way, jump)));
            let warm = Warm {
                proxy: proxy.await,
                ..warm
            };
            pass(seconds(1)).await;
            check(&warm, &format!("{way:?} {jump:?}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_for_a_while_leaves_nothing_behind() {
    let warm = warm().await;
    let clock = &warm.proxy.clock;
    let right = clock.now();
    clock.set(right + 400 * DAY);
    check(&warm, "ahead").await;
    let push = crate::harness::Ask::new(http::Method::PUT, "/v3/package");
    let package = crate::harness::fixture::package(ONE, "3.0.0", 100);
    let pushed = warm.proxy.send(push.body(package)).await;
    assert_eq!(pushed.status, StatusCode::CREATED.as_u16());
    clock.set(right);
    check(&warm, "right again").await;
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_copies_of_any_clock_answer() {
    for way in [Way::Back, Way::Forth] {
        let warm = warm().await;
        warm.proxy.origin.all_down();
        let clock = warm.proxy.clock.clone();
        clock.set(set(clock.now(), way, 400 * DAY));
        for _ in 0..2 {
            for path in [LIST, &warm.registration] {
                let answer = warm.proxy.get(path).await;
                assert_eq!(answer.status, 200, "{way:?} {path}");
                assert!(answer.detail().starts_with("stale."), "{way:?} {path}");
            }
            warm.proxy.get(&warm.content).await.expect("hit");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_under_a_clock_that_went_back_replaces_what_was() {
    let warm = warm().await;
    let clock = warm.proxy.clock.clone();
    let restart = warm
        .proxy
        .restart_with(|_| clock.set(clock.now() - 400 * DAY));
    let proxy = restart.await;
    pass(seconds(1)).await;
    let list = crate::harness::fixture::version_list(&["1.0.0", "9.0.0"]);
    proxy.origin.on(
        crate::harness::fixture::LIST_PLACE,
        crate::harness::fixture::document(&list)
            .header("Last-Modified", "Thu, 05 Nov 2026 10:00:00 GMT"),
    );
    assert_eq!(proxy.get(LIST).await.text(), list);
    pass(seconds(1)).await;
    let proxy = proxy.restart().await;
    pass(seconds(1)).await;
    assert_eq!(proxy.get(LIST).await.expect("hit").text(), list);
}
