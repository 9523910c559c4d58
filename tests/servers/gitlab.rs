//! GitLab (protocol facts 1.1.22, 10.2 and its documents): bases without a final slash; a page's `@id` is that of a leaf;
//! ids as typed in addresses; a package whose file has another name than its id; no listed; authors and tags as one
//! string; search without registrations, from a project; symbols; Basic.

use serde_json::{Value, json};

use super::packages::{self, Package};
use super::script::{Login, Script, Shape};

pub(super) fn shape(mut script: Script) -> Shape {
    let login = Login::Basic {
        user: "deploy",
        password: "glpat-token",
    };
    script.demand(login, "Basic realm=\"GitLab Packages Registry\"");
    let root = format!("{}/api/v4/projects/1/packages/nuget", script.home);
    let upstream = format!("{root}/index.json");
    script.json(&upstream, &index(&root));
    let flat = format!("{root}/download/");
    script.version_lists(&flat, |package| package.normal.to_owned());
    for packages in packages::by_id() {
        let leaves: Vec<Value> = packages
            .iter()
            .map(|package| leaf(package, &root))
            .collect();
        let first = &packages[0];
        let index = json!({"count": 1, "items": [{
            "@id": leaf_url(first, &root, first.id), "lower": first.normal,
            "upper": packages[packages.len() - 1].normal, "count": leaves.len(), "items": leaves,
        }]});
        let url = format!("{root}/metadata/{}/index.json", first.lower_id());
        script.json(&url, &index);
        for (package, leaf) in packages.iter().zip(&leaves) {
            script.json(&leaf_url(package, &root, &package.lower_id()), leaf);
            script.json(&leaf_url(package, &root, package.id), leaf);
            let place = format!("packages/{}", package.path());
            let url = format!("{flat}{}", package.path());
            script.stored(&url, 302, &place, package.bytes());
            script.stored(&content(package, &root), 302, &place, package.bytes());
        }
    }
    let data: Vec<Value> = packages::by_id().map(|all| hit(all, &root)).collect();
    let results = json!({"totalHits": data.len(), "data": data});
    script.json(&format!("{root}/query"), &results);
    script.shape(&upstream)
}

fn index(root: &str) -> Value {
    let entry = |path: &str, kind: &str| json!({"@id": format!("{root}{path}"), "@type": kind, "comment": "."});
    json!({
        "version": "3.0.0",
        "resources": [
            entry("/query", "SearchQueryService"),
            entry("/query", "SearchQueryService/3.0.0-beta"),
            entry("/query", "SearchQueryService/3.0.0-rc"),
            entry("/metadata", "RegistrationsBaseUrl"),
            entry("/metadata", "RegistrationsBaseUrl/3.0.0-beta"),
            entry("/metadata", "RegistrationsBaseUrl/3.0.0-rc"),
            entry("/download", "PackageBaseAddress/3.0.0"),
            entry("", "PackagePublish/2.0.0"),
            entry("/symbolpackage", "SymbolPackagePublish/4.9.0"),
        ],
    })
}

fn leaf_url(package: &Package, root: &str, id: &str) -> String {
    format!("{root}/metadata/{id}/{}.json", package.normal)
}

fn content(package: &Package, root: &str) -> String {
    let file = if package.id == "Shape.Text" {
        "text"
    } else {
        package.id
    };
    let (id, version) = (package.id, package.normal);
    format!("{root}/download/{id}/{version}/{file}.{version}.nupkg")
}

fn leaf(package: &Package, root: &str) -> Value {
    let url = leaf_url(package, root, package.id);
    let content = content(package, root);
    json!({
        "@id": url, "packageContent": content,
        "catalogEntry": {
            "@id": url, "authors": "Author1, Author2", "dependencyGroups": package.dependency_groups(|_| json!({})),
            "id": package.id, "version": package.version, "tags": "", "packageContent": content,
            "description": "Description of the package", "published": "2023-05-08T17:23:25Z",
        },
    })
}

fn hit(packages: &[Package], root: &str) -> Value {
    let last = packages[packages.len() - 1];
    let versions: Vec<Value> = packages
        .iter()
        .map(|package| json!({"@id": leaf_url(package, root, package.id), "version": package.version, "downloads": 0}))
        .collect();
    json!({
        "@type": "Package", "authors": "Author1, Author2", "id": last.id, "title": last.id, "verified": true,
        "version": last.version, "versions": versions, "tags": "",
    })
}
