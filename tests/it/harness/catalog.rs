//! The catalog of the upstream that looks like nuget.org.

use super::fixture::{CATALOG, ONE, ONE_VERSIONS, document};
use super::origin::Origin;

/// Directory of the catalog's index, without `https://`.
pub(crate) const ROOT: &str = "api.test/v3/catalog0";

/// A commit to the catalog: its time, and the version of [`ONE`] that it is about.
pub(crate) type Commit = (&'static str, &'static str);

/// The pages of the default upstream: the second is the newest.
pub(crate) fn first_pages() -> Vec<Vec<Commit>> {
    vec![
        vec![
            ("2026-11-01T10:00:00.10Z", ONE_VERSIONS[0]),
            ("2026-11-01T10:00:00.20Z", ONE_VERSIONS[1]),
        ],
        vec![("2026-11-04T10:00:00.10Z", ONE_VERSIONS[2])],
    ]
}

/// Has the upstream answer an index and these pages. Leaves are there.
pub(crate) fn mount(origin: &Origin, pages: &[Vec<Commit>]) {
    let mut items: Vec<_> = Vec::new();
    for (at, commits) in pages.iter().enumerate() {
        mount_page(origin, at, commits);
        let (time, _) = commits.last().expect("a page has commits");
        let url = format!("https://{ROOT}/page{at}.json");
        // The index writes later than the page, as real servers do, but names the same commit.
        items.push(serde_json::json!({
            "@id": url, "@type": "CatalogPage", "commitId": format!("commit {time}"),
            "commitTimeStamp": time.replace("0Z", "5Z"), "count": commits.len(),
        }));
    }
    // Nothing says that the newest comes last.
    items.reverse();
    let index = serde_json::json!({
        "@id": format!("https://{ROOT}/index.json"), "@type": ["CatalogRoot", "Permalink"],
        "commitTimeStamp": items[0]["commitTimeStamp"], "count": items.len(), "items": items,
    });
    origin.on(&format!("{ROOT}/index.json"), document(&index.to_string()));
}

/// Has the upstream answer this page.
pub(crate) fn mount_page(origin: &Origin, at: usize, commits: &[Commit]) {
    let url = format!("https://{ROOT}/page{at}.json");
    let (time, _) = commits.last().expect("a page has commits");
    let item = |(time, version): &Commit| {
        let name = format!("{}.{}", ONE.to_lowercase(), version.to_lowercase());
        serde_json::json!({
            "@id": format!("https://{CATALOG}/2026.11.04.10.00.00/{name}.json"),
            "@type": "nuget:PackageDetails", "commitTimeStamp": time,
            "nuget:id": ONE, "nuget:version": version,
        })
    };
    let page = serde_json::json!({
        "@id": url, "@type": "CatalogPage", "commitId": format!("commit {time}"),
        "commitTimeStamp": time, "count": commits.len(),
        "parent": format!("https://{ROOT}/index.json"),
        "items": commits.iter().map(item).collect::<Vec<_>>(),
    });
    origin.on(
        &format!("{ROOT}/page{at}.json"),
        document(&page.to_string()),
    );
}
