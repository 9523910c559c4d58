//! A symbol server behind a feed: files kept for ever, told apart by what the client knows of them.

use sluice::proxy::FeedSettings;
use sluice::upstream::auth::Credential;

use crate::harness::fixture::{INDEX, nuget_like};
use crate::harness::{Act, Ask, Reply, TestProxy, pass, seconds};

const PATH: &str = "/v3/symbols/a.pdb/fbd5ffffffff/a.pdb";
const PLACE: &str = "symbols.test/download/a.pdb/fbd5ffffffff/a.pdb";
const ASKED: &str = "GET symbols.test/download/a.pdb/fbd5ffffffff/a.pdb";
const CHECKSUM: &str = "SHA256:0a1b";

async fn proxy() -> TestProxy {
    let origin = nuget_like();
    // As nuget.org's: 403 to whoever names no checksum.
    let act = Act::make(|seen| match seen.header("symbolchecksum") {
        Some(CHECKSUM) => Reply::file(vec![7; 300_000]).ranges(),
        _ => Reply::new(403, ""),
    });
    origin.on(PLACE, act);
    TestProxy::with(origin, |setup| {
        setup.proxy.feeds = vec![FeedSettings {
            symbols_upstream: Some("https://symbols.test/download/".into()),
            credential: Some(Credential::Bearer("s3cret".into())),
            ..FeedSettings::new("nuget", INDEX)
        }];
    })
    .await
}

fn ask(path: &str) -> Ask {
    Ask::get(path).header("SymbolChecksum", CHECKSUM)
}

#[tokio::test(start_paused = true)]
async fn a_file_is_fetched_once_with_the_checksum_and_kept_for_ever() {
    let proxy = proxy().await;
    let answer = proxy.send(ask(PATH)).await.expect("miss");
    assert_eq!(answer.body.len(), 300_000);
    pass(seconds(30 * 24 * 3600)).await;
    proxy.send(ask(PATH)).await.expect("hit");
    // Every spelling and the path of the named feed are the same file.
    proxy
        .send(ask("/v3/symbols/A.pdb/FBD5FFFFFFFF/a.PDB"))
        .await
        .expect("hit");
    proxy
        .send(ask(&format!("/nuget{PATH}")))
        .await
        .expect("hit");
    proxy
        .send(ask(PATH).header("range", "bytes=0-9"))
        .await
        .expect_status(206, "hit");
    assert_eq!(proxy.origin.count(ASKED), 1);
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    proxy.send(ask(PATH)).await.expect("hit");
    // The symbol server is no part of the feed's upstream: its service index is not needed, nor its credential sent.
    let seen = proxy.origin.last(ASKED);
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_without_the_checksum_is_told_is_told_to_nobody_else() {
    let proxy = proxy().await;
    assert_eq!(proxy.get(PATH).await.status, 404);
    proxy.send(ask(PATH)).await.expect("miss");
    assert_eq!(
        proxy.get(PATH).await.expect_status(404, "absent").status,
        404
    );
    assert_eq!(proxy.origin.count(ASKED), 2);
    pass(seconds(11)).await;
    assert_eq!(proxy.get(PATH).await.status, 404);
    assert_eq!(proxy.origin.count(ASKED), 3);
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed_by_us() {
    let proxy = proxy().await;
    let place = "symbols.test/download/b.pdb/1/b.pdb";
    let to = Reply::new(302, "").header("Location", "https://blobs.test/b?sig=1");
    proxy.origin.on(place, to);
    proxy
        .origin
        .on("blobs.test/b", Reply::file(b"symbols".to_vec()));
    let answer = proxy.get("/v3/symbols/b.pdb/1/b.pdb").await.expect("miss");
    assert_eq!(answer.body, &b"symbols"[..]);
    proxy.get("/v3/symbols/b.pdb/1/b.pdb").await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_no_absence() {
    let proxy = proxy().await;
    proxy.origin.down("symbols.test");
    let answer = proxy.send(ask(PATH)).await;
    assert!(matches!(answer.status, 502..=504), "{}", answer.status);
    assert!(answer.reason.unwrap().contains("symbols.test unreachable"));
}

#[tokio::test(start_paused = true)]
async fn a_checksum_that_makes_no_sense_is_refused() {
    let proxy = proxy().await;
    let long = "a".repeat(2000);
    for ask in [
        Ask::get(PATH).header("SymbolChecksum", &long),
        ask(PATH).header("SymbolChecksum", "x"),
    ] {
        let answer = proxy.send(ask).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("SymbolChecksum: expected once"));
    }
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_feed_without_a_symbol_server_says_so() {
    let proxy = TestProxy::new().await;
    let answer = proxy
        .get(PATH)
        .await
        .expect_status(404, "failed.not-offered");
    assert!(answer.text().contains("no symbols"), "{}", answer.text());
    assert_eq!(proxy.origin.total(), 0);
}
