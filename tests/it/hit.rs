//! What is stored answers, and the upstream is asked once, whatever the spelling.

use crate::harness::fixture::{FLAT, LIST, LIST_ASKED, ONE, content_path, nuget_like, package};
use crate::harness::{Ask, Reply, TestProxy, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_list_is_fetched_once() {
    let proxy = TestProxy::new().await;
    let first = proxy.get(LIST).await.expect("miss");
    assert_eq!(
        first.text(),
        r#"{"versions":["1.0.0","1.1.0","2.0.0-beta.1"]}"#
    );
    pass(seconds(59)).await;
    for path in [
        LIST,
        "/nuget/v3/flatcontainer/Sample.ONE/index.json",
        "/v3/flatcontainer/sample%2Eone/index.json/?semVerLevel=2.0.0",
    ] {
        let again = proxy.get(path).await.expect("hit");
        assert_eq!(again.note(), "sluice; hit; ttl=1; detail=hit", "{path}");
        assert_eq!(again.header("age"), Some("59"));
        assert_eq!(again.body, first.body);
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 1);
    assert_eq!(proxy.origin.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn content_is_fetched_once_and_kept() {
    let proxy = TestProxy::new().await;
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    let expected = package(ONE, "1.0.0", 40_000);
    let first = proxy.get(&path).await.expect("miss");
    assert_eq!(first.body, expected);
    let length = expected.len().to_string();
    assert_eq!(first.header("content-length"), Some(&*length));
    pass(seconds(6 * 60 * 60)).await;
    for path in [
        path.clone(),
        path.replace("1.0.0", "1.0"),
        path.replace("1.0.0", "1.0.0.0+build"),
        path.replace("sample.one", "SAMPLE.One"),
    ] {
        let again = proxy.get(&path).await.expect("hit");
        assert_eq!(again.body, expected, "{path}");
    }
    let asked = format!("GET {FLAT}/{}", content_path(ONE, "1.0.0"));
    assert_eq!(proxy.origin.count(&asked), 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_carries_nothing_of_the_client_upstream() {
    let proxy = TestProxy::new().await;
    let ask = Ask::get(LIST)
        .header("authorization", "Basic c2VjcmV0")
        .header("x-nuget-apikey", "secret")
        .header("cookie", "a=b")
        .header("user-agent", "NuGet Command Line")
        .header("x-nuget-session-id", "5e55")
        .header("accept-language", "de")
        .header("via", "1.0 before");
    proxy.send(ask).await.expect("miss");
    for seen in proxy.origin.all() {
        let mut names: Vec<&str> = seen.headers.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "host", "user-agent", "via"]);
        assert_eq!(seen.header("user-agent"), Some("sluice/test"));
        assert_eq!(seen.header("accept-encoding"), Some("gzip"));
        assert_eq!(seen.header("via"), Some("1.0 before, 1.1 sluice-0badcafe"));
    }
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    proxy.get(&path).await.expect("miss");
    let asked = format!("GET {FLAT}/{}", content_path(ONE, "1.0.0"));
    let coding = proxy.origin.last(&asked);
    assert_eq!(coding.header("accept-encoding"), Some("identity"));
}

#[tokio::test(start_paused = true)]
async fn metrics_use_the_words_of_cache_status() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(LIST).await.expect("hit");
    proxy.get(LIST).await.expect("hit");
    let text = proxy.telemetry.render();
    let count = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("sluice_requests_total"));
        let line = lines.find(|line| line.contains("version-list") && line.contains(&label));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0)
    };
    assert_eq!(
        (count("miss"), count("hit"), count("stale")),
        (1, 2, 0),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn documents_in_use_outlive_packages_asked_for_once() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.store.max_store_bytes = Some(4 << 20);
    })
    .await;
    for _ in 0..5 {
        assert_eq!(proxy.get(LIST).await.status, 200);
        pass(seconds(61)).await;
    }
    for number in 0..40 {
        let version = format!("{number}.0.0");
        let place = content_path("Sample.Scan", &version);
        let body = package("Sample.Scan", &version, 200_000);
        proxy
            .origin
            .on(&format!("{FLAT}/{place}"), Reply::file(body));
        proxy
            .get(&format!("/v3/flatcontainer/{place}"))
            .await
            .expect("miss");
        pass(seconds(1)).await;
    }
    assert!(proxy.store.usage().evictions > 0);
    proxy.origin.all_down();
    let list = proxy.get(LIST).await;
    assert_eq!(list.status, 200, "{:?}", list.reason);
}
