//! BaGetter: every registration type on one base, neither 3.4.0 nor 3.6.0; a page's `@id` is the index's; catalog entries
//! have no address and properties of its own; `@base` in search; minified. Anonymous.

use serde_json::{Value, json};

use super::packages::{self, Package};
use super::script::{Script, Shape};

pub(super) fn shape(mut script: Script) -> Shape {
    let root = script.home.clone();
    let upstream = format!("{root}/v3/index.json");
    script.json(&upstream, &index(&root));
    let flat = format!("{root}/v3/package/");
    script.version_lists(&flat, |package| package.normal.to_owned());
    let hive = format!("{root}/v3/registration/");
    for packages in packages::by_id() {
        let url = index_url(&packages[0], &hive);
        script.json(&url, &registration(packages, &hive, &flat));
        for package in packages {
            let file = format!("{flat}{}", package.path());
            script.file(&file, package.bytes());
            let nuspec = file.replace(&format!(".{}.nupkg", package.normal), ".nuspec");
            script.text(&nuspec, "text/xml", &package.manifest());
            let leaf = json!({
                "@id": leaf_url(package, &hive), "@type": ["Package", "http://schema.nuget.org/catalog#Permalink"],
                "listed": true, "packageContent": file, "published": "2020-01-01T00:00:00Z", "registration": url,
            });
            script.json(&leaf_url(package, &hive), &leaf);
        }
    }
    let data: Vec<Value> = packages::by_id().map(|all| hit(all, &hive)).collect();
    let results = json!({
        "@context": {"@vocab": "http://schema.nuget.org/schema#", "@base": hive}, "totalHits": data.len(), "data": data,
    });
    script.json(&format!("{root}/v3/search"), &results);
    let names: Vec<&str> = packages::by_id().map(|packages| packages[0].id).collect();
    let context = json!({"@vocab": "http://schema.nuget.org/schema#"});
    let names = json!({"@context": context, "totalHits": names.len(), "data": names});
    script.json(&format!("{root}/v3/autocomplete"), &names);
    script.shape(&upstream)
}

fn index(root: &str) -> Value {
    let entry = |path: &str, kind: &str| json!({"@id": format!("{root}/{path}"), "@type": kind, "comment": null});
    let mut resources = vec![
        entry("api/v2/package", "PackagePublish/2.0.0"),
        entry("api/v2/symbol", "SymbolPackagePublish/4.9.0"),
        entry("v3/package/", "PackageBaseAddress/3.0.0"),
    ];
    for kind in ["", "/3.0.0-beta", "/3.0.0-rc"] {
        resources.push(entry("v3/search", &format!("SearchQueryService{kind}")));
        let name = format!("RegistrationsBaseUrl{kind}");
        resources.push(entry("v3/registration/", &name));
        let name = format!("SearchAutocompleteService{kind}");
        resources.push(entry("v3/autocomplete", &name));
    }
    json!({"version": "3.0.0", "resources": resources})
}

fn index_url(package: &Package, hive: &str) -> String {
    format!("{hive}{}/index.json", package.lower_id())
}

fn leaf_url(package: &Package, hive: &str) -> String {
    format!("{hive}{}/{}.json", package.lower_id(), package.normal)
}

fn registration(packages: &[Package], hive: &str, flat: &str) -> Value {
    let leaf = |package: &Package| {
        let content = format!("{flat}{}", package.path());
        json!({
            "@id": leaf_url(package, hive), "packageContent": content,
            "catalogEntry": {
                "downloads": 0, "hasReadme": false, "packageTypes": ["Dependency"], "releaseNotes": "", "repositoryUrl": "",
                "id": package.id, "version": package.version, "authors": "Test author", "listed": true,
                "dependencyGroups": package.dependency_groups(|_| json!({})), "iconUrl": "", "licenseUrl": "",
                "packageContent": content, "projectUrl": "", "published": "2020-01-01T00:00:00Z", "tags": [],
            },
        })
    };
    let leaves: Vec<Value> = packages.iter().map(leaf).collect();
    let url = index_url(&packages[0], hive);
    json!({
        "@id": url, "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"], "count": 1,
        "items": [{
            "@id": url, "count": leaves.len(), "items": leaves, "lower": packages[0].normal,
            "upper": packages[packages.len() - 1].normal,
        }],
        "totalDownloads": 0,
    })
}

fn hit(packages: &[Package], hive: &str) -> Value {
    let last = packages[packages.len() - 1];
    let versions: Vec<Value> = packages
        .iter()
        .map(|package| json!({"@id": leaf_url(package, hive), "version": package.version, "downloads": 0}))
        .collect();
    json!({
        "id": last.id, "version": last.version, "versions": versions, "authors": ["Test author"], "iconUrl": "",
        "registration": index_url(&last, hive), "tags": [], "title": "", "totalDownloads": 0,
    })
}
