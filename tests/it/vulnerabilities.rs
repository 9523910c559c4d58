//! Vulnerability data: an index comes with all its pages or not at all.

use crate::harness::fixture::document;
use crate::harness::log::Log;
use crate::harness::{Act, Origin, Reply, TestProxy, pass, seconds};

const US: &str = "http://us.test:6850";
const INDEX: &str = "/v3/vulnerabilities/index.json";
const UPSTREAM: &str = "GET api.test/v3/vulnerabilities/index.json";

/// The pages that our index names, as (name, path).
async fn pages(proxy: &TestProxy) -> Vec<(String, String)> {
    let index = proxy.get(INDEX).await;
    assert_eq!(index.status, 200, "{:?}", index.reason);
    let pages = index.json();
    let page = |page: &serde_json::Value| {
        let url = page["@id"].as_str().unwrap();
        let path = url.strip_prefix(US).unwrap().to_owned();
        (page["@name"].as_str().unwrap().to_owned(), path)
    };
    pages.as_array().unwrap().iter().map(page).collect()
}

/// The upstream replaces its update page by one at another place.
fn renew(origin: &Origin, page: impl Into<Act>) {
    let entry = |name: &str, place: &str, updated: &str| serde_json::json!({"@name": name, "@id": format!("https://{place}"), "@updated": updated});
    let index = serde_json::json!([
        entry(
            "base",
            "api.test/v3-vulnerabilities/base.json",
            "2026-11-04T10:00:00Z"
        ),
        entry(
            "update",
            "api.test/v3-vulnerabilities/2/update.json",
            "2026-11-10T10:00:00Z"
        ),
    ]);
    origin.on(
        "api.test/v3/vulnerabilities/index.json",
        document(&index.to_string()),
    );
    origin.on("api.test/v3-vulnerabilities/2/update.json", page);
}

