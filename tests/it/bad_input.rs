//! Requests that make no sense get a clear 4xx, and nothing is stored or forwarded.

use http::Method;

use crate::harness::fixture::{LIST, nuget_like};
use crate::harness::{Ask, TestProxy};

async fn check(proxy: &TestProxy, ask: Ask, status: u16) {
    let text = format!("{ask:?}");
    let answer = proxy.send(ask).await;
    assert_eq!(answer.status, status, "{text}");
    let reason = if status == 508 { "loop" } else { "bad-request" };
    assert_eq!(answer.detail(), format!("refused.{reason}"), "{text}");
    let reason = answer.reason.expect("a reason phrase");
    assert!(reason.starts_with("Sluice: "), "{reason}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(answer.body.starts_with(reason.as_bytes()), "{text}");
}

#[tokio::test(start_paused = true)]
async fn paths_that_make_no_sense() {
    let proxy = TestProxy::new().await;
    let long = format!("/v3/flatcontainer/{}/index.json", "a".repeat(5000));
    let id = format!("/v3/flatcontainer/{}/index.json", "a".repeat(200));
    for path in [
        "/v3/flatcontainer/a%ff/index.json",
        "/v3/flatcontainer/a%2fb/index.json",
        "/v3/flatcontainer/a%5cb/index.json",
        "/v3/flatcontainer/a%00b/index.json",
        "/v3/flatcontainer/../index.json",
        "/v3/flatcontainer/%2e%2e/index.json",
        "/v3//index.json",
        "/v3/flatcontainer/a b/index.json"
            .replace(' ', "%20")
            .as_str(),
        "/v3/flatcontainer/-/index.json/x/y",
        "/v3/flatcontainer/a/not.a.version/a.not.a.version.nupkg",
        &long,
        &id,
    ] {
        let answer = proxy.get(path).await;
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {}",
            answer.status
        );
        assert_eq!(answer.detail(), "refused.bad-request", "{path}");
    }
    for path in [
        "/v3/nothing",
        "/other/v3/index.json",
        "/favicon.ico",
        "/-/metrics",
        "/-/tools.json",
        "/v3/symbols/a.pdb/1f/a.pdb/x",
    ] {
        check(&proxy, Ask::get(path), 404).await;
    }
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn methods_that_a_resource_does_not_know() {
    let proxy = TestProxy::new().await;
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ] {
        for path in ["/v3/index.json", LIST, "/", "/-/healthz"] {
            let ask = Ask::new(method.clone(), path);
            let answer = proxy.send(ask.clone()).await;
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{path}");
            check(&proxy, ask, 405).await;
        }
    }
    check(&proxy, Ask::new(Method::POST, "/v3/search"), 405).await;
    for (method, path) in [
        (Method::GET, "/v3/package"),
        (Method::POST, "/v3/package"),
        (Method::PUT, "/v3/package/sample.one/1.0.0"),
        (Method::GET, "/v3/symbolpackage"),
    ] {
        let answer = proxy.send(Ask::new(method.clone(), path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.headers.contains_key("allow"), "{method} {path}");
    }
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn hosts_and_headers_that_make_no_sense() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.base.allowed_hosts = vec!["us.test".into()];
        setup.proxy.base.trusted_proxies = vec!["192.0.2.0/24".parse().expect("a network")];
    })
    .await;
    check(&proxy, Ask::get(LIST).header("host", "evil.test"), 421).await;
    for (name, value) in [
        ("x-forwarded-proto", "ftp"),
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "a/b"),
        ("x-forwarded-for", "nonsense"),
        ("x-forwarded-prefix", "a b"),
    ] {
        check(&proxy, Ask::get(LIST).header(name, value), 400).await;
    }
    check(&proxy, Ask::get(LIST).header("host", "a b"), 400).await;
    let query = format!("/v3/search?q={}", "a".repeat(13_000));
    check(&proxy, Ask::get(&query), 400).await;
    assert_eq!(proxy.origin.total(), 0);
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_round_again() {
    let proxy = TestProxy::new().await;
    for via in [
        "1.1 sluice-0badcafe",
        "1.0 a, 1.1 sluice-0badcafe (x), 1.1 b",
    ] {
        check(&proxy, Ask::get(LIST).header("via", via), 508).await;
        let push = Ask::new(Method::PUT, "/v3/package").header("via", via);
        check(&proxy, push.body("x"), 508).await;
    }
    assert_eq!(proxy.origin.total(), 0);
    // Another installation's is no loop.
    proxy
        .send(Ask::get(LIST).header("via", "1.1 sluice-12345678"))
        .await
        .expect("miss");
}

#[tokio::test(start_paused = true)]
async fn a_loop_over_two_instances_is_told() {
    let proxy = TestProxy::new().await;
    let inner = proxy.proxy.clone();
    let asked = Ask::get(LIST).header("via", "1.1 sluice-0badcafe, 1.1 sluice-5ec0d1e5");
    assert_eq!(asked.send(&inner).await.status, 508);
}
