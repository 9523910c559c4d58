//! The service index and registrations of a union: every link is the union's own, and every instance answers
//! it.

use std::collections::BTreeSet;

use super::*;
use crate::harness::fixture::paged_registration;
use crate::harness::{pass, seconds};

/// Every URL in a text, but for those that are pages of the web.
fn links(text: &str) -> BTreeSet<String> {
    let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let mut found = BTreeSet::new();
    walk(&value, &mut found);
    found
}

fn walk(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                if !["@vocab", "projectUrl", "url"].contains(&name.as_str()) {
                    walk(value, found);
                }
            }
        }
        serde_json::Value::String(text) if text.contains("://") => {
            found.insert(text.clone());
        }
        _ => {}
    }
}

/// Follows every link from these documents on, at `proxy`; gives the paths that were asked.
async fn crawl(proxy: &TestProxy, starts: &[String]) -> BTreeSet<String> {
    let mut waiting: Vec<String> = starts.to_vec();
    let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        let answer = proxy.get(&path).await;
        // What the fixtures name and do not have.
        if path.contains("sample.dependency") {
            assert_eq!(answer.status, 404, "{path}");
            continue;
        }
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
        if path.ends_with(".nupkg") {
            continue;
        }
        for link in links(answer.text()) {
            let link = link.split('#').next().expect("a URL").to_owned();
            let path = link
                .strip_prefix(US)
                .unwrap_or_else(|| panic!("{link} in {path}"));
            assert!(path.starts_with("/all/v3/"), "{path}");
            let is_base = path.ends_with('/') || path.contains('{');
            let is_service = ["search", "autocomplete", "package", "symbolpackage"]
                .iter()
                .any(|name| path == format!("/all/v3/{name}"));
            if !is_base && !is_service && seen.insert(path.to_owned()) {
                waiting.push(path.to_owned());
            }
        }
    }
    seen
}

fn starts() -> Vec<String> {
    let mut starts: Vec<String> = ["index.json", "search?q=", "vulnerabilities/index.json"]
        .map(|path| format!("/all/v3/{path}"))
        .into();
    for id in ["Shared", "Public", "Contoso.Core", "Paged"] {
        for hive in ["semver1", "semver2"] {
            starts.push(format!(
                "/all/v3/registration/{hive}/{}/index.json",
                id.to_lowercase()
            ));
        }
    }
    starts
}

/// Both upstreams, and an id with external pages at nuget.
fn with_pages() -> Origin {
    let origin = upstreams();
    let versions = ["1.0.0", "1.1.0", "1.2.0", "2.0.0", "2.1.0"];
    stock_id(&origin, "nuget.test", "Paged", &versions);
    let (index, pages) = paged_registration("nuget.test/reg", "Paged", &versions);
    let ours = |text: &str| {
        // The fixture's leaves lie at another host.
        text.replace(
            "https://api.test/v3-flatcontainer/",
            "https://nuget.test/flat/",
        )
        .replace(
            "https://api.test/v3/catalog0/data/2026.11.04.10.00.00/",
            "https://nuget.test/catalog/data/",
        )
    };
    origin.on("nuget.test/reg/paged/index.json", document(&index));
    for (place, text) in pages {
        origin.on(&place, document(&ours(&text)));
    }
    origin
}

/// Where the package of a leaf is.
fn content_of(leaf: &serde_json::Value) -> &str {
    leaf["packageContent"].as_str().expect("an address")
}

