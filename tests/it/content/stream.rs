//! Bytes flow while they come, but for what is held back until the verdict.

use std::time::Duration;

use http::Version;

use super::{HOLD_BACK, NAME, PATH, big, file, gated, is_pending, proxy};
use crate::harness::{Ask, Ending, Framing, Reply};

#[tokio::test(start_paused = true)]
async fn the_first_bytes_reach_the_client_before_the_upstream_has_sent_the_last() {
    let whole = big(300_000);
    let (gate, reply) = gated(&whole, 100_000);
    let proxy = proxy(reply).await;
    let mut opened = Ask::get(PATH).open(&proxy.proxy).await;
    assert_eq!(opened.status, 200);
    let length = whole.len().to_string();
    assert_eq!(opened.headers["content-length"], *length);
    let first = opened.at_least(100_000).await;
    assert_eq!(first, whole[..100_000]);
    assert!(is_pending(opened.chunk()).await);
    gate.open();
    let rest = opened.collect().await.expect("miss");
    assert_eq!(rest.body, whole[100_000..]);
}

#[tokio::test(start_paused = true)]
async fn the_last_16_kib_are_held_back_until_the_verdict() {
    for framing in [Framing::Length, Framing::Chunked] {
        let whole = big(300_000);
        let (gate, reply) = gated(&whole, whole.len() - 1);
        let proxy = proxy(reply.framing(framing)).await;
        let mut opened = Ask::get(PATH).open(&proxy.proxy).await;
        // Without a length nobody knows that the byte that is missing is the last.
        let known = match framing {
            Framing::Length => whole.len(),
            Framing::Chunked | Framing::Close => whole.len() - 1,
        };
        let first = opened.at_least(known - HOLD_BACK).await;
        assert_eq!(first, whole[..known - HOLD_BACK], "{framing:?}");
        assert!(is_pending(opened.chunk()).await);
        gate.open();
        let rest = opened.collect().await.expect("miss");
        assert_eq!(rest.body, whole[known - HOLD_BACK..]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fits_in_the_hold_back_sends_no_header_before_its_verdict() {
    for framing in [Framing::Length, Framing::Chunked] {
        let whole = big(10_000);
        assert!(whole.len() <= HOLD_BACK);
        let (gate, reply) = gated(&whole, whole.len() - 1);
        let proxy = proxy(reply.framing(framing)).await;
        let ask = Ask::get(PATH);
        let mut answer = Box::pin(ask.open(&proxy.proxy));
        assert!(is_pending(&mut answer).await, "{framing:?}");
        gate.open();
        let answer = answer.await.collect().await.expect("miss");
        assert_eq!(answer.body, whole);
        let length = whole.len().to_string();
        assert_eq!(answer.header("content-length"), Some(&*length));
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_body_that_keeps_coming_outlives_the_hold() {
    // 20 s: longer than a hold, shorter than the window of the minimum rate.
    let whole = big(10_000);
    let piece = whole.len() / 19;
    let proxy = proxy(file(&whole).pace(piece, Duration::from_secs(1))).await;
    let answer = proxy.get(PATH).await.expect("miss");
    assert_eq!(answer.body, whole);
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_has_no_length_and_comes_whole() {
    for framing in [Framing::Chunked, Framing::Close] {
        let whole = big(300_000);
        let (gate, reply) = gated(&whole, 100_000);
        let proxy = proxy(reply.framing(framing)).await;
        let opened = Ask::get(PATH).open(&proxy.proxy).await;
        gate.open();
        let answer = opened.collect().await.expect("miss");
        assert_eq!(answer.header("content-length"), None, "{framing:?}");
        assert_eq!(answer.body, whole);
        let answer = proxy.get(PATH).await.expect("hit");
        let length = whole.len().to_string();
        assert_eq!(answer.header("content-length"), Some(&*length));
    }
}

#[tokio::test(start_paused = true)]
async fn to_http_1_0_a_body_of_unknown_length_goes_out_after_its_verdict() {
    let whole = big(300_000);
    // 30 s: longer than a hold.
    let reply = file(&whole)
        .framing(Framing::Chunked)
        .pace(10_000, Duration::from_secs(1));
    let proxy = proxy(reply).await;
    let ask = Ask::get(PATH).version(Version::HTTP_10);
    let mut answer = Box::pin(ask.open(&proxy.proxy));
    assert!(is_pending(&mut answer).await);
    let answer = answer.await.collect().await.expect("miss");
    let length = whole.len().to_string();
    assert_eq!(answer.header("content-length"), Some(&*length));
    assert_eq!(answer.body, whole);
}

#[tokio::test(start_paused = true)]
async fn to_http_1_0_a_bad_body_of_unknown_length_is_a_502() {
    let whole = big(300_000);
    let cut = Ending::Cut(200_000);
    let proxy = proxy(file(&whole).framing(Framing::Chunked).ending(cut)).await;
    let answer = proxy.send(Ask::get(PATH).version(Version::HTTP_10)).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.broken, None);
}

#[tokio::test(start_paused = true)]
async fn over_a_connection_a_body_that_fails_breaks_it_before_its_end() {
    let whole = big(300_000);
    let mut other = whole.clone();
    other[150_000] ^= 1;
    // The digest of other bytes.
    let good = file(&whole);
    let reply = Reply::file(other).header("Content-MD5", good.value("content-md5").unwrap());
    let proxy = proxy(reply).await;
    let text = format!("GET {PATH} HTTP/1.1\r\nHost: us.test\r\n\r\n");
    let mut wire = proxy.wire();
    wire.send(&text).await;
    let taken = wire.rest().await;
    let head_end = taken.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(taken.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(taken.len() - head_end <= whole.len() - HOLD_BACK);
}

#[tokio::test(start_paused = true)]
async fn five_slow_readers_hold_a_piece_each_however_large_the_body() {
    let whole = big(4 << 20);
    let proxy = proxy(file(&whole)).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(Ask::get(PATH).open(&proxy.proxy).await);
    }
    for reader in &mut readers {
        let piece = reader.chunk().await.unwrap().unwrap();
        assert!(piece.len() <= 256 * 1024, "{}", piece.len());
    }
    // The fetch does not wait for readers: another client gets the whole meanwhile.
    assert_eq!(proxy.get(PATH).await.body, whole);
    assert_eq!(proxy.origin.count(NAME), 1);
    for mut reader in readers {
        let mut rest = 0;
        while let Some(piece) = reader.chunk().await {
            let piece = piece.unwrap();
            assert!(piece.len() <= 256 * 1024, "{}", piece.len());
            rest += piece.len();
        }
        assert!(rest > whole.len() - 512 * 1024);
    }
}
