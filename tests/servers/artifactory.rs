//! Artifactory (protocol facts 1.1.21, 7.1.15, 10.1): the index is not at index.json; no flat container; registrations in
//! pages whose bounds keep their case while their addresses do not; `@id` last; packages at `Download/{id}/{version}`
//! below the hive; addresses of leaves and dependencies with a segment twice; icons and licences left elsewhere; Bearer.

use serde_json::{Value, json};

use super::packages::{self, Package};
use super::script::{Login, Script, Shape};

/// Leaves on a page.
const PAGE: usize = 3;

pub(super) fn shape(mut script: Script) -> Shape {
    let login = Login::Bearer("artifactory-identity-token");
    script.demand(login, "Basic realm=\"Artifactory Realm\"");
    let root = format!("{}/artifactory/api/nuget", script.home);
    let upstream = format!("{root}/v3/nuget-repo");
    script.json(&upstream, &index(&root));
    for name in ["registration", "registration-semver2"] {
        let hive = format!("{upstream}/{name}/");
        for packages in packages::by_id() {
            registration(&mut script, packages, &hive, name);
        }
    }
    let hive = format!("{upstream}/registration/");
    let results = search(&hive);
    script.json(&format!("{upstream}/query"), &results);
    script.shape(&upstream)
}

fn index(root: &str) -> Value {
    let v3 = format!("{root}/v3/nuget-repo");
    let entry = |url: String, kind: &str| json!({"@id": url, "@type": kind, "comment": "."});
    let semver2 = format!("{v3}/registration-semver2/");
    let mut versioned = entry(semver2.clone(), "RegistrationsBaseUrl/Versioned");
    versioned["clientVersion"] = "4.3.0-alpha".into();
    let (hive, query) = (format!("{v3}/registration/"), format!("{v3}/query"));
    let template = format!("{hive}{{id-lower}}/index.json");
    json!({
        "version": "3.0.0",
        "resources": [
            entry(query.clone(), "SearchQueryService"),
            entry(hive.clone(), "RegistrationsBaseUrl"),
            entry(format!("{root}/nuget-repo"), "LegacyGallery/2.0.0"),
            entry(format!("{root}/nuget-repo"), "PackagePublish/2.0.0"),
            entry(query.clone(), "SearchQueryService/3.0.0-rc"),
            entry(hive.clone(), "RegistrationsBaseUrl/3.0.0-rc"),
            entry(template, "PackageDisplayMetadataUriTemplate/3.0.0-rc"),
            entry(query, "SearchQueryService/3.0.0-beta"),
            entry(hive.clone(), "RegistrationsBaseUrl/3.0.0-beta"),
            entry(hive, "RegistrationsBaseUrl/3.4.0"),
            entry(semver2, "RegistrationsBaseUrl/3.6.0"),
            versioned,
        ],
    })
}

fn leaf(package: &Package, hive: &str, name: &str) -> Value {
    let (id, version) = (package.lower_id(), package.normal);
    let content = format!("{hive}Download/{id}/{version}");
    let twice = |id: &str| json!({"registration": format!("{hive}{name}/{}/index.json", id.to_lowercase())});
    json!({
        "@id": format!("{hive}{name}/{id}/{version}.json"), "registration": format!("{hive}{name}/{id}/index.json"),
        "packageContent": content,
        "catalogEntry": {
            "id": package.id, "version": package.version, "listed": true, "packageContent": content,
            "dependencyGroups": package.dependency_groups(twice), "iconUrl": "https://project.test/icon",
            "licenseUrl": "https://project.test/license", "projectUrl": "https://project.test/", "tags": ["one"],
        },
    })
}

/// The text of an object with this `@id` as its last member.
fn with_id_last(object: &Value, url: &str) -> String {
    let text = object.to_string();
    let open = text.strip_suffix('}').expect("an object");
    format!("{open},\"@id\":\"{url}\"}}")
}

fn registration(script: &mut Script, packages: &[Package], hive: &str, name: &str) {
    let id = packages[0].lower_id();
    let index = format!("{hive}{id}/index.json");
    let mut pages = Vec::new();
    for some in packages.chunks(PAGE) {
        let (first, last) = (some[0], some[some.len() - 1]);
        let url = format!("{hive}{id}/page/{}/{}.json", first.normal, last.normal);
        let mut page = json!({"count": some.len(), "lower": first.version, "upper": last.version});
        pages.push(with_id_last(&page, &url));
        let leaves: Vec<Value> = some
            .iter()
            .map(|package| leaf(package, hive, name))
            .collect();
        (page["items"], page["parent"]) = (leaves.into(), index.clone().into());
        script.text(&url, "application/json", &with_id_last(&page, &url));
    }
    let pages = pages.join(",");
    let count = packages.len().div_ceil(PAGE);
    let text = format!("{{\"count\":{count},\"items\":[{pages}],\"@id\":\"{index}\"}}");
    script.text(&index, "application/json", &text);
    script.text(
        &format!("{hive}{name}/{id}/index.json"),
        "application/json",
        &text,
    );
    for package in packages {
        let leaf = leaf(package, hive, name);
        let version = package.normal;
        script.json(&format!("{hive}{id}/{version}.json"), &leaf);
        script.json(&format!("{hive}{name}/{id}/{version}.json"), &leaf);
        script.file(&format!("{hive}Download/{id}/{version}"), package.bytes());
    }
}

fn search(hive: &str) -> Value {
    let hit = |packages: &[Package]| {
        let last = packages[packages.len() - 1];
        let id = last.lower_id();
        let versions: Vec<Value> = packages
            .iter()
            .map(|package| json!({"@id": format!("{hive}{id}/{}.json", package.normal), "version": package.version, "downloads": 0}))
            .collect();
        let index = format!("{hive}{id}/index.json");
        json!({
            "@id": index, "registration": index, "id": last.id, "version": last.version, "versions": versions,
            "iconUrl": "https://project.test/icon",
        })
    };
    let data: Vec<Value> = packages::by_id().map(hit).collect();
    json!({"totalHits": data.len(), "data": data})
}
