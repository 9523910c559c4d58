//! Registrations whose pages the upstream replaces, and hives that another instance learned of first.

use serde_json::{Value, json};

use crate::harness::fixture::{
    HIVE, INDEX, MANY, MANY_VERSIONS, document, inlined_registration, paged_registration,
    service_index,
};
use crate::harness::{Origin, Reply, TestProxy, pass, seconds};

const US: &str = "http://us.test:6850";
const INDEX_OF_MANY: &str = "api.test/v3/registration5-gz-semver2/sample.many/index.json";

/// Our path of the registration index of `id` in the newest hive.
async fn index_path(proxy: &TestProxy, id: &str) -> String {
    let index = proxy.get("/v3/index.json").await.json();
    let resources = index["resources"].as_array().unwrap();
    let newest = resources
        .iter()
        .find(|resource| resource["@type"] == "RegistrationsBaseUrl/3.6.0")
        .unwrap();
    let base = newest["@id"].as_str().unwrap();
    format!("{}{id}/index.json", base.strip_prefix(US).unwrap())
}

fn path_of(value: &Value) -> String {
    value.as_str().unwrap().strip_prefix(US).unwrap().to_owned()
}

fn versions(page: &Value) -> Vec<String> {
    let leaves = page["items"].as_array().unwrap();
    let version = |leaf: &Value| leaf["catalogEntry"]["version"].as_str().unwrap().to_owned();
    leaves.iter().map(version).collect()
}

/// The upstream publishes 3.3.0: the last page gets another URL, and the old one is gone.
fn publish_another(origin: &Origin) {
    let mut all = MANY_VERSIONS.to_vec();
    all.truncate(8);
    all.push("3.3.0");
    let (index, pages) = paged_registration(HIVE, MANY, &all);
    origin.on(INDEX_OF_MANY, document(&index).gzip());
    for (place, text) in pages {
        origin.on(&place, document(&text).gzip());
    }
    origin.forget("api.test/v3/registration5-gz-semver2/sample.many/page/3.0.0/3.2.0.json");
}

