//! Another configuration while requests run: each obeys the one under which it began, and nothing of before hides what
//! changed.

use sluice::proxy::FeedSettings;
use sluice::upstream::auth::Credential;

use crate::harness::fixture::{
    FLAT, LIST, LIST_ASKED, LIST_PLACE, ONE, content_path, document, flat_only, nuget_like,
    package, service_index, version_list,
};
use crate::harness::{Ask, Gate, Reply, TestProxy, pass, seconds};

/// The list of another feed as clients ask us for it.
const CORP_LIST: &str = "/corp/v3/flatcontainer/contoso/index.json";
const CORP_ASKED: &str = "GET corp.test/flat/contoso/index.json";

fn corp() -> FeedSettings {
    FeedSettings::new("corp", "https://corp.test/index.json")
}

/// Lets `host` offer one id with these versions.
fn offer(proxy: &TestProxy, host: &str, versions: &[&str]) {
    flat_only(&proxy.origin, host);
    let place = format!("{host}/flat/contoso/index.json");
    proxy.origin.on(&place, document(&version_list(versions)));
}

#[tokio::test(start_paused = true)]
async fn a_feed_is_added_while_a_download_runs() {
    let (origin, gate) = (nuget_like(), Gate::new());
    let whole = package(ONE, "1.0.0", 300_000);
    let place = format!("{FLAT}/{}", content_path(ONE, "1.0.0"));
    origin.on(&place, Reply::file(whole.clone()).body_gate(100_000, &gate));
    let mut proxy = TestProxy::with(origin, |_| {}).await;
    offer(&proxy, "corp.test", &["1.0.0"]);
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    let mut first = Ask::get(&path).open(&proxy.proxy).await;
    let mut taken = first.at_least(50_000).await;
    let before = proxy.get(CORP_LIST).await;
    assert_eq!(before.status, 404);
    proxy.reload(|settings| settings.feeds.push(corp()));
    proxy.get(CORP_LIST).await.expect("miss");
    // The download goes on, and who comes now joins it: its feed is asked as before.
    let second = Ask::get(&path).open(&proxy.proxy).await;
    gate.open();
    assert_eq!(second.collect().await.expect("coalesced").body, whole);
    taken.extend_from_slice(&first.collect().await.body);
    assert_eq!(taken, whole);
    assert_eq!(proxy.origin.count(&format!("GET {place}")), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_feed_is_a_404_and_returns_with_what_it_stored() {
    let mut proxy = TestProxy::new().await;
    offer(&proxy, "corp.test", &["1.0.0"]);
    proxy.reload(|settings| settings.feeds.push(corp()));
    proxy.get(CORP_LIST).await.expect("miss");
    proxy.get(CORP_LIST).await.expect("hit");
    proxy.reload(|settings| settings.feeds.truncate(1));
    assert_eq!(proxy.get(CORP_LIST).await.status, 404);
    proxy.reload(|settings| settings.feeds.push(corp()));
    proxy.get(CORP_LIST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn the_first_feed_is_the_default_from_the_next_request_on() {
    let mut proxy = TestProxy::new().await;
    offer(&proxy, "corp.test", &["7.0.0"]);
    proxy.origin.on(
        "corp.test/flat/sample.one/index.json",
        document(&version_list(&["7.0.0"])),
    );
    for detail in ["miss", "hit"] {
        let list = proxy.get(LIST).await.expect(detail);
        assert!(list.text().contains("1.1.0"));
    }
    proxy.reload(|settings| settings.feeds.insert(0, corp()));
    let list = proxy.get(LIST).await.expect("miss");
    assert_eq!(list.text(), r#"{"versions":["7.0.0"]}"#);
}

#[tokio::test(start_paused = true)]
async fn the_next_request_carries_the_new_credential() {
    let mut proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.feeds[0].credential = Some(Credential::Bearer("old".into()));
    })
    .await;
    let sent = |proxy: &TestProxy, name: &str| {
        let seen = proxy.origin.last(name);
        seen.header("authorization").map(str::to_owned)
    };
    proxy.get(LIST).await.expect("miss");
    assert_eq!(sent(&proxy, LIST_ASKED).as_deref(), Some("Bearer old"));
    // One that waits for the upstream with the old one is joined by nobody who would send the new one.
    let gate = Gate::new();
    proxy.origin.on(LIST_PLACE, Reply::new(401, "").gate(&gate));
    pass(seconds(60)).await;
    let waiting = proxy.spawn(Ask::get(LIST));
    gate.reached().await;
    proxy.reload(|settings| {
        settings.feeds[0].credential = Some(Credential::Bearer("new".into()));
    });
    let list = document(&version_list(&["9.0.0"]));
    proxy.origin.on(LIST_PLACE, list);
    let answer = proxy.get(LIST).await.expect("miss");
    assert_eq!(answer.text(), r#"{"versions":["9.0.0"]}"#);
    assert_eq!(sent(&proxy, LIST_ASKED).as_deref(), Some("Bearer new"));
    // The origins that the service index named may know the new one as well, without that being asked for again.
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 1);
    gate.open();
    waiting.await.unwrap().expect("stale.not-authorized");
}

#[tokio::test(start_paused = true)]
async fn freshness_holds_for_what_is_in_memory() {
    let mut proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    // By way of memory, then of the shortcut.
    proxy.get(LIST).await.expect("hit");
    proxy.get(LIST).await.expect("hit");
    pass(seconds(10)).await;
    proxy.reload(|settings| settings.feeds[0].freshness.version_list = seconds(5));
    proxy.get(LIST).await.expect("revalidated");
    proxy.get(LIST).await.expect("hit");
    proxy.reload(|settings| settings.feeds[0].freshness.version_list = seconds(600));
    pass(seconds(300)).await;
    proxy.get(LIST).await.expect("hit");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_request_from_before_is_none_for_those_after() {
    let (origin, gate) = (nuget_like(), Gate::new());
    let mut proxy = TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].freshness.version_list = seconds(600);
    })
    .await;
    // By now a shortcut leads to it.
    for detail in ["miss", "hit", "hit"] {
        proxy.get(LIST).await.expect(detail);
    }
    pass(seconds(600)).await;
    let list = document(&version_list(&["1.0.0"]));
    proxy.origin.on(LIST_PLACE, list.gate(&gate));
    let from_before = proxy.spawn(Ask::get(LIST));
    gate.reached().await;
    proxy.reload(|settings| settings.feeds[0].freshness.version_list = seconds(5));
    gate.open();
    from_before.await.unwrap().expect("miss");
    pass(seconds(10)).await;
    let asked = proxy.origin.count(LIST_ASKED);
    assert_eq!(proxy.get(LIST).await.status, 200);
    assert_eq!(proxy.origin.count(LIST_ASKED), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn every_origin_of_the_index_may_know_the_new_credential() {
    let origin = nuget_like();
    let index = service_index(&[("PackageBaseAddress/3.0.0", "https://cdn.test/flat/")]);
    origin.on("corp.test/index.json", document(&index));
    let list = document(&version_list(&["1.0.0"]));
    origin.on("cdn.test/flat/contoso/index.json", list);
    let mut proxy = TestProxy::with(origin, |setup| {
        let mut corp = corp();
        corp.credential = Some(Credential::Bearer("old".into()));
        setup.proxy.feeds.push(corp);
    })
    .await;
    proxy.get(CORP_LIST).await.expect("miss");
    proxy.reload(|settings| {
        settings.feeds[1].credential = Some(Credential::Bearer("new".into()));
    });
    pass(seconds(60)).await;
    proxy.get(CORP_LIST).await.expect("revalidated");
    let seen = proxy.origin.last("GET cdn.test/flat/contoso/index.json");
    assert_eq!(seen.header("authorization"), Some("Bearer new"));
}

#[tokio::test(start_paused = true)]
async fn freshness_of_the_service_index_holds_for_what_was_learned_of_it() {
    let mut proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.reload(|settings| settings.feeds[0].freshness.service_index = seconds(30));
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("revalidated");
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 2);
}

#[tokio::test(start_paused = true)]
async fn another_upstream_is_asked_before_anything_of_the_first_answers() {
    let mut proxy = TestProxy::new().await;
    offer(&proxy, "corp.test", &["1.0.0"]);
    offer(&proxy, "moved.test", &["2.0.0"]);
    proxy.reload(|settings| settings.feeds.push(corp()));
    for detail in ["miss", "hit"] {
        proxy.get(CORP_LIST).await.expect(detail);
    }
    proxy.reload(|settings| {
        settings.feeds[1].upstream = "https://moved.test/index.json".into();
    });
    let list = proxy.get(CORP_LIST).await.expect("miss");
    assert_eq!(list.text(), r#"{"versions":["2.0.0"]}"#);
    assert_eq!(proxy.origin.count(CORP_ASKED), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_an_upstream_outlives_a_change_of_something_else() {
    let mut proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(60)).await;
    assert!(proxy.get(LIST).await.detail().starts_with("stale."));
    pass(seconds(20)).await;
    let troubles = |proxy: &TestProxy| proxy.proxy.readiness()["feeds"][0]["troubles"].clone();
    let before = troubles(&proxy);
    assert_eq!(before[0]["origin"], "api.test");
    proxy.reload(|settings| settings.max_base_urls = 3);
    assert_eq!(troubles(&proxy), before);
    assert_eq!(proxy.proxy.readiness()["feeds"][0]["index_known"], true);
    proxy.reload(|settings| settings.feeds[0].freshness.version_list = seconds(3600));
    proxy.get(LIST).await.expect("hit");
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
}

#[tokio::test(start_paused = true)]
async fn names_and_hosts_of_ours_change_with_the_next_request() {
    let mut proxy = TestProxy::new().await;
    let first = |answer: crate::harness::Answered| {
        let index = answer.json();
        index["resources"][0]["@id"].as_str().unwrap().to_owned()
    };
    for _ in 0..3 {
        let url = first(proxy.get("/v3/index.json").await);
        assert!(url.starts_with("http://us.test:6850/v3/"), "{url}");
    }
    proxy.reload(|settings| settings.base.public_url = Some("https://packages.test/n".into()));
    let url = first(proxy.get("/v3/index.json").await);
    assert!(url.starts_with("https://packages.test/n/v3/"), "{url}");
    proxy.reload(|settings| settings.base.allowed_hosts = vec!["packages.test".into()]);
    assert_eq!(proxy.get("/v3/index.json").await.status, 421);
}

#[tokio::test(start_paused = true)]
async fn a_key_refused_a_moment_ago_is_asked_for_again() {
    let mut proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.feeds[0].credential = Some(Credential::Bearer("old".into()));
    })
    .await;
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.origin.on(LIST_PLACE, Reply::new(503, ""));
    assert_eq!(proxy.get(LIST).await.status, 503);
    let asked = proxy.origin.count(LIST_ASKED);
    assert_eq!(proxy.get(LIST).await.status, 503);
    assert_eq!(proxy.origin.count(LIST_ASKED), asked);
    proxy
        .origin
        .on(LIST_PLACE, document(&version_list(&["1.0.0"])));
    proxy.reload(|settings| settings.max_hold = seconds(20));
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn vulnerability_data_of_an_added_feed_is_fetched_and_of_a_removed_one_no_more() {
    let mut proxy = TestProxy::new().await;
    let (ours, corps) = (
        "GET api.test/v3/vulnerabilities/index.json",
        "GET corp.test/vulnerabilities.json",
    );
    let index = service_index(&[(
        "VulnerabilityInfo/6.7.0",
        "https://corp.test/vulnerabilities.json",
    )]);
    proxy.origin.on("corp.test/index.json", document(&index));
    proxy
        .origin
        .on("corp.test/vulnerabilities.json", document("[]"));
    proxy.proxy.keep_vulnerabilities();
    pass(seconds(1)).await;
    assert_eq!(
        (proxy.origin.count(ours), proxy.origin.count(corps)),
        (1, 0)
    );
    proxy.reload(|settings| settings.feeds.push(corp()));
    pass(seconds(1)).await;
    assert_eq!(
        (proxy.origin.count(ours), proxy.origin.count(corps)),
        (1, 1)
    );
    proxy
        .get("/v3/vulnerabilities/index.json")
        .await
        .expect("hit");
    proxy
        .get("/corp/v3/vulnerabilities/index.json")
        .await
        .expect("hit");
    proxy.reload(|settings| settings.feeds.truncate(1));
    pass(seconds(3 * 3600)).await;
    assert_eq!(proxy.origin.count(corps), 1);
    assert!(proxy.origin.count(ours) > 1);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_cannot_be_mounted_changes_nothing() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    let mut settings = sluice::proxy::Settings {
        feeds: vec![corp()],
        ..Default::default()
    };
    settings.feeds.push(FeedSettings::new("bad", "no address"));
    let refused = proxy.proxy.reload(settings).unwrap_err();
    assert!(
        refused.to_string().starts_with("feed \"bad\": upstream: "),
        "{refused}"
    );
    proxy.get(LIST).await.expect("hit");
    assert_eq!(proxy.get(CORP_LIST).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn answers_of_before_leave_memory_and_search_results_stay_for_outages() {
    let mut proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.get("/v3/search?q=a").await.expect("miss");
    pass(seconds(2)).await;
    // The answer, and what search found.
    assert_eq!(proxy.store.usage().answers, 2);
    proxy.reload(|settings| settings.max_base_urls = 3);
    pass(seconds(2)).await;
    assert_eq!(proxy.store.usage().answers, 1);
    proxy.origin.all_down();
    pass(seconds(60)).await;
    let found = proxy.get("/v3/search?q=a").await;
    assert!(found.detail().starts_with("stale."), "{}", found.detail());
}
