//! Audit data of an upstream that offers nothing else: as a feed, and as the source of another feed's.

use serde_json::json;
use sluice::cache::key::{Audience, Key, Parts};
use sluice::proxy::{FeedSettings, Mode, ModeOrder};
use sluice::upstream::auth::Credential;

use crate::harness::fixture::{INDEX, LIST, document, nuget_like, service_index};
use crate::harness::{Ask, Origin, Setup, TestProxy, pass, seconds};

const AUDIT: &str = "https://data.test/v3/index.json";
const VULNERABILITIES: &str = "/v3/vulnerabilities/index.json";
const ASKED: &str = "GET data.test/v3/vulnerabilities/index.json";

/// Adds an upstream with vulnerability data alone, as data.nuget.org is (protocol fact 1.1.20).
fn mount(origin: &Origin) {
    let url = "https://data.test/v3/vulnerabilities/index.json";
    let index = service_index(&[("VulnerabilityInfo/6.7.0", url)]);
    origin.on("data.test/v3/index.json", document(&index));
    let page =
        r#"{"sample.one":[{"url":"https://cve.test/data","severity":3,"versions":"(, 9.0.0)"}]}"#;
    origin.on("data.test/pages/base.json", document(page));
    let entry = json!([{"@name": "base", "@id": "https://data.test/pages/base.json", "@updated": "2026-11-04T10:00:00Z"}]);
    origin.on(
        "data.test/v3/vulnerabilities/index.json",
        document(&entry.to_string()),
    );
}

/// The default feed, with a credential, its audit data from elsewhere.
async fn proxy() -> TestProxy {
    let origin = nuget_like();
    mount(&origin);
    TestProxy::with(origin, |setup| setup.proxy.feeds = vec![feed()]).await
}

fn feed() -> FeedSettings {
    FeedSettings {
        audit_upstream: Some(AUDIT.into()),
        credential: Some(Credential::Bearer("s3cret".into())),
        ..FeedSettings::new("nuget", INDEX)
    }
}

