//! Azure Artifacts (protocol facts 1.1.10, 1.1.23, 2.1.20, 2.2.26, 10.3): bases with the feed's GUID where the index has
//! its name; one page, newest version first, at an address of its own that nothing is at; catalog entries in a commit log beside
//! every base; packages by a redirect to storage; icons by a query on the package; no autocomplete; Basic.

use serde_json::{Value, json};

use super::packages::{self, Package};
use super::script::{Login, Script, Shape};

const FEED: &str = "2745c5e9-610a-4537-9032-978c66527b51";
/// The least that is a PNG to look at.
const ICON: &[u8] = b"\x89PNG\r\n\x1a\n";

pub(super) fn shape(mut script: Script) -> Shape {
    let login = Login::Basic {
        user: "anything",
        password: "personal-access-token",
    };
    script.demand(
        login,
        "Bearer authorization_uri=https://login.test/x, Basic realm=\"https://pkgs.test/\"",
    );
    let root = format!("{}/organisation", script.home);
    let upstream = format!("{root}/_packaging/FeedName/nuget/v3/index.json");
    let base = format!("{root}/_packaging/{FEED}/nuget");
    script.json(&upstream, &index(&root, &base));
    let flat = format!("{base}/v3/flat2/");
    script.version_lists(&flat, |package| package.normal.to_owned());
    for package in &packages::ALL {
        let url = format!("{flat}{}", package.path());
        let place = format!("b-{FEED}/{}.blob", package.path().replace('/', "-"));
        script.stored(&url, 303, &place, package.bytes());
        script.file(&format!("{url}?extract=icon.png"), ICON.to_vec());
        let commit = format!("{root}{}", commit(package));
        script.json(&commit, &entry(package, &root, &flat));
    }
    for hive in ["registrations2", "registrations2-semver2"] {
        let hive = format!("{base}/v3/{hive}/");
        for packages in packages::by_id() {
            let id = packages[0].lower_id();
            let url = format!("{hive}{id}/index.json");
            script.json(&url, &registration(packages, &root, &flat, &hive));
            for package in packages {
                let url = format!("{hive}{id}/{}.json", package.normal);
                let mut leaf = leaf(package, &root, &flat, &hive);
                leaf["catalogEntry"] = leaf["catalogEntry"]["@id"].clone();
                script.json(&url, &leaf);
            }
        }
    }
    let hive = format!("{base}/v3/registrations2/");
    script.json(&format!("{base}/v3/query2/"), &search(&hive, &flat));
    script.shape(&upstream)
}

fn index(root: &str, base: &str) -> Value {
    let entry = |url: String, kind: &str| json!({"@id": url, "@type": kind});
    let label = |id: String, kind: &str| json!({"@id": id, "@type": kind, "label": "FeedName"});
    let semver2 = format!("{base}/v3/registrations2-semver2/");
    json!({
        "@context": {"@vocab": "http://schema.nuget.org/services#", "label": "http://www.w3.org/2000/01/rdf-schema#label"},
        "resources": [
            entry(format!("{base}/v2/"), "PackagePublish/2.0.0"),
            entry(format!("{base}/v2/"), "LegacyGallery/2.0.0"),
            entry(format!("{base}/v3/registrations2/"), "RegistrationsBaseUrl/3.0.0-beta"),
            entry(semver2.clone(), "RegistrationsBaseUrl/3.6.0"),
            entry(semver2, "RegistrationsBaseUrl/Versioned"),
            entry(format!("{base}/v3/query2/"), "SearchQueryService/3.0.0-beta"),
            entry(format!("{base}/v3/flat2/"), "PackageBaseAddress/3.0.0"),
            entry(format!("{root}/"), "VssBaseUrl"),
            label(format!("urn:uuid:{FEED}"), "VssFeedId"),
            label(format!("com.visualstudio.feeds.feedview:{FEED}"), "VssQualifiedFeedViewId"),
            label("urn:uuid:4aa30cdb-2056-4868-8e89-cf6200d8ee30".into(), "AzureDevOpsProjectId"),
        ],
        "version": "3.0.0-beta",
    })
}

fn commit(package: &Package) -> String {
    let number = crc32c::crc32c(package.path().as_bytes());
    format!("/_apis/packaging/{FEED}/nuget/commitLog/{number:032x}")
}

fn entry(package: &Package, root: &str, flat: &str) -> Value {
    let commit = format!("{root}{}", commit(package));
    let of = |id: &str| json!({"@id": format!("{commit}#dependencyGroup/{}", id.to_lowercase()), "@type": "PackageDependency"});
    let file = format!("{flat}{}", package.path());
    json!({
        "@id": commit, "@type": "PackageDetails", "id": package.id, "version": package.version, "listed": true,
        "dependencyGroups": package.dependency_groups(of), "published": "2021-12-03T03:20:52Z",
        "iconUrl": format!("{file}?extract=icon.png"), "licenseUrl": format!("{file}?extract=LICENSE.txt"),
        "projectUrl": "https://project.test/", "tags": ["one", "two"],
    })
}

fn leaf(package: &Package, root: &str, flat: &str, hive: &str) -> Value {
    let id = package.lower_id();
    json!({
        "@id": format!("{hive}{id}/{}.json", package.normal), "@type": "Package",
        "catalogEntry": entry(package, root, flat), "packageContent": format!("{flat}{}", package.path()),
        "registration": format!("{hive}{id}/index.json"),
    })
}

fn registration(packages: &[Package], root: &str, flat: &str, hive: &str) -> Value {
    let id = packages[0].lower_id();
    let items: Vec<Value> = packages
        .iter()
        .rev()
        .map(|package| leaf(package, root, flat, hive))
        .collect();
    let (lower, upper) = (packages[0].normal, packages[packages.len() - 1].normal);
    json!({
        "@id": format!("{hive}{id}/index.json"),
        "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"],
        "count": 1,
        "items": [{
            "@id": format!("{hive}{id}/page/{lower}/{upper}.json"), "@type": "catalog:CatalogPage",
            "count": items.len(), "items": items, "lower": lower, "upper": upper,
            "parent": format!("{hive}{id}/index.json"),
        }],
    })
}

fn search(hive: &str, flat: &str) -> Value {
    let hit = |packages: &[Package]| {
        let last = packages[packages.len() - 1];
        let id = last.lower_id();
        let versions: Vec<Value> = packages
            .iter()
            .map(|package| json!({"@id": format!("{hive}{id}/{}.json", package.normal), "version": package.version, "downloads": 0}))
            .collect();
        json!({
            "@id": format!("{hive}{id}/index.json"), "@type": "Package", "registration": format!("{hive}{id}/index.json"),
            "id": last.id, "version": last.version, "versions": versions,
            "iconUrl": format!("{flat}{}?extract=icon.png", last.path()),
        })
    };
    let data: Vec<Value> = packages::by_id().map(hit).collect();
    json!({"@context": {"@vocab": "http://schema.nuget.org/schema#", "@base": hive}, "totalHits": data.len(), "data": data})
}
