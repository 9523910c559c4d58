//! Version lists: what can be delivered, of whom; absences; freshness; conditions.

use super::*;
use crate::harness::{Ask, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_list_has_the_versions_of_all() {
    let proxy = union().await;
    let shared = proxy.get(&list("Shared")).await.expect("miss");
    assert_eq!(shared.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
    // What one alone has passes byte for byte.
    let odd = r#"{ "versions" : ["5.0.0", "6.0.0-RC.1"], "odd": 1 }"#;
    proxy
        .origin
        .on("nuget.test/flat/public/index.json", document(odd));
    let public = proxy.get(&list("Public")).await.expect("miss");
    assert_eq!(public.text(), odd);
    let by_name = proxy.get(&format!("/all{}", list("PUBLIC"))).await;
    assert_eq!(by_name.text(), odd);
    let own = proxy.get(&format!("/nuget{}", list("Shared"))).await;
    assert_eq!(own.text(), r#"{"versions":["1.0.0","2.0.0"]}"#);
    proxy
        .get(&list("Nowhere"))
        .await
        .expect_status(404, "absent");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_fresh_as_long_as_its_first_document() {
    let proxy = union_with(upstreams(), |setup| {
        setup.proxy.feeds[0].freshness.version_list = seconds(20);
    })
    .await;
    proxy.get(&list("Shared")).await.expect("miss");
    let before = proxy.origin.total();
    pass(seconds(19)).await;
    proxy.get(&list("Shared")).await.expect("hit");
    assert_eq!(proxy.origin.total(), before);
    pass(seconds(2)).await;
    proxy.get(&list("Shared")).await.expect("revalidated");
    // The other's entry was fresh: it was not asked.
    let list = "flat/shared/index.json";
    assert_eq!(proxy.origin.count(&format!("GET company.test/{list}")), 2);
    assert_eq!(proxy.origin.count(&format!("GET nuget.test/{list}")), 1);
}

#[tokio::test(start_paused = true)]
async fn that_a_member_has_nothing_is_fresh_as_long_as_on_its_own_feed() {
    let proxy = union().await;
    proxy.get(&list("Public")).await.expect("miss");
    proxy.get(&registration("Public")).await.expect("miss");
    proxy.get(&list("Public")).await.expect("hit");
    proxy.get(&registration("Public")).await.expect("hit");
    stock_id(&proxy.origin, "company.test", "Public", &["6.0.0"]);
    pass(seconds(11)).await;
    let listed = proxy.get(&list("Public")).await;
    assert_eq!(listed.text(), r#"{"versions":["5.0.0","6.0.0"]}"#);
    assert_eq!(
        leaves(&proxy.get(&registration("Public")).await.json()).len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn members_are_asked_side_by_side() {
    let origin = upstreams();
    for host in ["company.test", "nuget.test"] {
        let versions = document(&version_list(&["1.0.0"])).delay(seconds(3));
        origin.on(&format!("{host}/flat/shared/index.json"), versions);
    }
    let proxy = union_with(origin, |_| {}).await;
    let (answer, took) = proxy.timed(&list("Shared")).await;
    answer.expect("miss");
    assert_eq!(took, seconds(3));
}

#[tokio::test(start_paused = true)]
async fn conditions_heads_and_names_work_as_on_any_feed() {
    let proxy = union().await;
    let first = proxy.get(&list("Shared")).await.expect("miss");
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = Ask::get(&list("Shared")).header("if-none-match", &tag);
    let again = proxy.send(again).await;
    assert_eq!((again.status, again.detail()), (304, "hit"));
    let head = proxy.send(Ask::head(&list("Shared"))).await.expect("hit");
    assert_eq!(head.body.len(), 0);
    assert_eq!(
        head.header("content-length"),
        first.header("content-length")
    );
    // The tag changes with what is said, and with nothing else.
    let longer = document(&version_list(&["1.0.0", "2.0.0", "4.0.0"]));
    proxy.origin.on("nuget.test/flat/shared/index.json", longer);
    pass(seconds(61)).await;
    let changed = proxy.get(&list("Shared")).await;
    assert!(changed.text().contains("4.0.0"));
    assert_ne!(changed.header("etag"), Some(&*tag));
    assert!(
        proxy
            .telemetry
            .render()
            .contains(r#"feed="all",class="version-list""#)
    );
}

#[tokio::test(start_paused = true)]
async fn what_changes_at_a_member_is_seen_through_the_union() {
    let proxy = union().await;
    for _ in 0..3 {
        proxy.get(&list("Shared")).await;
    }
    let longer = document(&version_list(&["1.0.0", "2.0.0", "2.5.0"]));
    proxy.origin.on("nuget.test/flat/shared/index.json", longer);
    proxy.origin.on("PUT nuget.test/push", Reply::new(201, ""));
    let push = Ask::new(http::Method::PUT, "/nuget/v3/package");
    let pushed = proxy.send(push.body(package("Shared", "2.5.0", 99))).await;
    assert_eq!(pushed.status, 201);
    let after = proxy.get(&list("Shared")).await;
    assert!(after.text().contains("2.5.0"), "{}", after.text());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_asks_again_has_every_member_asked() {
    let proxy = union().await;
    let ask = || Ask::get(&list("Shared")).header("x-nuget-session-id", "s");
    proxy.get(&list("Shared")).await.expect("miss");
    proxy.send(ask()).await.expect("hit");
    proxy.send(ask()).await.expect("revalidated");
    for host in ["company.test", "nuget.test"] {
        let name = format!("GET {host}/flat/shared/index.json");
        assert_eq!(proxy.origin.count(&name), 2, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_made_of_registrations_joins() {
    let origin = upstreams();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://company.test/reg/")]);
    origin.on("company.test/index.json", document(&index));
    let proxy = union_with(origin, |_| {}).await;
    let shared = proxy.get(&list("Shared")).await.expect("miss");
    assert_eq!(shared.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
    let package = proxy.get(&content("Shared", "3.0.0")).await.expect("miss");
    assert_eq!(package.body, bytes_of("company.test", "Shared", "3.0.0"));
}
