//! What NuGet's own library asks, whoever uses it (its `ServiceTypes.cs` and `Resources`, protocol facts 3.1 and 3.7), and
//! `dotnet restore` of SDK 3.1, whose library is of version 5.4.

use serde_json::Value;

use super::visitor::{Index, Visitor, package_of, text};
use crate::servers::packages::{self, Package, RESTORED};

/// The library under its own name, as it is inside programs that give it none.
pub(super) const LIBRARY: &[(&str, &str)] = &[
    ("user-agent", "NuGet Client V3/7.9.0 (LINUX)"),
    ("x-nuget-client-version", "7.9.0"),
    ("accept-encoding", "gzip, deflate"),
];

/// `dotnet restore` of SDK 3.1.
pub(super) const DOTNET_3_1: &[(&str, &str)] = &[
    ("user-agent", "NuGet .NET Core MSBuild Task/5.4.0 (Linux)"),
    ("x-nuget-client-version", "5.4.0"),
    ("accept-encoding", "gzip, deflate"),
];

/// Packages are asked for with the headers of documents.
pub(super) const DIRECT: &str = "";

/// The hive, by the library's order of types.
pub(super) fn hive(index: &Index) -> &str {
    let kinds = [
        "/Versioned",
        "/3.6.0",
        "/3.4.0",
        "/3.0.0-rc",
        "/3.0.0-beta",
        "",
    ];
    let kinds = kinds.map(|kind| format!("RegistrationsBaseUrl{kind}"));
    index.resource(&kinds.each_ref().map(String::as_str))
}

/// The flat container; the library takes a final slash off.
pub(super) fn flat(index: &Index) -> &str {
    let kinds = ["PackageBaseAddress/Versioned", "PackageBaseAddress/3.0.0"];
    index.resource(&kinds).trim_end_matches('/')
}

/// The first search endpoint.
pub(super) fn search(index: &Index) -> &str {
    let kinds = ["/Versioned", "/3.4.0", "/3.0.0-beta"];
    let kinds = kinds.map(|kind| format!("SearchQueryService{kind}"));
    index.resource(&kinds.each_ref().map(String::as_str))
}

/// The autocomplete endpoint, which many servers lack.
pub(super) fn autocomplete(index: &Index) -> Option<&str> {
    let kinds = [
        "SearchAutocompleteService/Versioned",
        "SearchAutocompleteService/3.0.0-beta",
    ];
    index.find(&kinds)
}

/// Every leaf of an id.
pub(super) async fn metadata(visitor: &Visitor<'_>, index: &Index, id: &str) -> Vec<Value> {
    let leaves = visitor.leaves(hive(index), &id.to_lowercase()).await;
    visitor.expect_all(&leaves, id);
    leaves
}

/// The version list of an id, which has every version.
pub(super) async fn version_list(visitor: &Visitor<'_>, index: &Index, id: &str) {
    let url = format!("{}/{}/index.json", flat(index), id.to_lowercase());
    let list = visitor.json(&url).await;
    let all = packages::ALL.iter().filter(|package| package.id == id);
    assert_eq!(
        list["versions"].as_array().map(Vec::len),
        Some(all.count()),
        "{list}"
    );
}

/// A package from the flat container.
pub(super) async fn download(
    visitor: &Visitor<'_>,
    index: &Index,
    package: &Package,
    without: &str,
) {
    let url = format!("{}/{}", flat(index), package.path());
    visitor.package(&url, package, without).await;
}

/// The way of packages.config: the registration's leaf, then the package, by the flat container and by its own address.
pub(super) async fn install(visitor: &Visitor<'_>, index: &Index, package: &Package) {
    let leaves = metadata(visitor, index, package.id).await;
    let leaf = leaves
        .iter()
        .find(|leaf| package_of(leaf).normal == package.normal);
    let content = text(&leaf.expect("its leaf")["packageContent"]).to_owned();
    download(visitor, index, package, DIRECT).await;
    visitor.package(&content, package, DIRECT).await;
}

/// The vulnerability index and all its pages, where there are any.
pub(super) async fn audit(visitor: &Visitor<'_>, index: &Index) {
    let Some(url) = index.find(&["VulnerabilityInfo/6.7.0"]) else {
        return;
    };
    let pages = visitor.json(url).await;
    let mut known = 0;
    for page in pages.as_array().expect("a list") {
        let page = visitor.json(text(&page["@id"])).await;
        known += page.as_object().expect("an object").len();
    }
    assert_eq!(known, 1);
}

/// A restore. Over http it must not be told of signatures: it throws at the address (protocol fact 2.6.3).
pub(super) async fn restore(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    let signatures = index
        .0
        .iter()
        .find(|(kind, _)| kind.starts_with("RepositorySignatures"));
    assert_eq!(signatures, None);
    for (id, normal) in RESTORED {
        version_list(visitor, &index, id).await;
        download(visitor, &index, packages::find(id, normal), DIRECT).await;
    }
}
