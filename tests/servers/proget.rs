//! ProGet (protocol fact 10.5): the flat base has no final slash; 3.4.0 and 3.6.0 share a gzip-coded hive; neither index
//! nor page has an `@id`; versions stand in addresses as their authors wrote them ("22.1"); catalog entries beside every
//! base; hits without addresses; lines end in CRLF; the V2 feed beside. Anonymous.

use serde_json::{Value, json};

use super::packages::{self, Package};
use super::script::{Script, Shape};

pub(super) fn shape(mut script: Script) -> Shape {
    let root = format!("{}/nuget/internal", script.home);
    let v3 = format!("{root}/v3");
    let upstream = format!("{v3}/index.json");
    let feeds = format!("{}/feeds/internal", script.home);
    script.text(&upstream, "application/json", &lines(&index(&root, &feeds)));
    let flat = format!("{v3}/flatcontainer/");
    script.version_lists(&flat, |package| package.version.to_lowercase());
    for package in &packages::ALL {
        let url = format!("{flat}{}", package.path());
        script.file(&url, package.bytes());
        let as_written = content(package, &flat);
        if as_written != url {
            script.file(&as_written, package.bytes());
        }
        script.json(&entry_url(package, &v3), &entry(package, &v3));
    }
    for hive in ["registrations", "registrations-gz"] {
        let hive = format!("{v3}/{hive}/");
        for packages in packages::by_id() {
            let id = packages[0].lower_id();
            let leaves: Vec<Value> = packages
                .iter()
                .map(|package| leaf(package, &v3, &hive))
                .collect();
            let (lower, upper) = (packages[0].version, packages[packages.len() - 1].version);
            let index = json!({"count": 1, "items": [{"count": leaves.len(), "items": leaves, "lower": lower, "upper": upper}]});
            put(&mut script, &format!("{hive}{id}/index.json"), &index);
            for package in packages {
                let mut leaf = leaf(package, &v3, &hive);
                leaf["catalogEntry"] = leaf["catalogEntry"]["@id"].clone();
                let version = package.version.to_lowercase();
                put(&mut script, &format!("{hive}{id}/{version}.json"), &leaf);
            }
        }
    }
    let data: Vec<Value> = packages::by_id().map(|all| hit(all, &v3)).collect();
    let results = json!({"totalHits": data.len(), "data": data});
    script.text(
        &format!("{v3}/search"),
        "application/json",
        &lines(&results),
    );
    let names: Vec<&str> = packages::by_id().map(|packages| packages[0].id).collect();
    let names = json!({"totalHits": names.len(), "data": names});
    script.json(&format!("{v3}/autocomplete"), &names);
    script.shape(&upstream)
}

/// The document as this server writes it.
fn lines(document: &Value) -> String {
    format!("{document:#}").replace('\n', "\r\n")
}

/// A registration document: those of the second hive are coded, whoever asks.
fn put(script: &mut Script, url: &str, document: &Value) {
    if url.contains("-gz/") {
        script.gzip(url, &lines(document));
    } else {
        script.text(url, "application/json", &lines(document));
    }
}

fn index(root: &str, feeds: &str) -> Value {
    let entry = |path: &str, kind: &str| json!({"@id": format!("{root}/{path}"), "@type": kind, "comment": "."});
    let mut resources = Vec::new();
    for kind in ["", "/3.0.0-rc", "/3.0.0-beta"] {
        resources.push(entry("v3/search", &format!("SearchQueryService{kind}")));
        let name = format!("SearchAutocompleteService{kind}");
        resources.push(entry("v3/autocomplete", &name));
        let name = format!("RegistrationsBaseUrl{kind}");
        resources.push(entry("v3/registrations/", &name));
    }
    resources.extend([
        entry("v3/registrations-gz/", "RegistrationsBaseUrl/3.4.0"),
        entry("v3/registrations-gz/", "RegistrationsBaseUrl/3.6.0"),
        entry("v3/flatcontainer", "PackageBaseAddress/3.0.0"),
        json!({"@id": format!("{feeds}/{{id}}/{{version}}"), "@type": "PackageDetailsUriTemplate/5.1.0"}),
        entry(
            "v3/registrations/{id-lower}/index.json",
            "PackageDisplayMetadataUriTemplate/3.0.0-rc",
        ),
        entry("", "LegacyGallery/2.0.0"),
        entry("package", "PackagePublish/2.0.0"),
    ]);
    json!({"version": "3.0.0", "resources": resources})
}

fn content(package: &Package, flat: &str) -> String {
    let (id, version) = (package.lower_id(), package.version.to_lowercase());
    format!("{flat}{id}/{version}/{id}.{version}.nupkg")
}

fn entry_url(package: &Package, v3: &str) -> String {
    let (id, version) = (package.lower_id(), package.version.to_lowercase());
    format!("{v3}/catalog/{id}/{version}.json")
}

fn entry(package: &Package, v3: &str) -> Value {
    let mut groups = package.dependency_groups(|_| json!({}));
    // A group for every framework says none.
    groups[0]
        .as_object_mut()
        .expect("a group")
        .remove("targetFramework");
    json!({
        "@id": entry_url(package, v3), "@type": "PackageDetails", "id": package.id, "version": package.version,
        "dependencyGroups": groups, "iconUrl": "https://project.test/icon.svg",
        "licenseUrl": "https://project.test/license.txt", "published": "2023-05-08T15:25:36.157Z",
    })
}

fn leaf(package: &Package, v3: &str, hive: &str) -> Value {
    let (id, version) = (package.lower_id(), package.version.to_lowercase());
    json!({
        "@id": format!("{hive}{id}/{version}.json"), "@type": "Package", "catalogEntry": entry(package, v3),
        "packageContent": content(package, &format!("{v3}/flatcontainer/")),
        "registration": format!("{hive}{id}/index.json"),
    })
}

fn hit(packages: &[Package], v3: &str) -> Value {
    let last = packages[packages.len() - 1];
    let versions: Vec<Value> = packages
        .iter()
        .map(|package| json!({"version": package.version, "downloads": 1}))
        .collect();
    json!({
        "id": last.id, "version": last.version, "versions": versions, "authors": "Igor Pavlov",
        "packageTypes": [{"name": "Dependency"}], "iconUrl": "https://project.test/icon.svg",
        "registration": format!("{v3}/registrations/{}/index.json", last.lower_id()),
    })
}
