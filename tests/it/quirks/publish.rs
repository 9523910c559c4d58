//! Section 7.5: publishing.

use http::Method;
use sluice::proxy::{FeedSettings, PushLength};

use crate::harness::fixture::{INDEX, nuget_like};
use crate::harness::{Ask, TestProxy, pass, seconds};

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
