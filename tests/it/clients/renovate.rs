//! Renovate 44 (its `datasource/nuget/v3.js`): a type counts only if what follows its slash is a version, and the highest
//! wins; every page at once; then the manifest of the latest version as the registration writes it, else the package
//! itself by the catalog entry's address; what it has asked before, it asks with validators.

use http::Method;
use serde_json::Value;

use super::visitor::{Index, US, Visitor, ids, package_of, parsed, version_of};

pub(super) const HEADERS: &[(&str, &str)] = &[
    ("user-agent", "RenovateBot/44.121.2"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
];

/// The resource of this name with the highest version.
fn resource<'a>(index: &'a Index, name: &str) -> Option<&'a str> {
    let numbered = index.0.iter().filter_map(|(kind, url)| {
        let (own, version) = kind.split_once('/')?;
        // `Versioned` and the bare type are no versions.
        let is_version = version.starts_with(|c: char| c.is_ascii_digit());
        (own == name && is_version).then(|| (parsed(version), url.as_str()))
    });
    numbered
        .max_by(|one, other| one.0.cmp(&other.0))
        .map(|(_, url)| url)
}

pub(super) async fn look_up(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    let hive = resource(&index, "RegistrationsBaseUrl").expect("registrations");
    for id in ids() {
        let leaves = visitor.leaves(hive, &id).await;
        visitor.expect_all(&leaves, package_of(&leaves[0]).id);
        // A version counts as stable only where its entry says that it is listed.
        let is_stable = |leaf: &&Value| {
            leaf["catalogEntry"]["listed"] == true && !parsed(version_of(leaf)).is_prerelease()
        };
        let stable = leaves
            .iter()
            .filter(is_stable)
            .max_by_key(|leaf| parsed(version_of(leaf)));
        let leaf = stable.unwrap_or_else(|| {
            leaves
                .iter()
                .max_by_key(|leaf| parsed(version_of(leaf)))
                .expect("a version")
        });
        manifest(visitor, &index, &id, leaf).await;
    }
    revalidate(visitor).await;
}

/// The manifest of a version, as it is written; where there is none, the package.
async fn manifest(visitor: &Visitor<'_>, index: &Index, id: &str, leaf: &Value) {
    let flat = resource(index, "PackageBaseAddress").expect("a flat container");
    let flat = flat.trim_end_matches('/');
    let version = version_of(leaf).split('+').next().expect("a version");
    let package = package_of(leaf);
    match visitor
        .find(&format!("{flat}/{id}/{version}/{id}.nuspec"))
        .await
    {
        Some(manifest) => assert_eq!(manifest.text(), package.manifest()),
        None => {
            if let Some(content) = leaf["catalogEntry"]["packageContent"].as_str() {
                visitor.package(content, package, "accept").await;
            }
        }
    }
}

/// Asks for the index again as its memory of answers does.
async fn revalidate(visitor: &Visitor<'_>) {
    let url = format!("{US}/v3/index.json");
    let before = visitor.get(&url).await;
    let tag = before.header("etag").expect("a tag").to_owned();
    let mut more = vec![("if-none-match", tag.as_str())];
    more.extend(
        before
            .header("last-modified")
            .map(|value| ("if-modified-since", value)),
    );
    let again = visitor.send(Method::GET, &url, "", &more).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
}
