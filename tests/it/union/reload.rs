//! Another configuration of a union while it runs.

use super::*;

/// The union's settings.
fn all(settings: &mut Settings) -> &mut UnionSettings {
    &mut settings.unions[0]
}

#[tokio::test(start_paused = true)]
async fn other_members_are_obeyed_from_the_next_request_on() {
    let mut proxy = union().await;
    for detail in ["miss", "hit"] {
        let shared = proxy.get(&list("Shared")).await.expect(detail);
        assert_eq!(shared.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
    }
    proxy.reload(|settings| all(settings).members = vec!["nuget".into()]);
    let shared = proxy.get(&list("Shared")).await.expect("hit");
    assert_eq!(shared.text(), r#"{"versions":["1.0.0","2.0.0"]}"#);
    assert_eq!(
        proxy
            .get("/all/v3/member/company/registration/x/shared/index.json")
            .await
            .status,
        404
    );
    proxy.reload(|settings| all(settings).members = vec!["company".into(), "nuget".into()]);
    let shared = proxy.get(&list("Shared")).await.expect("hit");
    assert_eq!(shared.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
}

#[tokio::test(start_paused = true)]
async fn other_rules_of_a_member_are_obeyed_from_the_next_request_on() {
    let mut proxy = union().await;
    let open = proxy.get(&list("Contoso.Core")).await.expect("miss");
    assert!(open.text().contains("99.0.0"), "{}", open.text());
    proxy.reload(|settings| settings.feeds[0].member.owns = patterns(&["Contoso.*"]));
    let owned = proxy.get(&list("Contoso.Core")).await.expect("hit");
    assert_eq!(owned.text(), r#"{"versions":["1.0.0","1.1.0"]}"#);
    let foreign = proxy.get(&content("Contoso.Core", "99.0.0")).await;
    assert_eq!(foreign.status, 404);
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_stays_its_members_in_another_order() {
    let mut proxy = union().await;
    // Asked while the store may not have the record yet: memory has it.
    proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    proxy.reload(|settings| all(settings).members = vec!["nuget".into(), "company".into()]);
    let again = proxy.get(&content("Shared", "1.0.0")).await.expect("hit");
    assert_eq!(again.body, bytes_of("company.test", "Shared", "1.0.0"));
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    assert!(
        found.contains(&("1.0.0".into(), "company.test".into())),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_union_comes_goes_and_comes_back() {
    let mut proxy = union_with(upstreams(), |setup| {
        setup.proxy.unions.clear();
        setup.proxy.default_feed = None;
    })
    .await;
    let path = |id: &str| format!("/all{}", list(id));
    assert_eq!(proxy.get(&path("Shared")).await.status, 404);
    let own = proxy.get(&list("Shared")).await.expect("miss");
    assert_eq!(
        own.text(),
        r#"{"versions":["1.0.0","3.0.0"]}"#,
        "the first feed is the default"
    );
    proxy.reload(feeds);
    let shared = proxy.get(&path("Shared")).await.expect("miss");
    assert_eq!(shared.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
    let default = proxy.get(&list("Shared")).await.expect("hit");
    assert_eq!(default.body, shared.body);
    proxy.get(&content("Shared", "2.0.0")).await.expect("miss");
    proxy.reload(|settings| {
        settings.unions.clear();
        settings.default_feed = None;
    });
    assert_eq!(proxy.get(&path("Shared")).await.status, 404);
    // It still knows who delivered what.
    stock_id(
        &proxy.origin,
        "company.test",
        "Shared",
        &["1.0.0", "2.0.0", "3.0.0"],
    );
    crate::harness::pass(crate::harness::seconds(6 * 60)).await;
    proxy.reload(feeds);
    let again = proxy.get(&content("Shared", "2.0.0")).await.expect("hit");
    assert_eq!(again.body, bytes_of("nuget.test", "Shared", "2.0.0"));
}

#[tokio::test(start_paused = true)]
async fn a_union_of_what_is_no_feed_changes_nothing() {
    let proxy = union().await;
    let mut settings = Settings::default();
    feeds(&mut settings);
    settings.unions[0].members.push("nobody".into());
    let error = proxy.proxy.reload(settings).expect_err("a refusal");
    assert!(error.to_string().contains("\"nobody\""), "{error}");
    proxy.get(&list("Shared")).await.expect("miss");
}