#[tokio::test(start_paused = true)]
async fn pages_are_stored_with_their_index_and_never_asked_for_again() {
    let proxy = TestProxy::new().await;
    let pages = pages(&proxy).await;
    assert_eq!(
        proxy
            .origin
            .count("GET api.test/v3-vulnerabilities/base.json"),
        1
    );
    assert_eq!(
        proxy
            .origin
            .count("GET api.test/v3-vulnerabilities/update.json"),
        1
    );
    let asked = proxy.origin.total();
    for (name, path) in &pages {
        let token = path.strip_prefix("/v3/vulnerabilities/").unwrap();
        let hex = token.strip_prefix(&format!("{name}-")).unwrap();
        assert!(
            hex.len() == 12 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            "{token}"
        );
        let page = proxy.get(path).await.expect("hit");
        // Advisories are for people: not a byte is changed (protocol fact 2.7.2).
        assert!(page.text().contains(&format!("https://cve.test/{name}")));
    }
    assert_eq!(proxy.origin.total(), asked);
    pass(seconds(59 * 60)).await;
    proxy.get(INDEX).await.expect("hit");
    pass(seconds(60)).await;
    proxy.get(INDEX).await.expect("revalidated");
    proxy.get(&pages[0].1).await.expect("hit");
    assert_eq!(
        proxy
            .origin
            .count("GET api.test/v3-vulnerabilities/base.json"),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_index_replaces_the_old_only_with_all_its_pages() {
    let proxy = TestProxy::new().await;
    let old = pages(&proxy).await;
    for bad in [
        Reply::new(404, ""),
        Reply::new(403, ""),
        Reply::json("{\"sample.one\":["),
        Reply::new(200, "<html>"),
    ] {
        renew(&proxy.origin, bad);
        pass(seconds(3601)).await;
        let index = proxy.get(INDEX).await;
        assert!(index.detail().starts_with("stale."), "{}", index.note());
        assert_eq!(pages(&proxy).await, old);
        assert_eq!(proxy.get(&old[1].1).await.status, 200);
    }
    renew(&proxy.origin, document("{}"));
    pass(seconds(11)).await;
    let new = pages(&proxy).await;
    assert_eq!(new[0], old[0]);
    assert_ne!(new[1], old[1]);
    assert_eq!(proxy.get(&new[1].1).await.expect("hit").text(), "{}");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_an_index_that_is_gone_is_the_current_page_of_its_name() {
    let proxy = TestProxy::new().await;
    pages(&proxy).await;
    let unknown = "/v3/vulnerabilities/update-0123456789ab";
    let page = proxy.get(unknown).await;
    assert!(page.text().contains("cve.test/update"), "{}", page.text());
    renew(&proxy.origin, document("{}"));
    pass(seconds(3601)).await;
    // And what it was an hour ago is not it any more.
    assert_eq!(proxy.get(unknown).await.text(), "{}");
    assert_eq!(
        proxy
            .get("/v3/vulnerabilities/nobody-0123456789ab")
            .await
            .status,
        404
    );
    assert_eq!(proxy.get("/v3/vulnerabilities/update").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn another_instance_answers_a_page_with_an_empty_store() {
    let proxy = TestProxy::new().await;
    for (_, path) in pages(&proxy).await {
        let second = proxy.second().await;
        assert_eq!(second.get(&path).await.body, proxy.get(&path).await.body);
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_index_and_pages_are_there_however_old() {
    let proxy = TestProxy::new().await;
    let before = pages(&proxy).await;
    pass(seconds(2 * 24 * 3600)).await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    assert_eq!(pages(&proxy).await, before);
    assert!(proxy.get(INDEX).await.detail().starts_with("stale."));
    for (_, path) in &before {
        assert_eq!(proxy.get(path).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_age_of_what_cannot_be_confirmed_is_a_metric() {
    let proxy = TestProxy::new().await;
    proxy.get(INDEX).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(8 * 24 * 3600)).await;
    proxy.proxy.keep_vulnerabilities();
    pass(seconds(5)).await;
    let text = proxy.telemetry.render();
    let line = text
        .lines()
        .find(|line| line.starts_with("sluice_vulnerability_data_age_seconds{"))
        .expect("the metric");
    assert!(line.contains("feed=\"nuget\""), "{line}");
    let age: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((8 * 24 * 3600..8 * 24 * 3600 + 60).contains(&age), "{line}");
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn it_is_fetched_at_start_and_hourly_while_clients_audit() {
    let proxy = TestProxy::new().await;
    proxy.proxy.keep_vulnerabilities();
    pass(seconds(5)).await;
    assert_eq!(proxy.origin.count(UPSTREAM), 1);
    proxy.get(INDEX).await.expect("hit");
    for hour in 2..5 {
        pass(seconds(3600)).await;
        assert_eq!(proxy.origin.count(UPSTREAM), hour);
        // No client waits for it.
        proxy.get(INDEX).await.expect("hit");
    }
    pass(seconds(24 * 3600)).await;
    assert_eq!(
        proxy.origin.count(UPSTREAM),
        5,
        "nobody has asked for a day"
    );
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn a_start_in_an_outage_is_made_up_for_soon_after() {
    let proxy = TestProxy::new().await;
    proxy.origin.down("api.test");
    proxy.proxy.keep_vulnerabilities();
    pass(seconds(600)).await;
    proxy.origin.mend("api.test");
    pass(seconds(120)).await;
    assert_eq!(proxy.origin.count(UPSTREAM), 1);
    proxy.tasks.begin_drain();
}

/// So many hours in which a client audits now and then.
async fn audit_for(proxy: &TestProxy, hours: usize) {
    for _ in 0..hours {
        assert_eq!(proxy.get(INDEX).await.status, 200);
        pass(seconds(3600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_was_not_confirmed_for_a_week_is_warned_of_once_a_day() {
    let log = Log::listen();
    let warnings = || log.lines_with("the vulnerability data is old");
    let proxy = TestProxy::new().await;
    proxy.proxy.keep_vulnerabilities();
    proxy.get(INDEX).await;
    proxy.origin.all_down();
    audit_for(&proxy, 7 * 24 - 2).await;
    assert_eq!(warnings(), Vec::<String>::new());
    audit_for(&proxy, 4).await;
    let first = warnings();
    assert_eq!(first.len(), 1, "{first:?}");
    for part in [" WARN ", "feed=\"nuget\"", "days=7"] {
        assert!(first[0].contains(part), "{}", first[0]);
    }
    audit_for(&proxy, 20).await;
    assert_eq!(warnings().len(), 1);
    audit_for(&proxy, 8).await;
    assert_eq!(warnings().len(), 2);
    proxy.tasks.begin_drain();
}
