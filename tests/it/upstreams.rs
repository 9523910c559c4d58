//! Upstreams that are wrong, refuse us or want something special: each is named apart, in the reason phrase of what it
//! blocks and in `/readyz`.

use sluice::proxy::{FeedSettings, PushLength};
use sluice::upstream::auth::{CommandLine, Credential, Secret};

use crate::harness::fixture::{
    LIST, LIST_PLACE, content_path, document, nuget_like, service_index, version_list,
};
use crate::harness::{Answered, Door, Origin, Reply, TestProxy};

const SERVICE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><service xml:base=\"https://corp.test/api/v2\" \
                       xmlns=\"http://www.w3.org/2007/app\"></service>";

/// The troubles of the first feed.
fn troubles(proxy: &TestProxy) -> Vec<(String, String, String)> {
    let ready = proxy.proxy.readiness();
    let troubles = ready["feeds"][0]["troubles"].as_array().unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let told = |trouble: serde_json::Value| {
        assert_ne!(text(&trouble["since"]), "");
        (
            text(&trouble["origin"]),
            text(&trouble["reason"]),
            text(&trouble["detail"]),
        )
    };
    troubles.into_iter().map(told).collect()
}

/// What is said of an upstream: in the reason phrase, and of that origin in readiness.
#[track_caller]
fn check(proxy: &TestProxy, answer: &Answered, origin: &str, word: &str, said: &str) {
    let reason = answer.reason.as_deref().unwrap_or_default();
    assert!(reason.contains(said), "{reason}");
    let troubles = troubles(proxy);
    assert!(
        troubles
            .iter()
            .any(|(at, reason, _)| (&**at, &**reason) == (origin, word)),
        "{troubles:?}"
    );
}

async fn of_feed(upstream: &str, origin: Origin) -> TestProxy {
    let feed = FeedSettings::new("corp", upstream);
    TestProxy::with(origin, |setup| setup.proxy.feeds = vec![feed]).await
}

