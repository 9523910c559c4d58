//! Packages: from the member whose the version is; ranges, HEAD, manifests.

use super::*;
use crate::harness::Ask;

#[tokio::test(start_paused = true)]
async fn a_package_comes_from_the_first_member_that_lists_it() {
    let proxy = union().await;
    for (id, version, host) in [
        ("Shared", "1.0.0", "company.test"),
        ("Shared", "2.0.0", "nuget.test"),
        ("Shared", "3.0.0", "company.test"),
        ("Public", "5.0.0", "nuget.test"),
    ] {
        for detail in ["miss", "hit"] {
            let answer = proxy.get(&content(id, version)).await.expect(detail);
            assert_eq!(answer.body, bytes_of(host, id, version), "{id} {version}");
        }
        let name = format!("GET {host}/flat/{}", content_path(id, version));
        assert_eq!(proxy.origin.count(&name), 1, "{name}");
    }
    let other = format!("GET nuget.test/flat/{}", content_path("Shared", "1.0.0"));
    assert_eq!(proxy.origin.count(&other), 0);
    proxy
        .get(&content("Shared", "7.0.0"))
        .await
        .expect_status(404, "absent");
}

#[tokio::test(start_paused = true)]
async fn ranges_heads_and_conditions_work_as_on_any_feed() {
    let proxy = union().await;
    let path = content("Shared", "2.0.0");
    let whole = bytes_of("nuget.test", "Shared", "2.0.0");
    let head = proxy.send(Ask::head(&path)).await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-length"),
        Some(&*whole.len().to_string())
    );
    let first = proxy.get(&path).await.expect("miss");
    assert_eq!(first.body, whole);
    let kept = proxy.get(&path).await.expect("hit");
    let tag = kept.header("etag").expect("a tag").to_owned();
    let part = proxy
        .send(Ask::get(&path).header("range", "bytes=100-299"))
        .await
        .expect_status(206, "hit");
    assert_eq!(part.body, whole[100..300]);
    let same = proxy
        .send(Ask::get(&path).header("if-none-match", &tag))
        .await;
    assert_eq!(same.status, 304);
    assert!(
        proxy
            .telemetry
            .render()
            .contains(r#"feed="all",class="package""#)
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_list_names_yet_is_asked_of_each_in_order() {
    let proxy = union().await;
    let place = format!("nuget.test/flat/{}", content_path("Public", "6.0.0"));
    proxy.origin.on(
        &place,
        Reply::file(bytes_of("nuget.test", "Public", "6.0.0")),
    );
    let answer = proxy.get(&content("Public", "6.0.0")).await.expect("miss");
    assert_eq!(answer.body, bytes_of("nuget.test", "Public", "6.0.0"));
    let first = format!("GET company.test/flat/{}", content_path("Public", "6.0.0"));
    assert_eq!(proxy.origin.count(&first), 1);
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_two_members_are_never_mixed() {
    let proxy = union().await;
    let manifest = |host: &str| {
        let text = crate::harness::fixture::manifest("Shared", "1.0.0");
        text.replace("A sample", &format!("Of {host}"))
    };
    for host in ["company.test", "nuget.test"] {
        let place = format!("{host}/flat/shared/1.0.0/shared.nuspec");
        proxy.origin.on(&place, Reply::file(manifest(host)));
    }
    let nuspec = proxy
        .get("/v3/flatcontainer/shared/1.0.0/shared.nuspec")
        .await;
    assert_eq!(nuspec.text(), manifest("company.test"));
    let package = proxy.get(&content("Shared", "1.0.0")).await;
    assert_eq!(package.body, bytes_of("company.test", "Shared", "1.0.0"));
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    let of = |version: &str| {
        found
            .iter()
            .find(|(own, _)| own == version)
            .expect("a leaf")
            .1
            .clone()
    };
    assert_eq!(of("1.0.0"), "company.test");
    assert_eq!(of("2.0.0"), "nuget.test");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_only_a_lagging_registration_has_is_nobody_elses() {
    let proxy = union().await;
    // The company lists 2.0.0 too, but describes it nowhere yet.
    let longer = document(&version_list(&["1.0.0", "2.0.0", "3.0.0"]));
    proxy
        .origin
        .on("company.test/flat/shared/index.json", longer);
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    let versions: Vec<&str> = found.iter().map(|(version, _)| version.as_str()).collect();
    assert_eq!(
        versions,
        ["1.0.0", "3.0.0"],
        "not with the hash of another's bytes"
    );
}
