//! With a copy of any age nobody waits longer than `stale_after`, and no failure of the upstream reaches the client.

use crate::harness::fixture::{LIST, LIST_ASKED, LIST_PLACE, document, version_list};
use crate::harness::{Act, Door, Ending, Gate, Reply, TestProxy, pass, seconds};

const OTHER: &str = "/v3/flatcontainer/sample.many/index.json";

/// A proxy that has two lists, both past freshness.
async fn warm() -> TestProxy {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(OTHER).await.expect("miss");
    pass(seconds(60)).await;
    proxy
}

#[tokio::test(start_paused = true)]
async fn a_slow_key_gets_its_copy_after_two_seconds_and_the_refresh_lands() {
    let proxy = warm().await;
    let fresh = document(&version_list(&["9.0.0"])).delay(seconds(5));
    proxy.origin.on(LIST_PLACE, fresh);
    let (answer, took) = proxy.timed(LIST).await;
    let answer = answer.expect("stale.slow-origin");
    assert_eq!(took, seconds(2));
    assert!(answer.text().contains("1.0.0"));
    assert_eq!(
        answer.note(),
        "sluice; hit; ttl=-2; detail=stale.slow-origin"
    );
    assert_eq!(answer.header("age"), Some("62"));
    // One slow key affects only itself: the origin answers its probe, so it is not slow.
    pass(seconds(1)).await;
    let (other, took) = proxy.timed(OTHER).await;
    other.expect("revalidated");
    assert!(took < seconds(1), "{took:?}");
    pass(seconds(3)).await;
    let answer = proxy.get(LIST).await.expect("hit");
    assert_eq!(answer.text(), r#"{"versions":["9.0.0"]}"#);
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_origin_costs_one_wait_and_its_first_byte_ends_it() {
    let proxy = warm().await;
    proxy.origin.spell("api.test", Act::Hang);
    let (answer, took) = proxy.timed(LIST).await;
    answer.expect("stale.slow-origin");
    assert_eq!(took, seconds(2));
    for path in [OTHER, LIST, OTHER] {
        let (answer, took) = proxy.timed(path).await;
        answer.expect("stale.slow-origin");
        assert_eq!(took, seconds(0), "{path}");
    }
    proxy.origin.mend("api.test");
    pass(seconds(30)).await;
    // The probe was answered, and with it what waited behind the stale answers.
    let answer = proxy.get(OTHER).await;
    assert!(
        matches!(answer.detail(), "hit" | "revalidated"),
        "{}",
        answer.detail()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_origin_costs_at_most_two_seconds_then_nothing() {
    for hang in [Door::Hang, Door::Refuse] {
        let proxy = warm().await;
        proxy.origin.down("api.test");
        proxy.origin.door("api.test", hang);
        let (answer, took) = proxy.timed(LIST).await;
        assert!(answer.detail().starts_with("stale."), "{}", answer.detail());
        assert_eq!(answer.status, 200);
        assert!(took <= seconds(2), "{hang:?}: {took:?}");
        pass(seconds(20)).await;
        for path in [LIST, OTHER] {
            let (answer, took) = proxy.timed(path).await;
            answer.expect("stale.breaker-open");
            assert_eq!(took, seconds(0), "{hang:?}");
        }
        // However old.
        pass(seconds(24 * 60 * 60)).await;
        let answer = proxy.get(LIST).await.expect("stale.breaker-open");
        assert!(answer.text().contains("1.0.0"));
        proxy.origin.mend("api.test");
        pass(seconds(35)).await;
        proxy.get(LIST).await.expect("revalidated");
    }
}

#[tokio::test(start_paused = true)]
async fn no_status_and_no_garbage_reaches_a_client_that_can_have_a_copy() {
    let cases = [
        (Reply::new(500, "x"), "stale.slow-origin"),
        (Reply::new(503, "x"), "stale.slow-origin"),
        (
            Reply::new(429, "x").header("Retry-After", "30"),
            "stale.rate-limited",
        ),
        (Reply::new(501, "x"), "stale.upstream-status"),
        (Reply::new(400, "x"), "stale.upstream-status"),
        (
            Reply::new(401, "x").header("WWW-Authenticate", "Basic"),
            "stale.not-authorized",
        ),
        (Reply::new(403, "x"), "stale.not-authorized"),
        (Reply::new(407, "x"), "stale.proxy-auth-required"),
        (Reply::json("<html>"), "stale.html-page"),
        (Reply::json(r#"{"versions":["#), "stale.bad-body"),
        (Reply::json(r#"{"versions":{}}"#), "stale.bad-body"),
        (
            Reply::json("{\"versions\":[\"\u{1}\"]}").header("Content-Encoding", "br"),
            "stale.bad-body",
        ),
        (
            Reply::json(r#"{"versions":[]}"#).header("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            "stale.bad-body",
        ),
        (
            document(&version_list(&["9.0.0"])).ending(Ending::Cut(8)),
            "stale.closed",
        ),
        (
            document(&version_list(&["9.0.0"])).ending(Ending::Stall(8)),
            "stale.slow-origin",
        ),
        (Reply::redirect(302, "ftp://api.test/"), "stale.protocol"),
    ];
    for (reply, detail) in cases {
        let proxy = warm().await;
        let text = format!("{} {:?}", detail, proxy.origin.total());
        proxy.origin.on(LIST_PLACE, reply);
        let (answer, took) = proxy.timed(LIST).await;
        let answer = answer.expect(detail);
        assert!(answer.text().contains("1.0.0"), "{text}");
        assert_eq!(answer.header("www-authenticate"), None);
        assert!(took <= seconds(2), "{text}: {took:?}");
        // Nothing bad was stored, and the next request asks again.
        proxy
            .origin
            .on(LIST_PLACE, document(&version_list(&["9.0.0"])));
        pass(seconds(40)).await;
        let answer = proxy.get(LIST).await;
        assert_eq!(answer.text(), r#"{"versions":["9.0.0"]}"#, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_does_not_stop_its_refresh() {
    let proxy = warm().await;
    let gate = Gate::new();
    let fresh = document(&version_list(&["9.0.0"])).gate(&gate);
    proxy.origin.on(LIST_PLACE, fresh);
    let client = proxy.spawn(crate::harness::Ask::get(LIST));
    gate.reached().await;
    client.abort();
    gate.open();
    pass(seconds(1)).await;
    let answer = proxy.get(LIST).await.expect("hit");
    assert_eq!(answer.text(), r#"{"versions":["9.0.0"]}"#);
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}
