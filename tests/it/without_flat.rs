//! An upstream without a flat container: lists and packages come from registrations.

use serde_json::{Value, json};
use sluice::upstream::auth::Credential;

use crate::harness::fixture::{document, package, service_index};
use crate::harness::{Origin, Reply, TestProxy, pass, seconds};

const LIST: &str = "/v3/flatcontainer/a.b/index.json";
const INDEX: &str = "art.test/reg/a.b/index.json";

fn page(lower: &str, upper: &str, versions: &[&str]) -> (String, Value) {
    let leaf = |version: &&str| {
        json!({
            "@id": format!("https://art.test/reg/a.b/{version}.json"),
            "catalogEntry": {"id": "A.B", "version": version, "listed": *version != "1.0"},
            "packageContent": format!("https://art.test/Download/A.B/{version}"),
        })
    };
    let items: Vec<Value> = versions.iter().map(leaf).collect();
    let place = format!("art.test/reg/a.b/page/{lower}/{upper}.json");
    let page = json!({
        "@id": format!("https://{place}"), "count": items.len(), "lower": lower, "upper": upper,
        "items": items,
    });
    (place, page)
}

/// Mounts these pages, and an index that holds none of their leaves.
fn mount(origin: &Origin, pages: &[(String, Value)]) {
    let mut items = Vec::new();
    for (place, page) in pages {
        origin.on(place, document(&page.to_string()));
        let mut outer = page.clone();
        outer.as_object_mut().unwrap().remove("items");
        items.push(outer);
    }
    let index = json!({"count": items.len(), "items": items});
    origin.on(INDEX, document(&index.to_string()));
}

fn artifactory_like() -> Origin {
    let origin = Origin::new();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://art.test/reg")]);
    origin.on("art.test/api/nuget/v3/main", document(&index));
    let pages = [
        page("2.0.0", "10.0.0", &["10.0.0", "2.0.0"]),
        page("1.0.0-RC", "1.0.0", &["1.0.0-RC", "1.0"]),
    ];
    mount(&origin, &pages);
    origin
}

