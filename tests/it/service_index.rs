//! The service index: of real servers' indexes only what we serve goes out, pointed at us.

use std::collections::BTreeSet;

use serde_json::Value;

use sluice::proxy::FeedSettings;

use crate::harness::fixture::{document, inlined_registration};
use crate::harness::{Act, Ask, Origin, Reply, TestProxy, pass, seconds};

const US: &str = "http://us.test:6850";

/// Every real index, as (name, text).
fn real_indexes() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/service-index");
    let files = std::fs::read_dir(folder).unwrap();
    let mut indexes = Vec::new();
    for file in files {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            indexes.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    assert!(indexes.len() >= 25, "{}", indexes.len());
    indexes
}

/// A proxy with a feed for each index: its name is `f` and the index's place in the list.
async fn proxy(indexes: &[&str]) -> TestProxy {
    let origin = Origin::new();
    let mut feeds = Vec::new();
    for (at, index) in indexes.iter().enumerate() {
        origin.on(&format!("up.test/Any/Path/{at}"), document(index));
        let upstream = format!("https://up.test/Any/Path/{at}");
        feeds.push(FeedSettings::new(&format!("f{at}"), &upstream));
    }
    TestProxy::with(origin, |setup| setup.proxy.feeds = feeds).await
}

async fn proxy_of_real_indexes() -> (TestProxy, Vec<(String, String)>) {
    let indexes = real_indexes();
    let texts: Vec<&str> = indexes.iter().map(|(_, text)| text.as_str()).collect();
    (proxy(&texts).await, indexes)
}

