//! An upstream that wants no requests for a while gets none: copies answer at once, everything else is refused with the
//! time until when.

use crate::harness::fixture::{LIST, LIST_ASKED, LIST_PLACE, content_path, document, version_list};
use crate::harness::{Act, Ask, Reply, TestProxy, pass, seconds};

const OTHER: &str = "/v3/flatcontainer/sample.many/index.json";

fn busy(status: u16, wait: &str) -> Reply {
    Reply::new(status, "").header("Retry-After", wait)
}

#[tokio::test(start_paused = true)]
async fn without_a_copy_everything_is_refused_at_once_until_then() {
    for (status, wait) in [
        (429, "600"),
        (503, "600"),
        (429, "Tue, 10 Nov 2026 12:10:01 GMT"),
    ] {
        let proxy = TestProxy::new().await;
        proxy.get("/v3/index.json").await.expect("miss");
        pass(seconds(1)).await;
        proxy.origin.on(LIST_PLACE, busy(status, wait));
        let content = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
        let mut asked = 0;
        for path in [LIST, OTHER, &*content, LIST] {
            let (answer, took) = proxy.timed(path).await;
            let answer = answer.expect_status(503, "failed.rate-limited");
            let reason = answer.reason.as_deref().expect("a reason");
            let said = format!("Sluice: api.test refuses by rate ({status}) until 12:10:01, no");
            assert!(reason.starts_with(&said), "{reason}");
            // The client obeys up to an hour of the upstream's own.
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(took, seconds(0), "{path}");
            if asked == 0 {
                asked = proxy.origin.total();
            }
        }
        assert_eq!(proxy.origin.total(), asked);
        let metric = r#"sluice_upstream_rest_seconds{origin="https://api.test"} 600"#;
        assert!(proxy.telemetry.render().contains(metric));
        pass(seconds(599)).await;
        proxy
            .get(OTHER)
            .await
            .expect_status(503, "failed.rate-limited");
        assert_eq!(proxy.origin.total(), asked);
        pass(seconds(1)).await;
        proxy.get(OTHER).await.expect("miss");
        let metric = r#"sluice_upstream_rest_seconds{origin="https://api.test"} 0"#;
        assert!(proxy.telemetry.render().contains(metric));
    }
}

#[tokio::test(start_paused = true)]
async fn copies_are_served_at_once_and_nothing_is_sent() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(OTHER).await.expect("miss");
    pass(seconds(61)).await;
    proxy.origin.on(LIST_PLACE, busy(429, "1200"));
    let (answer, took) = proxy.timed(LIST).await;
    assert!(answer.expect("stale.rate-limited").text().contains("1.0.0"));
    assert_eq!(took, seconds(0));
    let asked = proxy.origin.total();
    for _ in 0..5 {
        pass(seconds(200)).await;
        for path in [LIST, OTHER] {
            let (answer, took) = proxy.timed(path).await;
            answer.expect("stale.rate-limited");
            assert_eq!(took, seconds(0));
        }
    }
    assert_eq!(proxy.origin.total(), asked);
    proxy
        .origin
        .on(LIST_PLACE, document(&version_list(&["9.0.0"])));
    pass(seconds(200)).await;
    let answer = proxy.get(LIST).await.expect("miss");
    assert_eq!(answer.text(), version_list(&["9.0.0"]));
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_days_ends_after_an_hour() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    let good = document(&version_list(&["1.0.0"]));
    let script = [Act::from(busy(503, "604800")), Act::from(good)];
    proxy.origin.script(LIST_PLACE, script);
    let answer = proxy.get(LIST).await;
    let reason = answer.reason.as_deref().expect("a reason");
    assert!(reason.contains("(503) until 13:00:00"), "{reason}");
    pass(seconds(3_599)).await;
    proxy
        .get(LIST)
        .await
        .expect_status(503, "failed.rate-limited");
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn whoever_was_being_answered_is_answered() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    let slow = document(&version_list(&["1.0.0"])).delay(seconds(2));
    proxy.origin.on(LIST_PLACE, slow);
    let first = proxy.spawn(Ask::get(LIST));
    pass(seconds(1)).await;
    let place = "api.test/v3-flatcontainer/sample.many/index.json";
    proxy.origin.on(place, busy(429, "600"));
    proxy
        .get(OTHER)
        .await
        .expect_status(503, "failed.rate-limited");
    first.await.expect("a client").expect("miss");
}
