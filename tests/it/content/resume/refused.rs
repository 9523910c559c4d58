//! What is not for certain the rest of the same body is refused: whoever reads breaks, and nothing of it is stored.

use super::{HOLD_BACK, NAME, PATH, big, file, place, proxy, rest, resumes};
use crate::harness::{Act, Ask, Ending, Framing, Reply, TestProxy, pass, seconds};

const BREAK: usize = 100_000;

/// A proxy whose upstream breaks off the package, and answers so from then on.
async fn broken_then(whole: &[u8], first: Reply, then: impl Into<Act>) -> TestProxy {
    let proxy = proxy(Reply::new(404, "")).await;
    let broken = first.ending(Ending::Cut(BREAK));
    let then = then.into();
    assert!(whole.len() > BREAK);
    proxy.origin.script(&place(), [broken.into(), then]);
    proxy
}

/// A reader breaks, having got nothing that the first answer did not bring; the next request asks for all of it.
async fn check_broken(proxy: &TestProxy, whole: &[u8], what: &str) {
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some(), "{what}: {answer:?}");
    assert_eq!(answer.body, whole[..BREAK], "{what}");
    let new = big(200_000);
    proxy.origin.on(&place(), file(&new).ranges());
    assert_eq!(proxy.get(PATH).await.expect("miss").body, new, "{what}");
    assert_eq!(proxy.get(PATH).await.expect("hit").body, new, "{what}");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_another_body_breaks_whoever_reads() {
    let whole = big(300_000);
    let etag = file(&whole).value("etag").unwrap().to_owned();
    let part = |range: &str, etag: &str| {
        let reply = Reply::new(206, whole[BREAK..].to_vec()).header("Content-Range", range);
        match etag {
            "" => reply,
            etag => reply.header("ETag", etag),
        }
    };
    let (end, total) = (whole.len() - 1, whole.len());
    let good = format!("bytes {BREAK}-{end}/{total}");
    let shifted = format!("bytes {}-{}/{total}", BREAK - 1, end - 1);
    let longer = format!("bytes {BREAK}-{end}/{}", total + 1);
    let unknown = format!("bytes {BREAK}-{end}/*");
    let multipart = Reply::new(206, whole[BREAK..].to_vec())
        .header("Content-Type", "multipart/byteranges; boundary=x")
        .header("ETag", &etag);
    let other = big(300_001);
    let mut flipped = whole.clone();
    flipped[50_000] ^= 1;
    let cases = [
        ("another start", part(&shifted, &etag)),
        ("another total", part(&longer, &etag)),
        ("an unknown total", part(&unknown, &etag)),
        ("another tag", part(&good, "\"other\"")),
        (
            "the tag without its quotes",
            part(&good, etag.trim_matches('"')),
        ),
        ("no tag", part(&good, "")),
        (
            "a coding",
            part(&good, &etag).header("Content-Encoding", "gzip"),
        ),
        ("several parts", multipart),
        (
            "no range",
            Reply::new(206, whole[BREAK..].to_vec()).header("ETag", &etag),
        ),
        (
            "416",
            Reply::new(416, "").header("Content-Range", &format!("bytes */{total}")),
        ),
        ("another whole", file(&other)),
        (
            "the same tag on other bytes",
            Reply::file(flipped).header("ETag", &etag),
        ),
    ];
    for (what, reply) in cases {
        let first = file(&whole);
        let proxy = broken_then(&whole, first, reply).await;
        check_broken(&proxy, &whole, what).await;
        assert_eq!(resumes(&proxy, "refused"), 1, "{what}");
        assert_eq!(resumes(&proxy, "resumed"), 0, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_breaks_whoever_reads() {
    let whole = big(300_000);
    for status in [204, 401, 403, 404, 410, 500] {
        let proxy = broken_then(&whole, file(&whole), Reply::new(status, "")).await;
        check_broken(&proxy, &whole, &status.to_string()).await;
        assert_eq!(resumes(&proxy, "failed"), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_away_breaks_whoever_reads_when_the_hold_ends() {
    let whole = big(300_000);
    let proxy = broken_then(&whole, file(&whole), Act::Close).await;
    let (answer, took) = proxy.timed(PATH).await;
    assert!(answer.broken.is_some());
    assert!(took <= seconds(16), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn more_bytes_than_promised_are_refused() {
    let whole = big(300_000);
    let mut long = rest(&whole, BREAK).framing(Framing::Chunked);
    let bytes = [long.bytes().to_vec(), vec![0; 1000]].concat();
    let range = long.value("content-range").unwrap().to_owned();
    let etag = long.value("etag").unwrap().to_owned();
    long = Reply::new(206, bytes)
        .header("Content-Range", &range)
        .header("ETag", &etag)
        .framing(Framing::Chunked);
    let proxy = broken_then(&whole, file(&whole), long).await;
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some());
    assert!(answer.body.len() <= whole.len() - HOLD_BACK);
    proxy.origin.on(&place(), file(&whole).ranges());
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.last(NAME).header("range"), None);
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_wrong_in_its_middle_is_seen_without_a_digest() {
    let whole = big(300_000);
    let bare = |bytes: &[u8]| Reply::file(bytes.to_vec()).header("ETag", "\"a\"").ranges();
    let mut flipped = whole.clone();
    flipped[200_000] ^= 1;
    let proxy = broken_then(&whole, bare(&whole), bare(&flipped)).await;
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some());
    assert!(answer.body.len() <= whole.len() - HOLD_BACK);
    // It was no line that broke: nothing of it is kept.
    proxy.origin.on(&place(), bare(&whole));
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.last(NAME).header("range"), None);
    // In one piece nobody unpacks it: the client checks what it installs.
    let proxy = super::proxy(bare(&flipped)).await;
    assert_eq!(proxy.get(PATH).await.expect("miss").body, flipped);
}

#[tokio::test(start_paused = true)]
async fn without_readers_a_fetch_of_another_body_begins_anew_once() {
    let (old, new) = (big(300_000), big(310_000));
    let proxy = proxy(Reply::new(404, "")).await;
    let (gate, broken) = super::super::gated(&old, 60_000);
    let broken = broken.ending(Ending::Cut(BREAK));
    proxy
        .origin
        .script(&place(), [Act::from(broken), file(&new).ranges().into()]);
    let mut only = Ask::get(PATH).open(&proxy.proxy).await;
    only.at_least(10_000).await;
    drop(only);
    gate.open();
    pass(seconds(5)).await;
    assert_eq!(proxy.origin.count(NAME), 3);
    assert_eq!(proxy.get(PATH).await.expect("hit").body, new);

    // An upstream that has another body each time is not asked for ever.
    let proxy = super::proxy(Reply::new(404, "")).await;
    let count = std::sync::atomic::AtomicUsize::new(300_000);
    proxy.origin.on(
        &place(),
        Act::make(move |_| {
            let bytes = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            file(&big(bytes)).ending(Ending::Cut(BREAK))
        }),
    );
    drop(Ask::get(PATH).open(&proxy.proxy).await);
    pass(seconds(600)).await;
    assert_eq!(proxy.origin.count(NAME), 4);
}
