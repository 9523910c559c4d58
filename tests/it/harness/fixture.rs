//! An upstream that looks like nuget.org: the same resources, three packages.

use std::io::{Cursor, Write as _};

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::origin::Origin;
use super::reply::Reply;

/// The service index of the default feed.
pub(crate) const INDEX: &str = "https://api.test/v3/index.json";
/// Where version lists and packages lie, without `https://`.
pub(crate) const FLAT: &str = "api.test/v3-flatcontainer";
/// The hive of the newest clients, without `https://`; its documents are gzip-coded, as nuget.org's are.
pub(crate) const HIVE: &str = "api.test/v3/registration5-gz-semver2";
/// The oldest hive, without `https://`.
pub(crate) const OLD_HIVE: &str = "api.test/v3/registration5-semver1";
/// A catalog leaf that registrations name, without `https://`.
pub(crate) const CATALOG: &str = "api.test/v3/catalog0/data";
/// The list of [`ONE`] as clients ask us for it.
pub(crate) const LIST: &str = "/v3/flatcontainer/sample.one/index.json";
/// The name under which the upstream counts it.
pub(crate) const LIST_ASKED: &str = "GET api.test/v3-flatcontainer/sample.one/index.json";
/// Its place at the upstream.
pub(crate) const LIST_PLACE: &str = "api.test/v3-flatcontainer/sample.one/index.json";
/// `Last-Modified` of every document.
pub(crate) const MODIFIED: &str = "Wed, 04 Nov 2026 10:00:00 GMT";
/// `commitTimeStamp` of every registration.
pub(crate) const COMMIT: &str = "2026-11-04T10:00:00.0000000Z";

/// A package of some KiB; its id and versions are in its documents.
pub(crate) const ONE: &str = "Sample.One";
/// Versions of [`ONE`]: its registration is inlined.
pub(crate) const ONE_VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "2.0.0-Beta.1"];
/// A package with pages in its registration.
pub(crate) const MANY: &str = "Sample.Many";
/// Versions of [`MANY`], three of them on each page.
pub(crate) const MANY_VERSIONS: [&str; 9] = [
    "1.0.0", "1.1.0", "1.2.0", "2.0.0", "2.1.0", "2.2.0", "3.0.0", "3.1.0", "3.2.0",
];
/// Versions on a page of [`MANY`].
pub(crate) const PAGE: usize = 3;

/// The resources of the default feed, as (type, URL).
const RESOURCES: [(&str, &str); 16] = [
    (
        "PackageBaseAddress/3.0.0",
        "https://api.test/v3-flatcontainer/",
    ),
    (
        "RegistrationsBaseUrl",
        "https://api.test/v3/registration5-semver1/",
    ),
    (
        "RegistrationsBaseUrl/3.0.0-rc",
        "https://api.test/v3/registration5-semver1/",
    ),
    (
        "RegistrationsBaseUrl/3.6.0",
        "https://api.test/v3/registration5-gz-semver2/",
    ),
    ("SearchQueryService", "https://search-1.test/query"),
    ("SearchQueryService", "https://search-2.test/query"),
    ("SearchQueryService/3.5.0", "https://search-1.test/query"),
    ("SearchQueryService/3.5.0", "https://search-2.test/query"),
    (
        "SearchAutocompleteService",
        "https://search-1.test/autocomplete",
    ),
    (
        "SearchAutocompleteService",
        "https://search-2.test/autocomplete",
    ),
    ("PackagePublish/2.0.0", "https://push.test/api/v2/package"),
    (
        "SymbolPackagePublish/4.9.0",
        "https://push.test/api/v2/symbolpackage",
    ),
    (
        "VulnerabilityInfo/6.7.0",
        "https://api.test/v3/vulnerabilities/index.json",
    ),
    ("Catalog/3.0.0", "https://api.test/v3/catalog0/index.json"),
    (
        "RepositorySignatures/5.0.0",
        "https://api.test/v3/repository-signatures/5.0.0/index.json",
    ),
    (
        "PackageDetailsUriTemplate/5.1.0",
        "https://www.test/packages/{id}/{version}?_src=template",
    ),
];

