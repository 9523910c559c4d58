//! Sluice in front of Sluice, and feeds whose upstream leads back to them.

use http::Method;

use crate::crawl::{follow, registrations};
use crate::harness::fixture::{
    FLAT, LIST, LIST_ASKED, LIST_PLACE, ONE, ONE_VERSIONS, content_path, document,
    mount_dependency, nuget_like, package, version_list,
};
use crate::harness::{Answered, Ask, Origin, TestProxy, pass, seconds};

const PACKAGE: &str = "/v3/flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";

/// An instance whose feed has this upstream, with these digits in its `Via`.
async fn instance(origin: &Origin, upstream: &str, token: &str) -> TestProxy {
    TestProxy::with(origin.clone(), |setup| {
        setup.proxy.feeds[0].upstream = upstream.into();
        setup.via_token = token.into();
    })
    .await
}

/// One in front of the scripted upstream, and one in front of that.
pub(crate) async fn two() -> (TestProxy, TestProxy) {
    let origin = nuget_like();
    mount_dependency(&origin);
    let inner = TestProxy::with(origin, |_| {}).await;
    let near = Origin::new();
    near.lead("inner.test", &inner.proxy);
    let outer = instance(&near, "http://inner.test/v3/index.json", "5ec0d1e5").await;
    (inner, outer)
}