async fn proxy() -> TestProxy {
    TestProxy::with(artifactory_like(), |setup| {
        let feed = &mut setup.proxy.feeds[0];
        feed.upstream = "https://art.test/api/nuget/v3/main".into();
        feed.credential = Some(Credential::Bearer("token-of-art".into()));
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn our_index_offers_a_flat_container_and_lists_hold_every_version_in_order() {
    let proxy = proxy().await;
    let index = proxy.get("/v3/index.json").await.json();
    let flat = index["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|resource| resource["@type"] == "PackageBaseAddress/3.0.0")
        .unwrap();
    assert_eq!(flat["@id"], "http://us.test:6850/v3/flatcontainer/");
    let list = proxy.get(LIST).await.expect("miss").json();
    // Unlisted ones too, normalised, in lower case (protocol fact 2.1.3).
    assert_eq!(
        list,
        json!({"versions": ["1.0.0-rc", "1.0.0", "2.0.0", "10.0.0"]})
    );
    let asked = proxy.origin.total();
    proxy.get(LIST).await.expect("hit");
    assert_eq!(proxy.origin.total(), asked);
    let unknown = proxy.get("/v3/flatcontainer/nobody/index.json").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_gone_has_the_index_asked_again_and_never_shortens_the_list() {
    let proxy = proxy().await;
    let index = format!("/v3/registration/{}/a.b/index.json", hive(&proxy).await);
    proxy.get(&index).await.expect("miss");
    // 11.0.0 is published: another page in place of the first.
    proxy
        .origin
        .forget("art.test/reg/a.b/page/2.0.0/10.0.0.json");
    let pages = [
        page("2.0.0", "11.0.0", &["2.0.0", "10.0.0", "11.0.0"]),
        page("1.0.0-RC", "1.0.0", &["1.0.0-RC", "1.0"]),
    ];
    mount(&proxy.origin, &pages);
    let list = proxy.get(LIST).await.json();
    assert_eq!(
        list,
        json!({"versions": ["1.0.0-rc", "1.0.0", "2.0.0", "10.0.0", "11.0.0"]})
    );
    // An upstream that names a page and never has it: no list at all rather than a wrong one.
    proxy
        .origin
        .forget("art.test/reg/a.b/page/2.0.0/11.0.0.json");
    pass(seconds(301)).await;
    let answer = proxy.get(LIST).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.reason.unwrap().contains("page"));
    // Nor is a package on it said not to exist.
    let path = "/v3/flatcontainer/a.b/11.0.0/a.b.11.0.0.nupkg";
    assert_eq!(proxy.get(path).await.status, 502);
}

async fn hive(proxy: &TestProxy) -> String {
    let index = proxy.get("/v3/index.json").await;
    let at = index.text().find("/registration/").unwrap() + "/registration/".len();
    index.text()[at..].split('/').next().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn packages_come_from_where_registrations_say_and_credentials_stay_with_the_feed() {
    let proxy = proxy().await;
    let bytes = package("A.B", "2.0.0", 50_000);
    let signed = "https://s3.test/bucket/a.b?X-Sig=a%2Fb+c&e=1";
    proxy
        .origin
        .on("art.test/Download/A.B/2.0.0", Reply::redirect(302, signed));
    proxy
        .origin
        .on("s3.test/bucket/a.b", Reply::file(bytes.clone()));
    let path = "/v3/flatcontainer/A.B/2.0/a.b.2.0.nupkg";
    let answer = proxy.get(path).await.expect("miss");
    assert_eq!(answer.body, bytes);
    let at_home = proxy.origin.last("GET art.test/Download/A.B/2.0.0");
    assert_eq!(at_home.header("authorization"), Some("Bearer token-of-art"));
    let abroad = proxy.origin.last("GET s3.test/bucket/a.b");
    assert_eq!(abroad.target, "/bucket/a.b?X-Sig=a%2Fb+c&e=1");
    assert_eq!(abroad.header("authorization"), None);
    // Only the page that holds it was asked for.
    assert_eq!(
        proxy
            .origin
            .count("GET art.test/reg/a.b/page/1.0.0-RC/1.0.0.json"),
        0
    );
    proxy.get(path).await.expect("hit");
    assert_eq!(proxy.origin.count("GET s3.test/bucket/a.b"), 1);
    let missing = proxy
        .get("/v3/flatcontainer/a.b/7.0.0/a.b.7.0.0.nupkg")
        .await;
    assert_eq!(missing.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_is_taken_from_its_package_and_both_are_kept() {
    let proxy = proxy().await;
    let bytes = package("A.B", "2.0.0", 50_000);
    let place = "art.test/Download/A.B/2.0.0";
    proxy.origin.on(place, Reply::file(bytes));
    let path = "/v3/flatcontainer/a.b/2.0.0/a.b.nuspec";
    let answer = proxy.get(path).await.expect("miss");
    let text = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(
        text.contains("<id>a.b</id>") && text.contains("<version>2.0.0</version>"),
        "{text}"
    );
    proxy.get(path).await.expect("hit");
    let package = "/v3/flatcontainer/a.b/2.0.0/a.b.2.0.0.nupkg";
    proxy.get(package).await.expect("hit");
    assert_eq!(proxy.origin.count(&format!("GET {place}")), 1);
    let missing = proxy.get("/v3/flatcontainer/a.b/7.0.0/a.b.nuspec").await;
    assert_eq!(missing.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_many_pages_comes_within_the_time_that_a_request_may_be_held() {
    let proxy = proxy().await;
    let mut pages = Vec::new();
    for major in 0..64 {
        let version = format!("{major}.0.0");
        pages.push(page(&version, &version, &[&version]));
    }
    mount(&proxy.origin, &pages);
    for (place, page) in &pages {
        let slow = document(&page.to_string()).delay(seconds(1));
        proxy.origin.on(place, slow);
    }
    let began = tokio::time::Instant::now();
    let list = proxy.get(LIST).await.expect("miss").json();
    assert_eq!(list["versions"].as_array().unwrap().len(), 64);
    assert!(began.elapsed() <= seconds(15), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_list_is_stale_and_whole() {
    let proxy = proxy().await;
    let before = proxy.get(LIST).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(600)).await;
    let proxy = proxy.restart().await;
    let answer = proxy.get(LIST).await;
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert_eq!(answer.body, before.body);
}
