//! Without a copy: how long a request is held, when it is refused at once, and what the user reads.

use crate::harness::fixture::{LIST, LIST_ASKED, LIST_PLACE, content_path, document, version_list};
use crate::harness::{Act, Ask, Door, Reply, TestProxy, pass, seconds};

const OTHER: &str = "/v3/flatcontainer/sample.many/index.json";

/// A proxy that knows its upstream's index.
async fn ready() -> TestProxy {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    pass(seconds(1)).await;
    proxy
}

#[tokio::test(start_paused = true)]
async fn a_request_is_held_fifteen_seconds_and_its_key_refused_for_ten() {
    let content = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
    let content_place = format!(
        "api.test{}",
        content
            .replace("flatcontainer", "v3-flatcontainer")
            .replacen("/v3", "", 1)
    );
    for (path, place) in [(LIST, LIST_PLACE), (&*content, &*content_place)] {
        let proxy = ready().await;
        proxy.origin.on(place, Act::Hang);
        let asked = format!("GET {place}");
        let (answer, took) = proxy.timed(path).await;
        answer.expect_status(504, "failed.held-out");
        assert_eq!(took, seconds(15), "{path}");
        let count = proxy.origin.count(&asked);
        assert!(count > 0);
        for _ in 0..3 {
            pass(seconds(3)).await;
            let (answer, took) = proxy.timed(path).await;
            answer.expect_status(504, "failed.held-out");
            assert_eq!(took, seconds(0), "{path}");
        }
        assert_eq!(proxy.origin.count(&asked), count);
        // The origin answers its probes, so others are served meanwhile.
        proxy.get(OTHER).await.expect("miss");
        pass(seconds(1)).await;
        proxy.origin.on(place, document(&version_list(&["1.0.0"])));
        let (answer, _) = proxy.timed(path).await;
        assert_ne!(answer.detail(), "failed.held-out", "{path}");
        assert_eq!(proxy.origin.count(&asked), count + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_an_error_used_up_is_not_repeated_at_once() {
    for (status, ours) in [(503, 503), (500, 502), (504, 504), (429, 503)] {
        let proxy = ready().await;
        proxy.origin.on(LIST_PLACE, Reply::new(status, "sorry"));
        let (first, took) = proxy.timed(LIST).await;
        assert_eq!(first.status, ours);
        assert!(
            took > seconds(10) && took <= seconds(15),
            "{status}: {took:?}"
        );
        let count = proxy.origin.count(LIST_ASKED);
        assert!(count > 3, "{status}: {count}");
        pass(seconds(9)).await;
        let (again, took) = proxy.timed(LIST).await;
        assert_eq!((again.status, again.reason), (first.status, first.reason));
        assert_eq!(took, seconds(0), "{status}");
        assert_eq!(proxy.origin.count(LIST_ASKED), count);
        proxy
            .origin
            .on(LIST_PLACE, document(&version_list(&["1.0.0"])));
        pass(seconds(1)).await;
        proxy.get(LIST).await.expect("miss");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_passes_within_the_hold_is_not_seen() {
    let proxy = ready().await;
    let script = [
        Act::from(Reply::new(503, "").header("Retry-After", "3")),
        Act::Close,
        Act::from(Reply::new(500, "")),
        Act::from(document(&version_list(&["1.0.0"]))),
    ];
    proxy.origin.script(LIST_PLACE, script);
    let (answer, took) = proxy.timed(LIST).await;
    answer.expect("miss");
    assert!(took >= seconds(3) && took < seconds(6), "{took:?}");
    assert!(proxy.origin.count(LIST_ASKED) >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_hold_without_a_byte_opens_the_breaker_and_releases_everyone() {
    let proxy = ready().await;
    proxy.origin.spell("api.test", Act::Hang);
    let first = proxy.spawn(Ask::get(LIST));
    pass(seconds(5)).await;
    let (later, took) = proxy.timed(OTHER).await;
    later.expect_status(503, "failed.breaker-open");
    assert_eq!(took, seconds(10));
    let first = first.await.expect("a client");
    assert!(matches!(first.status, 503 | 504), "{}", first.status);
    for path in [LIST, OTHER, "/v3/flatcontainer/sample.none/index.json"] {
        let (answer, took) = proxy.timed(path).await;
        assert!(matches!(answer.status, 503 | 504), "{path}");
        assert!(took < std::time::Duration::from_millis(100), "{path}");
    }
    // The probe is answered: everything is as before.
    proxy.origin.mend("api.test");
    pass(seconds(30)).await;
    proxy.get(OTHER).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn five_failures_open_the_breaker() {
    let proxy = ready().await;
    proxy.origin.down("api.test");
    let (answer, took) = proxy.timed(LIST).await;
    answer.expect_status(503, "failed.breaker-open");
    assert!(took < seconds(4), "{took:?}");
    let connections = proxy.origin.connections("api.test");
    let (answer, took) = proxy.timed(OTHER).await;
    answer.expect_status(503, "failed.breaker-open");
    assert_eq!(took, seconds(0));
    assert_eq!(proxy.origin.connections("api.test"), connections);
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_without_an_upstream_is_one_hold() {
    for door in [Door::Hang, Door::Refuse] {
        let proxy = TestProxy::new().await;
        proxy.origin.down("api.test");
        proxy.origin.door("api.test", door);
        let hive = "/v3/registration/none-123456/sample.one/index.json";
        for path in ["/v3/index.json", LIST, hive, "/v3/search?q=a"] {
            let (answer, took) = proxy.timed(path).await;
            assert!(
                matches!(answer.status, 503 | 504),
                "{path}: {}",
                answer.status
            );
            assert!(took <= seconds(15), "{path}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_needs_several_documents_is_held_once() {
    let proxy = TestProxy::new().await;
    let mut reply = document(&crate::harness::fixture::service_index(&[(
        "PackageBaseAddress/3.0.0",
        "https://api.test/v3-flatcontainer/",
    )]));
    reply = reply.delay(seconds(9));
    proxy.origin.on("api.test/v3/index.json", reply);
    proxy.origin.on(
        LIST_PLACE,
        document(&version_list(&["1.0.0"])).delay(seconds(9)),
    );
    let (answer, took) = proxy.timed(LIST).await;
    assert_eq!(answer.status, 504);
    assert_eq!(took, seconds(15));
}

#[tokio::test(start_paused = true)]
async fn the_user_reads_what_happened_and_since_when() {
    let proxy = ready().await;
    pass(seconds(41 * 60)).await;
    proxy.origin.down("api.test");
    proxy
        .get(LIST)
        .await
        .expect_status(503, "failed.breaker-open");
    pass(seconds(40 * 60)).await;
    let content = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
    let text = proxy.wire().get(&content).await;
    let line = text.split("\r\n").next().expect("a line");
    assert_eq!(
        line,
        "HTTP/1.1 503 Sluice: api.test unreachable since 12:41, no copy of sample.one 1.0.0"
    );
    assert!(text.contains("connection refused"), "{text}");
    pass(seconds(24 * 60 * 60)).await;
    let answer = proxy.get(LIST).await;
    assert_eq!(
        answer.reason.as_deref(),
        Some("Sluice: api.test unreachable since 10 Nov 12:41, no copy of sample.one")
    );
}
