//! The catalog: followed by cursor through us, what cannot change asked for once.

use serde_json::Value;

use crate::harness::catalog::{self, ROOT, first_pages};
use crate::harness::fixture::document;
use crate::harness::{Ask, Reply, TestProxy, pass, seconds};

const US: &str = "http://us.test:6850";
const INDEX: &str = "/v3/catalog/index.json";
const NEWEST: &str = "/v3/catalog/page1.json";
const OLD: &str = "/v3/catalog/page0.json";

/// The items of a list that are newer than the cursor, as (time, path).
fn after(list: &Value, cursor: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let item = |item: &Value| {
        let url = text(&item["@id"]);
        let path = url.strip_prefix(US).expect("a link is ours").to_owned();
        (text(&item["commitTimeStamp"]), path)
    };
    let items = list["items"].as_array().unwrap().iter().map(item);
    items.filter(|(time, _)| time.as_str() > cursor).collect()
}

/// What a follower with this cursor finds: the leaves' paths by time. The cursor is the index's own afterwards, so a page
/// that is older than the index would make it skip commits for ever.
async fn follow(proxy: &TestProxy, cursor: &mut String) -> Vec<String> {
    let index = proxy.get(INDEX).await.json();
    let mut found = Vec::new();
    for (_, page) in after(&index, cursor) {
        let page = proxy.get(&page).await;
        assert_eq!(page.status, 200, "{:?}", page.reason);
        found.extend(after(&page.json(), cursor));
    }
    found.sort();
    *cursor = index["commitTimeStamp"].as_str().unwrap().to_owned();
    found.into_iter().map(|(_, leaf)| leaf).collect()
}

#[tokio::test(start_paused = true)]
async fn a_follower_sees_every_commit_once_and_old_parts_are_asked_for_once() {
    let proxy = TestProxy::new().await;
    let service_index = proxy.get("/v3/index.json").await;
    assert!(service_index.text().contains(&format!("{US}{INDEX}")));
    let mut cursor = String::new();
    let leaves = follow(&proxy, &mut cursor).await;
    assert_eq!(leaves.len(), 3);
    for leaf in &leaves {
        let answer = proxy.get(leaf).await.expect("miss").json();
        assert_eq!(answer["@id"], format!("{US}{leaf}"));
    }
    assert_eq!(follow(&proxy, &mut cursor).await, Vec::<String>::new());

    let mut pages = first_pages();
    pages[1].push(("2026-11-10T12:00:00.10Z", "1.0.0"));
    catalog::mount(&proxy.origin, &pages);
    pass(seconds(31)).await;
    let new = follow(&proxy, &mut cursor).await;
    assert_eq!(new.len(), 1);
    proxy.get(&new[0]).await.expect("hit");

    pages.push(vec![("2026-11-10T12:01:00.10Z", "1.1.0")]);
    catalog::mount(&proxy.origin, &pages);
    pass(seconds(31)).await;
    assert_eq!(follow(&proxy, &mut cursor).await.len(), 1);
    let asked = |at: usize| proxy.origin.count(&format!("GET {ROOT}/page{at}.json"));
    assert_eq!((asked(0), asked(2)), (1, 1));
    // No longer the newest: what is stored is its last state, and stays.
    pass(seconds(24 * 3600)).await;
    proxy.get(INDEX).await.expect("revalidated");
    let before = (asked(0), asked(1));
    proxy.get(OLD).await.expect("hit");
    proxy.get(NEWEST).await.expect("hit");
    proxy.get(&leaves[0]).await.expect("hit");
    assert_eq!((asked(0), asked(1)), before);
}

