//! A member that fails: required, optional, with an old copy, with a remembered 404, hanging, down at the start.

use super::*;
use crate::harness::{Act, Door, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_failing_member_fails_the_answer_by_name_and_nothing_half_is_said() {
    let proxy = union().await;
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.origin.down("company.test");
    // The public feed could answer, but the company may have versions of it.
    for path in [
        list("Public"),
        registration("Public"),
        list("Nowhere"),
        content("Public", "5.0.0"),
    ] {
        let answer = proxy.get(&path).await;
        assert!(
            (502..=503).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        let reason = answer.reason.expect("a reason");
        assert!(
            reason.starts_with("Sluice: member company: company.test"),
            "{reason}"
        );
    }
    assert!(proxy.telemetry.render().contains(r#"outcome="failed""#));
}

#[tokio::test(start_paused = true)]
async fn a_member_behind_the_one_that_has_a_package_is_not_waited_for() {
    let proxy = union_with(upstreams(), |setup| {
        setup.proxy.unions[0].members = vec!["nuget".into(), "company".into()];
    })
    .await;
    proxy.origin.door("company.test", Door::Hang);
    let (answer, took) = proxy.timed(&content("Public", "5.0.0")).await;
    answer.expect("miss");
    assert_eq!(took, seconds(0));
}

#[tokio::test(start_paused = true)]
async fn an_old_copy_stands_for_a_member_that_is_down() {
    let proxy = union().await;
    proxy.get(&list("Shared")).await.expect("miss");
    proxy.get(&registration("Shared")).await.expect("miss");
    proxy.origin.down("company.test");
    pass(seconds(60 * 60)).await;
    let listed = proxy.get(&list("Shared")).await;
    assert_eq!(listed.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
    assert!(listed.detail().starts_with("stale."), "{}", listed.detail());
    assert_eq!(
        leaves(&proxy.get(&registration("Shared")).await.json()).len(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_remembered_404_stands_for_seven_days() {
    let proxy = union().await;
    proxy.get(&list("Public")).await.expect("miss");
    proxy
        .get(&list("Nowhere"))
        .await
        .expect_status(404, "absent");
    proxy.origin.down("company.test");
    pass(seconds(6 * 24 * 60 * 60)).await;
    let answer = proxy.get(&list("Public")).await;
    assert_eq!(
        (answer.status, answer.text()),
        (200, r#"{"versions":["5.0.0"]}"#)
    );
    assert!(answer.detail().starts_with("stale."), "{}", answer.detail());
    assert_eq!(proxy.get(&list("Nowhere")).await.status, 404);
    pass(seconds(2 * 24 * 60 * 60)).await;
    let answer = proxy.get(&list("Public")).await;
    assert!((502..=503).contains(&answer.status), "{}", answer.status);
}

#[tokio::test(start_paused = true)]
async fn an_optional_member_is_left_out_and_the_answer_says_so() {
    let proxy = union_with(upstreams(), |setup| {
        rules(setup, "company").presence = sluice::proxy::Presence::Optional;
    })
    .await;
    proxy.origin.down("company.test");
    let listed = proxy.get(&list("Shared")).await.expect("miss.partial");
    assert_eq!(
        listed.text(),
        r#"{"versions":["1.0.0","2.0.0"]}"#,
        "only what can be delivered"
    );
    let found = leaves(
        &proxy
            .get(&registration("Shared"))
            .await
            .expect("miss.partial")
            .json(),
    );
    assert!(
        found.iter().all(|(_, host)| host == "nuget.test"),
        "{found:?}"
    );
    let package = proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    assert_eq!(package.body, bytes_of("nuget.test", "Shared", "1.0.0"));
    proxy
        .get(&list("Nowhere"))
        .await
        .expect_status(404, "absent.partial");
    let metrics = proxy.telemetry.render();
    assert!(metrics.contains(r#"sluice_members_left_out_total{feed="all",member="company"}"#));
    // Once it is back the answer is whole again, soon.
    proxy.origin.mend("company.test");
    pass(seconds(40)).await;
    let listed = proxy.get(&list("Shared")).await;
    assert_eq!(listed.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
    // But what nuget delivered meanwhile stays nuget's.
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    assert!(
        found.contains(&("1.0.0".into(), "nuget.test".into())),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_optional_member_that_alone_delivers_a_version_is_no_404() {
    let proxy = union_with(upstreams(), |setup| {
        rules(setup, "nuget").presence = sluice::proxy::Presence::Optional;
        rules(setup, "nuget").owns = patterns(&["Public"]);
    })
    .await;
    proxy.origin.down("nuget.test");
    for path in [
        list("Public"),
        content("Public", "5.0.0"),
        registration("Public"),
    ] {
        let answer = proxy.get(&path).await;
        assert!(
            (502..=503).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_member_costs_one_hold() {
    let proxy = union().await;
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.origin.spell("company.test", Act::Hang);
    let (answer, took) = proxy.timed(&list("Public")).await;
    assert_eq!(answer.status, 504);
    assert!(took <= seconds(15), "{took:?}");
    let (answer, took) = proxy.timed(&list("Public")).await;
    assert!((503..=504).contains(&answer.status), "{}", answer.status);
    assert!(took < seconds(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn only_the_ids_that_a_member_is_named_for_wait_for_it() {
    let proxy = union_with(upstreams(), |setup| {
        rules(setup, "company").only = patterns(&["Contoso.*"]);
    })
    .await;
    proxy.origin.down("company.test");
    proxy.get("/v3/index.json").await.expect("miss.partial");
    let shared = proxy.get(&list("Shared")).await.expect("miss");
    assert_eq!(shared.text(), r#"{"versions":["1.0.0","2.0.0"]}"#);
    proxy.get(&registration("Shared")).await.expect("miss");
    proxy.get(&content("Shared", "2.0.0")).await.expect("miss");
    proxy
        .get(&list("Nowhere"))
        .await
        .expect_status(404, "absent");
    assert!(proxy.get(&list("Contoso.Core")).await.status >= 502);
    proxy.origin.mend("company.test");
    pass(seconds(60)).await;
    assert!(
        proxy
            .get(&list("Contoso.Core"))
            .await
            .text()
            .contains("99.0.0")
    );
    let found = proxy.get("/v3/search?q=s").await.json();
    let shared = found["data"]
        .as_array()
        .expect("data")
        .iter()
        .find(|hit| hit["id"] == "Shared");
    assert_eq!(shared.expect("a result")["description"], "nuget.test");
    for name in asked_of(&proxy, "company.test") {
        assert!(
            name.contains("contoso.core") || name.ends_with("/query"),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_member_is_asked_for_is_absent_at_once() {
    let proxy = union_with(upstreams(), |setup| {
        rules(setup, "company").only = patterns(&["Contoso.*"]);
        rules(setup, "nuget").only = patterns(&["Public"]);
    })
    .await;
    for path in [
        list("Shared"),
        registration("Shared"),
        content("Shared", "1.0.0"),
    ] {
        proxy.get(&path).await.expect_status(404, "absent");
    }
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_down_at_the_start_takes_only_itself_out_of_the_index() {
    let proxy = union().await;
    proxy.origin.down("company.test");
    let index = proxy
        .get("/v3/index.json")
        .await
        .expect("miss.partial")
        .json();
    let types: Vec<&str> = index["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .filter_map(|entry| entry["@type"].as_str())
        .collect();
    assert!(
        types.contains(&"PackageBaseAddress/3.0.0") && types.contains(&"SearchQueryService/3.5.0")
    );
    proxy.origin.all_down();
    let none = union_with(proxy.origin.clone(), |_| {}).await;
    let answer = none.get("/v3/index.json").await;
    assert!((502..=503).contains(&answer.status), "{}", answer.status);
}