/// A service index of these resources.
pub(crate) fn service_index(resources: &[(&str, &str)]) -> String {
    let resources: Vec<_> = resources
        .iter()
        .map(|(kind, url)| serde_json::json!({"@id": url, "@type": kind, "comment": "."}))
        .collect();
    serde_json::json!({"version": "3.0.0", "resources": resources}).to_string()
}

/// A document with the validators that nuget.org sends: an entity tag and `Last-Modified`.
pub(crate) fn document(text: &str) -> Reply {
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(text.as_bytes()));
    Reply::json(text.to_owned())
        .header("ETag", &etag)
        .header("Last-Modified", MODIFIED)
}

/// A version list.
pub(crate) fn version_list(versions: &[&str]) -> String {
    let lower: Vec<String> = versions.iter().map(|v| v.to_lowercase()).collect();
    serde_json::json!({"versions": lower}).to_string()
}

/// A valid package of at least `bytes` bytes. Its content depends on `id` and `version`.
pub(crate) fn package(id: &str, version: &str, bytes: usize) -> Vec<u8> {
    package_with(id, version, bytes, &manifest(id, version))
}

/// The same with this manifest.
pub(crate) fn package_with(id: &str, version: &str, bytes: usize, nuspec: &str) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let mut state = crc32c::crc32c(format!("{id} {version}").as_bytes());
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let noise: Vec<u8> = std::iter::repeat_with(&mut next).take(bytes).collect();
    let files: [(String, &[u8]); 2] = [
        (format!("{id}.nuspec"), nuspec.as_bytes()),
        (format!("lib/net8.0/{id}.dll"), &noise),
    ];
    for (name, content) in files {
        writer.start_file(name, stored).expect("a name");
        writer.write_all(content).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

/// The nuspec of [`package`].
pub(crate) fn manifest(id: &str, version: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><package><metadata><id>{id}</id><version>{version}</version>\
         <description>A sample.</description></metadata></package>"
    )
}

/// Where a package lies below [`FLAT`].
pub(crate) fn content_path(id: &str, version: &str) -> String {
    let (id, version) = (id.to_lowercase(), version.to_lowercase());
    format!("{id}/{version}/{id}.{version}.nupkg")
}

/// A leaf as an index or page holds it.
pub(crate) fn leaf(hive: &str, id: &str, version: &str) -> serde_json::Value {
    let (lower_id, lower) = (id.to_lowercase(), version.to_lowercase());
    let leaf = format!("https://{hive}/{lower_id}/{lower}.json");
    let content = format!("https://{FLAT}/{}", content_path(id, version));
    serde_json::json!({
        "@id": leaf, "@type": "Package", "commitTimeStamp": COMMIT,
        "catalogEntry": {
            "@id": format!("https://{CATALOG}/2026.11.04.10.00.00/{lower_id}.{lower}.json"),
            "@type": "PackageDetails", "id": id, "version": version, "listed": true,
            "packageContent": content, "published": "2026-11-04T10:00:00+00:00",
            "projectUrl": "https://project.test/",
            "dependencyGroups": [{"dependencies": [{
                "id": "Sample.Dependency", "range": "[1.0.0, )",
                "registration": format!("https://{hive}/sample.dependency/index.json"),
            }]}],
        },
        "packageContent": content,
        "registration": format!("https://{hive}/{lower_id}/index.json"),
    })
}

/// A page. Inlined ones hold their leaves within the index.
fn page(hive: &str, id: &str, versions: &[&str]) -> serde_json::Value {
    let lower_id = id.to_lowercase();
    let (lower, upper) = (
        versions[0].to_lowercase(),
        versions[versions.len() - 1].to_lowercase(),
    );
    let items: Vec<_> = versions
        .iter()
        .map(|version| leaf(hive, id, version))
        .collect();
    serde_json::json!({
        "@id": format!("https://{hive}/{lower_id}/page/{lower}/{upper}.json"),
        "@type": "catalog:CatalogPage", "commitTimeStamp": COMMIT,
        "count": items.len(), "items": items, "lower": lower, "upper": upper,
        "parent": format!("https://{hive}/{lower_id}/index.json"),
    })
}

