//! Limits of ours on what an origin is asked: fair between clients and between feeds, behind clients what nobody waits
//! for, and never told as the upstream's failure.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use sluice::proxy::FeedSettings;

use crate::harness::fixture::{self, LIST, content_path, nuget_like, package};
use crate::harness::{Act, Ask, Reply, TestProxy, pass, seconds};

/// A client with a great many requests, and one with a single one.
const MANY: &str = "192.0.2.1:50000";
const ONE: &str = "198.51.100.1:50000";

/// A proxy that knows its upstream's index and sends so many requests a second.
async fn limited(requests: u64) -> TestProxy {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.upstream.max_requests_per_second = NonZeroU64::new(requests);
        setup.upstream.max_hold = seconds(60);
        setup.proxy.max_hold = seconds(60);
        let second = FeedSettings::new("second", fixture::INDEX);
        setup.proxy.feeds.push(second);
    })
    .await;
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.get("/second/v3/index.json").await.expect("miss");
    pass(seconds(2)).await;
    proxy
}

fn from(client: &str, path: &str) -> Ask {
    let peer: SocketAddr = client.parse().expect("an address");
    Ask::get(path).peer(peer)
}

/// The list of an id that the upstream does not have.
fn nothing(feed: &str, at: usize) -> String {
    format!("/{feed}v3/flatcontainer/nothing{at}/index.json")
}

#[tokio::test(start_paused = true)]
async fn a_client_with_one_request_does_not_wait_for_anothers_five_hundred() {
    let proxy = limited(10).await;
    let many: Vec<_> = (0..500)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    pass(seconds(1)).await;
    let began = proxy.clock.instant();
    proxy.send(from(ONE, LIST)).await.expect("miss");
    assert!(began.elapsed() < seconds(1), "{:?}", began.elapsed());
    let metrics = proxy.telemetry.render();
    let waiting = metrics.lines().find(|line| {
        line.starts_with("sluice_upstream_queue_length{origin=\"https://api.test\",of=\"requests\"")
            && line.contains("client")
    });
    let waiting: usize = waiting
        .and_then(|line| line.rsplit(' ').next())
        .and_then(|count| count.parse().ok())
        .expect("a length");
    assert!((480..500).contains(&waiting), "{waiting}");
    for client in many {
        client.await.expect("a client").expect_status(404, "absent");
    }
    let metrics = proxy.telemetry.render();
    let turns = "sluice_upstream_turns_total{origin=\"https://api.test\",of=\"requests\"} 503";
    assert!(metrics.contains(turns), "{metrics}");
    assert!(
        metrics
            .contains("sluice_upstream_turn_wait_milliseconds_total{origin=\"https://api.test\"")
    );
}

