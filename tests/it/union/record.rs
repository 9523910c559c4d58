//! Who delivered a version first delivers it always: after restarts, other orders, later lists, with the index lost.

use super::*;
use crate::harness::{Ask, Gate, pass, seconds};
use crate::upkeep::order;

/// Has 2.0.0 of `Shared` delivered by nuget, and then listed by the company too, with other bytes.
async fn delivered_by_nuget() -> TestProxy {
    let proxy = union().await;
    let first = proxy.get(&content("Shared", "2.0.0")).await.expect("miss");
    assert_eq!(first.body, bytes_of("nuget.test", "Shared", "2.0.0"));
    stock_id(
        &proxy.origin,
        "company.test",
        "Shared",
        &["1.0.0", "2.0.0", "3.0.0"],
    );
    proxy
}

async fn check_is_nugets(proxy: &TestProxy) {
    let package = proxy.get(&content("Shared", "2.0.0")).await;
    assert_eq!(package.body, bytes_of("nuget.test", "Shared", "2.0.0"));
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    assert!(
        found.contains(&("2.0.0".into(), "nuget.test".into())),
        "{found:?}"
    );
    assert!(
        found.contains(&("1.0.0".into(), "company.test".into())),
        "{found:?}"
    );
    let listed = proxy.get(&list("Shared")).await;
    assert_eq!(listed.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
}

#[tokio::test(start_paused = true)]
async fn it_stays_when_the_first_member_lists_the_version_later() {
    let proxy = delivered_by_nuget().await;
    pass(seconds(6 * 60)).await;
    check_is_nugets(&proxy).await;
    let other = format!("GET company.test/flat/{}", content_path("Shared", "2.0.0"));
    assert_eq!(proxy.origin.count(&other), 0);
}

#[tokio::test(start_paused = true)]
async fn it_survives_a_restart() {
    let proxy = delivered_by_nuget().await.restart().await;
    pass(seconds(6 * 60)).await;
    check_is_nugets(&proxy).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_never_evicted() {
    let proxy = delivered_by_nuget().await;
    pass(seconds(1)).await;
    assert_eq!(proxy.store.usage().pinned, 1);
    let proxy = proxy.restart().await;
    pass(seconds(1)).await;
    assert_eq!(proxy.store.usage().pinned, 1);
}

#[tokio::test(start_paused = true)]
async fn it_survives_the_loss_of_the_index() {
    let proxy = delivered_by_nuget().await;
    let proxy = proxy
        .restart_with(|data| {
            for entry in std::fs::read_dir(&data).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned();
                if name.starts_with("index") {
                    std::fs::remove_dir_all(path).expect("gone");
                }
            }
        })
        .await;
    pass(seconds(6 * 60)).await;
    check_is_nugets(&proxy).await;
}

#[tokio::test(start_paused = true)]
async fn it_survives_another_order_of_the_members() {
    let proxy = union().await;
    let first = proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    assert_eq!(first.body, bytes_of("company.test", "Shared", "1.0.0"));
    let proxy = proxy
        .restart_as(|setup| {
            setup.proxy.unions = vec![UnionSettings::new("all", &["nuget", "company"])];
        })
        .await;
    let again = proxy.get(&content("Shared", "1.0.0")).await.expect("hit");
    assert_eq!(again.body, bytes_of("company.test", "Shared", "1.0.0"));
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    assert!(
        found.contains(&("1.0.0".into(), "company.test".into())),
        "{found:?}"
    );
    // A version that nobody has delivered goes by the new order.
    stock_id(
        &proxy.origin,
        "nuget.test",
        "Shared",
        &["1.0.0", "2.0.0", "3.0.0"],
    );
    pass(seconds(6 * 60)).await;
    let third = proxy.get(&content("Shared", "3.0.0")).await.expect("miss");
    assert_eq!(third.body, bytes_of("nuget.test", "Shared", "3.0.0"));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_its_member_has_no_more_is_gone_and_not_anothers() {
    let proxy = union_with(upstreams(), |setup| {
        setup.proxy.unions[0].members = vec!["nuget".into(), "company".into()];
    })
    .await;
    proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    stock_id(&proxy.origin, "nuget.test", "Shared", &["2.0.0"]);
    pass(seconds(6 * 60)).await;
    let listed = proxy.get(&list("Shared")).await;
    assert_eq!(listed.text(), r#"{"versions":["2.0.0","3.0.0"]}"#);
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    assert!(
        found.iter().all(|(version, _)| version != "1.0.0"),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_that_left_the_union_holds_nothing_back() {
    let proxy = union().await;
    proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    let proxy = proxy
        .restart_as(|setup| {
            setup.proxy.unions = vec![UnionSettings::new("all", &["nuget"])];
        })
        .await;
    let other = proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    assert_eq!(other.body, bytes_of("nuget.test", "Shared", "1.0.0"));
}

#[tokio::test(start_paused = true)]
async fn what_its_member_cannot_deliver_now_is_a_failure_and_not_anothers() {
    let proxy = union().await;
    for host in ["company.test", "nuget.test"] {
        let text = crate::harness::fixture::manifest("Shared", "1.0.0");
        let place = format!("{host}/flat/shared/1.0.0/shared.nuspec");
        proxy.origin.on(&place, Reply::file(text));
    }
    proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    // Even one that may be left out of answers: nobody stands in for it here.
    let proxy = proxy
        .restart_as(|setup| {
            rules(setup, "company").presence = sluice::proxy::Presence::Optional;
        })
        .await;
    proxy.origin.down("company.test");
    let manifest = proxy
        .get("/v3/flatcontainer/shared/1.0.0/shared.nuspec")
        .await;
    assert!(
        (502..=503).contains(&manifest.status),
        "{}",
        manifest.status
    );
    let reason = manifest.reason.expect("a reason");
    assert!(reason.starts_with("Sluice: member company: "), "{reason}");
    let package = proxy.get(&content("Shared", "1.0.0")).await.expect("hit");
    assert_eq!(package.body, bytes_of("company.test", "Shared", "1.0.0"));
    assert_eq!(asked_of(&proxy, "nuget.test"), asked_of_lists(&proxy));
}

/// What was asked of nuget that is a list: which versions it has may be asked, a file of this one may not.
fn asked_of_lists(proxy: &TestProxy) -> Vec<String> {
    let mut asked = asked_of(proxy, "nuget.test");
    asked.retain(|name| name.ends_with("/flat/shared/index.json"));
    asked
}

#[tokio::test(start_paused = true)]
async fn of_two_that_deliver_at_once_the_first_is_whose_the_version_is() {
    let proxy = union_with(upstreams(), |setup| {
        setup.proxy.feeds[0].freshness.version_list = seconds(1);
    })
    .await;
    let (path, gate) = (content("Shared", "2.0.0"), Gate::new());
    let slow = Reply::file(bytes_of("nuget.test", "Shared", "2.0.0")).gate(&gate);
    let place = format!("nuget.test/flat/{}", content_path("Shared", "2.0.0"));
    proxy.origin.on(&place, slow);
    let first = proxy.spawn(Ask::get(&path));
    gate.reached().await;
    // While nuget is slow to begin, the company lists that version and delivers it.
    let versions = ["1.0.0", "2.0.0", "3.0.0"];
    stock_id(&proxy.origin, "company.test", "Shared", &versions);
    pass(seconds(2)).await;
    let second = proxy.get(&path).await;
    assert_eq!(second.body, bytes_of("company.test", "Shared", "2.0.0"));
    gate.open();
    let first = first.await.expect("an answer");
    assert_eq!((first.status, &first.body), (200, &second.body));
}

#[tokio::test(start_paused = true)]
async fn it_outlives_a_purge_of_the_members_and_not_one_of_the_union() {
    let proxy = delivered_by_nuget().await;
    pass(seconds(6 * 60)).await;
    let purge = async |said: serde_json::Value| order(&proxy, "purge", said).await.1;
    for said in [
        serde_json::json!({"id": "Shared"}),
        serde_json::json!({"id": "Shared", "version": "2.0.0"}),
        serde_json::json!({"pattern": "*"}),
        serde_json::json!({"feed": "nuget"}),
        serde_json::json!({"stale": true, "feed": "all"}),
        serde_json::json!({"id": "Public", "feed": "all"}),
    ] {
        purge(said).await;
        check_is_nugets(&proxy).await;
    }
    let said = serde_json::json!({"id": "Shared", "version": "2.0", "feed": "all"});
    let done = purge(said).await;
    assert_eq!(
        (&done["deliveries"], &done["feeds"]),
        (&1.into(), &serde_json::json!([]))
    );
    let package = proxy.get(&content("Shared", "2.0.0")).await;
    assert_eq!(package.body, bytes_of("company.test", "Shared", "2.0.0"));
    // Durably so.
    pass(seconds(1)).await;
    let done = purge(serde_json::json!({"feed": "all"})).await;
    assert!(
        done["deliveries"].as_u64().is_some_and(|known| known > 0),
        "{done}"
    );
    let proxy = proxy.restart().await;
    let done = order(&proxy, "purge", serde_json::json!({"feed": "all"}))
        .await
        .1;
    assert_eq!(done["deliveries"], 0);
}