/// The path of the one page that our index names.
async fn page_of(proxy: &TestProxy, index: &str) -> String {
    let pages = proxy.get(index).await.json();
    assert_eq!(pages.as_array().unwrap().len(), 1);
    assert_eq!(pages[0]["@name"], "base");
    let url = pages[0]["@id"].as_str().unwrap();
    url.strip_prefix("http://us.test:6850")
        .expect("ours")
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_upstream_with_audit_data_alone_is_a_feed() {
    let origin = Origin::new();
    mount(&origin);
    let audit = |setup: &mut Setup| setup.proxy.feeds = vec![FeedSettings::new("audit", AUDIT)];
    let proxy = TestProxy::with(origin, audit).await;
    let index = proxy.get("/v3/index.json").await.expect("miss").json();
    proxy.proxy.keep_vulnerabilities();
    let resources = index["resources"].as_array().unwrap();
    assert_eq!(resources.len(), 1);
    assert_eq!(resources[0]["@type"], "VulnerabilityInfo/6.7.0");
    let page = page_of(&proxy, VULNERABILITIES).await;
    assert!(
        proxy
            .get(&page)
            .await
            .expect("hit")
            .text()
            .contains("cve.test/data")
    );
    for path in [
        LIST,
        "/v3/search",
        "/v3/catalog/index.json",
        "/v3/flatcontainer/a/1.0.0/a.1.0.0.nupkg",
    ] {
        let answer = proxy.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.detail(), "failed.not-offered", "{path}");
    }
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn another_upstreams_audit_data_is_offered_at_our_address_and_the_feeds_own_is_not_asked() {
    let proxy = proxy().await;
    let ours = proxy.path_of("VulnerabilityInfo/6.7.0").await;
    assert_eq!(ours, VULNERABILITIES);
    let page = page_of(&proxy, &ours).await;
    assert!(
        proxy
            .get(&page)
            .await
            .expect("hit")
            .text()
            .contains("cve.test/data")
    );
    assert_eq!(
        proxy
            .origin
            .count("GET api.test/v3/vulnerabilities/index.json"),
        0
    );
    proxy.get(LIST).await.expect("miss");
    let second = proxy.second().await;
    assert!(second.get(&page).await.text().contains("cve.test/data"));
}

#[tokio::test(start_paused = true)]
async fn an_index_without_such_data_offers_it_too() {
    let origin = Origin::new();
    mount(&origin);
    crate::harness::fixture::flat_only(&origin, "flat.test");
    let proxy = TestProxy::with(origin, |setup| {
        setup.proxy.feeds = vec![FeedSettings {
            audit_upstream: Some(AUDIT.into()),
            ..FeedSettings::new("flat", "https://flat.test/index.json")
        }];
    })
    .await;
    let ours = proxy.path_of("VulnerabilityInfo/6.7.0").await;
    assert_eq!(proxy.get(&ours).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_feeds_credential_never_goes_there() {
    let proxy = proxy().await;
    let page = page_of(&proxy, VULNERABILITIES).await;
    proxy.get(&page).await.expect("hit");
    proxy.get(LIST).await.expect("miss");
    let (mut own, mut other) = (0, 0);
    for seen in proxy.origin.all() {
        let is_sent = seen.header("authorization") == Some("Bearer s3cret");
        assert_eq!(is_sent, seen.host == "api.test", "{}", seen.name());
        own += usize::from(seen.host == "api.test");
        other += usize::from(seen.host == "data.test");
    }
    assert!(own >= 2 && other == 3, "{own} and {other}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_it_touches_nothing_else_and_leaves_the_copy() {
    let proxy = proxy().await;
    proxy.origin.down("data.test");
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.get(LIST).await.expect("miss");
    let answer = proxy.get(VULNERABILITIES).await;
    assert!(matches!(answer.status, 502..=504), "{}", answer.status);
    assert!(answer.reason.unwrap().contains("data.test unreachable"));
    proxy.origin.mend("data.test");
    pass(seconds(60)).await;
    let before = proxy.get(VULNERABILITIES).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(8 * 24 * 3600)).await;
    let answer = proxy.get(VULNERABILITIES).await;
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert_eq!(answer.body, before.body);
}

#[tokio::test(start_paused = true)]
async fn it_is_fetched_at_start_and_counted_as_the_feeds() {
    let proxy = proxy().await;
    proxy.proxy.keep_vulnerabilities();
    pass(seconds(5)).await;
    assert_eq!(proxy.origin.count(ASKED), 1);
    proxy.get(VULNERABILITIES).await.expect("hit");
    pass(seconds(3600)).await;
    assert_eq!(proxy.origin.count(ASKED), 2);
    let text = proxy.telemetry.render();
    let age = "sluice_vulnerability_data_age_seconds{feed=\"nuget\"}";
    assert!(text.contains(age), "{text}");
    assert!(!text.contains("nuget:audit"), "{text}");
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn a_changed_setting_changes_the_tag_of_the_index() {
    let with = proxy().await;
    let without = TestProxy::new().await;
    let tag = |answer: crate::harness::Answered| answer.header("etag").unwrap().to_owned();
    let one = tag(with.get("/v3/index.json").await);
    let other = tag(without.get("/v3/index.json").await);
    assert_ne!(one, other);
    let ask = Ask::get("/v3/index.json").header("if-none-match", &one);
    assert_eq!(with.send(ask).await.status, 304);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_lost_is_fetched_again_when_its_index_is_confirmed() {
    let proxy = TestProxy::new().await;
    let pages = proxy.get(VULNERABILITIES).await.json();
    let url = pages[0]["@id"].as_str().unwrap();
    let token = url.rsplit('/').next().unwrap();
    let key = Key::new(&Parts {
        feed: "nuget",
        id: None,
        class: "vulnerability-page",
        rest: token,
        variant: "",
        audience: Audience::Shared,
    });
    proxy.store.remove(&key).await;
    let asked = "GET api.test/v3-vulnerabilities/base.json";
    assert_eq!(proxy.origin.count(asked), 1);
    pass(seconds(3601)).await;
    proxy.get(VULNERABILITIES).await.expect("revalidated");
    assert_eq!(proxy.origin.count(asked), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_another_source_at_once_and_keeps_what_is_known_of_the_same() {
    let mut proxy = proxy().await;
    let other = AUDIT.replace("data.test", "other.test");
    let url = "https://other.test/vulnerabilities.json";
    let index = service_index(&[("VulnerabilityInfo/6.7.0", url)]);
    proxy
        .origin
        .on("other.test/v3/index.json", document(&index));
    let pages = json!([{"@name": "other", "@id": "https://other.test/page.json", "@updated": "2026-11-04T10:00:00Z"}]);
    let pages = document(&pages.to_string());
    proxy.origin.on("other.test/vulnerabilities.json", pages);
    proxy.origin.on("other.test/page.json", document("{}"));
    proxy.get(VULNERABILITIES).await.expect("miss");
    proxy.get("/v3/index.json").await.expect("miss");

    proxy.reload(|settings| settings.feeds[0].freshness.version_list = seconds(5));
    proxy.get(VULNERABILITIES).await.expect("hit");
    assert_eq!(proxy.origin.count("GET data.test/v3/index.json"), 1);

    proxy.reload(|settings| settings.feeds[0].audit_upstream = Some(other));
    let answer = proxy.get(VULNERABILITIES).await.expect("miss");
    assert_eq!(answer.json()[0]["@name"], "other");

    proxy.reload(|settings| settings.feeds[0].audit_upstream = None);
    let answer = proxy.get(VULNERABILITIES).await.expect("miss");
    assert_eq!(answer.json().as_array().unwrap().len(), 2);
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 1);

    // Back again, it is older than what was asked for since.
    proxy.reload(|settings| settings.feeds[0].audit_upstream = Some(AUDIT.into()));
    let asked = proxy.origin.count(ASKED);
    page_of(&proxy, VULNERABILITIES).await;
    assert_eq!(proxy.origin.count(ASKED), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn offline_nothing_is_sent_there_either_and_its_outage_puts_no_feed_offline() {
    let mut proxy = proxy().await;
    proxy.reload(|settings| {
        settings.feeds[0].auto_offline_after = Some(seconds(60));
        settings.feeds[0].symbols_upstream = Some("https://symbols.test".into());
    });
    let stored = proxy.get(VULNERABILITIES).await.expect("miss").body;
    proxy.origin.down("data.test");
    pass(seconds(3601)).await;
    for _ in 0..3 {
        assert_eq!(proxy.get(VULNERABILITIES).await.body, stored);
        pass(seconds(120)).await;
    }
    let mode = |proxy: &TestProxy| proxy.proxy.readiness()["feeds"][0]["mode"].clone();
    assert_eq!(mode(&proxy), "online");
    let troubles = &proxy.proxy.readiness()["feeds"][0]["troubles"];
    assert_eq!(troubles[0]["origin"], "data.test", "{troubles}");

    proxy.origin.mend("data.test");
    let order = ModeOrder::Fixed(Mode::Offline);
    proxy.proxy.order_mode("nuget", order).expect("the feed");
    let total = proxy.origin.total();
    pass(seconds(2 * 3600)).await;
    let answer = proxy.get(VULNERABILITIES).await;
    assert_eq!((answer.detail(), &answer.body), ("stale.offline", &stored));
    let symbols = proxy.get("/v3/symbols/a.pdb/1/a.pdb").await;
    symbols.expect_status(503, "failed.offline");
    assert_eq!(proxy.origin.total(), total);
}