#[tokio::test(start_paused = true)]
async fn a_page_replaced_between_index_and_page_gives_way_to_the_one_that_covers_it() {
    let proxy = TestProxy::new().await;
    let index = proxy
        .get(&index_path(&proxy, "sample.many").await)
        .await
        .json();
    let last = path_of(&index["items"][2]["@id"]);
    // The page that covers more: 3.0.0 up to 3.4.0.
    let (text, pages) = paged_registration(HIVE, MANY, &MANY_VERSIONS);
    let newer = |text: &str| {
        text.replace("page/3.0.0/3.2.0.json", "page/3.0.0/3.4.0.json")
            .replace(r#""upper":"3.2.0""#, r#""upper":"3.4.0""#)
    };
    proxy
        .origin
        .on(INDEX_OF_MANY, document(&newer(&text)).gzip());
    let (place, page) = &pages[2];
    proxy.origin.forget(place);
    let place = place.replace("3.2.0.json", "3.4.0.json");
    proxy.origin.on(&place, document(&newer(page)).gzip());
    let answer = proxy.get(&last).await.expect("miss");
    assert_eq!(versions(&answer.json()), ["3.0.0", "3.1.0", "3.2.0"]);
    assert_eq!(answer.json()["upper"], "3.4.0");
    assert_eq!(proxy.origin.count(&format!("GET {INDEX_OF_MANY}")), 2);
    // The index that comes next names the new page.
    let path = index_path(&proxy, "sample.many").await;
    let index = proxy.get(&path).await.json();
    assert!(path_of(&index["items"][2]["@id"]).ends_with("/page/3.0.0/3.4.0.json"));
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_id_is_inlined_by_now_is_cut_out_of_the_index() {
    let proxy = TestProxy::new().await;
    let index = proxy
        .get(&index_path(&proxy, "sample.many").await)
        .await
        .json();
    let last = path_of(&index["items"][2]["@id"]);
    let text = inlined_registration(HIVE, MANY, &MANY_VERSIONS);
    proxy.origin.on(INDEX_OF_MANY, document(&text).gzip());
    proxy
        .origin
        .forget("api.test/v3/registration5-gz-semver2/sample.many/page/3.0.0/3.2.0.json");
    let answer = proxy.get(&last).await;
    assert_eq!(versions(&answer.json()), MANY_VERSIONS);
    assert!(!answer.text().contains("api.test"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_nothing_covers_stays_as_long_as_clients_may_have_an_index_that_names_it() {
    let proxy = TestProxy::new().await;
    let path = index_path(&proxy, "sample.many").await;
    let index = proxy.get(&path).await.json();
    let last = path_of(&index["items"][2]["@id"]);
    let page = proxy.get(&last).await.expect("miss").body;
    // The index names it once more, 30 minutes later, then the id is gone.
    pass(seconds(30 * 60)).await;
    proxy.get(&path).await.expect("revalidated");
    proxy.origin.spell("api.test", Reply::new(404, ""));
    pass(seconds(40 * 60)).await;
    let answer = proxy.get(&last).await.expect("stale.replaced");
    assert_eq!(answer.body, page);
    pass(seconds(6 * 60)).await;
    assert_eq!(proxy.get(&last).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn of_two_pages_that_share_a_replaced_one_neither_hides_the_others_versions() {
    let proxy = TestProxy::new().await;
    let index = proxy
        .get(&index_path(&proxy, "sample.many").await)
        .await
        .json();
    let middle = path_of(&index["items"][1]["@id"]);
    proxy.get(&middle).await.expect("miss");
    // 1.3.0 came late: every page behind it begins elsewhere now.
    let mut all = MANY_VERSIONS.to_vec();
    all.insert(3, "1.3.0");
    let (index, pages) = paged_registration(HIVE, MANY, &all);
    proxy.origin.on(INDEX_OF_MANY, document(&index).gzip());
    for (place, text) in pages {
        proxy.origin.on(&place, document(&text).gzip());
    }
    proxy
        .origin
        .forget("api.test/v3/registration5-gz-semver2/sample.many/page/2.0.0/2.2.0.json");
    pass(seconds(5 * 60)).await;
    let answer = proxy.get(&middle).await.expect("stale.replaced");
    assert_eq!(versions(&answer.json()), ["2.0.0", "2.1.0", "2.2.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_link_to_a_page_that_is_replaced_gives_way_too() {
    let origin = Origin::new();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://odd.test/reg/")]);
    origin.on("api.test/v3/index.json", document(&index));
    let mount = |at: &str, upper: &str| {
        let leaf = |version: &str| {
            json!({
                "@id": format!("https://odd.test/reg/a/{version}.json"),
                "catalogEntry": {"id": "a", "version": version},
                "packageContent": format!("https://odd.test/{version}"),
            })
        };
        let mut page = json!({
            "@id": format!("https://odd.test/pages/{at}"), "count": 2, "lower": "1.0.0",
            "upper": upper, "items": [leaf("1.0.0"), leaf(upper)],
        });
        origin.on(&format!("odd.test/pages/{at}"), document(&page.to_string()));
        page.as_object_mut().unwrap().remove("items");
        let index = json!({"count": 1, "items": [page]});
        origin.on("odd.test/reg/a/index.json", document(&index.to_string()));
    };
    mount("one", "2.0.0");
    let proxy = TestProxy::with(origin.clone(), |_| {}).await;
    let index = proxy.get(&index_path(&proxy, "a").await).await.json();
    let page = path_of(&index["items"][0]["@id"]);
    assert!(page.contains("/link/"), "{page}");
    mount("two", "3.0.0");
    origin.forget("odd.test/pages/one");
    let answer = proxy.get(&page).await;
    assert_eq!(versions(&answer.json()), ["1.0.0", "3.0.0"]);
    // And once the index is known that does not name it any more.
    pass(seconds(3)).await;
    let answer = proxy.get(&page).await;
    assert_eq!(versions(&answer.json()), ["1.0.0", "3.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_hive_of_a_newer_service_index_is_found_by_asking_for_that() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    let newer = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://api.test/new-hive/")]);
    proxy.origin.on("api.test/v3/index.json", document(&newer));
    let text = inlined_registration("api.test/new-hive", "A", &["1.0.0"]);
    proxy
        .origin
        .on("api.test/new-hive/a/index.json", document(&text));
    // Another instance has read the newer index and handed this out.
    let other = proxy.second().await;
    let path = index_path(&other, "a").await;
    let answer = proxy.get(&path).await.expect("miss");
    assert!(!answer.text().contains("api.test"), "{}", answer.text());
    let unknown = "/v3/registration/new-hive-000000/a/index.json";
    for _ in 0..10 {
        assert_eq!(proxy.get(unknown).await.status, 404);
    }
    assert!(
        proxy
            .origin
            .count(&format!("GET {}", &INDEX["https://".len()..]))
            <= 4
    );
}

#[tokio::test(start_paused = true)]
async fn every_version_of_a_paged_id_is_in_the_last_page_after_a_publish() {
    let proxy = TestProxy::new().await;
    let path = index_path(&proxy, "sample.many").await;
    proxy.get(&path).await.expect("miss");
    publish_another(&proxy.origin);
    pass(seconds(5 * 60)).await;
    let index = proxy.get(&path).await.expect("miss").json();
    let page = proxy
        .get(&path_of(&index["items"][2]["@id"]))
        .await
        .expect("miss");
    assert_eq!(versions(&page.json()), ["3.0.0", "3.1.0", "3.3.0"]);
}
