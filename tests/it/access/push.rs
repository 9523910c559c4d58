//! Pushing, deleting and relisting by users and tokens, with the client's own key and with one that Sluice holds.

use http::Method;
use sluice::access::rules::{Mode, PushKey};
use sluice::proxy::FeedSettings;

use super::{Files, RIGHT, basic, bearer, get};
use crate::harness::fixture::{LIST, MANY, ONE, package};
use crate::harness::{Ask, TestProxy};

const PUT: &str = "PUT push.test/api/v2/package/";
const HELD: &str = "held-by-sluice";

/// A push as the real client sends it.
fn push(content: &[u8]) -> Ask {
    let mut body =
        b"--b0\r\nContent-Disposition: form-data; name=package; filename=package.nupkg\r\n\
        Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--b0--\r\n");
    Ask::new(Method::PUT, "/v3/package/")
        .header("content-type", "multipart/form-data; boundary=\"b0\"")
        .body(body)
}

fn held(feed: &mut FeedSettings) {
    feed.clients.push_key = Some(PushKey::new(HELD.into()));
}

/// Nothing that a client may call its own went upstream.
fn check_no_credential_of(token: &str, proxy: &TestProxy) {
    for seen in proxy.origin.all() {
        assert_eq!(seen.header("authorization"), None, "{}", seen.name());
        assert_ne!(
            seen.header("x-nuget-apikey"),
            Some(token),
            "{}",
            seen.name()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_with_a_token_carries_the_key_that_is_held() {
    let files = Files::new();
    let token = files.create(&["ci", "--push", "Sample.*", "--read"]);
    let proxy = files.proxy_with(held).await;
    let content = package(ONE, "3.0.0", 5000);
    for ask in [
        push(&content).header("x-nuget-apikey", &token),
        push(&content).header("authorization", &basic("any", &token)),
        push(&content)
            .header("authorization", &bearer(&token))
            .header("x-nuget-apikey", "AzureArtifacts"),
    ] {
        proxy.send(ask).await.expect_status(201, "relayed");
        let seen = proxy.origin.last(PUT);
        assert_eq!(seen.header("x-nuget-apikey"), Some(HELD));
        assert!(seen.complete && seen.body.starts_with(b"--b0\r\n"));
        assert!(seen.body.ends_with(b"\r\n--b0--\r\n") && seen.body.len() > 5000);
    }
    check_no_credential_of(&token, &proxy);
    // The epoch has risen for that id, as after any push.
    let (list, who) = (LIST, bearer(&token));
    proxy.send(get(list, &who)).await.expect("miss");
    let again = push(&content).header("x-nuget-apikey", &token);
    proxy.send(again).await.expect_status(201, "relayed");
    proxy.send(get(list, &who)).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn a_package_that_does_not_fit_is_refused_before_a_byte_goes_upstream() {
    let files = Files::new();
    let token = files.create(&["ci", "--push", "Sample.One", "--push", "Contoso.*"]);
    let proxy = files.proxy_with(held).await;
    let large = package(MANY, "9.0.0", 3 << 20);
    for (content, said) in [
        (package(MANY, "9.0.0", 500), "may not push sample.many"),
        (large, "may not push sample.many"),
        (
            b"no package at all".to_vec(),
            "may not push a package whose id does not stand",
        ),
        (Vec::new(), "may not push a package whose id does not stand"),
    ] {
        let ask = push(&content).header("x-nuget-apikey", &token);
        let answer = proxy
            .send(ask)
            .await
            .expect_status(403, "refused.forbidden");
        let reason = answer.reason.unwrap_or_default();
        assert!(reason.contains(said), "{reason}");
        assert!(
            reason.contains("it may push sample.one, contoso.*"),
            "{reason}"
        );
    }
    assert_eq!(proxy.origin.total(), 0);
    // One that fits passes whole, however long it is and wherever its frames end.
    for bytes in [500, 3 << 20] {
        let content = package(ONE, "3.0.0", bytes);
        let ask = push(&content).header("x-nuget-apikey", &token);
        proxy.send(ask).await.expect_status(201, "relayed");
        let seen = proxy.origin.last(PUT);
        let found = memchr::memmem::find(&seen.body, &content).is_some();
        assert!(found && seen.complete, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn delete_and_relist_ask_for_the_package_in_the_path() {
    let files = Files::new();
    let token = files.create(&["ci", "--push", "Sample.One"]);
    let proxy = files.proxy_with(held).await;
    let place = "push.test/api/v2/package/Sample.One/1.0.0";
    for (method, status) in [(Method::DELETE, 204), (Method::POST, 200)] {
        let ask = |id: &str| {
            Ask::new(method.clone(), &format!("/v3/package/{id}/1.0.0"))
                .header("x-nuget-apikey", &token)
        };
        let refused = proxy.send(ask(MANY)).await;
        refused.expect_status(403, "refused.forbidden");
        proxy.send(ask(ONE)).await.expect_status(status, "relayed");
        let seen = proxy.origin.last(&format!("{method} {place}"));
        assert_eq!(seen.header("x-nuget-apikey"), Some(HELD));
    }
    let asked = proxy.origin.all();
    assert!(
        asked
            .iter()
            .all(|seen| !seen.name().contains("Sample.Many"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_held_key_guards_the_pushes_of_an_open_feed() {
    let files = Files::new();
    let token = files.create(&["ci", "--push", "*"]);
    let proxy = files
        .proxy_with(|feed| {
            held(feed);
            feed.clients.mode = Mode::Open;
            feed.clients.pushers = vec!["alice".into()];
        })
        .await;
    let content = package(ONE, "3.0.0", 500);
    proxy.get(LIST).await.expect("miss");
    // Its own key opens nothing any more.
    let own = push(&content).header("x-nuget-apikey", "key-of-the-user");
    proxy
        .send(own)
        .await
        .expect_status(401, "refused.no-credential");
    assert_eq!(proxy.origin.count(PUT), 0);
    let user = push(&content).header("authorization", &basic("alice", RIGHT));
    proxy.send(user).await.expect_status(201, "relayed");
    let with_token = push(&content).header("x-nuget-apikey", &token);
    proxy.send(with_token).await.expect_status(201, "relayed");
    assert_eq!(proxy.origin.last(PUT).header("x-nuget-apikey"), Some(HELD));
}

#[tokio::test(start_paused = true)]
async fn without_a_held_key_the_clients_own_goes_up_and_a_token_never() {
    let files = Files::new();
    let token = files.create(&["ci", "--push", "*"]);
    let proxy = files.proxy().await;
    let content = package(ONE, "3.0.0", 500);
    let both = push(&content)
        .header("authorization", &basic("any", &token))
        .header("x-nuget-apikey", "key-of-the-user");
    proxy.send(both).await.expect_status(201, "relayed");
    assert_eq!(
        proxy.origin.last(PUT).header("x-nuget-apikey"),
        Some("key-of-the-user")
    );
    let only = push(&content).header("x-nuget-apikey", &token);
    proxy.send(only).await.expect_status(201, "relayed");
    assert_eq!(proxy.origin.last(PUT).header("x-nuget-apikey"), None);
    // Nor from an open feed, where it was sent by mistake.
    let stray = Ask::new(Method::PUT, "/open/v3/package/").header("x-nuget-apikey", &token);
    proxy
        .send(stray.body("x"))
        .await
        .expect_status(201, "relayed");
    check_no_credential_of(&token, &proxy);
}

#[tokio::test(start_paused = true)]
async fn a_reader_may_not_push_and_the_credential_that_may_wins() {
    let files = Files::new();
    let reader = files.create(&["reader"]);
    let pusher = files.create(&["pusher", "--push", "*"]);
    let proxy = files.proxy_with(held).await;
    let content = package(ONE, "3.0.0", 500);
    for ask in [
        push(&content).header("x-nuget-apikey", &reader),
        push(&content).header("authorization", &basic("alice", RIGHT)),
    ] {
        let answer = proxy
            .send(ask)
            .await
            .expect_status(403, "refused.forbidden");
        let reason = answer.reason.unwrap_or_default();
        assert!(reason.ends_with("may not push to feed nuget"), "{reason}");
    }
    for (key, authorization) in [(&reader, &pusher), (&pusher, &reader)] {
        let ask = push(&content)
            .header("x-nuget-apikey", key)
            .header("authorization", &bearer(authorization));
        proxy.send(ask).await.expect_status(201, "relayed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_read_to_its_end_unless_the_client_waits() {
    let files = Files::new();
    let proxy = files.proxy_with(held).await;
    let head = "PUT /v3/package/ HTTP/1.1\r\nHost: us.test:6850\r\nConnection: close\r\n";
    // As the real client does it: everything is sent before an answer is read.
    let mut wire = proxy.wire();
    wire.send(&format!("{head}Transfer-Encoding: chunked\r\n\r\n"))
        .await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..32 {
        wire.send(&chunk).await;
    }
    wire.send("0\r\n\r\n").await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 401 Sluice: feed nuget asks"),
        "{answer}"
    );
    assert!(
        answer.contains("www-authenticate: Basic realm=\"Sluice feed nuget\""),
        "{answer}"
    );
    // Who asked for a 100 first gets the refusal in its place.
    let mut wire = proxy.wire();
    wire.send(&format!(
        "{head}Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n"
    ))
    .await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_or_breaks_before_its_id_is_known_is_ended() {
    let files = Files::new();
    let token = files.create(&["ci", "--push", "Sample.*"]);
    let proxy = files.proxy_with(held).await;
    let head = format!(
        "PUT /v3/package/ HTTP/1.1\r\nHost: us.test:6850\r\nX-NuGet-ApiKey: {token}\r\n\
         Content-Length: 1000\r\n\r\nPK"
    );
    let mut wire = proxy.wire();
    wire.send(&head).await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(proxy.origin.total(), 0);
}
