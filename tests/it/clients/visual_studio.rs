//! Visual Studio (protocol facts 2.3.4, 2.9.1, 2.9.3, 3.1.3, 3.7.11): search page by page with frameworks, icons by a
//! plain client, autocomplete in the console, all pages of the package that is looked at, its readme, a check for
//! updates of what is installed, vulnerabilities, then an installation.

use http::Method;
use serde_json::Value;

use super::nuget_protocol::{
    DIRECT, audit, autocomplete, download, install, metadata, search, version_list,
};
use super::visitor::{Index, US, Visitor, package_of};
use crate::servers::packages::{self, RESTORED};

pub(super) const HEADERS: &[(&str, &str)] = &[
    (
        "user-agent",
        "NuGet VS VSIX/6.14.0 (Microsoft Windows NT 10.0.26100.0, VS Enterprise/17.0)",
    ),
    ("x-nuget-client-version", "6.14.0"),
    ("accept-language", "en-US"),
    ("accept-encoding", "gzip, deflate"),
];

/// A page of results is 25, and one more says whether there are others.
const TAKE: &str = "take=26";

pub(super) async fn visit(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    for (words, skip, prerelease) in [("", 0, false), ("", 25, false), ("shape%20text", 0, true)] {
        let frameworks = "supportedFramework=.NETCoreApp,Version%3Dv8.0&supportedFramework=net472";
        let query = format!(
            "?q={words}&skip={skip}&{TAKE}&prerelease={prerelease}&{frameworks}&semVerLevel=2.0.0"
        );
        let found = visitor.json(&format!("{}{query}", search(&index))).await;
        for hit in found["data"].as_array().expect("hits") {
            icon(visitor, hit).await;
        }
    }
    if let Some(complete) = autocomplete(&index) {
        let found = visitor
            .json(&format!(
                "{complete}?q=Sha&prerelease=false&semVerLevel=2.0.0"
            ))
            .await;
        assert_eq!(found["data"][0], "Shape.App", "{found}");
    }
    for packages in packages::by_id() {
        visitor.begin();
        let leaves = metadata(visitor, &index, packages[0].id).await;
        for leaf in &leaves {
            icon(visitor, &leaf["catalogEntry"]).await;
            readme(visitor, &index, leaf).await;
        }
    }
    visitor.begin();
    audit(visitor, &index).await;
    for (id, normal) in RESTORED {
        let package = packages::find(id, normal);
        visitor.begin();
        install(visitor, &index, package).await;
        visitor.begin();
        version_list(visitor, &index, id).await;
        download(visitor, &index, package, DIRECT).await;
    }
    for kind in [
        "PackageDetailsUriTemplate/5.1.0",
        "ReportAbuseUriTemplate/3.0.0",
    ] {
        // Pages for people stay where they are.
        let found = index.find(&[kind]);
        assert!(
            found.is_none_or(|url| !url.starts_with(US)),
            "{kind}: {found:?}"
        );
    }
}

/// The icon, where it is one that Sluice serves, as a client of images asks for it.
async fn icon(visitor: &Visitor<'_>, object: &Value) {
    let url = object["iconUrl"].as_str().unwrap_or_default();
    if url.starts_with(US) {
        let image = visitor.send(Method::GET, url, "accept-encoding", &[]).await;
        assert_eq!(image.status, 200, "{url}: {:?}", image.reason);
        assert!(
            image.body.starts_with(b"GIF") || image.body.starts_with(b"\x89PNG"),
            "{url}"
        );
    }
}

/// The readme, by the template with both names filled in; a package without one is a plain 404.
async fn readme(visitor: &Visitor<'_>, index: &Index, leaf: &Value) {
    let Some(template) = index.find(&["ReadmeUriTemplate/Versioned", "ReadmeUriTemplate/6.13.0"])
    else {
        return;
    };
    let package = package_of(leaf);
    let url = template.replace("{lower_id}", &package.lower_id());
    let url = url.replace("{lower_version}", package.normal);
    if let Some(readme) = visitor.find(&url).await {
        assert_eq!((package.id, readme.text()), ("Shape.App", "# Shape.App\n"));
    }
}
