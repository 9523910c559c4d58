//! Sleet, a feed of static files (protocol fact 10.4): types that are URLs; RegistrationsBaseUrl/3.4.0 and
//! SearchQueryService/3.0.0-beta alone; search and autocomplete are one file each, without a type that says JSON,
//! whatever the query; one page holds all versions; leaves hold the whole catalog entry beside its address; a catalog
//! with GUIDs; a readme template; a ReportAbuse template without placeholders. Nothing can be pushed. Anonymous.

use serde_json::{Value, json};

use super::packages::{self, Package, joined};
use super::script::{Script, Shape};

pub(super) fn shape(mut script: Script) -> Shape {
    let root = format!("{}/sample-feed", script.home);
    let upstream = format!("{root}/index.json");
    script.json(&upstream, &index(&root));
    let flat = format!("{root}/flatcontainer/");
    script.version_lists(&flat, |package| package.normal.to_owned());
    for package in &packages::ALL {
        let folder = format!("{flat}{}/{}", package.lower_id(), package.normal);
        script.file(&format!("{flat}{}", package.path()), package.bytes());
        let nuspec = format!("{folder}/{}.nuspec", package.lower_id());
        script.text(&nuspec, "text/xml", &package.manifest());
        script.file(&format!("{folder}/icon"), b"GIF89a".to_vec());
        script.json(&entry_url(package, &root), &entry(package, &root));
    }
    let (page, index) = catalog(&root);
    script.json(&format!("{root}/catalog/page.0.json"), &page);
    script.json(&format!("{root}/catalog/index.json"), &index);
    for packages in packages::by_id() {
        let url = format!("{root}/registration/{}/index.json", packages[0].lower_id());
        script.json(&url, &registration(packages, &root));
        for package in packages {
            let mut leaf = leaf(package, &root);
            let whole = leaf["catalogEntry"].take();
            (leaf["catalogEntry"], leaf["sleet:catalogEntry"]) = (whole["@id"].clone(), whole);
            script.json(&leaf_url(package, &root), &leaf);
        }
    }
    let octets = "application/octet-stream";
    let results = search(&root).to_string();
    script.text(&format!("{root}/search/query"), octets, &results);
    let names: Vec<&str> = packages::by_id().map(|packages| packages[0].id).collect();
    let names = json!({"index": "sleet-static", "totalHits": names.len(), "data": names});
    script.text(
        &format!("{root}/autocomplete/query"),
        octets,
        &names.to_string(),
    );
    script.shape(&upstream)
}

fn index(root: &str) -> Value {
    let entry = |path: &str, kind: &str| json!({"@id": format!("{root}/{path}"), "@type": kind});
    json!({
        "@context": {"@vocab": "http://schema.nuget.org/services#", "sleet": "http://schema.emgarten.com/sleet#"},
        "resources": [
            entry("sleet.settings.json", "http://schema.emgarten.com/sleet#SettingsFile/1.0.0"),
            entry("catalog/index.json", "Catalog/3.0.0"),
            entry("autocomplete/query", "SearchAutocompleteService/3.0.0-beta"),
            entry("search/query", "SearchQueryService/3.0.0-beta"),
            entry("sleet.packageindex.json", "http://schema.emgarten.com/sleet#PackageIndex/1.0.0"),
            entry("registration/", "RegistrationsBaseUrl/3.4.0"),
            entry("", "ReportAbuseUriTemplate/3.0.0"),
            entry("flatcontainer/", "PackageBaseAddress/3.0.0"),
            entry("flatcontainer/{lower_id}/{lower_version}/readme", "ReadmeUriTemplate/6.13.0"),
        ],
        "sleet:version": "7.1.0", "version": "3.0.0",
    })
}

fn guid(package: &Package) -> String {
    let number = crc32c::crc32c(package.path().as_bytes());
    format!("{number:08x}-aa7d-4ecf-937c-163f14a929a8")
}

fn entry_url(package: &Package, root: &str) -> String {
    format!("{root}/catalog/data/{}.json", guid(package))
}

