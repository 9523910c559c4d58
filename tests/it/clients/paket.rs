//! Paket 12 (protocol facts 2.1.21, 9.10, and its `NuGetV3.fs`): types without case, none that end in `Versioned`; lists
//! with a query; of a registration only the page whose bounds hold the version; packages by `packageContent`.

use serde_json::Value;

use super::visitor::{Index, Visitor, items, latest, package_of, parsed, text, version_of};

pub(super) const HEADERS: &[(&str, &str)] = &[
    (
        "user-agent",
        "Paket (12.0.0+06a32b68911091fdddc80a944ef367cb9e71f0ff)",
    ),
    ("accept", "application/atom+json, application/json"),
    ("accept-encoding", "gzip, deflate"),
];

/// The address of a resource, the first of these versions of its type; with a final slash, which Paket adds.
fn resource(index: &Index, name: &str, versions: &[&str]) -> Option<String> {
    let kinds: Vec<String> = versions
        .iter()
        .map(|version| format!("{name}{version}"))
        .collect();
    let found = kinds.iter().find_map(|kind| {
        let entry = index
            .0
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(kind));
        entry.map(|(_, url)| url.clone())
    })?;
    Some(if found.ends_with('/') {
        found
    } else {
        format!("{found}/")
    })
}

/// `paket install` of a package with all that it needs in the highest versions, then what `paket find-packages` and
/// `paket find-package-versions` ask, then the catalog.
pub(super) async fn install(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    let flat = resource(&index, "PackageBaseAddress", &["/3.0.0", ""]).expect("a flat container");
    let versions = ["/3.6.0", "/3.4.0", "/3.0.0-rc", "/3.0.0-beta", ""];
    let hive = resource(&index, "RegistrationsBaseUrl", &versions).expect("registrations");

    let mut wanted = vec!["shape.app".to_owned()];
    let mut chosen = Vec::new();
    let mut at = 0;
    while let Some(id) = wanted.get(at).cloned() {
        at += 1;
        let list = visitor
            .json(&format!("{flat}{id}/index.json?semVerLevel=2.0.0"))
            .await;
        let all = list["versions"].as_array().expect("versions");
        let leaf = find(visitor, &hive, &id, latest(all.iter().map(text))).await;
        let groups = leaf["catalogEntry"]["dependencyGroups"].as_array();
        for dependency in groups
            .into_iter()
            .flatten()
            .filter_map(|group| group["dependencies"].as_array())
            .flatten()
        {
            let id = text(&dependency["id"]).to_lowercase();
            if !wanted.contains(&id) {
                wanted.push(id);
            }
        }
        chosen.push(leaf);
    }
    for leaf in &chosen {
        // It asks for files without saying what it accepts.
        visitor
            .package(text(&leaf["packageContent"]), package_of(leaf), "accept")
            .await;
    }
    let mut got: Vec<&str> = chosen.iter().map(|leaf| package_of(leaf).normal).collect();
    got.sort_unstable();
    assert_eq!(got, ["1.1.0", "1.5.0", "2.0.0", "23.1.0.4"]);

    if let Some(complete) = index.find(&[
        "SearchAutocompleteService/3.0.0-rc",
        "SearchAutocompleteService/3.0.0-beta",
        "SearchAutocompleteService",
    ]) {
        let found = visitor.json(&format!("{complete}?q=shape&take=1000")).await;
        assert!(
            found["data"].as_array().is_some_and(|data| data.len() == 4),
            "{found}"
        );
        let query = "semVerLevel=2.0.0&id=Shape.Many&take=100000&prerelease=true";
        visitor.json(&format!("{complete}?{query}")).await;
    }
    if let Some(catalog) = index.find(&["Catalog/3.0.0"]) {
        let catalog = visitor.json(catalog).await;
        for page in items(&catalog) {
            let page = visitor.json(text(&page["@id"])).await;
            assert!(
                items(&page).iter().all(|item| item["nuget:id"].is_string()),
                "{page}"
            );
        }
    }
}

/// The leaf of a version, on the page whose bounds hold it.
async fn find(visitor: &Visitor<'_>, hive: &str, id: &str, version: &str) -> Value {
    let index = visitor.json(&format!("{hive}{id}/index.json")).await;
    let wanted = parsed(version);
    let holds = |page: &&Value| {
        let (lower, upper) = (parsed(text(&page["lower"])), parsed(text(&page["upper"])));
        lower <= wanted && wanted <= upper
    };
    let page = items(&index)
        .iter()
        .find(holds)
        .unwrap_or_else(|| panic!("{id} {version}: {index}"));
    let page = match page.get("items") {
        Some(_) => page.clone(),
        None => visitor.json(text(&page["@id"])).await,
    };
    let leaf = items(&page)
        .iter()
        .find(|leaf| parsed(version_of(leaf)) == wanted);
    leaf.unwrap_or_else(|| panic!("{id} {version}: {page}"))
        .clone()
}
