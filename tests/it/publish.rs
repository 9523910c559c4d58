//! Push, delete, relist and symbols: passed through unchanged, nothing kept, and the epoch rises.

use http::Method;

use crate::harness::fixture::{FLAT, ONE, content_path, document, package, version_list};
use crate::harness::{Ask, Door, Gate, Reply, TestProxy, pass, seconds};

const LIST: &str = "/v3/flatcontainer/sample.one/index.json";
const MANY_LIST: &str = "/v3/flatcontainer/sample.many/index.json";
const PUT: &str = "PUT push.test/api/v2/package/";

/// A push as the real client sends it (protocol facts 4.1.1 to 4.1.3).
fn push(id: &str, version: &str) -> Ask {
    push_of(&package(id, version, 5000))
}

fn push_of(content: &[u8]) -> Ask {
    let mut body =
        b"--b0\r\nContent-Disposition: form-data; name=package; filename=package.nupkg\r\n\
        Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--b0--\r\n");
    Ask::new(Method::PUT, "/v3/package/")
        .header("content-type", "multipart/form-data; boundary=\"b0\"")
        .header("x-nuget-apikey", "key-of-the-user")
        .body(body)
}

async fn publish_list(proxy: &TestProxy, versions: &[&str]) {
    let place = format!("{FLAT}/sample.one/index.json");
    proxy.origin.on(&place, document(&version_list(versions)));
}

