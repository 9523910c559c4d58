//! GitHub Packages (protocol facts 1.1.22, 2.1.20, 10.2): bases without a final slash, the registrations at the owner's
//! root, above the flat container; a page's `@id` is the index's; no listed, published or types; tags as one string;
//! neither 3.4.0 nor 3.6.0 hives; search before totalHits, with ids as typed and without registrations; packages by a
//! redirect to storage; Basic.

use serde_json::{Value, json};

use super::packages::{self, Package};
use super::script::{Login, Script, Shape};

pub(super) fn shape(mut script: Script) -> Shape {
    let login = Login::Basic {
        user: "some-namespace",
        password: "ghp_token",
    };
    script.demand(login, "Basic realm=\"GitHub Package Registry\"");
    let root = format!("{}/some-namespace", script.home);
    let upstream = format!("{root}/index.json");
    script.json(&upstream, &index(&root));
    let flat = format!("{root}/download/");
    script.version_lists(&flat, |package| package.normal.to_owned());
    for packages in packages::by_id() {
        let id = packages[0].lower_id();
        let index = registration(packages, &root);
        script.json(&format!("{root}/{id}/index.json"), &index);
        for package in packages {
            let leaf = leaf(package, &root);
            script.json(&format!("{root}/{id}/{}.json", package.normal), &leaf);
            let typed = format!("{root}/{}/{}.json", package.id, package.normal);
            script.json(&typed, &leaf);
            let url = format!("{flat}{}", package.path());
            let place = format!("nuget/{}", package.path());
            script.stored(&url, 302, &place, package.bytes());
        }
    }
    let data: Vec<Value> = packages::by_id().map(|all| hit(all, &root)).collect();
    let total = data.len();
    let data = Value::from(data);
    let text = format!("{{\"data\": {data}, \"totalHits\": {total}}}");
    script.text(&format!("{root}/query"), "application/json", &text);
    script.shape(&upstream)
}

fn index(root: &str) -> Value {
    let entry = |path: &str, kind: &str| json!({"@id": format!("{root}{path}"), "@type": kind, "comment": "."});
    json!({
        "version": "3.0.0-beta.1",
        "resources": [
            entry("/download", "PackageBaseAddress/3.0.0"),
            entry("/query", "SearchQueryService"),
            entry("/query", "SearchQueryService/3.0.0-beta"),
            entry("/query", "SearchQueryService/3.0.0-rc"),
            entry("", "PackagePublish/2.0.0"),
            entry("", "RegistrationsBaseUrl"),
            entry("", "RegistrationsBaseUrl/3.0.0-beta"),
            entry("", "RegistrationsBaseUrl/3.0.0-rc"),
        ],
    })
}

fn leaf(package: &Package, root: &str) -> Value {
    let url = format!("{root}/{}/{}.json", package.lower_id(), package.normal);
    let content = format!("{root}/download/{}", package.path());
    json!({
        "@id": url, "packageContent": content,
        "catalogEntry": {
            "@id": url, "authors": "Someone", "id": package.id, "version": package.version,
            "dependencyGroups": package.dependency_groups(|_| json!({})), "iconUrl": "", "isPrerelease": false,
            "licenseUrl": "https://licenses.nuget.org/MIT", "packageContent": content,
            "projectUrl": "https://project.test/", "tags": "json bson serializer",
        },
    })
}

fn registration(packages: &[Package], root: &str) -> Value {
    let leaves: Vec<Value> = packages
        .iter()
        .rev()
        .map(|package| leaf(package, root))
        .collect();
    json!({"count": 1, "items": [{
        "@id": format!("{root}/{}/index.json", packages[0].lower_id()), "lower": packages[0].normal,
        "upper": packages[packages.len() - 1].normal, "count": leaves.len(), "items": leaves,
    }]})
}

fn hit(packages: &[Package], root: &str) -> Value {
    let last = packages[packages.len() - 1];
    let versions: Vec<Value> = packages
        .iter()
        .rev()
        .map(|package| {
            let url = format!("{root}/{}/{}.json", package.id, package.normal);
            json!({"version": package.version, "downloads": 0, "@id": url})
        })
        .collect();
    json!({
        "@type": "Package", "authors": "Someone", "id": last.id, "version": last.version, "versions": versions,
        "tags": "one two", "iconUrl": "", "verified": true,
    })
}
