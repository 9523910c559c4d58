//! The policy table: how long each class answers without asking.

use crate::harness::fixture::{CATALOG, FLAT, HIVE, LIST, LIST_ASKED, ONE, package};
use crate::harness::{Ask, TestProxy, pass, seconds};

/// `path` answers from the store until `fresh` seconds have passed, then the upstream is asked.
async fn check(proxy: &TestProxy, path: &str, asked: &str, fresh: u64) {
    proxy.get(path).await.expect("miss");
    pass(seconds(fresh - 1)).await;
    proxy.get(path).await.expect("hit");
    assert_eq!(proxy.origin.count(asked), 1, "{path}");
    pass(seconds(1)).await;
    let answer = proxy.get(path).await;
    assert!(
        matches!(answer.detail(), "miss" | "revalidated"),
        "{path}: {}",
        answer.detail()
    );
    assert_eq!(proxy.origin.count(asked), 2, "{path}");
}

/// `path` answers from the store for a day.
async fn check_kept(proxy: &TestProxy, path: &str, asked: &str) {
    proxy.get(path).await.expect("miss");
    pass(seconds(24 * 60 * 60)).await;
    proxy.get(path).await.expect("hit");
    assert_eq!(proxy.origin.count(asked), 1, "{path}");
}

#[tokio::test(start_paused = true)]
async fn lists_a_minute() {
    let proxy = TestProxy::new().await;
    check(&proxy, LIST, LIST_ASKED, 60).await;
}

#[tokio::test(start_paused = true)]
async fn registrations_five_minutes() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    for rest in [
        "sample.one/index.json",
        "sample.one/1.0.0.json",
        "sample.many/page/1.0.0/1.2.0.json",
    ] {
        let asked = format!("GET {HIVE}/{rest}");
        check(&proxy, &format!("{hive}{rest}"), &asked, 300).await;
    }
}

#[tokio::test(start_paused = true)]
async fn search_a_minute() {
    let proxy = TestProxy::new().await;
    check(&proxy, "/v3/search?q=a", "GET search-1.test/query", 60).await;
    let asked = "GET search-1.test/autocomplete";
    check(&proxy, "/v3/autocomplete?q=a", asked, 60).await;
}

#[tokio::test(start_paused = true)]
async fn the_service_index_a_quarter_of_an_hour() {
    let proxy = TestProxy::new().await;
    check(&proxy, "/v3/index.json", "GET api.test/v3/index.json", 900).await;
}

#[tokio::test(start_paused = true)]
async fn the_vulnerability_index_an_hour() {
    let proxy = TestProxy::new().await;
    let asked = "GET api.test/v3/vulnerabilities/index.json";
    check(&proxy, "/v3/vulnerabilities/index.json", asked, 3600).await;
}

#[tokio::test(start_paused = true)]
async fn content_and_what_never_changes_is_kept() {
    let proxy = TestProxy::new().await;
    for file in ["1.0.0/sample.one.1.0.0.nupkg", "1.0.0/sample.one.nuspec"] {
        let path = format!("/v3/flatcontainer/sample.one/{file}");
        let asked = format!("GET {FLAT}/sample.one/{file}");
        check_kept(&proxy, &path, &asked).await;
    }
    let leaf = "2026.11.04.10.00.00/sample.one.1.0.0.json";
    let asked = format!("GET {CATALOG}/{leaf}");
    check_kept(&proxy, &format!("/v3/catalog/data/{leaf}"), &asked).await;
    let index = proxy.get("/v3/vulnerabilities/index.json").await.json();
    let url = index[0]["@id"].as_str().expect("an address");
    let path = url.strip_prefix("http://us.test:6850").expect("ours");
    // The page was stored with its index.
    proxy.get(path).await.expect("hit");
    pass(seconds(24 * 60 * 60)).await;
    proxy.get(path).await.expect("hit");
    let asked = "GET api.test/v3-vulnerabilities/base.json";
    assert_eq!(proxy.origin.count(asked), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_push_two_seconds_for_a_quarter_of_an_hour() {
    let proxy = TestProxy::new().await;
    let other = "/v3/flatcontainer/sample.many/index.json";
    proxy.get(LIST).await.expect("miss");
    proxy.get(other).await.expect("miss");
    let push = Ask::new(http::Method::PUT, "/v3/package").body(package(ONE, "3.0.0", 100));
    assert_eq!(proxy.send(push).await.status, 201);
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("hit");
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("revalidated");
    proxy.get(other).await.expect("hit");
    pass(seconds(15 * 60)).await;
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(59)).await;
    proxy.get(LIST).await.expect("hit");
}
