//! Section 7.4: many requests, large documents.

use super::{NEWEST, package_path};
use crate::harness::fixture::{
    FLAT, HIVE, LIST, LIST_ASKED, LIST_PLACE, ONE, document, inlined_registration, nuget_like,
    package, version_list,
};
use crate::harness::{Act, Ask, Reply, TestProxy, pass, seconds};

/// Protocol fact 7.4.1: hundreds of requests of one restore at once all end well, over few connections, used again.
#[tokio::test(start_paused = true)]
async fn a_restore_of_hundreds_of_packages_takes_few_connections() {
    let origin = nuget_like();
    let versions: Vec<String> = (0..300).map(|number| format!("{number}.0.0")).collect();
    for version in &versions {
        let place = format!("{FLAT}/sample.crowd/{version}/sample.crowd.{version}.nupkg");
        let file = Reply::file(package("Sample.Crowd", version, 3000));
        origin.on(&place, file.delay(seconds(1)));
    }
    let proxy = TestProxy::with(origin, |_| {}).await;
    proxy.get("/v3/index.json").await.expect("miss");
    let paths = versions
        .iter()
        .map(|version| package_path("Sample.Crowd", version));
    let asking: Vec<_> = paths.map(|path| proxy.spawn(Ask::get(&path))).collect();
    for asked in asking {
        asked.await.unwrap().expect("miss");
    }
    let connections = proxy.origin.connections("api.test");
    assert!(connections <= 64, "{connections}");
    proxy.get(LIST).await.expect("miss");
    assert_eq!(proxy.origin.connections("api.test"), connections);
}

/// Protocol fact 7.4.2: a 429 ends here: its Retry-After is obeyed within the hold, and a copy answers meanwhile.
#[tokio::test(start_paused = true)]
async fn a_429_is_absorbed_and_its_retry_after_obeyed() {
    let busy = || Act::from(Reply::new(429, "").header("Retry-After", "4"));
    let list = |version: &str| Act::from(document(&version_list(&[version])));
    let proxy = TestProxy::new().await;
    proxy.origin.script(LIST_PLACE, [busy(), list("1.0.0")]);
    let (answer, took) = proxy.timed(LIST).await;
    answer.expect("miss");
    assert!(took >= seconds(4) && took < seconds(6), "{took:?}");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);

    proxy.origin.script(LIST_PLACE, [busy(), list("2.0.0")]);
    pass(seconds(60)).await;
    let (answer, took) = proxy.timed(LIST).await;
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert!(took <= seconds(2), "{took:?}");
    pass(seconds(10)).await;
    assert_eq!(proxy.get(LIST).await.text(), version_list(&["2.0.0"]));
}

/// Protocol fact 7.4.3: a large registration comes once for all clients, and leaves small.
#[tokio::test(start_paused = true)]
async fn a_large_registration_comes_once_and_leaves_small() {
    let versions: Vec<String> = (0..3000).map(|number| format!("{number}.0.0")).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let text = inlined_registration(HIVE, ONE, &versions);
    let proxy = TestProxy::new().await;
    let place = format!("{HIVE}/sample.one/index.json");
    proxy.origin.on(&place, document(&text));
    let path = format!("{}sample.one/index.json", proxy.path_of(NEWEST).await);
    let asking = [(); 8].map(|()| {
        let ask = Ask::get(&path).header("accept-encoding", "gzip");
        proxy.spawn(ask)
    });
    for asked in asking {
        let answer = asked.await.unwrap();
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        let (sent, came) = (answer.body.len(), text.len());
        assert!(came > 2_000_000 && sent < came / 10, "{sent} of {came}");
    }
    assert_eq!(proxy.origin.count(&format!("GET {place}")), 1);
}

/// Protocol fact 7.4.4: the catalog's index, large and ever changing, is fetched for those alone who ask for it.
#[tokio::test(start_paused = true)]
async fn nobody_fetches_the_catalog_for_a_restore() {
    const ASKED: &str = "GET api.test/v3/catalog0/index.json";
    let proxy = TestProxy::new().await;
    proxy.proxy.keep_vulnerabilities();
    let registration = format!("{}sample.one/index.json", proxy.path_of(NEWEST).await);
    for path in [
        LIST,
        &package_path(ONE, "1.0.0"),
        &registration,
        "/v3/search?q=a",
    ] {
        proxy.get(path).await.expect("miss");
    }
    pass(seconds(2 * 3600)).await;
    assert_eq!(proxy.origin.count(ASKED), 0);
    for detail in ["miss", "hit"] {
        proxy.get("/v3/catalog/index.json").await.expect(detail);
    }
    assert_eq!(proxy.origin.count(ASKED), 1);
    proxy.tasks.begin_drain();
}
