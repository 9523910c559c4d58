//! Unions of feeds: two upstreams on hosts of their own, `company` and `nuget`, and a feed `all` of both, which is the
//! default.

mod access;
mod audit;
mod confusion;
mod content;
mod disputed;
mod failure;
mod hidden;
mod lists;
mod metadata;
mod push;
mod record;
mod reload;
mod search;
mod symbols;
mod unsigned;
mod withdrawn;

use sluice::proxy::{FeedSettings, IdPattern, Settings, UnionSettings};

use crate::harness::fixture::{content_path, document, leaf, package, service_index, version_list};
use crate::harness::{Origin, Reply, Setup, TestProxy};

/// What clients call us.
const US: &str = "http://us.test:6850";

/// What each upstream has: ids with their versions.
const COMPANY: &[(&str, &[&str])] = &[
    ("Contoso.Core", &["1.0.0", "1.1.0"]),
    ("Shared", &["1.0.0", "3.0.0"]),
];
const NUGET: &[(&str, &[&str])] = &[
    ("Contoso.Core", &["1.0.0", "99.0.0"]),
    ("Public", &["5.0.0"]),
    ("Shared", &["1.0.0", "2.0.0"]),
];

/// Bytes of the packages of a host: those of one id and version differ between hosts.
fn bytes_of(host: &str, id: &str, version: &str) -> Vec<u8> {
    package(id, version, 30_000 + host.len() * 100)
}

/// The proxy's upstreams.
fn upstreams() -> Origin {
    let origin = Origin::new();
    mount(&origin, "company.test", COMPANY);
    mount(&origin, "nuget.test", NUGET);
    origin
}

/// An upstream on one host, with every resource that can be merged.
fn mount(origin: &Origin, host: &str, stock: &[(&str, &[&str])]) {
    let url = |path: &str| format!("https://{host}/{path}");
    let resources = [
        ("PackageBaseAddress/3.0.0", url("flat/")),
        ("RegistrationsBaseUrl/3.4.0", url("reg/")),
        ("RegistrationsBaseUrl/3.6.0", url("reg/")),
        ("SearchQueryService/3.5.0", url("query")),
        ("SearchAutocompleteService/3.5.0", url("complete")),
        ("PackagePublish/2.0.0", url("push")),
        ("SymbolPackagePublish/4.9.0", url("symbols")),
        ("VulnerabilityInfo/6.7.0", url("audit.json")),
        ("RepositorySignatures/5.0.0", url("signatures.json")),
        ("Catalog/3.0.0", url("catalog/index.json")),
    ];
    let resources: Vec<(&str, &str)> = resources
        .iter()
        .map(|(kind, url)| (*kind, url.as_str()))
        .collect();
    origin.on(
        &format!("{host}/index.json"),
        document(&service_index(&resources)),
    );
    for (id, versions) in stock {
        stock_id(origin, host, id, versions);
    }
    let hits: Vec<_> = stock
        .iter()
        .map(|(id, versions)| hit(host, id, versions))
        .collect();
    let found = serde_json::json!({"totalHits": hits.len(), "data": hits});
    origin.on(&format!("{host}/query"), Reply::json(found.to_string()));
    let names: Vec<&str> = stock.iter().map(|(id, _)| *id).collect();
    let found = serde_json::json!({"totalHits": names.len(), "data": names});
    origin.on(&format!("{host}/complete"), Reply::json(found.to_string()));
    let page = format!(
        r#"{{"shared":[{{"url":"https://cve.test/{host}","severity":2,"versions":"(, 1.0.0)"}}]}}"#
    );
    origin.on(&format!("{host}/audit-base.json"), document(&page));
    let audit = serde_json::json!([{
        "@name": "base", "@id": url("audit-base.json"), "@updated": "2026-11-04T10:00:00Z",
    }]);
    origin.on(&format!("{host}/audit.json"), document(&audit.to_string()));
}