/// A registration index with one inlined page.
pub(crate) fn inlined_registration(hive: &str, id: &str, versions: &[&str]) -> String {
    let mut page = page(hive, id, versions);
    let lower_id = id.to_lowercase();
    page["@id"] = format!(
        "https://{hive}/{lower_id}/index.json#page/{}/{}",
        versions[0].to_lowercase(),
        versions[versions.len() - 1].to_lowercase()
    )
    .into();
    registration(hive, &lower_id, &[page])
}

/// A registration index whose pages lie elsewhere, and those pages as (place, text).
pub(crate) fn paged_registration(
    hive: &str,
    id: &str,
    versions: &[&str],
) -> (String, Vec<(String, String)>) {
    let mut pages = Vec::new();
    let mut items = Vec::new();
    for versions in versions.chunks(PAGE) {
        let mut page = page(hive, id, versions);
        let place = page["@id"].as_str().expect("an address")["https://".len()..].to_owned();
        pages.push((place, page.to_string()));
        let outer = page.as_object_mut().expect("an object");
        outer.remove("items");
        outer.remove("parent");
        items.push(page);
    }
    (registration(hive, &id.to_lowercase(), &items), pages)
}

fn registration(hive: &str, lower_id: &str, pages: &[serde_json::Value]) -> String {
    serde_json::json!({
        "@id": format!("https://{hive}/{lower_id}/index.json"),
        "@type": ["catalog:CatalogRoot", "PackageRegistration"],
        "commitTimeStamp": COMMIT, "count": pages.len(), "items": pages,
    })
    .to_string()
}

/// A leaf of its own.
fn leaf_document(hive: &str, id: &str, version: &str) -> String {
    let mut leaf = leaf(hive, id, version);
    leaf["listed"] = true.into();
    leaf["catalogEntry"] = leaf["catalogEntry"]["@id"].clone();
    leaf.to_string()
}

/// Search results that name [`ONE`].
pub(crate) fn search_results() -> String {
    let lower = ONE.to_lowercase();
    let versions: Vec<_> = ONE_VERSIONS
        .iter()
        .map(|version| {
            serde_json::json!({
                "version": version, "downloads": 1,
                "@id": format!("https://{OLD_HIVE}/{lower}/{}.json", version.to_lowercase()),
            })
        })
        .collect();
    serde_json::json!({
        "@context": {"@vocab": "http://schema.nuget.org/schema#"},
        "totalHits": 1,
        "data": [{
            "@id": format!("https://{OLD_HIVE}/{lower}/index.json"), "@type": "Package",
            "registration": format!("https://{OLD_HIVE}/{lower}/index.json"),
            "id": ONE, "version": "1.1.0", "title": ONE, "totalDownloads": 3,
            "verified": false, "packageTypes": [{"name": "Dependency"}], "versions": versions,
        }],
    })
    .to_string()
}

/// A service index for a feed on one host, with version lists and packages alone.
pub(crate) fn flat_only(origin: &Origin, host: &str) {
    let base = format!("https://{host}/flat/");
    let index = service_index(&[("PackageBaseAddress/3.0.0", &base)]);
    origin.on(&format!("{host}/index.json"), document(&index));
}

