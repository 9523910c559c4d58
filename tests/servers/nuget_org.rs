//! nuget.org (protocol facts 1.3, 2.2.3 to 2.2.5, 2.2.19, 2.2.22, 2.7.10, 10.8): three hives, two of them always
//! gzip-coded and one of those alone with SemVer 2; a long id in pages of their own, whose addresses are in lower case
//! while their bounds are not; two search hosts, each under every type; nuspecs, icons and readmes beside packages;
//! vulnerability pages at another base than their index; a catalog; templates for people and for machines. Anonymous.

use serde_json::{Value, json};

use super::packages::{self, Package, joined};
use super::script::{Script, Shape};

/// Leaves on a page of an id that has many.
const PAGE: usize = 3;

/// A hive: its name, its types, whether it is coded and holds SemVer 2.
const HIVES: [(&str, &[&str], bool, bool); 3] = [
    (
        "registration5-semver1",
        &["", "/3.0.0-rc", "/3.0.0-beta"],
        false,
        false,
    ),
    ("registration5-gz-semver1", &["/3.4.0"], true, false),
    ("registration5-gz-semver2", &["/3.6.0"], true, true),
];

pub(super) fn shape(mut script: Script) -> Shape {
    let (root, search) = (
        script.home.clone(),
        [script.far.clone(), script.home.clone()],
    );
    let upstream = format!("{root}/v3/index.json");
    script.json(&upstream, &index(&root, &search));
    let flat = format!("{root}/v3-flatcontainer/");
    script.version_lists(&flat, |package| package.normal.to_owned());
    for package in &packages::ALL {
        content(&mut script, package, &flat);
        script.json(&entry_url(package, &root), &entry(package, &root, &flat));
    }
    for (name, _, is_coded, has_semver2) in HIVES {
        let hive = format!("{root}/v3/{name}/");
        for packages in packages::by_id() {
            let packages: Vec<Package> = packages
                .iter()
                .filter(|package| has_semver2 || !is_semver2(package))
                .copied()
                .collect();
            let documents = registration(&packages, &root, &hive, &flat);
            for (url, document) in documents {
                if is_coded {
                    script.gzip(&url, &document.to_string());
                } else {
                    script.json(&url, &document);
                }
            }
        }
    }
    catalog(&mut script, &root);
    vulnerabilities(&mut script, &root);
    let results = results(&format!("{root}/v3/registration5-gz-semver2/"), &flat);
    let names: Vec<&str> = packages::by_id().map(|packages| packages[0].id).collect();
    let names = json!({
        "@context": {"@vocab": "http://schema.nuget.org/schema#"}, "totalHits": names.len(), "data": names,
    });
    for host in search {
        script.json(&format!("{host}/query"), &results);
        script.json(&format!("{host}/autocomplete"), &names);
    }
    script.shape(&upstream)
}

fn index(root: &str, search: &[String; 2]) -> Value {
    let entry = |url: String, kind: &str| json!({"@id": url, "@type": kind, "comment": "."});
    let mut resources = Vec::new();
    for kind in ["", "/3.0.0-beta", "/3.0.0-rc", "/3.5.0"] {
        for host in search {
            resources.push(entry(
                format!("{host}/query"),
                &format!("SearchQueryService{kind}"),
            ));
            let name = format!("SearchAutocompleteService{kind}");
            resources.push(entry(format!("{host}/autocomplete"), &name));
        }
    }
    for (name, kinds, ..) in HIVES {
        for kind in kinds {
            let kind = format!("RegistrationsBaseUrl{kind}");
            resources.push(entry(format!("{root}/v3/{name}/"), &kind));
        }
    }
    let hive = format!("{root}/v3/registration5-gz-semver2/");
    let mut versioned = entry(hive.clone(), "RegistrationsBaseUrl/Versioned");
    versioned["clientVersion"] = "4.3.0-alpha".into();
    let flat = format!("{root}/v3-flatcontainer/");
    let people = "https://people.test/packages/{id}/{version}";
    resources.extend([
        versioned,
        entry(flat.clone(), "PackageBaseAddress/3.0.0"),
        entry(format!("{root}/api/v2"), "LegacyGallery"),
        entry(format!("{root}/api/v2"), "LegacyGallery/2.0.0"),
        entry(format!("{root}/api/v2/package"), "PackagePublish/2.0.0"),
        entry(
            format!("{root}/api/v2/symbolpackage"),
            "SymbolPackagePublish/4.9.0",
        ),
        entry(format!("{root}/v3/catalog0/index.json"), "Catalog/3.0.0"),
        entry(
            format!("{root}/v3/vulnerabilities/index.json"),
            "VulnerabilityInfo/6.7.0",
        ),
        entry(
            format!("{flat}{{lower_id}}/{{lower_version}}/readme"),
            "ReadmeUriTemplate/6.13.0",
        ),
        entry(
            format!("{people}?_src=template"),
            "PackageDetailsUriTemplate/5.1.0",
        ),
        entry(
            format!("{people}/ReportAbuse"),
            "ReportAbuseUriTemplate/3.0.0-rc",
        ),
        entry(
            format!("{hive}{{id-lower}}/index.json"),
            "PackageDisplayMetadataUriTemplate/3.0.0-rc",
        ),
    ]);
    json!({
        "version": "3.0.0", "resources": resources,
        "@context": {"@vocab": "http://schema.nuget.org/services#", "comment": "http://www.w3.org/2000/01/rdf-schema#comment"},
    })
}