#[tokio::test(start_paused = true)]
async fn index_and_newest_page_are_asked_again_after_half_a_minute() {
    let proxy = TestProxy::new().await;
    proxy.get(INDEX).await.expect("miss");
    proxy.get(NEWEST).await.expect("miss");
    pass(seconds(29)).await;
    proxy.get(INDEX).await.expect("hit");
    proxy.get(NEWEST).await.expect("hit");
    pass(seconds(2)).await;
    proxy.get(NEWEST).await.expect("revalidated");
    proxy.get(INDEX).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_page_is_never_older_than_the_index_that_was_handed_out() {
    let proxy = TestProxy::new().await;
    proxy.get(INDEX).await.expect("miss");
    pass(seconds(25)).await;
    // Fresh for half a minute from now on; the index only for five seconds more.
    proxy.get(NEWEST).await.expect("miss");
    let mut pages = first_pages();
    pages[1].push(("2026-11-10T12:00:00.10Z", "1.0.0"));
    catalog::mount(&proxy.origin, &pages);
    pass(seconds(6)).await;
    proxy.get(INDEX).await.expect("miss");
    let page = proxy.get(NEWEST).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_lags_behind_the_index_is_not_kept_for_ever() {
    let proxy = TestProxy::new().await;
    let mut pages = first_pages();
    pages[0].push(("2026-11-02T10:00:00.10Z", "1.0.0"));
    catalog::mount(&proxy.origin, &pages);
    // An edge that has the page as it was before.
    catalog::mount_page(&proxy.origin, 0, &first_pages()[0]);
    assert_eq!(
        proxy.get(OLD).await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    catalog::mount(&proxy.origin, &pages);
    pass(seconds(3)).await;
    assert_eq!(
        proxy.get(OLD).await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    pass(seconds(3600)).await;
    proxy.get(OLD).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_everything_read_is_there_and_after_a_restart_too() {
    let proxy = TestProxy::new().await;
    let mut cursor = String::new();
    let leaves = follow(&proxy, &mut cursor).await;
    proxy.get(&leaves[0]).await.expect("miss");
    pass(seconds(24 * 3600)).await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    for path in [INDEX, OLD, NEWEST] {
        assert_eq!(proxy.get(path).await.status, 200, "{path}");
    }
    proxy.get(&leaves[0]).await.expect("hit");
    let unknown = proxy
        .get("/v3/catalog/data/2026.11.04.10.00.00/other.json")
        .await;
    assert!(matches!(unknown.status, 502..=504), "{}", unknown.status);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_a_leaf_that_looks_like_a_page_is_there_too() {
    let proxy = TestProxy::new().await;
    let leaf = r#"{"@id":"https://api.test/v3/catalog0/leaf.json","@type":"PackageDetails","id":"a","version":"1.0.0"}"#;
    proxy
        .origin
        .on(&format!("{ROOT}/leaf.json"), document(leaf));
    let path = "/v3/catalog/leaf.json";
    let before = proxy.get(path).await.expect("miss");
    pass(seconds(24 * 3600)).await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    assert_eq!(proxy.get(path).await.expect("hit").body, before.body);
}

#[tokio::test(start_paused = true)]
async fn another_instance_answers_pages_and_leaves_with_an_empty_store() {
    let proxy = TestProxy::new().await;
    let mut cursor = String::new();
    let leaves = follow(&proxy, &mut cursor).await;
    for path in [OLD, NEWEST, &leaves[0]] {
        let second = proxy.second().await;
        assert_eq!(second.get(path).await.body, proxy.get(path).await.body);
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_gone_or_none_is_a_failure_and_replaces_nothing() {
    let proxy = TestProxy::new().await;
    let before = proxy.get(INDEX).await.expect("miss");
    for bad in [
        Reply::new(404, ""),
        Reply::json("{}"),
        Reply::json("{\"items\":["),
    ] {
        proxy.origin.on(&format!("{ROOT}/index.json"), bad);
        pass(seconds(31)).await;
        let answer = proxy.get(INDEX).await;
        assert!(answer.detail().starts_with("stale."), "{}", answer.note());
        assert_eq!(answer.body, before.body);
        assert_eq!(proxy.get(OLD).await.status, 200);
        let second = proxy.second().await;
        assert_eq!(second.get(INDEX).await.status, 502);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_allows_the_store_alone_asks_nothing() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    let total = proxy.origin.total();
    for path in [INDEX, NEWEST] {
        let ask = Ask::get(path).header("cache-control", "only-if-cached");
        assert_eq!(proxy.send(ask).await.status, 504, "{path}");
    }
    assert_eq!(proxy.origin.total(), total);
}
