//! Every URL that we hand out is ours and is answered, by another instance with an empty store too: follow them all.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::harness::fixture::{self, document, service_index};
use crate::harness::{Origin, Reply, TestProxy};

const US: &str = "http://us.test:6850";

/// Properties whose URLs are for people or are names: they stay (protocol facts 2.2.9, 2.7.2).
const FOREIGN: [&str; 8] = [
    "@context",
    "@type",
    "@vocab",
    "advisoryUrl",
    "licenseUrl",
    "projectUrl",
    "readmeUrl",
    "url",
];

/// Collects the URLs of a document, but for those of foreign properties and templates.
pub(crate) fn urls(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| urls(item, found)),
        Value::Object(members) => {
            let kind = members.get("@type").and_then(Value::as_str);
            if kind.is_some_and(|kind| kind.contains("UriTemplate")) {
                return;
            }
            for (name, value) in members {
                if !FOREIGN.contains(&name.as_str()) {
                    urls(value, found);
                }
            }
        }
        Value::String(text) if text.starts_with("http") => {
            found.insert(text.split('#').next().unwrap().to_owned());
        }
        _ => {}
    }
}

/// Follows every link from `starts` on; gives the paths that were answered.
pub(crate) async fn follow(proxy: &TestProxy, starts: &[&str]) -> BTreeSet<String> {
    let mut open: VecDeque<String> = starts.iter().map(|&path| path.to_owned()).collect();
    let mut known: BTreeSet<String> = open.iter().cloned().collect();
    while let Some(path) = open.pop_front() {
        let answer = proxy.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
        if answer.header("content-type") != Some("application/json") {
            continue;
        }
        let mut found = BTreeSet::new();
        urls(&answer.json(), &mut found);
        for url in found {
            // An icon at a project's own site is not ours to serve.
            if url.starts_with("https://project.test/") {
                continue;
            }
            let Some(ours) = url.strip_prefix(US) else {
                panic!("{path} hands out {url}");
            };
            // Bases and endpoints are no documents.
            let is_base = ours.ends_with('/') || ours.ends_with("package");
            if !is_base && known.insert(ours.to_owned()) {
                open.push_back(ours.to_owned());
            }
        }
    }
    known
}