#[tokio::test(start_paused = true)]
async fn a_push_carries_what_the_client_sent_and_no_credential_but_the_key() {
    let proxy = TestProxy::new().await;
    let ask = push(ONE, "3.0.0")
        .header("user-agent", "NuGet Command Line/7.9")
        .header("x-nuget-protocol-version", "4.1.0")
        .header("x-nuget-client-version", "7.9.0")
        .header("x-nuget-session-id", "s-1")
        .header("authorization", "Basic dXNlcjpwYXNz")
        .header("cookie", "a=b");
    let answer = proxy.send(ask.clone()).await.expect_status(201, "relayed");
    assert_eq!(answer.reason, None);
    let seen = proxy.origin.last(PUT);
    for (name, value) in [
        ("x-nuget-apikey", Some("key-of-the-user")),
        ("user-agent", Some("NuGet Command Line/7.9")),
        ("x-nuget-protocol-version", Some("4.1.0")),
        ("x-nuget-client-version", Some("7.9.0")),
        ("x-nuget-session-id", Some("s-1")),
        ("content-type", Some("multipart/form-data; boundary=\"b0\"")),
        ("authorization", None),
        ("cookie", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(seen.complete);
    assert!(seen.body.starts_with(b"--b0\r\n") && seen.body.ends_with(b"\r\n--b0--\r\n"));
    // Nothing of it is kept: the package is asked for where packages lie.
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "3.0.0"));
    assert_eq!(proxy.get(&path).await.status, 404);
    assert_eq!(
        proxy
            .origin
            .count(&format!("GET {FLAT}/{}", content_path(ONE, "3.0.0"))),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn length_or_chunks_arrive_as_they_were_sent_with_and_without_the_final_slash() {
    let proxy = TestProxy::new().await;
    for (path, upstream) in [
        ("/v3/package", "PUT push.test/api/v2/package"),
        ("/v3/package/", "PUT push.test/api/v2/package/"),
        (
            "/nuget/v3/symbolpackage",
            "PUT push.test/api/v2/symbolpackage",
        ),
        (
            "/nuget/v3/symbolpackage/",
            "PUT push.test/api/v2/symbolpackage/",
        ),
    ] {
        let head = format!("PUT {path} HTTP/1.1\r\nHost: us.test:6850\r\nConnection: close\r\n");
        let mut wire = proxy.wire();
        wire.send(&format!("{head}Content-Length: 5\r\n\r\nhello"))
            .await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        let seen = proxy.origin.last(upstream);
        assert_eq!(seen.header("content-length"), Some("5"), "{path}");
        assert_eq!((&seen.body[..], seen.complete), (&b"hello"[..], true));
        let mut wire = proxy.wire();
        wire.send(&format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
        ))
        .await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        let seen = proxy.origin.last(upstream);
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"), "{path}");
        assert_eq!(seen.header("content-length"), None, "{path}");
        assert_eq!((&seen.body[..], seen.complete), (&b"hello"[..], true));
    }
}

#[tokio::test(start_paused = true)]
async fn status_reason_body_and_warnings_come_back_unchanged() {
    let proxy = TestProxy::new().await;
    for status in [200, 202, 400, 401, 403, 409, 413, 500, 503] {
        let reply = Reply::new(status, "{\"why\":\"é\"}")
            .phrase("The upstream's own words, exactly")
            .header("Content-Type", "application/problem+json")
            .header("X-NuGet-Warning", "first")
            .header("X-NuGet-Warning", "second")
            .header("Set-Cookie", "a=b")
            .header("Strict-Transport-Security", "max-age=1");
        proxy.origin.on(PUT, reply);
        let answer = proxy.send(push(ONE, "3.0.0")).await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.reason.as_deref(),
            Some("The upstream's own words, exactly")
        );
        assert_eq!(answer.text(), "{\"why\":\"é\"}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let warnings: Vec<_> = answer.headers.get_all("x-nuget-warning").iter().collect();
        assert_eq!(warnings, ["first", "second"]);
        assert!(answer.header("set-cookie").is_none());
        assert!(answer.header("strict-transport-security").is_none());
        assert_eq!(answer.detail(), "relayed");
    }
    // One request each: nothing is sent twice, whatever the status says (protocol fact 3.5.8).
    assert_eq!(proxy.origin.count(PUT), 9);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_answers_before_it_has_read_everything_is_relayed() {
    let proxy = TestProxy::new().await;
    for (status, phrase) in [(401, "The API key is invalid"), (413, "Too large by far")] {
        let reply = Reply::new(status, "why").phrase(phrase).early();
        proxy.origin.on(PUT, reply);
        let answer = proxy.send(push_of(&vec![7; 8 << 20])).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.reason.as_deref(), Some(phrase));
        assert_eq!(answer.text(), "why");
    }
}

#[tokio::test(start_paused = true)]
async fn delete_and_relist_go_where_they_were_typed() {
    let proxy = TestProxy::new().await;
    let target = |method: &str| {
        proxy
            .origin
            .last(&format!("{method} push.test/api/v2/package/{ONE}/1.0.0"))
    };
    let delete = Ask::new(Method::DELETE, "/v3/package/Sample.One/1.0.0?type=soft")
        .header("x-nuget-apikey", "k");
    assert_eq!(proxy.send(delete).await.status, 204);
    let seen = target("DELETE");
    assert_eq!(seen.target, "/api/v2/package/Sample.One/1.0.0?type=soft");
    assert_eq!(seen.header("x-nuget-apikey"), Some("k"));
    assert_eq!(seen.header("transfer-encoding"), None);
    let relist = Ask::new(Method::POST, "/v3/package/Sample.One/1.0.0");
    assert_eq!(proxy.send(relist).await.status, 200);
    assert_eq!(target("POST").header("transfer-encoding"), None);
    for (method, path) in [
        (Method::GET, "/v3/package"),
        (Method::POST, "/v3/package"),
        (Method::PUT, "/v3/package/a/1.0.0"),
        (Method::DELETE, "/v3/package"),
        (Method::PATCH, "/v3/symbolpackage"),
    ] {
        let asked = proxy.origin.total();
        let answer = proxy.send(Ask::new(method.clone(), path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(proxy.origin.total(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_push_the_list_of_that_id_is_asked_again_and_no_other() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(MANY_LIST).await.expect("miss");
    proxy
        .send(push(ONE, "3.0.0"))
        .await
        .expect_status(201, "relayed");
    publish_list(&proxy, &["1.0.0", "3.0.0"]).await;
    let list = proxy.get(LIST).await.expect("miss");
    assert!(list.text().contains("3.0.0"));
    proxy.get(MANY_LIST).await.expect("hit");
    // For a quarter of an hour it is fresh for two seconds only.
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("hit");
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(15 * 60)).await;
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(50)).await;
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_push_without_a_readable_nuspec_outdates_the_whole_feed() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(MANY_LIST).await.expect("miss");
    proxy
        .send(push_of(b"no package"))
        .await
        .expect_status(201, "relayed");
    proxy.get(LIST).await.expect("revalidated");
    proxy.get(MANY_LIST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn the_epoch_rises_when_a_push_fails_or_its_answer_is_lost_but_not_if_nothing_was_sent() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.origin.on(PUT, Reply::new(500, "broken"));
    assert_eq!(proxy.send(push(ONE, "3.0.0")).await.status, 500);
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(20 * 60)).await;
    proxy.get(LIST).await.expect("revalidated");
    proxy.origin.on(PUT, crate::harness::Act::Close);
    assert_eq!(proxy.send(push(ONE, "3.0.0")).await.status, 502);
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(20 * 60)).await;
    proxy.get(LIST).await.expect("revalidated");
    proxy.origin.door("push.test", Door::Refuse);
    let answer = proxy.send(push(ONE, "3.0.0")).await;
    assert_eq!(answer.status, 502, "{:?}", answer.reason);
    assert!(answer.reason.unwrap().contains("push.test unreachable"));
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn the_epoch_rises_when_the_client_breaks_off() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    let mut wire = proxy.wire();
    wire.send(
        "PUT /v3/package HTTP/1.1\r\nHost: us.test:6850\r\nContent-Length: 100000\r\n\r\n--b0",
    )
    .await;
    pass(seconds(1)).await;
    drop(wire);
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn what_a_list_flight_brings_that_began_before_a_push_is_stored_as_stale() {
    let proxy = TestProxy::new().await;
    let gate = Gate::new();
    let place = format!("{FLAT}/sample.one/index.json");
    let old = document(&version_list(&["1.0.0"]));
    proxy.origin.on(&place, old.gate(&gate));
    let first = proxy.spawn(Ask::get(LIST));
    gate.reached().await;
    proxy
        .send(push(ONE, "3.0.0"))
        .await
        .expect_status(201, "relayed");
    publish_list(&proxy, &["1.0.0", "3.0.0"]).await;
    // Who asks now does not join the flight that is under way.
    let second = proxy.get(LIST).await;
    assert!(second.text().contains("3.0.0"), "{}", second.text());
    gate.open();
    assert!(!first.await.unwrap().text().contains("3.0.0"));
    pass(seconds(1)).await;
    let third = proxy.get(LIST).await;
    assert!(
        third.text().contains("3.0.0"),
        "{}: {}",
        third.note(),
        third.text()
    );
    let proxy = proxy.restart().await;
    let fourth = proxy.get(LIST).await;
    assert!(
        fourth.text().contains("3.0.0"),
        "{}: {}",
        fourth.note(),
        fourth.text()
    );
}

#[tokio::test(start_paused = true)]
async fn alone_such_a_flight_leaves_a_list_that_is_asked_again() {
    let proxy = TestProxy::new().await;
    let gate = Gate::new();
    let place = format!("{FLAT}/sample.one/index.json");
    proxy
        .origin
        .on(&place, document(&version_list(&["1.0.0"])).gate(&gate));
    let first = proxy.spawn(Ask::get(LIST));
    gate.reached().await;
    proxy
        .send(push(ONE, "3.0.0"))
        .await
        .expect_status(201, "relayed");
    publish_list(&proxy, &["1.0.0", "3.0.0"]).await;
    gate.open();
    assert!(!first.await.unwrap().text().contains("3.0.0"));
    let second = proxy.get(LIST).await.expect("miss");
    assert!(second.text().contains("3.0.0"), "{}", second.text());
}

#[tokio::test(start_paused = true)]
async fn a_package_published_elsewhere_is_in_the_first_list_asked_after_a_minute() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    pass(seconds(59)).await;
    proxy.get(LIST).await.expect("hit");
    pass(seconds(2)).await;
    publish_list(&proxy, &["1.0.0", "3.0.0"]).await;
    let list = proxy.get(LIST).await.expect("miss");
    assert!(list.text().contains("3.0.0"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_version_is_asked_for_again_and_others_are_not() {
    let proxy = TestProxy::new().await;
    let path = |version| format!("/v3/flatcontainer/{}", content_path(ONE, version));
    for version in ["1.0.0", "1.1.0"] {
        proxy.get(&path(version)).await.expect("miss");
    }
    let delete = Ask::new(Method::DELETE, "/v3/package/sample.one/1.0");
    proxy.origin.on(
        "DELETE push.test/api/v2/package/sample.one/1.0",
        Reply::new(204, ""),
    );
    assert_eq!(proxy.send(delete).await.status, 204);
    proxy
        .origin
        .forget(&format!("{FLAT}/{}", content_path(ONE, "1.0.0")));
    assert_eq!(proxy.get(&path("1.0.0")).await.status, 404);
    proxy.get(&path("1.1.0")).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_push_into_an_outage_or_a_redirect_says_so() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.origin.on(
        PUT,
        Reply::redirect(307, "https://elsewhere.test/push?sig=secret"),
    );
    let answer = proxy.send(push(ONE, "3.0.0")).await;
    assert_eq!(answer.status, 502);
    let reason = answer.reason.unwrap();
    assert!(reason.contains("https://elsewhere.test/push"), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
    assert_eq!(proxy.origin.count("PUT elsewhere.test/push"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upload_above_the_limit_is_cut_off() {
    let proxy = TestProxy::with(crate::harness::fixture::nuget_like(), |setup| {
        setup.upstream.max_push_bytes = 1000;
    })
    .await;
    let answer = proxy.send(push_of(&[7; 5000])).await;
    assert_eq!(answer.status, 413);
    assert_eq!(proxy.origin.count(PUT), 0);
}