/// The one page of the catalog, and its index.
fn catalog(root: &str) -> (Value, Value) {
    let commit = json!({"commitId": "16fd85be-86b2-488f-a911-edcde7b8f360", "commitTimeStamp": "2024-07-10T18:10:16.5866288Z"});
    let item = |package: &Package| {
        let item = json!({
            "@id": entry_url(package, root), "@type": "nuget:PackageDetails", "nuget:id": package.id,
            "nuget:version": package.version, "sleet:operation": "add",
        });
        joined(item, commit.clone())
    };
    let items: Vec<Value> = packages::ALL.iter().map(item).collect();
    let (index, page) = (
        format!("{root}/catalog/index.json"),
        format!("{root}/catalog/page.0.json"),
    );
    let head = json!({"@id": page, "@type": "CatalogPage", "count": items.len()});
    let head = joined(head, commit.clone());
    let page = joined(head.clone(), json!({"items": items, "parent": index}));
    let index = json!({"@id": index, "@type": ["CatalogRoot", "AppendOnlyCatalog", "Permalink"], "count": 1, "items": [head]});
    (page, joined(index, commit))
}

fn leaf_url(package: &Package, root: &str) -> String {
    let (id, version) = (package.lower_id(), package.normal);
    format!("{root}/registration/{id}/{version}.json")
}

fn content(package: &Package, root: &str) -> String {
    format!("{root}/flatcontainer/{}", package.path())
}

fn entry(package: &Package, root: &str) -> Value {
    let url = entry_url(package, root);
    let of = |id: &str| json!({"@id": format!("{url}#dependencygroup/netstandard2.0/{}", id.to_lowercase()), "@type": "PackageDependency"});
    let icon = format!(
        "{root}/flatcontainer/{}/{}/icon",
        package.lower_id(),
        package.normal
    );
    json!({
        "@id": url, "@type": ["PackageDetails", "catalog:Permalink"], "id": package.id, "version": package.version,
        "dependencyGroups": package.dependency_groups(of), "iconUrl": icon, "listed": true,
        "licenseUrl": "https://licenses.nuget.org/MIT", "packageContent": content(package, root),
        "published": "2024-07-10T18:10:16.5418457Z", "tags": [],
    })
}

fn leaf(package: &Package, root: &str) -> Value {
    json!({
        "@id": leaf_url(package, root), "@type": "Package", "catalogEntry": entry(package, root),
        "commitTimeStamp": "2024-07-10T18:10:16.5857177Z", "packageContent": content(package, root),
        "registration": format!("{root}/registration/{}/index.json", package.lower_id()),
    })
}

fn registration(packages: &[Package], root: &str) -> Value {
    let index = format!("{root}/registration/{}/index.json", packages[0].lower_id());
    let commit = json!({"commitId": "16fd85be-86b2-488f-a911-edcde7b8f360", "commitTimeStamp": "2024-07-10T18:10:16.5866288Z"});
    let (lower, upper) = (packages[0].normal, packages[packages.len() - 1].normal);
    let leaves: Vec<Value> = packages.iter().map(|package| leaf(package, root)).collect();
    let page = json!({
        "@id": format!("{index}#page/{lower}/{upper}"), "@type": "catalog:CatalogPage", "count": leaves.len(),
        "items": leaves, "lower": lower, "upper": upper, "parent": index,
    });
    let document = json!({
        "@context": {"@vocab": "http://schema.nuget.org/schema#", "items": {"@id": "catalog:item", "@container": "@set"}},
        "@id": index, "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"], "count": 1,
        "items": [joined(page, commit.clone())],
    });
    joined(document, commit)
}

fn search(root: &str) -> Value {
    let hit = |packages: &[Package]| {
        let last = packages[packages.len() - 1];
        let versions: Vec<Value> = packages
            .iter()
            .map(|package| json!({"@id": leaf_url(package, root), "@type": "Package", "downloads": 0, "version": package.version}))
            .collect();
        json!({
            "@id": leaf_url(&last, root), "@type": "Package", "id": last.id, "version": last.version, "versions": versions,
            "iconUrl": format!("{root}/flatcontainer/{}/{}/icon", last.lower_id(), last.normal),
            "registration": format!("{root}/registration/{}/index.json", last.lower_id()),
        })
    };
    let data: Vec<Value> = packages::by_id().map(hit).collect();
    json!({
        "@context": {"@vocab": "http://schema.nuget.org/schema#"}, "index": "sleet-static",
        "lastReopen": "2026-07-09T12:28:57.2401104Z", "totalHits": data.len(), "data": data,
    })
}