/// The registration index of `id` in every hive that our index names.
pub(crate) async fn registrations(proxy: &TestProxy, id: &str) -> Vec<String> {
    let index = proxy.get("/v3/index.json").await.json();
    let resources = index["resources"].as_array().unwrap();
    let bases = resources.iter().filter(|resource| {
        let kind = resource["@type"].as_str().unwrap();
        kind.starts_with("RegistrationsBaseUrl")
    });
    let bases = bases.map(|resource| resource["@id"].as_str().unwrap());
    let paths: BTreeSet<String> = bases
        .map(|base| format!("{}{id}/index.json", base.strip_prefix(US).unwrap()))
        .collect();
    paths.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn every_link_of_a_feed_like_nuget_org_is_ours_and_answered() {
    let origin = fixture::nuget_like();
    fixture::mount_dependency(&origin);
    let proxy = TestProxy::with(origin, |_| {}).await;
    let mut starts = registrations(&proxy, "sample.one").await;
    starts.extend(registrations(&proxy, "sample.many").await);
    assert_eq!(starts.len(), 4, "two hives, two ids");
    starts.push("/v3/index.json".into());
    starts.push("/v3/search?q=sample".into());
    let starts: Vec<&str> = starts.iter().map(String::as_str).collect();
    let paths = follow(&proxy, &starts).await;
    let kinds = [
        "/page/",
        "/v3/catalog/data/",
        "/v3/flatcontainer/sample.one/2.0.0-beta.1/",
        "/v3/vulnerabilities/update-",
        "/sample.one/1.0.0.json",
        "/v3/autocomplete",
    ];
    for kind in kinds {
        assert!(
            paths.iter().any(|path| path.contains(kind)),
            "{kind}: {paths:?}"
        );
    }
    // Every one of them alone, asked from an instance that knows nothing.
    let second = proxy.second().await;
    for path in &paths {
        let answer = second.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
    }
}

/// An upstream whose links lie outside every base: packages, pages, leaves and catalog entries, with signed queries.
fn odd() -> Origin {
    let origin = Origin::new();
    let index = service_index(&[
        ("RegistrationsBaseUrl/3.6.0", "https://odd.test/api/reg"),
        ("SearchQueryService", "https://odd.test/find"),
    ]);
    origin.on("odd.test/api/v3", document(&index));
    let hive = "https://odd.test/api/reg";
    let leaf = |version: &str| {
        json!({
            "@id": format!("https://odd.test/leaf/{version}?sig=1"),
            "catalogEntry": {
                "@id": format!("https://odd.test/log/{version}"),
                "id": "A.B", "version": version, "iconUrl": "https://project.test/icon.png",
                "projectUrl": "https://project.test/",
                "dependencyGroups": [{
                    "@id": format!("https://odd.test/log/{version}#group"),
                    "dependencies": [{"id": "A.B", "registration": "https://odd.test/elsewhere/a.b"}],
                }],
            },
            "packageContent": format!("https://odd.test/Download/A.B/{version}?token=secret"),
        })
    };
    let page = |at: &str, lower: &str, upper: &str, items: Value| {
        json!({
            "@id": format!("https://odd.test/pages/{at}?sig=1"), "count": 1,
            "lower": lower, "upper": upper, "items": items,
        })
    };
    let mut first = page("one", "1.0.0-RC", "1.0.0-RC", json!([leaf("1.0.0-RC")]));
    let second = page("two", "2.0", "2.0", json!([leaf("2.0")]));
    origin.on("odd.test/pages/one", document(&first.to_string()));
    first.as_object_mut().unwrap().remove("items");
    let index = json!({
        "@id": format!("{hive}/a.b/index.json"), "count": 2, "items": [first, second],
    });
    origin.on(
        "odd.test/api/reg/a.b/index.json",
        document(&index.to_string()),
    );
    for version in ["1.0.0-RC", "2.0"] {
        // As at nuget.org, a leaf document does not say its version.
        let whole = leaf(version);
        let alone = json!({
            "@id": whole["@id"], "catalogEntry": whole["catalogEntry"]["@id"],
            "packageContent": whole["packageContent"], "listed": true,
        });
        origin.on(
            &format!("odd.test/leaf/{version}"),
            document(&alone.to_string()),
        );
        let entry = whole["catalogEntry"].to_string();
        origin.on(&format!("odd.test/log/{version}"), document(&entry));
        origin.on(
            &format!("odd.test/Download/A.B/{version}?token=secret"),
            Reply::file(fixture::package("A.B", version, 3000)),
        );
    }
    let hit = json!({
        "totalHits": 1, "data": [{
            "@id": "https://odd.test/hit/a.b", "registration": "https://odd.test/hit/a.b",
            "id": "A.B", "version": "2.0",
            "versions": [{"version": "2.0", "@id": "https://odd.test/hit/a.b/2.0"}],
        }],
    });
    origin.on("odd.test/find", Reply::json(hit.to_string()));
    // Where our leaf of a search result is asked for.
    origin.on(
        "odd.test/api/reg/a.b/2.0.0.json",
        document(&leaf("2.0").to_string()),
    );
    origin
}

async fn odd_proxy() -> TestProxy {
    TestProxy::with(odd(), |setup| {
        setup.proxy.feeds[0].upstream = "https://odd.test/api/v3".into();
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn links_outside_every_base_are_ours_and_answered_by_another_instance_too() {
    let proxy = odd_proxy().await;
    let mut starts = registrations(&proxy, "a.b").await;
    starts.push("/v3/search".into());
    let starts: Vec<&str> = starts.iter().map(String::as_str).collect();
    let paths = follow(&proxy, &starts).await;
    let links: Vec<&String> = paths
        .iter()
        .filter(|path| path.contains("/link/"))
        .collect();
    // A page, and of both versions: leaf, catalog entry, package.
    assert!(links.len() >= 7, "{links:?}");
    for path in &links {
        assert!(!path.contains('?') && !path.contains("secret"), "{path}");
        let answer = proxy.second().await.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
    }
    for version in ["1.0.0-RC", "2.0"] {
        let name = format!("GET odd.test/Download/A.B/{version}");
        assert_eq!(
            proxy.origin.last(&name).target,
            format!("/Download/A.B/{version}?token=secret")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_route_that_nothing_names_is_absent_and_asks_no_page_twice() {
    let proxy = odd_proxy().await;
    let registration = registrations(&proxy, "a.b").await.remove(0);
    let hive = registration.split('/').nth(3).unwrap().to_owned();
    let path = format!("/v3/link/{hive}/a.b/1.0.0-rc/0123456789abcdef");
    for _ in 0..5 {
        assert_eq!(proxy.get(&path).await.status, 404);
    }
    // Once for the first, once more since the link might be new; within two seconds never again.
    assert_eq!(proxy.origin.count("GET odd.test/pages/one"), 2);
    assert_eq!(proxy.origin.count("GET odd.test/api/reg/a.b/index.json"), 2);
}

#[tokio::test(start_paused = true)]
async fn links_to_private_addresses_are_refused() {
    let proxy = odd_proxy().await;
    let registration = registrations(&proxy, "a.b").await.remove(0);
    let hive = registration.split('/').nth(3).unwrap().to_owned();
    let index = json!({"count": 1, "items": [{
        "@id": "https://odd.test/api/reg/a.b/index.json#page", "count": 1, "lower": "1.0.0",
        "upper": "1.0.0", "items": [{
            "@id": "https://odd.test/api/reg/a.b/1.0.0.json",
            "catalogEntry": {"id": "A.B", "version": "1.0.0"},
            "packageContent": "http://127.0.0.1/latest/meta-data",
        }],
    }]});
    proxy.origin.on(
        "odd.test/api/reg/a.b/index.json",
        document(&index.to_string()),
    );
    proxy
        .origin
        .on("127.0.0.1/latest/meta-data", Reply::file("secret"));
    let text = proxy
        .get(&format!("/v3/registration/{hive}/a.b/index.json"))
        .await;
    let ours = text.json()["items"][0]["items"][0]["packageContent"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = proxy.get(ours.strip_prefix(US).unwrap()).await;
    assert_eq!(answer.status, 502, "{:?}", answer.reason);
    assert_eq!(proxy.origin.connections("127.0.0.1"), 0);
}