#[tokio::test(start_paused = true)]
async fn a_v2_feed_is_told_with_the_v3_address_to_try() {
    for (url, place, reply) in [
        (
            "https://corp.test/api/v2",
            "corp.test/api/v2",
            Reply::new(200, SERVICE).header("Content-Type", "application/atomsvc+xml"),
        ),
        (
            "https://corp.test/odd",
            "corp.test/odd",
            Reply::new(200, SERVICE),
        ),
        (
            "https://corp.test/api/v2/",
            "corp.test/api/v2/",
            Reply::new(404, ""),
        ),
        (
            "https://corp.test/api/v2",
            "corp.test/api/v2",
            Reply::json("{}"),
        ),
    ] {
        let origin = Origin::new();
        origin.on(place, reply);
        let proxy = of_feed(url, origin).await;
        for path in ["/v3/index.json", LIST] {
            let answer = proxy.get(path).await.expect_status(502, "failed.v2-feed");
            let said = "corp.test is a V2 feed, try https://corp.test/v3/index.json";
            check(&proxy, &answer, "corp.test", "v2-feed", said);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_page_is_told_for_documents_and_for_packages() {
    let page = || {
        let reply = Reply::new(200, "<!DOCTYPE html><title>Sign in</title>");
        reply.header("Content-Type", "text/html; charset=utf-8")
    };
    let origin = nuget_like();
    origin.on(LIST_PLACE, Reply::redirect(302, "https://login.test/?to=x"));
    let content = content_path("Sample.One", "1.0.0");
    origin.on(&format!("api.test/v3-flatcontainer/{content}"), page());
    origin.on("login.test/", page());
    let proxy = TestProxy::with(origin, |_| {}).await;
    let answer = proxy.get(LIST).await.expect_status(502, "failed.html-page");
    let said = "login.test sent an HTML page (to log in?), no copy of sample.one";
    check(&proxy, &answer, "login.test", "html-page", said);
    let path = format!("/v3/flatcontainer/{content}");
    let answer = proxy
        .get(&path)
        .await
        .expect_status(502, "failed.html-page");
    check(
        &proxy,
        &answer,
        "api.test",
        "html-page",
        "api.test sent an HTML page",
    );
    // Something good ends it.
    proxy
        .get("/v3/flatcontainer/sample.many/index.json")
        .await
        .expect("miss");
    assert_eq!(troubles(&proxy).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_user_can_mend_is_in_the_reason_phrase() {
    let demand = Reply::new(407, "").header("Proxy-Authenticate", "NTLM, Basic realm=\"p\"");
    let proxy = TestProxy::new().await;
    proxy.origin.on(LIST_PLACE, demand);
    let answer = proxy
        .get(LIST)
        .await
        .expect_status(502, "failed.proxy-auth-required");
    let said = "api.test unreachable since 12:00 (a proxy demands a credential (407: NTLM, Basic)";
    check(&proxy, &answer, "api.test", "proxy-auth-required", said);

    let proxy = TestProxy::new().await;
    proxy.origin.door("api.test", Door::UnknownIssuer);
    let answer = proxy
        .get(LIST)
        .await
        .expect_status(502, "failed.unknown-issuer");
    let said = "(the certificate of https://api.test is issued by CN=Corp Root 7, which is not trusted; ca_files adds \
                roots), no copy of sample.one";
    check(&proxy, &answer, "api.test", "unknown-issuer", said);

    let proxy = of_feed("https://nowhere.test/index.json", Origin::new()).await;
    let answer = proxy
        .get(LIST)
        .await
        .expect_status(503, "failed.breaker-open");
    let said = "nowhere.test unreachable since 12:00 (its name does not resolve), no copy of";
    check(&proxy, &answer, "nowhere.test", "breaker-open", said);
    assert!(troubles(&proxy)[0].2.contains("cannot be looked up"));

    let proxy = TestProxy::new().await;
    let busy = Reply::new(429, "").header("Retry-After", "3600");
    proxy.origin.on(LIST_PLACE, busy);
    let answer = proxy
        .get(LIST)
        .await
        .expect_status(503, "failed.rate-limited");
    let said = "api.test refuses by rate (429) until 13:00:00, no copy of sample.one";
    check(&proxy, &answer, "api.test", "rate-limited", said);
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_counted_and_told_until_something_is_granted() {
    let proxy = TestProxy::new().await;
    proxy.origin.on(LIST_PLACE, Reply::new(403, ""));
    for _ in 0..3 {
        let answer = proxy
            .get(LIST)
            .await
            .expect_status(502, "failed.not-authorized");
        let said = "api.test answered 403 to Sluice, no copy of sample.one";
        check(&proxy, &answer, "api.test", "not-authorized", said);
    }
    let count = "sluice_upstream_refusals_total{feed=\"nuget\",status=\"403\"} 3";
    assert!(proxy.telemetry.render().contains(count));
    proxy
        .origin
        .on(LIST_PLACE, document(&version_list(&["1.0.0"])));
    proxy.get(LIST).await.expect("miss");
    assert_eq!(troubles(&proxy), []);
}

/// A feed at corp.test with this token.
async fn private(origin: Origin, secret: Secret) -> TestProxy {
    let index = service_index(&[("PackageBaseAddress/3.0.0", "https://corp.test/flat/")]);
    origin.on("corp.test/index.json", document(&index));
    let mut feed = FeedSettings::new("corp", "https://corp.test/index.json");
    feed.credential = Some(Credential::Bearer(secret));
    TestProxy::with(origin, |setup| setup.proxy.feeds = vec![feed]).await
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_changed_in_its_file_costs_no_client_anything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "new").unwrap();
    let origin = Origin::new();
    let list = document(&version_list(&["1.0.0"]));
    let by_token = crate::harness::Act::make(move |seen| {
        if seen.header("authorization") == Some("Bearer new") {
            list.clone()
        } else {
            Reply::new(401, "")
        }
    });
    origin.on("corp.test/flat/a/index.json", by_token);
    let secret = Secret::File {
        path,
        value: "old".into(),
    };
    let proxy = private(origin, secret).await;
    proxy
        .get("/v3/flatcontainer/a/index.json")
        .await
        .expect("miss");
    assert_eq!(proxy.origin.count("GET corp.test/flat/a/index.json"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_fails_is_named_where_it_blocks() {
    let command = CommandLine::Program(vec!["/nowhere/token".into()]);
    let proxy = private(Origin::new(), Secret::Command(command)).await;
    let path = "/v3/flatcontainer/a/index.json";
    let answer = proxy
        .get(path)
        .await
        .expect_status(502, "failed.credential-unavailable");
    let said =
        "(no credential for it: its command cannot be started: entity not found), no copy of a";
    check(&proxy, &answer, "corp.test", "credential-unavailable", said);
    let fault = &proxy.proxy.readiness()["feeds"][0]["credential_fault"];
    assert_eq!(
        fault["detail"],
        "its command cannot be started: entity not found"
    );
    assert_eq!(fault["since"], "Tue, 10 Nov 2026 12:00:00 GMT");
    assert_eq!(proxy.origin.total(), 0);
    let healthy = TestProxy::new().await;
    assert!(healthy.proxy.readiness()["feeds"][0]["credential_fault"].is_null());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_finds_no_room_is_told_so_and_not_sent() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.feeds[0].push_length = PushLength::Required;
        setup.store.max_store_bytes = Some(64 << 10);
    })
    .await;
    let head = "PUT /v3/package/ HTTP/1.1\r\nHost: us.test:6850\r\nConnection: close\r\n";
    let mut wire = proxy.wire();
    let piece = "x".repeat(100_000);
    wire.send(&format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n186a0\r\n{piece}\r\n0\r\n\r\n"
    ))
    .await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    let line = answer.split("\r\n").next().unwrap();
    assert!(
        line.starts_with("HTTP/1.1 507 Sluice: the upload cannot be put on disk: "),
        "{line}"
    );
    assert_eq!(proxy.origin.count("PUT push.test/api/v2/package/"), 0);
}