/// The upstream of the default feed.
pub(crate) fn nuget_like() -> Origin {
    let origin = Origin::new();
    origin.on(
        "api.test/v3/index.json",
        document(&service_index(&RESOURCES)),
    );
    for (id, versions) in [(ONE, &ONE_VERSIONS[..]), (MANY, &MANY_VERSIONS[..])] {
        mount_content(&origin, id, versions);
        for hive in [HIVE, OLD_HIVE] {
            mount_registration(&origin, hive, id, versions);
        }
    }
    let search = Reply::json(search_results());
    let names = Reply::json(r#"{"totalHits":1,"data":["Sample.One"]}"#);
    for host in ["search-1.test", "search-2.test"] {
        origin.on(&format!("{host}/query"), search.clone());
        origin.on(&format!("{host}/autocomplete"), names.clone());
    }
    mount_vulnerabilities(&origin);
    super::catalog::mount(&origin, &super::catalog::first_pages());
    let created = Reply::new(201, "");
    for path in ["package", "package/", "symbolpackage", "symbolpackage/"] {
        origin.on(&format!("PUT push.test/api/v2/{path}"), created.clone());
    }
    for method in ["DELETE", "POST"] {
        let place = format!("{method} push.test/api/v2/package/{ONE}/1.0.0");
        origin.on(
            &place,
            Reply::new(if method == "DELETE" { 204 } else { 200 }, ""),
        );
    }
    origin
}

/// Adds the package that all packages of [`nuget_like`] depend on.
pub(crate) fn mount_dependency(origin: &Origin) {
    let id = "Sample.Dependency";
    mount_content(origin, id, &["1.0.0"]);
    for hive in [HIVE, OLD_HIVE] {
        mount_registration(origin, hive, id, &["1.0.0"]);
    }
}

fn mount_content(origin: &Origin, id: &str, versions: &[&str]) {
    let lower_id = id.to_lowercase();
    let list = document(&version_list(versions));
    origin.on(&format!("{FLAT}/{lower_id}/index.json"), list);
    for version in versions {
        let file = |bytes: Vec<u8>| {
            let etag = format!("\"0x{:08X}\"", crc32c::crc32c(&bytes));
            Reply::file(bytes)
                .header("ETag", &etag)
                .header("Last-Modified", MODIFIED)
                .md5()
                .ranges()
        };
        let place = format!("{FLAT}/{}", content_path(id, version));
        origin.on(&place, file(package(id, version, 40_000)));
        let lower = version.to_lowercase();
        let place = format!("{FLAT}/{lower_id}/{lower}/{lower_id}.nuspec");
        origin.on(&place, file(manifest(id, version).into_bytes()));
    }
}

fn mount_registration(origin: &Origin, hive: &str, id: &str, versions: &[&str]) {
    let lower_id = id.to_lowercase();
    let coded = |reply: Reply| if hive == HIVE { reply.gzip() } else { reply };
    let (index, pages) = if id == MANY {
        paged_registration(hive, id, versions)
    } else {
        (inlined_registration(hive, id, versions), Vec::new())
    };
    origin.on(
        &format!("{hive}/{lower_id}/index.json"),
        coded(document(&index)),
    );
    for (place, text) in pages {
        origin.on(&place, coded(document(&text)));
    }
    for version in versions {
        let lower = version.to_lowercase();
        let leaf = coded(document(&leaf_document(hive, id, version)));
        origin.on(&format!("{hive}/{lower_id}/{lower}.json"), leaf);
        let entry = serde_json::json!({
            "@id": format!("https://{CATALOG}/2026.11.04.10.00.00/{lower_id}.{lower}.json"),
            "@type": ["PackageDetails", "catalog:Permalink"], "id": id, "version": version,
            "catalog:commitTimeStamp": COMMIT,
        });
        let place = format!("{CATALOG}/2026.11.04.10.00.00/{lower_id}.{lower}.json");
        origin.on(&place, document(&entry.to_string()));
    }
}

fn mount_vulnerabilities(origin: &Origin) {
    let pages = ["base", "update"].map(|name| {
        let place = format!("api.test/v3-vulnerabilities/{name}.json");
        let text = format!(r#"{{"sample.one":[{{"url":"https://cve.test/{name}","severity":2,"versions":"(, 1.0.0)"}}]}}"#);
        origin.on(&place, document(&text));
        serde_json::json!({
            "@name": name, "@id": format!("https://{place}"),
            "@updated": "2026-11-04T10:00:00Z", "comment": "known vulnerabilities",
        })
    });
    let index = serde_json::Value::from(pages.to_vec()).to_string();
    origin.on("api.test/v3/vulnerabilities/index.json", document(&index));
}
