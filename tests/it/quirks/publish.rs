//! Section 7.5: publishing.

use http::Method;
use sluice::proxy::{FeedSettings, PushLength};
use sluice::upstream;

use super::{PUT, offered};
use crate::harness::fixture::{INDEX, ONE, nuget_like, package};
use crate::harness::{Answered, Ask, Reply, TestProxy, pass, seconds};

fn push(bytes: usize) -> Ask {
    Ask::new(Method::PUT, "/v3/package").body(package(ONE, "3.0.0", bytes))
}

/// The answer to a push that the upstream answers so.
async fn answered(reply: Reply) -> Answered {
    let proxy = TestProxy::new().await;
    proxy.origin.on(PUT, reply);
    proxy.send(push(5000)).await
}

/// Protocol fact 7.5.1: a push arrives with the final slash that some clients write and without it.
#[tokio::test(start_paused = true)]
async fn a_push_arrives_with_and_without_a_final_slash() {
    let proxy = TestProxy::new().await;
    for kind in ["package", "symbolpackage"] {
        for slash in ["", "/"] {
            let ask = Ask::new(Method::PUT, &format!("/v3/{kind}{slash}"));
            assert_eq!(proxy.send(ask.body("x")).await.status, 201);
            let asked = format!("PUT push.test/api/v2/{kind}{slash}");
            assert_eq!(proxy.origin.count(&asked), 1, "{asked}");
        }
    }
}

/// Protocol fact 7.5.2: a chunked push is framed anew, and an upstream that demands a length gets one.
#[tokio::test(start_paused = true)]
async fn an_upstream_that_refuses_chunks_gets_a_length_where_that_is_set() {
    let put = "PUT push.test/api/v2/package/";
    for (push_length, expected) in [
        (PushLength::Required, Some("200000")),
        (PushLength::AsSent, None),
    ] {
        let proxy = TestProxy::with(nuget_like(), |setup| {
            setup.proxy.feeds = vec![FeedSettings::new("nuget", INDEX)];
            setup.proxy.feeds[0].push_length = push_length;
        })
        .await;
        let head = "PUT /v3/package/ HTTP/1.1\r\nHost: us.test:6850\r\nConnection: close\r\n";
        let mut wire = proxy.wire();
        let piece = "x".repeat(100_000);
        wire.send(&format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n186a0\r\n{piece}\r\n186a0\r\n{piece}\r\n0\r\n\r\n"
        ))
        .await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        let seen = proxy.origin.last(put);
        assert_eq!(seen.header("content-length"), expected);
        assert_eq!(
            seen.header("transfer-encoding").is_some(),
            expected.is_none()
        );
        assert_eq!((seen.body.len(), seen.complete), (200_000, true));
        // One that tells its length lies nowhere first.
        let ask = Ask::new(Method::PUT, "/v3/package/").body(vec![7; 5]);
        assert_eq!(proxy.send(ask).await.status, 201);
        pass(seconds(1)).await;
        assert_eq!(left(&proxy.data_dir().join("tmp")), 0);
    }
}

/// How many files lie in a folder.
fn left(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Protocol fact 7.5.3: the largest packages that a gallery takes pass as we come; a lower limit says so itself.
#[tokio::test(start_paused = true)]
async fn large_packages_pass_unless_our_limit_says_otherwise() {
    let default = upstream::Settings::default().max_push_bytes;
    assert!(default >= 250 << 20, "{default}");
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.upstream.max_push_bytes = 2 << 20;
    })
    .await;
    assert_eq!(proxy.send(push(1_100_000)).await.status, 201);
    let refused = proxy.send(push(3 << 20)).await;
    assert_eq!(refused.status, 413);
    let reason = refused.reason.unwrap();
    assert!(reason.contains("2097152"), "{reason}");
    assert_eq!(proxy.origin.count(PUT), 1);
}

/// Protocol fact 7.5.4: a client that waits for a 100 before it sends gets one.
#[tokio::test(start_paused = true)]
async fn a_client_that_expects_a_100_gets_one() {
    let proxy = TestProxy::new().await;
    let mut wire = proxy.wire();
    wire.send(
        "PUT /v3/package HTTP/1.1\r\nHost: us.test:6850\r\nConnection: close\r\n\
         Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    assert_eq!(wire.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send("hello").await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(&proxy.origin.last(PUT).body[..], b"hello");
}

/// Protocol fact 7.5.5: the upstream's own status comes back, odd or not, since `--skip-duplicate` goes by it.
#[tokio::test(start_paused = true)]
async fn a_duplicate_is_what_the_upstream_says_it_is() {
    for status in [409, 406, 400] {
        let answer = answered(Reply::new(status, "it exists")).await;
        let answer = answer.expect_status(status, "relayed");
        assert_eq!(answer.text(), "it exists");
    }
}

/// Protocol fact 7.5.6: behind a proxy that ends TLS, the address to push to is https.
#[tokio::test(start_paused = true)]
async fn behind_a_proxy_that_ends_tls_the_address_to_push_to_is_https() {
    let proxy = TestProxy::new().await;
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 50_000));
    let ask = Ask::get("/v3/index.json").header("x-forwarded-proto", "https");
    let index = proxy.send(ask.peer(local)).await.json();
    let resources = index["resources"].as_array().unwrap().iter();
    let pushes = resources.filter(|entry| entry["@type"].as_str().unwrap().contains("Publish"));
    let urls: Vec<_> = pushes.map(|entry| entry["@id"].as_str().unwrap()).collect();
    let base = "https://us.test:6850/v3";
    assert_eq!(
        urls,
        [format!("{base}/package"), format!("{base}/symbolpackage")]
    );
    let plain = offered(&proxy).await;
    assert!(
        plain
            .iter()
            .all(|(_, url)| !url.starts_with("https://us.test"))
    );
}

/// Protocol fact 7.5.7: there is always a reason phrase, the upstream's or the status's: it is all that users read.
#[tokio::test(start_paused = true)]
async fn a_refused_push_always_has_a_reason_phrase() {
    let proxy = TestProxy::new().await;
    for (theirs, ours) in [
        ("", "Bad Request"),
        ("The id is reserved", "The id is reserved"),
    ] {
        proxy.origin.on(PUT, Reply::new(400, "why").phrase(theirs));
        let mut wire = proxy.wire();
        wire.send("PUT /v3/package HTTP/1.1\r\nHost: us.test:6850\r\nContent-Length: 1\r\n\r\nx")
            .await;
        let head = wire.head().await;
        let line = head.split("\r\n").next().unwrap();
        assert_eq!(line, format!("HTTP/1.1 400 {ours}"));
    }
    proxy.origin.all_down();
    let reason = proxy.send(push(5000)).await.reason.unwrap();
    assert!(
        reason.starts_with("Sluice: push.test unreachable"),
        "{reason}"
    );
}
