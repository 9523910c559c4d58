//! Dependabot. Its own reader, in Ruby, takes the first entry in the index's order whose type it knows, asks the oldest
//! hive, and puts versions into addresses as registrations write them; its updater asks through NuGet's library.

use serde_json::Value;

use super::nuget_protocol::{self, DIRECT};
use super::visitor::{Index, Visitor, ids, package_of, parsed, text, version_of};
use crate::servers::packages::{self, RESTORED};

pub(super) const HEADERS: &[(&str, &str)] = &[
    (
        "user-agent",
        "dependabot-core/0.250.0 excon/0.109.0 ruby/3.1.4 (x86_64-linux)",
    ),
    ("accept-encoding", "deflate, gzip"),
];

/// The first entry, in the index's own order, of any of these types.
fn resource<'a>(index: &'a Index, kinds: &[&str]) -> Option<&'a str> {
    let found = index
        .0
        .iter()
        .find(|(kind, _)| kinds.contains(&kind.as_str()));
    found.map(|(_, url)| url.as_str())
}

/// The versions of every id, and of the newest its manifest and its package.
pub(super) async fn read(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    let flat = resource(&index, &["PackageBaseAddress/3.0.0"]);
    let flat = flat.expect("a flat container").trim_end_matches('/');
    let hive = resource(
        &index,
        &["RegistrationsBaseUrl/3.0.0-beta", "RegistrationsBaseUrl"],
    );
    let kinds = [
        "SearchQueryService",
        "SearchQueryService/3.0.0-beta",
        "SearchQueryService/3.0.0-rc",
        "SearchQueryService/3.5.0",
    ];
    let search = resource(&index, &kinds).expect("a search");
    for id in ids() {
        let query = format!("?q={id}&prerelease=true&semVerLevel=2.0.0");
        let found = visitor.json(&format!("{search}{query}")).await;
        let hits = found["data"].as_array().expect("hits");
        let hit = hits
            .iter()
            .find(|hit| text(&hit["id"]).eq_ignore_ascii_case(&id))
            .expect("a hit");
        let Some(hive) = hive else {
            // Sleet has neither type: the versions are those of the search.
            let versions = hit["versions"].as_array().expect("versions");
            let all = packages::ALL
                .iter()
                .filter(|package| package.lower_id() == id);
            assert_eq!(versions.len(), all.count(), "{versions:?}");
            follow_hit(visitor, hit, &id).await;
            continue;
        };
        let leaves = visitor.leaves(hive, &id).await;
        visitor.expect_all(&leaves, package_of(&leaves[0]).id);
        for leaf in &leaves {
            let (version, package) = (version_of(leaf), package_of(leaf));
            if let Some(manifest) = visitor
                .find(&format!("{flat}/{id}/{version}/{id}.nuspec"))
                .await
            {
                assert_eq!(manifest.text(), package.manifest());
            }
            let url = format!("{flat}/{id}/{version}/{id}.{version}.nupkg");
            visitor.package(&url, package, "accept-encoding").await;
        }
        follow_hit(visitor, hit, &id).await;
    }
}

/// Where it has no flat container, it goes from a hit to the version's leaf, and from there to the package.
async fn follow_hit(visitor: &Visitor<'_>, hit: &Value, id: &str) {
    for version in hit["versions"].as_array().expect("versions") {
        // ProGet's hits have no addresses.
        let Some(leaf) = version["@id"].as_str() else {
            continue;
        };
        let leaf = visitor.json(leaf).await;
        let normal = parsed(text(&version["version"]));
        let package = packages::find(id, normal.as_str());
        visitor
            .package(text(&leaf["packageContent"]), package, "accept-encoding")
            .await;
    }
}

/// Of every package: which versions there are, whether the chosen one is there, and the package. What it asks again is in
/// its own cache on disk.
pub(super) async fn update(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    for (id, normal) in RESTORED {
        let package = packages::find(id, normal);
        nuget_protocol::metadata(visitor, &index, package.id).await;
        nuget_protocol::version_list(visitor, &index, package.id).await;
        nuget_protocol::download(visitor, &index, package, DIRECT).await;
    }
}