/// Whether only newer clients may see it: its label has a dot (protocol fact 2.2.22).
fn is_semver2(package: &Package) -> bool {
    let label = package.normal.split_once('-').map(|(_, label)| label);
    label.is_some_and(|label| label.contains('.'))
}

/// The files of a package; one of them has a readme.
fn content(script: &mut Script, package: &Package, flat: &str) {
    let folder = format!("{flat}{}/{}", package.lower_id(), package.normal);
    script.file(&format!("{flat}{}", package.path()), package.bytes());
    let nuspec = format!("{folder}/{}.nuspec", package.lower_id());
    script.text(&nuspec, "text/xml", &package.manifest());
    script.file(&format!("{folder}/icon"), b"GIF89a".to_vec());
    if package.id == "Shape.App" {
        script.text(
            &format!("{folder}/readme"),
            "text/markdown",
            "# Shape.App\n",
        );
    }
}

fn entry_url(package: &Package, root: &str) -> String {
    let (id, version) = (package.lower_id(), package.normal);
    format!("{root}/v3/catalog0/data/2026.01.02.03.04.05/{id}.{version}.json")
}

fn entry(package: &Package, root: &str, flat: &str) -> Value {
    let url = entry_url(package, root);
    let of = |id: &str| json!({"@id": format!("{url}#dependencygroup/{}", id.to_lowercase()), "@type": "PackageDependency"});
    let (id, version) = (package.lower_id(), package.normal);
    json!({
        "@id": url, "@type": "PackageDetails", "id": package.id, "version": package.version, "listed": true,
        "authors": "Somebody", "dependencyGroups": package.dependency_groups(of), "description": "A package.",
        "iconUrl": format!("{flat}{id}/{version}/icon"), "licenseUrl": "https://licenses.test/MIT",
        "packageContent": format!("{flat}{}", package.path()), "projectUrl": "https://project.test/",
        "published": "2026-01-02T03:04:05Z", "tags": ["one", "two"],
    })
}

