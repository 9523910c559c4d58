//! Past freshness the upstream is asked whether the stored response is current.

use crate::harness::fixture::{
    HIVE, LIST, LIST_ASKED, LIST_PLACE, MODIFIED, document, version_list,
};
use crate::harness::{Ask, Reply, TestProxy, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_304_makes_it_fresh_again() {
    let proxy = TestProxy::new().await;
    let first = proxy.get(LIST).await.expect("miss");
    let seen = proxy.origin.last(LIST_ASKED);
    assert_eq!(seen.header("if-none-match"), None);
    assert_eq!(seen.header("if-modified-since"), None);
    pass(seconds(60)).await;
    let second = proxy.get(LIST).await.expect("revalidated");
    assert_eq!(
        second.note(),
        "sluice; fwd=stale; fwd-status=304; detail=revalidated"
    );
    assert_eq!(second.header("age"), Some("0"));
    assert_eq!(second.body, first.body);
    assert_eq!(second.header("etag"), first.header("etag"));
    let seen = proxy.origin.last(LIST_ASKED);
    assert!(
        seen.header("if-none-match")
            .is_some_and(|tag| tag.starts_with("\"0x"))
    );
    assert_eq!(seen.header("if-modified-since"), Some(MODIFIED));
    pass(seconds(59)).await;
    proxy.get(LIST).await.expect("hit");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_document_replaces_the_stored_one() {
    let proxy = TestProxy::new().await;
    let first = proxy.get(LIST).await.expect("miss");
    proxy
        .origin
        .on(LIST_PLACE, document(&version_list(&["9.0.0"])));
    pass(seconds(60)).await;
    let second = proxy.get(LIST).await.expect("miss");
    assert_eq!(second.text(), r#"{"versions":["9.0.0"]}"#);
    assert_ne!(second.header("etag"), first.header("etag"));
    let third = proxy.get(LIST).await.expect("hit");
    assert_eq!(third.body, second.body);
    assert_eq!(third.header("etag"), second.header("etag"));
}

#[tokio::test(start_paused = true)]
async fn validators_go_back_as_they_came() {
    for (etag, modified) in [
        (Some("0x8DEADBEEF"), None),
        (Some("W/\"weak\""), Some("Tue, 3 Nov 2026 09:00:00 GMT")),
        (None, Some("yesterday")),
    ] {
        let proxy = TestProxy::new().await;
        let mut reply = Reply::json(r#"{"versions":["1.0.0"]}"#);
        if let Some(etag) = etag {
            reply = reply.header("ETag", etag);
        }
        if let Some(modified) = modified {
            reply = reply.header("Last-Modified", modified);
        }
        proxy.origin.on(LIST_PLACE, reply);
        proxy.get(LIST).await.expect("miss");
        pass(seconds(60)).await;
        proxy.get(LIST).await.expect("revalidated");
        let seen = proxy.origin.last(LIST_ASKED);
        assert_eq!(seen.header("if-none-match"), etag);
        assert_eq!(seen.header("if-modified-since"), modified);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_validator_it_is_fetched_again() {
    let proxy = TestProxy::new().await;
    proxy
        .origin
        .on(LIST_PLACE, Reply::json(r#"{"versions":["1.0.0"]}"#));
    proxy.get(LIST).await.expect("miss");
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("miss");
    let seen = proxy.origin.last(LIST_ASKED);
    assert_eq!(seen.header("if-none-match"), None);
    assert_eq!(seen.header("if-modified-since"), None);
}

#[tokio::test(start_paused = true)]
async fn a_304_for_a_coded_document_keeps_its_coding() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let path = format!("{hive}sample.one/index.json");
    let plain = proxy.get(&path).await.expect("miss");
    pass(seconds(300)).await;
    let coded = Ask::get(&path).header("accept-encoding", "gzip, deflate");
    let coded = proxy.send(coded).await.expect("revalidated");
    assert_eq!(coded.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&*coded.body);
    std::io::Read::read_to_string(&mut decoder, &mut text).expect("gzip");
    assert_eq!(text, plain.text());
    let asked = format!("GET {HIVE}/sample.one/index.json");
    assert_eq!(proxy.origin.count(&asked), 2);
}

#[tokio::test(start_paused = true)]
async fn the_upstreams_own_directives_change_nothing() {
    let proxy = TestProxy::new().await;
    let reply = document(&version_list(&["1.0.0"]))
        .header("Cache-Control", "no-store, max-age=0")
        .header("Expires", "0")
        .header("Vary", "*");
    proxy.origin.on(LIST_PLACE, reply);
    proxy.get(LIST).await.expect("miss");
    pass(seconds(59)).await;
    proxy.get(LIST).await.expect("hit");
}