#[tokio::test(start_paused = true)]
async fn a_feed_with_one_request_does_not_wait_for_anothers_hundred() {
    let proxy = limited(10).await;
    let many: Vec<_> = (0..100)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    pass(seconds(1)).await;
    let began = proxy.clock.instant();
    let list = format!("/second{LIST}");
    proxy.send(from(MANY, &list)).await.expect("miss");
    assert!(began.elapsed() < seconds(1), "{:?}", began.elapsed());
    for client in many {
        client.await.expect("a client");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_what_another_waits_for_brings_it_forward() {
    let proxy = limited(10).await;
    let mut many: Vec<_> = (0..300)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    many.push(proxy.spawn(from(MANY, LIST)));
    pass(seconds(1)).await;
    let began = proxy.clock.instant();
    proxy.send(from(ONE, LIST)).await.expect("coalesced");
    assert!(began.elapsed() < seconds(1), "{:?}", began.elapsed());
    for client in many {
        client.await.expect("a client");
    }
}

#[tokio::test(start_paused = true)]
async fn one_connection_at_a_time_is_fair_too() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.upstream.max_connections = 1;
        (setup.upstream.max_hold, setup.proxy.max_hold) = (seconds(60), seconds(60));
    })
    .await;
    proxy.get("/v3/index.json").await.expect("miss");
    for at in 0..20 {
        let place = format!("api.test/v3-flatcontainer/nothing{at}/index.json");
        proxy
            .origin
            .on(&place, Reply::new(404, "").delay(seconds(1)));
    }
    let many: Vec<_> = (0..20)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    pass(seconds(1)).await;
    let began = proxy.clock.instant();
    proxy.send(from(ONE, LIST)).await.expect("miss");
    assert!(began.elapsed() <= seconds(2), "{:?}", began.elapsed());
    for client in many {
        client.await.expect("a client");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_ahead_comes_behind_clients_and_comes() {
    let proxy = limited(10).await;
    let many: Vec<_> = (0..60)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    pass(seconds(1)).await;
    proxy.proxy.keep_vulnerabilities();
    for client in many {
        client.await.expect("a client");
    }
    let asked: Vec<_> = proxy.origin.all();
    let ahead: Vec<usize> = asked
        .iter()
        .enumerate()
        .filter(|(_, seen)| seen.target.contains("vulnerabilities"))
        .map(|(at, _)| at)
        .collect();
    // Two indexes came before. One request in nine is for what nobody waits for.
    let first = *ahead.first().expect("it was asked for");
    assert!((18..=24).contains(&first), "{ahead:?}");
    assert!(ahead.len() >= 4, "{ahead:?}");
    assert!(
        ahead.windows(2).all(|two| two[1] - two[0] >= 9),
        "{ahead:?}"
    );
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn a_refresh_behind_an_answer_comes_behind_clients() {
    let proxy = limited(10).await;
    proxy.get(LIST).await.expect("miss");
    pass(seconds(60)).await;
    // Silent for longer than `stale_after` while a request waits: the copy is given at once, and asked for behind it.
    proxy.origin.spell("api.test", Act::Hang);
    let waiting = proxy.spawn(from(ONE, "/v3/flatcontainer/silent/index.json"));
    pass(seconds(3)).await;
    let many: Vec<_> = (0..30)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("stale.slow-origin");
    check_one_waits_behind(&proxy).await;
    proxy.origin.mend("api.test");
    waiting.abort();
    many.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Checks that one request waits with no client behind it.
async fn check_one_waits_behind(proxy: &TestProxy) {
    // It looks into the store first.
    pass(Duration::from_millis(20)).await;
    let metrics = proxy.telemetry.render();
    let behind = "sluice_upstream_queue_length{origin=\"https://api.test\",of=\"requests\",urgency=\"background\"} 1";
    assert!(metrics.contains(behind), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn the_weekly_question_about_a_package_comes_behind_clients() {
    let proxy = limited(10).await;
    let path = format!("/v3/flatcontainer/{}", content_path(fixture::ONE, "1.0.0"));
    proxy.get(&path).await.expect("miss");
    pass(seconds(7 * 86_400)).await;
    proxy.get("/v3/index.json").await;
    pass(seconds(2)).await;
    let many: Vec<_> = (0..30)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    pass(seconds(1)).await;
    proxy.get(&path).await.expect("hit");
    check_one_waits_behind(&proxy).await;
    many.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_our_own_limit_used_up_says_so() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.upstream.max_requests_per_second = NonZeroU64::new(1);
    })
    .await;
    proxy.get("/v3/index.json").await.expect("miss");
    pass(seconds(1)).await;
    let many: Vec<_> = (0..40)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    let began = proxy.clock.instant();
    let mut refused = 0;
    for client in many {
        let answer = client.await.expect("a client");
        if answer.status == 404 {
            continue;
        }
        refused += 1;
        let answer = answer.expect_status(503, "failed.own-limit");
        assert_eq!(began.elapsed(), seconds(15));
        let reason = answer.reason.as_deref().expect("a reason");
        let said = "Sluice: too many requests wait for api.test here, no copy of nothing";
        assert!(reason.starts_with(said), "{reason}");
        assert!(answer.text().contains("max_upstream_requests_per_second"));
    }
    assert!(refused >= 20, "{refused}");
    // It is no trouble of the upstream's: nobody probed it, and the next request is sent.
    let readiness = proxy.proxy.readiness();
    assert_eq!(readiness["feeds"][0]["troubles"], serde_json::json!([]));
    assert_eq!(proxy.origin.total(), 1 + 40 - refused);
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn with_a_copy_our_own_limit_costs_two_seconds() {
    let proxy = limited(1).await;
    proxy.get(LIST).await.expect("miss");
    pass(seconds(61)).await;
    let many: Vec<_> = (0..10)
        .map(|at| proxy.spawn(from(MANY, &nothing("", at))))
        .collect();
    pass(seconds(1)).await;
    let (answer, took) = proxy.timed(LIST).await;
    answer.expect("stale.own-limit");
    assert_eq!(took, seconds(2));
    for client in many {
        client.await.expect("a client").expect_status(404, "absent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_package_under_a_limit_of_bytes_comes_whole() {
    let bytes = package("Sample.One", "1.0.0", 400_000);
    let origin = nuget_like();
    let content = content_path("Sample.One", "1.0.0");
    let reply = Reply::file(bytes.clone());
    origin.on(&format!("{}/{content}", fixture::FLAT), reply);
    let proxy = TestProxy::with(origin, |setup| {
        setup.upstream.max_bytes_per_second = NonZeroU64::new(4_000);
        setup.upstream.min_rate_bytes = 100_000;
    })
    .await;
    let (answer, took) = proxy.timed(&format!("/v3/flatcontainer/{content}")).await;
    assert_eq!(answer.expect("miss").body, bytes);
    assert!(took > seconds(80) && took < seconds(110), "{took:?}");
    let readiness = proxy.proxy.readiness();
    assert_eq!(readiness["feeds"][0]["troubles"], serde_json::json!([]));
}