#[tokio::test(start_paused = true)]
async fn every_link_through_two_is_the_outer_ones_and_answered() {
    let (inner, outer) = two().await;
    let mut starts = registrations(&outer, "sample.one").await;
    starts.extend(registrations(&outer, "sample.many").await);
    starts.extend(["/v3/index.json".into(), "/v3/search?q=sample".into()]);
    starts.extend([LIST.into(), PACKAGE.into()]);
    let starts: Vec<&str> = starts.iter().map(String::as_str).collect();
    let through_two = follow(&outer, &starts).await;
    let starts = registrations(&inner, "sample.one").await;
    assert!(starts.iter().all(|path| !through_two.contains(path)));
    for kind in [
        "/page/",
        "/v3/vulnerabilities/base-",
        "/1.0.0.json",
        "/v3/catalog/data/",
    ] {
        let found = through_two.iter().any(|path| path.contains(kind));
        assert!(found, "{kind}: {through_two:#?}");
    }
    let other = outer.second().await;
    for path in &through_two {
        let answer = other.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_through_two_asks_the_upstream_once_and_says_through_whom() {
    let (inner, outer) = two().await;
    for detail in ["miss", "hit"] {
        outer.get("/v3/index.json").await.expect(detail);
        let list = outer.get(LIST).await.expect(detail);
        assert_eq!(list.text(), version_list(&ONE_VERSIONS));
        let file = outer.get(PACKAGE).await.expect(detail);
        assert_eq!(file.body, package(ONE, "1.0.0", 40_000));
    }
    let asked = inner.origin.all();
    assert_eq!(asked.len(), 3, "index, list, package");
    for seen in asked {
        let via = seen.header("via").unwrap();
        assert_eq!(via, "1.1 sluice-5ec0d1e5, 1.1 sluice-0badcafe");
    }
    // Without the outer one's copies the inner one's serve; without both upstreams the outer one's do.
    let outer = outer.reopen_empty().await;
    outer.get(PACKAGE).await.expect("miss");
    assert_eq!(inner.origin.all().len(), 3);
    outer.get(LIST).await.expect("miss");
    outer.origin.all_down();
    pass(seconds(3600)).await;
    outer.get(PACKAGE).await.expect("hit");
    let list = outer.get(LIST).await;
    assert!(list.detail().starts_with("stale."), "{}", list.note());
}

fn age(answer: &Answered) -> u64 {
    answer.header("age").unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_comes_through_two_is_as_old_as_the_inner_copy() {
    let (inner, outer) = two().await;
    let search = "/v3/search?q=sample";
    for path in [LIST, PACKAGE, search] {
        assert_eq!(age(&inner.get(path).await.expect("miss")), 0, "{path}");
    }
    pass(seconds(50)).await;
    for path in [LIST, PACKAGE, search] {
        assert_eq!(age(&outer.get(path).await.expect("miss")), 50, "{path}");
    }
    pass(seconds(5)).await;
    for path in [LIST, PACKAGE, search] {
        assert_eq!(age(&outer.get(path).await.expect("hit")), 55, "{path}");
    }
    // Confirmed by the inner one, which the upstream has confirmed its own to.
    pass(seconds(60)).await;
    assert_eq!(age(&outer.get(LIST).await.expect("revalidated")), 0);
    // In an outage behind the inner one, what the outer one gets anew is as old as it is.
    inner.origin.all_down();
    pass(seconds(24 * 3600)).await;
    let other = outer.second().await;
    let day = 24 * 3600;
    let first = age(&other.get(LIST).await.expect("miss"));
    assert!((day..day + 5).contains(&first), "{first}");
    let other = other.restart().await;
    pass(seconds(7)).await;
    let second = age(&other.get(LIST).await.expect("hit"));
    assert_eq!(second, first + 7);
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_through_two_is_in_the_next_list() {
    let (inner, outer) = two().await;
    outer.get(LIST).await.expect("miss");
    let push = Ask::new(Method::PUT, "/v3/package").body(package(ONE, "9.0.0", 99));
    let pushed = outer.send(push).await;
    assert_eq!(pushed.status, 201, "{:?}", pushed.reason);
    let versions = [&ONE_VERSIONS[..], &["9.0.0"]].concat();
    inner
        .origin
        .on(LIST_PLACE, document(&version_list(&versions)));
    let place = format!("{FLAT}/{}", content_path(ONE, "9.0.0"));
    let file = crate::harness::Reply::file(package(ONE, "9.0.0", 99));
    inner.origin.on(&place, file);
    let list = outer.get(LIST).await.expect("miss");
    assert_eq!(list.text(), version_list(&versions));
    assert_eq!(inner.origin.count(LIST_ASKED), 2);
}

/// Everything that a client may ask is refused as a loop, at once, and the user reads why.
async fn check_loop(proxy: &TestProxy, host: &str) {
    for path in ["/v3/index.json", LIST, PACKAGE, "/v3/search?q=a"] {
        let (answer, took) = proxy.timed(path).await;
        let answer = answer.expect_status(508, "failed.loop");
        let reason = answer.reason.clone().unwrap();
        let expected = format!("Sluice: {host} leads back to this instance, no copy of ");
        assert!(reason.starts_with(&expected), "{reason}");
        assert!(answer.text().contains("check the upstream"));
        assert_eq!(took, seconds(0), "{path}");
    }
    let push = Ask::new(Method::PUT, "/v3/package").body("x");
    assert_eq!(proxy.send(push).await.status, 508);
}

#[tokio::test(start_paused = true)]
async fn a_feed_whose_upstream_is_itself_is_told() {
    let origin = Origin::new();
    let proxy = instance(&origin, "http://self.test/v3/index.json", "0badcafe").await;
    origin.lead("self.test", &proxy.proxy);
    check_loop(&proxy, "self.test").await;
}

#[tokio::test(start_paused = true)]
async fn two_feeds_whose_upstreams_are_each_other_are_told() {
    let origin = Origin::new();
    let one = instance(&origin, "http://two.test/v3/index.json", "0badcafe").await;
    let two = instance(&origin, "http://one.test/v3/index.json", "5ec0d1e5").await;
    origin.lead("one.test", &one.proxy);
    origin.lead("two.test", &two.proxy);
    check_loop(&one, "two.test").await;
    check_loop(&two, "one.test").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_answers_over_a_loop() {
    let origin = nuget_like();
    let mut proxy = instance(&origin, "https://api.test/v3/index.json", "0badcafe").await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(PACKAGE).await.expect("miss");
    origin.lead("api.test", &proxy.proxy);
    origin.lead("self.test", &proxy.proxy);
    proxy.reload(|settings| settings.feeds[0].upstream = "https://self.test/v3/index.json".into());
    proxy.get(PACKAGE).await.expect("hit");
    pass(seconds(61)).await;
    proxy.get(LIST).await.expect("stale.loop");
}

#[tokio::test(start_paused = true)]
async fn the_same_status_of_another_server_is_no_loop() {
    let origin = nuget_like();
    let busy = crate::harness::Reply::new(508, "").phrase("Resource Limit Is Reached");
    origin.on(LIST_PLACE, busy);
    let proxy = TestProxy::with(origin, |_| {}).await;
    let answer = proxy.get(LIST).await;
    answer.expect_status(502, "failed.upstream-status");
}