fn resources(index: &Value) -> Vec<(String, Option<String>, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let resource = |resource: &Value| {
        let kind = text(&resource["@type"]).unwrap();
        let url = text(&resource["@id"]).unwrap();
        (kind, text(&resource["clientVersion"]), url)
    };
    index["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(resource)
        .collect()
}

/// Templates of pages that people open.
fn is_for_browsers(kind: &str) -> bool {
    ["OwnerDetails", "PackageDetails", "ReportAbuse"]
        .iter()
        .any(|name| kind.starts_with(&format!("{name}UriTemplate")))
}

#[tokio::test(start_paused = true)]
async fn every_url_of_every_real_index_lies_below_ours_or_is_for_browsers() {
    let (proxy, indexes) = proxy_of_real_indexes().await;
    for (at, (name, text)) in indexes.iter().enumerate() {
        let answer = proxy.get(&format!("/f{at}/v3/index.json")).await;
        let base = format!("{US}/f{at}/v3/");
        assert_eq!(answer.status, 200, "{name}: {:?}", answer.reason);
        let index = answer.json();
        assert!(
            index["version"].as_str().unwrap().starts_with("3."),
            "{name}"
        );
        let mut known = BTreeSet::new();
        for (kind, client_version, url) in resources(&index) {
            assert!(
                known.insert((kind.clone(), client_version.clone())),
                "{name}: {kind} {client_version:?} twice"
            );
            // Our own address here is http (protocol fact 2.6.3).
            assert!(!kind.starts_with("RepositorySignatures"), "{name}");
            if is_for_browsers(&kind) {
                assert!(text.contains(&url), "{name}: {url}");
                continue;
            }
            assert!(url.starts_with(&base), "{name}: {kind} {url}");
            let is_base = kind.starts_with("PackageBase") || kind.starts_with("Registrations");
            assert_eq!(url.ends_with('/'), is_base, "{name}: {kind} {url}");
        }
    }
}

/// The types that are served, by how their names begin.
const SERVED: [&str; 7] = [
    "PackageBaseAddress/",
    "PackagePublish/",
    "RegistrationsBaseUrl",
    "SearchAutocompleteService",
    "SearchQueryService",
    "SymbolPackagePublish/4.9.0",
    "VulnerabilityInfo/6.7.0",
];

#[tokio::test(start_paused = true)]
async fn every_served_type_of_every_real_index_goes_out_for_the_same_client_versions() {
    let (proxy, indexes) = proxy_of_real_indexes().await;
    for (at, (name, text)) in indexes.iter().enumerate() {
        // What the test's own reader, which is stricter than the client, cannot read is left to the readers' tests.
        let Ok(theirs) = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) else {
            continue;
        };
        let ours = proxy.get(&format!("/f{at}/v3/index.json")).await.json();
        let ours: BTreeSet<String> = resources(&ours)
            .into_iter()
            .map(|(kind, ..)| kind)
            .collect();
        for resource in theirs["resources"].as_array().unwrap() {
            let url = resource["@id"].as_str().unwrap_or_default();
            let Some(kind) = resource["@type"].as_str() else {
                continue;
            };
            let is_served = SERVED.iter().any(|served| kind.starts_with(served));
            if is_served && url.starts_with("http") {
                assert!(ours.contains(kind), "{name}: {kind} of {ours:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_hive_of_every_real_index_leads_to_its_own_base() {
    let (proxy, indexes) = proxy_of_real_indexes().await;
    for (at, (name, text)) in indexes.iter().enumerate() {
        let Ok(theirs) = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) else {
            continue;
        };
        let ours = proxy.get(&format!("/f{at}/v3/index.json")).await.json();
        for resource in theirs["resources"].as_array().unwrap() {
            let (Some(kind), Some(base)) = (resource["@type"].as_str(), resource["@id"].as_str())
            else {
                continue;
            };
            // The scripted upstream has public names and no ports.
            let host = base.split('/').nth(2).unwrap_or_default();
            let is_plain = base.starts_with("http") && host.contains('.') && !host.contains(':');
            let is_one = resource.get("clientVersion").is_none();
            let first = theirs["resources"]
                .as_array()
                .unwrap()
                .iter()
                .find(|resource| resource["@type"] == kind)
                .unwrap();
            if !kind.starts_with("Registrations") || !is_plain || !is_one || first != resource {
                continue;
            }
            proxy.origin.spell(
                host,
                Act::make(|seen| match seen.target.ends_with("/a/index.json") {
                    true => document(&inlined_registration("elsewhere.test/x", "A", &["1.0.0"])),
                    false => Reply::new(404, ""),
                }),
            );
            proxy.origin.door(host, crate::harness::Door::Open);
            let ours = resources(&ours);
            let (.., url) = ours.iter().find(|(ours, ..)| ours == kind).unwrap();
            let path = format!("{}A/index.json", &url[US.len()..]);
            let before = proxy.origin.total();
            let answer = proxy.get(&path).await;
            assert_eq!(answer.status, 200, "{name}: {kind}: {:?}", answer.reason);
            // A hive of several types is asked for the first.
            if answer.detail() == "hit" {
                continue;
            }
            let asked = proxy.origin.all().split_off(before);
            let expected = format!("{}/a/index.json", base.trim_end_matches('/'));
            let expected = expected.split_once("://").unwrap().1;
            assert!(
                asked
                    .iter()
                    .any(|seen| format!("{}{}", seen.host, seen.target) == expected),
                "{name}: {kind}: {expected}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_it_is_obeyed_once_in_two_seconds() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    let demand = || Ask::get("/v3/index.json").header("cache-control", "no-cache");
    for _ in 0..10 {
        assert_eq!(proxy.send(demand()).await.status, 200);
    }
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 2);
    pass(seconds(3)).await;
    proxy.send(demand()).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn it_is_there_in_an_outage_and_after_a_restart_however_old() {
    let proxy = TestProxy::new().await;
    let before = proxy.get("/v3/index.json").await.expect("miss");
    pass(seconds(14 * 60)).await;
    proxy.get("/v3/index.json").await.expect("hit");
    pass(seconds(2 * 24 * 3600)).await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    let answer = proxy.get("/v3/index.json").await;
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert_eq!(answer.body, before.body);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_none_is_a_failure_and_replaces_nothing() {
    for bad in [
        "<html>",
        "{}",
        r#"{"version":"2.0.0","resources":[]}"#,
        r#"{"version":"3.0.0","resources":["#,
    ] {
        let proxy = proxy(&[bad]).await;
        let answer = proxy.get("/v3/index.json").await;
        assert_eq!(answer.status, 502, "{bad}");
    }
    let proxy = TestProxy::new().await;
    let before = proxy.get("/v3/index.json").await.expect("miss");
    for bad in [Reply::new(404, ""), Reply::new(204, ""), Reply::json("{}")] {
        proxy.origin.on("api.test/v3/index.json", bad);
        pass(seconds(16 * 60)).await;
        let answer = proxy.get("/v3/index.json").await;
        assert!(answer.detail().starts_with("stale."), "{}", answer.note());
        assert_eq!(answer.body, before.body);
    }
}

#[tokio::test(start_paused = true)]
async fn bases_once_seen_are_remembered_for_links_of_older_documents() {
    let proxy = TestProxy::new().await;
    let index = proxy.get("/v3/index.json").await.json();
    let newest = resources(&index)
        .into_iter()
        .find(|(kind, ..)| kind == "RegistrationsBaseUrl/3.6.0")
        .unwrap();
    let path = format!("{}sample.one/index.json", &newest.2[US.len()..]);
    proxy.get(&path).await.expect("miss");
    // The flat container moves; the stored registration still names the old one.
    let moved = crate::harness::fixture::service_index(&[
        ("PackageBaseAddress/3.0.0", "https://new.test/flat/"),
        (
            "RegistrationsBaseUrl/3.6.0",
            "https://api.test/v3/registration5-gz-semver2/",
        ),
    ]);
    proxy.origin.on("api.test/v3/index.json", document(&moved));
    pass(seconds(16 * 60)).await;
    proxy.get("/v3/index.json").await.expect("miss");
    let registration = proxy.get(&path).await;
    let leaf = &registration.json()["items"][0]["items"][0];
    assert_eq!(
        leaf["packageContent"],
        "http://us.test:6850/v3/flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg"
    );
}
