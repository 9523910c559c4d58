//! Pushes go to the member that is named, and to nobody without one.

use http::Method;

use super::*;
use crate::harness::Ask;

#[tokio::test(start_paused = true)]
async fn a_push_goes_to_the_member_that_is_named() {
    let origin = upstreams();
    origin.on("PUT company.test/push", Reply::new(201, ""));
    origin.on("DELETE company.test/push/Shared/1.0.0", Reply::new(204, ""));
    origin.on("PUT company.test/symbols", Reply::new(201, ""));
    let proxy = union_with(origin, |setup| {
        setup.proxy.unions[0].push_to = Some("company".into());
    })
    .await;
    proxy.get(&list("Shared")).await.expect("miss");
    assert_eq!(proxy.path_of("PackagePublish/2.0.0").await, "/v3/package");
    let pushed = proxy
        .send(Ask::new(Method::PUT, "/v3/package").body(package("Shared", "4.0.0", 99)))
        .await;
    assert_eq!(pushed.status, 201);
    let symbols =
        Ask::new(Method::PUT, "/all/v3/symbolpackage").body(package("Shared", "4.0.0", 99));
    assert_eq!(proxy.send(symbols).await.status, 201);
    let longer = document(&version_list(&["1.0.0", "3.0.0", "4.0.0"]));
    proxy
        .origin
        .on("company.test/flat/shared/index.json", longer);
    let listed = proxy.get(&list("Shared")).await;
    assert_eq!(
        listed.text(),
        r#"{"versions":["1.0.0","2.0.0","3.0.0","4.0.0"]}"#
    );
    let gone = Ask::new(Method::DELETE, "/v3/package/Shared/1.0.0");
    assert_eq!(proxy.send(gone).await.status, 204);
    assert!(
        asked_of(&proxy, "nuget.test")
            .iter()
            .all(|name| name.starts_with("GET "))
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_member_for_pushes_they_are_refused_in_words() {
    let proxy = union().await;
    for path in ["/v3/package", "/all/v3/symbolpackage"] {
        let push = Ask::new(Method::PUT, path).body(package("Shared", "4.0.0", 99));
        let answer = proxy.send(push).await;
        assert_eq!((answer.status, answer.detail()), (403, "refused.forbidden"));
        let reason = answer.reason.expect("a reason");
        assert!(
            reason.contains("feed all") && reason.contains("push_to"),
            "{reason}"
        );
    }
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn below_a_members_name_nothing_is_pushed_and_plain_feeds_have_no_members() {
    let proxy = union_with(upstreams(), |setup| {
        setup.proxy.unions[0].push_to = Some("company".into());
    })
    .await;
    let push = Ask::new(Method::PUT, "/all/v3/member/nuget/package").body("x");
    assert_eq!(proxy.send(push).await.status, 404);
    for path in [
        "/nuget/v3/member/company/index.json",
        "/all/v3/member/nobody/index.json",
        "/all/v3/member/nuget/member/nuget/index.json",
    ] {
        assert_eq!(proxy.get(path).await.status, 404, "{path}");
    }
    assert_eq!(proxy.origin.total(), 0);
}