/// Everything that an upstream has of an id: its list, registration, leaves, packages.
fn stock_id(origin: &Origin, host: &str, id: &str, versions: &[&str]) {
    let lower = id.to_lowercase();
    let list = document(&version_list(versions));
    origin.on(&format!("{host}/flat/{lower}/index.json"), list);
    let leaves: Vec<_> = versions
        .iter()
        .map(|version| leaf_of(host, id, version))
        .collect();
    let index = serde_json::json!({
        "@id": format!("https://{host}/reg/{lower}/index.json"), "count": 1,
        "commitTimeStamp": "2026-11-04T10:00:00Z",
        "items": [{
            "@id": format!("https://{host}/reg/{lower}/index.json#page"), "count": leaves.len(),
            "lower": versions[0], "upper": versions[versions.len() - 1], "items": leaves,
        }],
    });
    origin.on(
        &format!("{host}/reg/{lower}/index.json"),
        document(&index.to_string()),
    );
    for version in versions {
        let mut leaf = leaf_of(host, id, version);
        leaf["catalogEntry"] = leaf["catalogEntry"]["@id"].clone();
        origin.on(
            &format!("{host}/reg/{lower}/{version}.json"),
            document(&leaf.to_string()),
        );
        let entry = serde_json::json!({
            "@id": format!("https://{host}/catalog/data/{lower}.{version}.json"),
            "@type": ["PackageDetails"], "id": id, "version": version, "from": host,
        });
        origin.on(
            &format!("{host}/catalog/data/{lower}.{version}.json"),
            document(&entry.to_string()),
        );
        let place = format!("{host}/flat/{}", content_path(id, version));
        let bytes = bytes_of(host, id, version);
        origin.on(&place, Reply::file(bytes).header("ETag", "\"x\"").ranges());
    }
}

/// A registration leaf that says whose it is.
fn leaf_of(host: &str, id: &str, version: &str) -> serde_json::Value {
    let lower = id.to_lowercase();
    let mut leaf = leaf(&format!("{host}/reg"), id, version);
    let content = format!("https://{host}/flat/{}", content_path(id, version));
    leaf["packageContent"] = content.clone().into();
    leaf["catalogEntry"]["packageContent"] = content.into();
    leaf["catalogEntry"]["@id"] =
        format!("https://{host}/catalog/data/{lower}.{version}.json").into();
    leaf["catalogEntry"]["packageHash"] = host.into();
    leaf
}

fn hit(host: &str, id: &str, versions: &[&str]) -> serde_json::Value {
    let lower = id.to_lowercase();
    let items: Vec<_> = versions
        .iter()
        .map(|version| {
            serde_json::json!({
                "version": version, "@id": format!("https://{host}/reg/{lower}/{version}.json"),
            })
        })
        .collect();
    serde_json::json!({
        "id": id, "version": versions[versions.len() - 1], "description": host, "versions": items,
        "registration": format!("https://{host}/reg/{lower}/index.json"),
    })
}

/// The settings of both feeds and the union of them.
fn feeds(proxy: &mut Settings) {
    proxy.feeds = ["company", "nuget"]
        .map(|name| FeedSettings::new(name, &format!("https://{name}.test/index.json")))
        .into();
    proxy.unions = vec![UnionSettings::new("all", &["company", "nuget"])];
    proxy.default_feed = Some("all".into());
}

/// The proxy with the union, its settings changed further.
async fn union_with(origin: Origin, change: impl FnOnce(&mut Setup)) -> TestProxy {
    TestProxy::with(origin, |setup| {
        feeds(&mut setup.proxy);
        change(setup);
    })
    .await
}

async fn union() -> TestProxy {
    union_with(upstreams(), |_| {}).await
}

/// The rules of one feed.
fn rules<'s>(setup: &'s mut Setup, feed: &str) -> &'s mut sluice::proxy::MemberSettings {
    let mut feeds = setup.proxy.feeds.iter_mut();
    let found = feeds.find(|settings| settings.name == feed);
    &mut found.expect("a feed").member
}

fn patterns(texts: &[&str]) -> Vec<IdPattern> {
    let patterns = texts.iter().map(|text| IdPattern::parse(text));
    patterns.collect::<Result<_, _>>().expect("patterns")
}

fn list(id: &str) -> String {
    format!("/v3/flatcontainer/{}/index.json", id.to_lowercase())
}

fn content(id: &str, version: &str) -> String {
    format!("/v3/flatcontainer/{}", content_path(id, version))
}

fn registration(id: &str) -> String {
    format!("/v3/registration/semver2/{}/index.json", id.to_lowercase())
}

/// The versions of a registration, each with the host that its hash is of.
fn leaves(document: &serde_json::Value) -> Vec<(String, String)> {
    let pages = document["items"].as_array().expect("pages").iter();
    let leaves = pages.flat_map(|page| page["items"].as_array().expect("leaves"));
    leaves
        .map(|leaf| {
            let text = |name: &str| leaf["catalogEntry"][name].as_str().unwrap_or("").to_owned();
            (text("version"), text("packageHash"))
        })
        .collect()
}

/// What was asked of a host, its service index aside.
fn asked_of(proxy: &TestProxy, host: &str) -> Vec<String> {
    let index = format!("GET {host}/index.json");
    let all = proxy
        .origin
        .all()
        .into_iter()
        .filter(|seen| seen.host == host);
    all.map(|seen| seen.name())
        .filter(|name| *name != index)
        .collect()
}
