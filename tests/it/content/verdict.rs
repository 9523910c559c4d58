//! A bad body is never stored and never completed to a reader; the next request asks again.

use super::{HOLD_BACK, ID, NAME, PATH, big, file, place, proxy};
use crate::harness::fixture::{FLAT, manifest, package};
use crate::harness::{Ask, Ending, Framing, Gate, Reply, TestProxy};

/// Ten readers of one fetch, three of them of a part: all break, nothing is stored, the next request asks again.
async fn check_bad_for_ten_readers(bad: Reply, total: usize) {
    check_bad_after(1, bad, total).await;
}

/// The same for what is known to be bad after so many questions.
async fn check_bad_after(asked: usize, bad: Reply, total: usize) {
    let gate = Gate::new();
    let proxy = proxy(bad.gate(&gate)).await;
    let last = format!("bytes={}-", total - 100);
    let mut asks = vec![Ask::get(PATH); 7];
    for range in ["bytes=0-99", "bytes=20000-59999", &*last] {
        asks.push(Ask::get(PATH).header("range", range));
    }
    let readers: Vec<_> = asks.into_iter().map(|ask| proxy.spawn(ask)).collect();
    gate.reached().await;
    gate.open();
    for reader in readers {
        let answer = reader.await.unwrap();
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(answer.broken.is_some(), "{answer:?}");
        assert!(
            answer.body.len() <= length.saturating_sub(HOLD_BACK),
            "{} of {length}",
            answer.body.len()
        );
    }
    check_next_is_good(&proxy, asked + 1).await;
}

/// The upstream is mended: the next request asks it again and gets what it sends.
async fn check_next_is_good(proxy: &TestProxy, asked: usize) {
    let whole = big(100_000);
    proxy.origin.on(&place(), file(&whole));
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    assert_eq!(proxy.origin.count(NAME), asked);
}

fn with_md5_of(bytes: Vec<u8>, other: &[u8]) -> Reply {
    let good = file(other);
    let digest = good.value("content-md5").unwrap().to_owned();
    Reply::file(bytes).header("Content-MD5", &digest)
}

#[tokio::test(start_paused = true)]
async fn a_wrong_content_md5_with_the_right_length_breaks_all_readers() {
    let whole = big(100_000);
    let mut other = whole.clone();
    other[50_000] ^= 1;
    check_bad_for_ten_readers(with_md5_of(other, &whole), whole.len()).await;
}

#[tokio::test(start_paused = true)]
async fn another_package_of_equal_length_breaks_all_readers() {
    let whole = big(100_000);
    let other = package("Sample.Bag", "1.0.0", 100_000);
    assert_eq!(other.len(), whole.len());
    check_bad_for_ten_readers(file(&other), whole.len()).await;
    let other = package(ID, "1.0.1", 100_000);
    assert_eq!(other.len(), whole.len());
    check_bad_for_ten_readers(file(&other), whole.len()).await;
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_breaks_all_readers() {
    let whole = big(100_000);
    let cut = whole.len() - 1;
    // It breaks at the same byte each time, so it is given up after four more.
    check_bad_after(5, file(&whole).ending(Ending::Cut(cut)), whole.len()).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_zip_breaks_all_readers() {
    let whole = big(100_000);
    let mut cut = whole.clone();
    // Complete by its length and its digest, but without the last byte of its directory.
    cut.truncate(whole.len() - 23);
    check_bad_for_ten_readers(file(&cut), cut.len()).await;
    let html = format!("<!DOCTYPE html><html>{}", "x".repeat(100_000));
    check_bad_for_ten_readers(file(html.as_bytes()), html.len()).await;
}

#[tokio::test(start_paused = true)]
async fn a_small_bad_body_is_a_502_that_says_why() {
    let whole = big(1_000);
    let mut flipped = whole.clone();
    flipped[500] ^= 1;
    let cases = [
        (with_md5_of(flipped, &whole), "Content-MD5"),
        (file(&package("Sample.Bag", "1.0.0", 1_000)), "Sample.Bag"),
        (file(&whole[..whole.len() - 5]), "zip"),
        (file(b"<!DOCTYPE html><html></html>"), "zip"),
        (file(b""), "zip"),
        (Reply::new(204, ""), "204"),
        (file(&whole).header("Content-Encoding", "br"), "br"),
    ];
    for (bad, word) in cases {
        let proxy = proxy(bad).await;
        let answer = proxy.get(PATH).await;
        let answer = answer.expect_status(502, "failed.bad-body");
        let reason = answer.reason.as_deref().unwrap();
        assert!(reason.starts_with("Sluice: api.test "), "{reason}");
        assert!(reason.contains(word), "{reason}");
        check_next_is_good(&proxy, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_of_unknown_length_is_not_taken_for_whole() {
    let whole = big(100_000);
    for framing in [Framing::Chunked, Framing::Close] {
        for at in [5_000, 60_000] {
            let reply = file(&whole).framing(framing).ending(Ending::Cut(at));
            let proxy = proxy(reply).await;
            let answer = proxy.get(PATH).await;
            assert!(answer.status == 502 || answer.broken.is_some(), "{at}");
            assert!(answer.body.len() < at, "{at}");
            check_next_is_good(&proxy, 2).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn content_in_a_coding_that_nobody_asked_for_is_stored_as_what_it_is() {
    for bytes in [1_000, 100_000] {
        let whole = big(bytes);
        // The digest is that of the bytes on the wire.
        let proxy = proxy(Reply::file(whole.clone()).gzip().md5()).await;
        for detail in ["miss", "hit"] {
            let answer = proxy.get(PATH).await.expect(detail);
            assert_eq!(answer.header("content-encoding"), None);
            assert_eq!(answer.body, whole);
        }
        assert_eq!(
            proxy.origin.last(NAME).header("accept-encoding"),
            Some("identity")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_coded_file_without_an_end_is_bad_though_nothing_else_could_tell() {
    let coded = Reply::file("read me ".repeat(100)).gzip();
    let cut = coded.bytes().slice(..coded.bytes().len() - 9);
    let bad = Reply::file(cut).header("Content-Encoding", "gzip");
    let place = format!("{FLAT}/sample.big/1.0.0/readme");
    let proxy = proxy(file(&big(1_000))).await;
    proxy.origin.on(&place, bad);
    let path = "/v3/flatcontainer/sample.big/1.0.0/readme";
    let answer = proxy.get(path).await;
    answer.expect_status(502, "failed.bad-body");
    proxy.origin.on(&place, coded);
    let answer = proxy.get(path).await.expect("miss");
    assert_eq!(answer.text(), "read me ".repeat(100));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_of_another_package_is_bad() {
    let place = format!("{FLAT}/sample.big/1.0.0/sample.big.nuspec");
    let path = "/v3/flatcontainer/sample.big/1.0.0/sample.big.nuspec";
    let proxy = proxy(file(&big(1_000))).await;
    let (other, good) = (manifest("Sample.Bag", "1.0.0"), manifest(ID, "1.0.0"));
    for bad in [other.as_bytes(), b"<html></html>"] {
        proxy.origin.on(&place, file(bad));
        let answer = proxy.get(path).await;
        answer.expect_status(502, "failed.bad-body");
    }
    proxy.origin.on(&place, file(good.as_bytes()));
    assert_eq!(proxy.get(path).await.expect("miss").text(), good);
}
