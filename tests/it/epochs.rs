//! What raises an epoch: content and list that disagree, a session that asks again. And a client's `no-cache`.

use std::net::SocketAddr;

use crate::harness::fixture::{
    FLAT, LIST, LIST_ASKED, LIST_PLACE, ONE, content_path, document, package, service_index,
    version_list,
};
use crate::harness::{Ask, Reply, TestProxy, pass, seconds};

fn in_session(session: &str) -> Ask {
    Ask::get(LIST).header("x-nuget-session-id", session)
}

fn forced(path: &str) -> Ask {
    Ask::get(path).header("cache-control", "no-cache")
}

#[tokio::test(start_paused = true)]
async fn content_that_the_list_lacks_makes_the_list_old() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    let place = format!("{FLAT}/{}", content_path(ONE, "3.0.0"));
    proxy
        .origin
        .on(&place, Reply::file(package(ONE, "3.0.0", 20_000)));
    proxy
        .origin
        .on(LIST_PLACE, document(&version_list(&["1.0.0", "3.0.0"])));
    proxy.get(LIST).await.expect("hit");
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "3.0.0"));
    proxy.get(&path).await.expect("miss");
    pass(seconds(1)).await;
    let list = proxy.get(LIST).await.expect("miss");
    assert!(list.text().contains("3.0.0"));
    proxy.get(LIST).await.expect("hit");
    // The package itself is as good as before.
    proxy.get(&path).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn content_that_the_upstream_lacks_makes_its_list_old() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy
        .origin
        .forget(&format!("{FLAT}/{}", content_path(ONE, "1.1.0")));
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "1.1.0"));
    proxy.get(&path).await.expect_status(404, "absent");
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("revalidated");
    // What list and upstream agree on raises nothing.
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "7.0.0"));
    proxy.get(&path).await.expect_status(404, "absent");
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    proxy.get(&path).await.expect("miss");
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_asks_again_gets_a_list_of_its_own() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.send(in_session("a")).await.expect("hit");
    pass(seconds(3)).await;
    proxy.send(in_session("a")).await.expect("revalidated");
    // That answer was fetched for it: there is nothing to suspect.
    pass(seconds(3)).await;
    proxy.send(in_session("a")).await.expect("hit");
    // But this one was not.
    pass(seconds(3)).await;
    proxy.send(in_session("a")).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn others_and_first_askers_raise_nothing() {
    let proxy = TestProxy::new().await;
    proxy.send(in_session("a")).await.expect("miss");
    pass(seconds(3)).await;
    // The first answer of the session was fetched for it.
    proxy.send(in_session("a")).await.expect("hit");
    pass(seconds(3)).await;
    proxy.send(in_session("b")).await.expect("hit");
    pass(seconds(3)).await;
    let elsewhere: SocketAddr = "192.0.2.77:1".parse().expect("an address");
    proxy
        .send(in_session("a").peer(elsewhere))
        .await
        .expect("hit");
    pass(seconds(3)).await;
    let other = Ask::get("/v3/flatcontainer/sample.many/index.json");
    proxy
        .send(other.header("x-nuget-session-id", "a"))
        .await
        .expect("miss");
    for _ in 0..3 {
        pass(seconds(3)).await;
        proxy.get(LIST).await.expect("hit");
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
}

#[tokio::test(start_paused = true)]
async fn no_cache_asks_at_most_every_two_seconds() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let registration = format!("{hive}sample.one/index.json");
    for path in [
        LIST,
        &registration,
        "/v3/index.json",
        "/v3/vulnerabilities/index.json",
    ] {
        proxy.get(path).await;
        proxy.send(forced(path)).await.expect("revalidated");
        let before = proxy.origin.total();
        for header in [
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
            ("cache-control", "max-age=0"),
        ] {
            let again = Ask::get(path).header(header.0, header.1);
            proxy.send(again).await.expect("hit");
        }
        assert_eq!(proxy.origin.total(), before, "{path}");
        pass(seconds(2)).await;
        proxy.send(forced(path)).await.expect("revalidated");
        assert_eq!(proxy.origin.total(), before + 1, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_cache_brings_is_what_everybody_gets() {
    let proxy = TestProxy::new().await;
    let coded = || {
        Ask::get(LIST)
            .header("accept-encoding", "gzip")
            .header("host", "other.test")
    };
    proxy.get(LIST).await.expect("miss");
    proxy.send(coded()).await.expect("hit");
    proxy
        .origin
        .on(LIST_PLACE, document(&version_list(&["9.0.0"])));
    let fresh = proxy.send(forced(LIST)).await.expect("miss");
    assert_eq!(fresh.text(), r#"{"versions":["9.0.0"]}"#);
    for ask in [Ask::get(LIST), coded()] {
        let answer = proxy.send(ask).await.expect("hit");
        assert_eq!(answer.body, fresh.body);
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn what_no_cache_brings_of_a_document_about_the_whole_feed_is_what_everybody_gets() {
    let index = service_index(&[("PackageBaseAddress/3.0.0", "https://other.test/flat/")]);
    let vulnerabilities = "api.test/v3/vulnerabilities/index.json";
    for (path, place, changed) in [
        ("/v3/index.json", "api.test/v3/index.json", index.as_str()),
        ("/v3/vulnerabilities/index.json", vulnerabilities, "[]"),
    ] {
        let proxy = TestProxy::new().await;
        let coded = || {
            Ask::get(path)
                .header("accept-encoding", "gzip")
                .header("host", "other.test")
        };
        proxy.get(path).await.expect("miss");
        let other = proxy.send(coded()).await.expect("hit");
        proxy.send(coded()).await.expect("hit");
        proxy.origin.on(place, document(changed));
        let fresh = proxy.send(forced(path)).await.expect("miss");
        let same = proxy.get(path).await.expect("hit");
        assert_eq!(same.body, fresh.body);
        let answer = proxy.send(coded()).await.expect("hit");
        assert_ne!(answer.body, other.body, "{path}");
        // Documents of packages are as fresh as before.
        assert_eq!(proxy.origin.count(&format!("GET {place}")), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_service_index_makes_no_list_old() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await;
    proxy.get(LIST).await.expect("miss");
    let index = service_index(&[("PackageBaseAddress/3.0.0", "https://other.test/flat/")]);
    proxy.origin.on("api.test/v3/index.json", document(&index));
    proxy.send(forced("/v3/index.json")).await.expect("miss");
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn demands_of_a_session_and_of_no_cache_share_their_interval() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.send(in_session("a")).await.expect("hit");
    proxy.send(forced(LIST)).await.expect("revalidated");
    proxy.send(in_session("a")).await.expect("hit");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn no_cache_waits_no_longer_than_anybody() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy
        .origin
        .on(LIST_PLACE, document("{}").delay(seconds(9)));
    let began = proxy.clock.instant();
    proxy.send(forced(LIST)).await.expect("stale.slow-origin");
    assert_eq!(began.elapsed(), seconds(2));
    proxy.origin.all_down();
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_asks_nobody() {
    let proxy = TestProxy::new().await;
    let only = || Ask::get(LIST).header("cache-control", "only-if-cached");
    let answer = proxy.send(only()).await;
    assert_eq!(
        (answer.status, answer.detail()),
        (504, "failed.only-if-cached")
    );
    assert_eq!(proxy.origin.count(LIST_ASKED), 0);
    proxy.get(LIST).await.expect("miss");
    proxy.send(only()).await.expect("hit");
    pass(seconds(60)).await;
    proxy.send(only()).await.expect("stale.only-if-cached");
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
}
