//! What is stored answers after a restart, the upstream dead, the index lost.

use crate::harness::fixture::{LIST, ONE, content_path, nuget_like, package};
use crate::harness::{TestProxy, pass, seconds};

/// Everything that a restore asks for.
async fn paths(proxy: &TestProxy) -> Vec<String> {
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    vec![
        "/v3/index.json".into(),
        LIST.into(),
        format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0")),
        "/v3/flatcontainer/sample.one/1.0.0/sample.one.nuspec".into(),
        format!("{hive}sample.one/index.json"),
        format!("{hive}sample.many/index.json"),
        format!("{hive}sample.many/page/1.0.0/1.2.0.json"),
        "/v3/vulnerabilities/index.json".into(),
    ]
}

/// A proxy that has stored all of them, and their bodies.
async fn warm() -> (TestProxy, Vec<(String, bytes::Bytes)>) {
    let proxy = TestProxy::new().await;
    let mut stored = Vec::new();
    for path in paths(&proxy).await {
        let answer = proxy.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        stored.push((path, answer.body));
    }
    pass(seconds(1)).await;
    (proxy, stored)
}

async fn check(proxy: &TestProxy, stored: &[(String, bytes::Bytes)], details: &[&str]) {
    for (path, body) in stored {
        let (answer, took) = proxy.timed(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
        assert!(
            details.contains(&answer.detail()),
            "{path}: {}",
            answer.detail()
        );
        assert_eq!(answer.body, body, "{path}");
        assert!(took <= seconds(2), "{path}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_store_within_its_freshness_asks_nobody() {
    let (proxy, stored) = warm().await;
    let before = proxy.origin.total();
    let proxy = proxy.restart().await;
    // Until the index is open, files are found by name, and nobody knows when they were confirmed.
    pass(seconds(1)).await;
    check(&proxy, &stored, &["hit"]).await;
    assert_eq!(proxy.origin.total(), before);
}

#[tokio::test(start_paused = true)]
async fn a_warm_store_past_its_freshness_needs_no_upstream() {
    let (proxy, stored) = warm().await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    pass(seconds(24 * 60 * 60)).await;
    let details = ["hit", "stale.breaker-open", "stale.slow-origin"];
    check(&proxy, &stored, &details).await;
    // Lists are labelled.
    let list = proxy.get(LIST).await;
    assert!(list.detail().starts_with("stale."), "{}", list.detail());
}

#[tokio::test(start_paused = true)]
async fn the_index_lost_and_the_upstream_dead() {
    let (proxy, stored) = warm().await;
    proxy.origin.all_down();
    let remove = |data: std::path::PathBuf| {
        for entry in std::fs::read_dir(&data).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with("index")) {
                std::fs::remove_dir_all(&path).expect("a folder");
            }
        }
    };
    let proxy = proxy.restart_with(remove).await;
    let details = ["hit", "stale.breaker-open", "stale.slow-origin"];
    check(&proxy, &stored, &details).await;
    // What was found without an index is stale, but for content.
    let content = proxy.get(&stored[2].0).await.expect("hit");
    assert_eq!(content.body, package(ONE, "1.0.0", 40_000));
    let list = proxy.get(LIST).await;
    assert!(list.detail().starts_with("stale."), "{}", list.detail());
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_404_survives() {
    let proxy = TestProxy::with(nuget_like(), |_| {}).await;
    let path = "/v3/flatcontainer/sample.none/index.json";
    proxy.get(path).await.expect_status(404, "absent");
    pass(seconds(1)).await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    pass(seconds(60)).await;
    proxy
        .get(LIST)
        .await
        .expect_status(503, "failed.breaker-open");
    proxy
        .get(path)
        .await
        .expect_status(404, "absent.breaker-open");
}

#[tokio::test(start_paused = true)]
async fn epochs_survive() {
    let (proxy, _) = warm().await;
    let push = crate::harness::Ask::new(http::Method::PUT, "/v3/package");
    assert_eq!(
        proxy
            .send(push.body(package(ONE, "3.0.0", 100)))
            .await
            .status,
        201
    );
    pass(seconds(1)).await;
    let proxy = proxy.restart().await;
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(2)).await;
    proxy.get(LIST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_begins_anew() {
    let (proxy, _) = warm().await;
    let proxy = proxy.reopen_empty().await;
    proxy.get(LIST).await.expect("miss");
}
