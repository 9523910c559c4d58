//! Rider, whose back end is NuGet's library: what the library asks for search, versions, metadata, the latest version, a
//! package and its installation, in the order in which it asked a source for them, each time anew.

use super::nuget_protocol::{
    DIRECT, audit, autocomplete, download, install, metadata, search, version_list,
};
use super::visitor::{Visitor, latest, version_of};
use crate::servers::packages;

pub(super) async fn visit(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    for prerelease in ["false", "true"] {
        visitor.begin();
        let query = format!("?q=shape&skip=0&take=25&prerelease={prerelease}&semVerLevel=2.0.0");
        let found = visitor.json(&format!("{}{query}", search(&index))).await;
        assert_eq!(found["data"].as_array().map(Vec::len), Some(4), "{found}");
        if let Some(complete) = autocomplete(&index) {
            let query = format!("?q=shape&prerelease={prerelease}&semVerLevel=2.0.0");
            let found = visitor.json(&format!("{complete}{query}")).await;
            assert_eq!(found["data"].as_array().map(Vec::len), Some(4), "{found}");
        }
    }
    for all in packages::by_id() {
        let id = all[0].id;
        visitor.begin();
        version_list(visitor, &index, id).await;
        metadata(visitor, &index, id).await;
        // The latest, without and with labels and what is unlisted.
        for _ in 0..2 {
            visitor.begin();
            let leaves = metadata(visitor, &index, id).await;
            let newest = latest(leaves.iter().map(version_of));
            assert!(
                all.iter().any(|package| package.version == newest),
                "{newest}"
            );
        }
        for package in [all[0], all[all.len() - 1]] {
            visitor.begin();
            version_list(visitor, &index, id).await;
            download(visitor, &index, &package, DIRECT).await;
            download(visitor, &index, &package, DIRECT).await;
            visitor.begin();
            install(visitor, &index, &package).await;
        }
    }
    audit(visitor, &index).await;
}
