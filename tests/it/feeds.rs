//! Feeds side by side: they never see each other's entries, nor each other's credentials.

use sluice::proxy::FeedSettings;
use sluice::upstream::auth::Credential;

use crate::harness::fixture::{
    LIST, content_path, document, flat_only, nuget_like, package, service_index, version_list,
};
use crate::harness::{Origin, Reply, TestProxy, pass, seconds};

/// Two feeds on two hosts that have the same id, with other content.
async fn two() -> TestProxy {
    let origin = nuget_like();
    flat_only(&origin, "corp.test");
    let list = document(&version_list(&["1.0.0", "77.0.0"]));
    origin.on("corp.test/flat/sample.one/index.json", list);
    let place = format!("corp.test/flat/{}", content_path("Sample.One", "1.0.0"));
    origin.on(&place, Reply::file(package("Sample.One", "1.0.0", 999)));
    TestProxy::with(origin, |setup| {
        let corp = FeedSettings::new("corp", "https://corp.test/index.json");
        setup.proxy.feeds.push(corp);
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn two_feeds_never_see_each_others_entries() {
    let proxy = two().await;
    let content = content_path("Sample.One", "1.0.0");
    for detail in ["miss", "hit"] {
        let one = proxy.get(LIST).await.expect(detail);
        let other = proxy.get(&format!("/corp{LIST}")).await.expect(detail);
        assert!(one.text().contains("1.1.0"));
        assert_eq!(other.text(), r#"{"versions":["1.0.0","77.0.0"]}"#);
        let one = proxy.get(&format!("/v3/flatcontainer/{content}")).await;
        let other = proxy
            .get(&format!("/corp/v3/flatcontainer/{content}"))
            .await;
        assert_eq!(one.body, package("Sample.One", "1.0.0", 40_000));
        assert_eq!(other.body, package("Sample.One", "1.0.0", 999));
    }
    // A 404 of one is none of the other.
    let many = "/v3/flatcontainer/sample.many/index.json";
    proxy
        .get(&format!("/corp{many}"))
        .await
        .expect_status(404, "absent");
    proxy.get(many).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn an_epoch_of_one_feed_leaves_the_other_alone() {
    let proxy = two().await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(&format!("/corp{LIST}")).await.expect("miss");
    let push = crate::harness::Ask::new(http::Method::PUT, "/v3/package");
    let pushed = proxy
        .send(push.body(package("Sample.One", "9.0.0", 99)))
        .await;
    assert_eq!(pushed.status, 201);
    proxy.get(&format!("/corp{LIST}")).await.expect("hit");
    proxy.get(LIST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn one_dead_upstream_leaves_the_other_feed_alone() {
    let proxy = two().await;
    proxy.origin.down("corp.test");
    proxy
        .get(&format!("/corp{LIST}"))
        .await
        .expect_status(503, "failed.breaker-open");
    let (answer, took) = proxy.timed(LIST).await;
    answer.expect("miss");
    assert_eq!(took, seconds(0));
}

#[tokio::test(start_paused = true)]
async fn credentials_go_to_the_feeds_origins_alone() {
    let origin = Origin::new();
    let index = service_index(&[
        ("PackageBaseAddress/3.0.0", "https://cdn.test/flat/"),
        (
            "VulnerabilityInfo/6.7.0",
            "https://corp.test/vulnerabilities.json",
        ),
    ]);
    origin.on("corp.test/index.json", document(&index));
    origin.on(
        "cdn.test/flat/a/index.json",
        document(&version_list(&["1.0.0"])),
    );
    let far = Reply::redirect(302, "https://signed.test/x?sig=1");
    origin.on(
        &format!("cdn.test/flat/{}", content_path("A", "1.0.0")),
        far,
    );
    origin.on("signed.test/x", Reply::file(package("A", "1.0.0", 20_000)));
    origin.on("other.test/index.json", document(&service_index(&[])));
    let page =
        r#"[{"@name":"a","@id":"https://cve.test/a.json","@updated":"2026-01-01T00:00:00Z"}]"#;
    origin.on("corp.test/vulnerabilities.json", document(page));
    origin.on("cve.test/a.json", document("{}"));
    let proxy = TestProxy::with(origin, |setup| {
        let mut corp = FeedSettings::new("corp", "https://corp.test/index.json");
        corp.credential = Some(Credential::Bearer("s3cret".into()));
        let other = FeedSettings::new("other", "https://other.test/index.json");
        setup.proxy.feeds = vec![corp, other];
    })
    .await;
    proxy
        .get("/v3/flatcontainer/a/index.json")
        .await
        .expect("miss");
    let content = format!("/v3/flatcontainer/{}", content_path("A", "1.0.0"));
    proxy.get(&content).await.expect("miss");
    proxy.get("/other/v3/index.json").await.expect("miss");
    proxy
        .get("/v3/vulnerabilities/index.json")
        .await
        .expect("miss");
    for seen in proxy.origin.all() {
        let trusted = ["corp.test", "cdn.test"].contains(&&*seen.host);
        let sent = seen.header("authorization");
        assert_eq!(sent, trusted.then_some("Bearer s3cret"), "{}", seen.name());
    }
    assert_eq!(proxy.origin.count("GET signed.test/x"), 1);
    assert_eq!(proxy.origin.count("GET cve.test/a.json"), 1);
    // Nor does it come out again.
    proxy.origin.on("corp.test/index.json", Reply::new(401, ""));
    pass(seconds(24 * 60 * 60)).await;
    let answer = proxy
        .get("/v3/index.json")
        .await
        .expect("stale.not-authorized");
    assert!(!answer.text().contains("s3cret"));
}
