//! Nexus as a proxy of nuget.org (protocol facts 7.1.18, 10.6): bases that end in a number, without a final slash; private
//! properties that name the remote; autocomplete and catalog entries left at the remote; gzip-coded registrations, a
//! long one in pages of their own; Basic.

use serde_json::{Value, json};

use super::packages::{self, Package};
use super::script::{Login, Script, Shape};

/// Leaves on a page of an id that has many.
const PAGE: usize = 3;

/// Each hive: its number, its name at the remote, its type.
const HIVES: [(&str, &str, &str); 3] = [
    (
        "2",
        "registration5-semver1",
        "RegistrationsBaseUrl/3.0.0-beta",
    ),
    (
        "3",
        "registration5-gz-semver1",
        "RegistrationsBaseUrl/3.4.0",
    ),
    (
        "4",
        "registration5-gz-semver2",
        "RegistrationsBaseUrl/3.6.0",
    ),
];

pub(super) fn shape(mut script: Script) -> Shape {
    let login = Login::Basic {
        user: "reader",
        password: "nexus-secret",
    };
    script.demand(login, "BASIC realm=\"Sonatype Nexus Repository Manager\"");
    let root = format!("{}/repository/nuget-proxy", script.home);
    let remote = script.far.clone();
    let upstream = format!("{root}/index.json");
    script.json(&upstream, &index(&root, &remote));
    let flat = format!("{root}/v3/content/5/");
    script.version_lists(&flat, |package| package.normal.to_owned());
    for package in &packages::ALL {
        script.file(&format!("{flat}{}", package.path()), package.bytes());
        let url = entry_url(package, &remote);
        script.foreign_json(&url, &entry(package, &remote));
    }
    for (number, ..) in HIVES {
        let hive = format!("{root}/v3/registration/{number}/");
        for packages in packages::by_id() {
            registration(&mut script, packages, &hive, &flat, &remote);
        }
    }
    let hive = format!("{root}/v3/registration/2/");
    let results = search(&hive);
    for number in ["0", "1", "6", "7"] {
        script.json(&format!("{root}/v3/query/{number}"), &results);
    }
    let names: Vec<&str> = packages::by_id().map(|packages| packages[0].id).collect();
    let names = json!({"totalHits": names.len(), "data": names});
    script.foreign_json(&format!("{remote}/autocomplete"), &names);
    script.shape(&upstream)
}

fn index(root: &str, remote: &str) -> Value {
    let own = |path: &str, kind: &str, at: &str| json!({"@id": format!("{root}/v3/{path}"), "@type": kind, "@nxrmRemote": format!("{remote}/{at}")});
    let left = |kind: &str| json!({"@id": format!("{remote}/autocomplete"), "@type": kind});
    let mut resources = vec![
        own("query/0", "SearchQueryService", "query"),
        own("query/1", "SearchQueryService", "query"),
        left("SearchAutocompleteService"),
        own("query/6", "SearchQueryService/3.0.0-beta", "query"),
        own("query/7", "SearchQueryService/3.0.0-beta", "query"),
        left("SearchAutocompleteService/3.0.0-beta"),
        own("content/5", "PackageBaseAddress/3.0.0", "v3-flatcontainer/"),
    ];
    for (number, at, kind) in HIVES {
        resources.push(own(&format!("registration/{number}"), kind, at));
    }
    json!({"version": "3.0.0", "resources": resources})
}

fn entry_url(package: &Package, remote: &str) -> String {
    let (id, version) = (package.lower_id(), package.normal);
    format!("{remote}/v3/catalog0/data/2026.01.02.03.04.05/{id}.{version}.json")
}

fn entry(package: &Package, remote: &str) -> Value {
    let url = entry_url(package, remote);
    let of = |id: &str| json!({"@id": format!("{url}#dependencygroup/{id}"), "@type": "PackageDependency"});
    json!({
        "@id": url, "@type": "PackageDetails", "id": package.id, "version": package.version, "listed": true,
        "dependencyGroups": package.dependency_groups(of), "published": "2026-01-02T03:04:05Z",
    })
}

fn registration(script: &mut Script, packages: &[Package], hive: &str, flat: &str, remote: &str) {
    let id = packages[0].lower_id();
    let index = format!("{hive}{id}/index.json");
    let leaf = |package: &Package| {
        json!({
            "@id": format!("{hive}{id}/{}.json", package.normal), "@type": "Package",
            "catalogEntry": entry(package, remote), "registration": index,
            "packageContent": format!("{flat}{}", package.path()),
        })
    };
    let is_long = packages.len() > PAGE;
    let mut pages = Vec::new();
    for some in packages.chunks(PAGE) {
        let (lower, upper) = (some[0].normal, some[some.len() - 1].normal);
        let leaves: Vec<Value> = some.iter().map(leaf).collect();
        let bounds = format!("page/{lower}/{upper}");
        let url = if is_long {
            format!("{hive}{id}/{bounds}.json")
        } else {
            format!("{index}#{bounds}")
        };
        let mut page = json!({
            "@id": url, "@type": "catalog:CatalogPage", "count": leaves.len(), "items": leaves,
            "lower": lower, "upper": upper, "parent": index,
        });
        if is_long {
            script.gzip(&url, &page.to_string());
            page.as_object_mut().expect("an object").remove("items");
        }
        pages.push(page);
    }
    let document = json!({"@id": index, "count": pages.len(), "items": pages});
    script.gzip(&index, &document.to_string());
    for package in packages {
        let mut leaf = leaf(package);
        leaf["catalogEntry"] = leaf["catalogEntry"]["@id"].clone();
        let url = format!("{hive}{id}/{}.json", package.normal);
        script.gzip(&url, &leaf.to_string());
    }
}

fn search(hive: &str) -> Value {
    let hit = |packages: &[Package]| {
        let last = packages[packages.len() - 1];
        let id = last.lower_id();
        let index = format!("{hive}{id}/index.json");
        let versions: Vec<Value> = packages
            .iter()
            .map(|package| json!({"@id": format!("{hive}{id}/{}.json", package.normal), "version": package.version, "downloads": 3}))
            .collect();
        json!({"@id": index, "registration": index, "id": last.id, "version": last.version, "versions": versions})
    };
    let data: Vec<Value> = packages::by_id().map(hit).collect();
    json!({"@context": {"@vocab": "http://schema.nuget.org/schema#", "@base": hive}, "totalHits": data.len(), "data": data})
}