/// The index, the pages and the leaves of an id in a hive.
fn registration(packages: &[Package], root: &str, hive: &str, flat: &str) -> Vec<(String, Value)> {
    let id = packages[0].lower_id();
    let index = format!("{hive}{id}/index.json");
    let commit = json!({"commitId": "5d4d3c0a", "commitTimeStamp": "2026-01-02T03:04:05.6789Z"});
    let leaf = |package: &Package| {
        let leaf = json!({
            "@id": format!("{hive}{id}/{}.json", package.normal), "@type": "Package",
            "catalogEntry": entry(package, root, flat), "registration": index,
            "packageContent": format!("{flat}{}", package.path()),
        });
        joined(leaf, commit.clone())
    };
    let mut documents = Vec::new();
    let mut pages = Vec::new();
    let is_long = packages.len() > PAGE;
    for some in packages.chunks(PAGE) {
        let (first, last) = (some[0], some[some.len() - 1]);
        let url = if is_long {
            format!("{hive}{id}/page/{}/{}.json", first.normal, last.normal)
        } else {
            format!("{index}#page/{}/{}", first.normal, last.normal)
        };
        let leaves: Vec<Value> = some.iter().map(leaf).collect();
        let page = json!({
            "@id": url, "@type": "catalog:CatalogPage", "count": leaves.len(), "lower": bound(&first),
            "upper": bound(&last),
        });
        let page = joined(page, commit.clone());
        let whole = joined(page.clone(), json!({"items": leaves, "parent": index}));
        if is_long {
            documents.push((url, whole));
            pages.push(page);
        } else {
            pages.push(whole);
        }
    }
    let document = json!({
        "@id": index, "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"],
        "count": pages.len(), "items": pages,
    });
    documents.push((index.clone(), joined(document, commit.clone())));
    for package in packages {
        let mut leaf = leaf(package);
        (leaf["catalogEntry"], leaf["listed"]) = (leaf["catalogEntry"]["@id"].clone(), true.into());
        documents.push((format!("{hive}{id}/{}.json", package.normal), leaf));
    }
    documents
}

/// A bound keeps its case and is normalised otherwise.
fn bound(package: &Package) -> String {
    match package.version.split_once('-') {
        Some((_, label)) => {
            let (numbers, _) = package.normal.split_once('-').expect("it has a label too");
            format!("{numbers}-{label}")
        }
        None => package.normal.to_owned(),
    }
}

fn catalog(script: &mut Script, root: &str) {
    let (index, page) = (
        format!("{root}/v3/catalog0/index.json"),
        format!("{root}/v3/catalog0/page0.json"),
    );
    let commit = json!({"commitId": "5d4d3c0a", "commitTimeStamp": "2026-01-02T03:04:05.6789Z"});
    let item = |package: &Package| {
        let item = json!({
            "@id": entry_url(package, root), "@type": "nuget:PackageDetails", "nuget:id": package.id,
            "nuget:version": package.version,
        });
        joined(item, commit.clone())
    };
    let items: Vec<Value> = packages::ALL.iter().map(item).collect();
    let head = json!({"@id": page, "@type": "CatalogPage", "count": items.len()});
    let head = joined(head, commit.clone());
    let whole = joined(head.clone(), json!({"items": items, "parent": index}));
    script.json(&page, &whole);
    let whole = json!({"@id": index, "@type": ["CatalogRoot", "AppendOnlyCatalog", "Permalink"], "count": 1, "items": [head]});
    script.json(&index, &joined(whole, commit));
}

fn vulnerabilities(script: &mut Script, root: &str) {
    let pages = ["base", "update"].map(|name| {
        let url = format!("{root}/v3-vulnerabilities/2026.01.02.03.04.05/vulnerability.{name}.json");
        let known = json!({"url": format!("https://advisories.test/{name}"), "severity": 2, "versions": "(, 1.1.0)"});
        let page = if name == "base" { json!({"shape.lib": [known]}) } else { json!({}) };
        script.json(&url, &page);
        json!({"@name": name, "@id": url, "@updated": "2026-01-02T03:04:05Z", "comment": "known vulnerabilities"})
    });
    script.json(
        &format!("{root}/v3/vulnerabilities/index.json"),
        &json!(pages),
    );
}

fn results(hive: &str, flat: &str) -> Value {
    let hit = |packages: &[Package]| {
        let last = packages[packages.len() - 1];
        let id = last.lower_id();
        let index = format!("{hive}{id}/index.json");
        let versions: Vec<Value> = packages
            .iter()
            .map(|package| json!({"@id": format!("{hive}{id}/{}.json", package.normal), "version": package.version, "downloads": 3}))
            .collect();
        json!({
            "@id": index, "@type": "Package", "registration": index, "id": last.id, "version": last.version,
            "versions": versions, "iconUrl": format!("{flat}{id}/{}/icon", last.normal), "totalDownloads": 3,
            "packageTypes": [{"name": "Dependency"}], "verified": false, "owners": ["somebody"],
        })
    };
    let data: Vec<Value> = packages::by_id().map(hit).collect();
    json!({
        "@context": {"@vocab": "http://schema.nuget.org/schema#", "@base": hive}, "totalHits": data.len(), "data": data,
    })
}