#[tokio::test(start_paused = true)]
async fn every_link_is_the_unions_and_is_answered() {
    let proxy = union_with(with_pages(), |_| {}).await;
    let seen = crawl(&proxy, &starts()).await;
    for part in [
        "/catalog/",
        ".nupkg",
        "/page/",
        "/1.0.0.json",
        "/member/nuget/vulnerabilities/",
    ] {
        assert!(
            seen.iter().any(|path| path.contains(part)),
            "no {part} in {seen:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_instance_with_an_empty_store_answers_every_link() {
    let proxy = union_with(with_pages(), |_| {}).await;
    let seen = crawl(&proxy, &starts()).await;
    for path in seen
        .iter()
        .filter(|path| !path.contains("sample.dependency"))
    {
        let second = proxy.second().await;
        let (one, other) = (proxy.get(path).await, second.get(path).await);
        assert_eq!((other.status, &other.body), (200, &one.body), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_index_offers_what_can_be_made_one() {
    let proxy = union().await;
    let index = proxy.get("/v3/index.json").await.expect("miss").json();
    let entries = index["resources"].as_array().expect("resources");
    let found: Vec<(&str, &str)> = entries
        .iter()
        .map(|entry| {
            (
                entry["@type"].as_str().unwrap(),
                entry["@id"].as_str().unwrap(),
            )
        })
        .collect();
    let base = format!("{US}/v3/");
    let expected = [
        ("PackageBaseAddress/3.0.0", "flatcontainer/"),
        ("RegistrationsBaseUrl/3.4.0", "registration/semver1/"),
        ("RegistrationsBaseUrl/3.6.0", "registration/semver2/"),
        ("SearchQueryService/3.5.0", "search"),
        ("SearchAutocompleteService/3.5.0", "autocomplete"),
        ("VulnerabilityInfo/6.7.0", "vulnerabilities/index.json"),
    ]
    .map(|(kind, path)| (kind, format!("{base}{path}")));
    let expected: Vec<(&str, &str)> = expected
        .iter()
        .map(|(kind, url)| (*kind, url.as_str()))
        .collect();
    assert_eq!(found, expected);
    proxy.get("/v3/index.json").await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_registration_of_one_member_passes_with_its_pages() {
    let proxy = union_with(with_pages(), |_| {}).await;
    let index = proxy
        .get(&registration("Paged"))
        .await
        .expect("miss")
        .json();
    let pages = index["items"].as_array().expect("pages");
    assert_eq!(pages.len(), 2);
    assert!(
        pages[0].get("items").is_none(),
        "its pages stay where they are"
    );
    assert_eq!(
        proxy
            .origin
            .count("GET nuget.test/reg/paged/page/1.0.0/1.2.0.json"),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn pages_of_several_members_become_one_index() {
    let origin = with_pages();
    stock_id(&origin, "company.test", "Paged", &["1.1.0", "3.0.0"]);
    let proxy = union_with(origin, |_| {}).await;
    let index = proxy
        .get(&registration("Paged"))
        .await
        .expect("miss")
        .json();
    assert_eq!(
        index["@id"],
        format!("{US}/v3/registration/semver2/paged/index.json")
    );
    assert_eq!(
        (&index["count"], &index["items"][0]["count"]),
        (&1.into(), &6.into())
    );
    let page = &index["items"][0];
    assert_eq!(
        (&page["lower"], &page["upper"]),
        (&"1.0.0".into(), &"3.0.0".into())
    );
    let versions: Vec<(String, bool)> = leaves(&index)
        .into_iter()
        .map(|(version, host)| (version, host == "company.test"))
        .collect();
    let expected = [
        ("1.0.0", false),
        ("1.1.0", true),
        ("1.2.0", false),
        ("2.0.0", false),
        ("2.1.0", false),
        ("3.0.0", true),
    ];
    assert_eq!(
        versions,
        expected.map(|(version, own)| (version.to_owned(), own))
    );
    // The page's own address gives the page, a narrower one what it covers.
    let path = page["@id"]
        .as_str()
        .expect("an address")
        .strip_prefix(US)
        .expect("ours");
    let alone = proxy.get(path).await.expect("hit").json();
    assert_eq!(alone["count"], 6);
    let part = proxy
        .get("/v3/registration/semver2/paged/page/1.1.0/2.0.0.json")
        .await
        .json();
    assert_eq!(
        (&part["count"], &part["upper"]),
        (&3.into(), &"2.0.0".into())
    );
    let leaf = proxy
        .get("/v3/registration/semver2/paged/1.1.0.json")
        .await
        .json();
    let content = content_of(&leaf);
    assert!(content.contains("/member/company/"), "{content}");
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_no_list_names_is_the_first_members_that_has_it() {
    let proxy = union().await;
    let leaf = |version: &str| format!("/v3/registration/semver2/shared/{version}.json");
    proxy.get(&leaf("7.0.0")).await.expect_status(404, "absent");
    // Described already and not listed yet.
    stock_id(
        &proxy.origin,
        "nuget.test",
        "Shared",
        &["1.0.0", "2.0.0", "7.0.0"],
    );
    let old = document(&version_list(&["1.0.0", "2.0.0"]));
    proxy.origin.on("nuget.test/flat/shared/index.json", old);
    pass(seconds(6 * 60)).await;
    let found = proxy.get(&leaf("7.0.0")).await.json();
    let content = content_of(&found);
    assert!(content.contains("/shared.7.0.0.nupkg"), "{content}");
}

#[tokio::test(start_paused = true)]
async fn a_members_page_shows_no_version_that_became_anothers() {
    let proxy = union_with(with_pages(), |_| {}).await;
    let index = proxy
        .get(&registration("Paged"))
        .await
        .expect("miss")
        .json();
    let page = index["items"][0]["@id"].as_str().expect("an address");
    let page = page.strip_prefix(US).expect("ours").to_owned();
    assert!(page.contains("/member/nuget/"));
    assert_eq!(proxy.get(&page).await.json()["count"], 3);
    stock_id(&proxy.origin, "company.test", "Paged", &["1.1.0"]);
    pass(seconds(6 * 60)).await;
    let shown = proxy.get(&page).await.json();
    let versions: Vec<&str> = shown["items"]
        .as_array()
        .expect("leaves")
        .iter()
        .filter_map(|leaf| leaf["catalogEntry"]["version"].as_str())
        .collect();
    assert_eq!(versions, ["1.0.0", "1.2.0"]);
    // Nor does a leaf at the old address describe other bytes than those that are delivered.
    let leaf = page.split("/page/").next().expect("a folder").to_owned() + "/1.1.0.json";
    let leaf = proxy.get(&leaf).await.json();
    let content = content_of(&leaf);
    assert!(content.contains("/member/company/"), "{content}");
}

#[tokio::test(start_paused = true)]
async fn a_registration_changes_with_the_lists_that_say_whose_versions_are() {
    let proxy = union().await;
    let versions = |document: &serde_json::Value| {
        let leaves = leaves(document).into_iter();
        leaves.map(|(version, _)| version).collect::<Vec<_>>()
    };
    let before = proxy.get(&registration("Shared")).await.expect("miss");
    assert_eq!(versions(&before.json()), ["1.0.0", "2.0.0", "3.0.0"]);
    // The company has a 2.0.0 now. Its registration is still fresh.
    let longer = document(&version_list(&["1.0.0", "2.0.0", "3.0.0"]));
    proxy
        .origin
        .on("company.test/flat/shared/index.json", longer);
    pass(seconds(61)).await;
    let after = proxy.get(&registration("Shared")).await;
    assert_eq!(versions(&after.json()), ["1.0.0", "3.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn of_signatures_nothing_is_claimed_over_https_either() {
    let origin = upstreams();
    let signatures = r#"{"allRepositorySigned":true,"signingCertificates":[]}"#;
    for host in ["company.test", "nuget.test"] {
        origin.on(&format!("{host}/signatures.json"), document(signatures));
    }
    let proxy = union_with(origin, |setup| {
        setup.proxy.base.public_url = Some("https://us.test".into());
    })
    .await;
    const PATH: &str = "repository-signatures/5.0.0/index.json";
    let index = proxy.get("/v3/index.json").await.expect("miss");
    assert!(index.text().contains("https://us.test/v3/flatcontainer/"));
    assert!(!index.text().contains("RepositorySignatures"));
    for base in ["/v3", "/all/v3", "/all/v3/member/nuget"] {
        let answer = proxy.get(&format!("{base}/{PATH}")).await;
        assert_eq!(answer.status, 404, "{base}");
        let name = "0".repeat(64);
        let certificate = format!("{base}/repository-signatures/certificates/{name}.crt");
        assert_eq!(proxy.get(&certificate).await.status, 404, "{base}");
    }
    // The member's own feed has them.
    let own = proxy.get(&format!("/nuget/v3/{PATH}")).await;
    assert_eq!(
        (own.status, own.json()["allRepositorySigned"].as_bool()),
        (200, Some(true))
    );
}
