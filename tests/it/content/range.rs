//! Parts of a file, stored and under way (RFC 9110 section 14).

use http::Method;

use super::{HOLD_BACK, NAME, PATH, big, file, gated, is_pending, proxy};
use crate::harness::{Answered, Ask, Framing};

fn ranged(value: &str) -> Ask {
    Ask::get(PATH).header("range", value)
}

#[track_caller]
fn check_part(answer: &Answered, whole: &[u8], start: usize, end: usize) {
    assert_eq!(answer.status, 206);
    assert_eq!(answer.broken, None);
    let range = format!("bytes {start}-{}/{}", end - 1, whole.len());
    assert_eq!(answer.header("content-range"), Some(&*range));
    let length = (end - start).to_string();
    assert_eq!(answer.header("content-length"), Some(&*length));
    assert_eq!(answer.body, whole[start..end]);
}

#[track_caller]
fn check_whole(answer: &Answered, whole: &[u8]) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.broken, None);
    assert_eq!(answer.header("content-range"), None);
    assert_eq!(answer.body, whole);
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_stored_file() {
    let whole = big(100_000);
    let all = whole.len();
    let proxy = proxy(file(&whole)).await;
    check_whole(&proxy.get(PATH).await, &whole);
    for (value, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000-89999", 1000, 90_000),
        ("bytes=5000-", 5000, all),
        ("bytes=5000-99999999", 5000, all),
        ("bytes=-100", all - 100, all),
        ("bytes=-99999999", 0, all),
    ] {
        check_part(&proxy.send(ranged(value)).await, &whole, start, end);
    }
    for value in ["bytes=0-1,5-6", "bytes=9-1", "chunks=0-1", "bytes=x-"] {
        check_whole(&proxy.send(ranged(value)).await, &whole);
    }
    for value in ["bytes=99999999-", "bytes=-0"] {
        let answer = proxy.send(ranged(value)).await;
        assert_eq!(answer.status, 416, "{value}");
        let range = format!("bytes */{all}");
        assert_eq!(answer.header("content-range"), Some(&*range));
    }
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn if_range_takes_our_own_tag_alone() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await;
    let etag = proxy.get(PATH).await.header("etag").unwrap().to_owned();
    let if_range = |value: &str| ranged("bytes=10-19").header("if-range", value);
    check_part(&proxy.send(if_range(&etag)).await, &whole, 10, 20);
    for value in [
        "\"other\"",
        &format!("W/{etag}"),
        "Wed, 04 Nov 2026 10:00:00 GMT",
    ] {
        check_whole(&proxy.send(if_range(value)).await, &whole);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_has_no_ranges() {
    let whole = big(100_000);
    let (gate, reply) = gated(&whole, 50_000);
    let proxy = proxy(reply).await;
    let first = Ask::get(PATH).open(&proxy.proxy).await;
    gate.open();
    first.collect().await;
    let head = Ask::new(Method::HEAD, PATH).header("range", "bytes=0-9");
    let answer = proxy.send(head).await;
    assert_eq!(answer.status, 200);
    let length = whole.len().to_string();
    assert_eq!(answer.header("content-length"), Some(&*length));
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_file_under_way_flows_with_its_own_last_16_kib_held_back() {
    let whole = big(300_000);
    let (gate, reply) = gated(&whole, 200_000);
    let proxy = proxy(reply).await;
    let (start, end) = (1000, 151_000);
    let mut opened = ranged("bytes=1000-150999").open(&proxy.proxy).await;
    assert_eq!(opened.status, 206);
    let range = format!("bytes 1000-150999/{}", whole.len());
    assert_eq!(opened.headers["content-range"], *range);
    assert_eq!(opened.headers["content-length"], "150000");
    let first = opened.at_least(150_000 - HOLD_BACK).await;
    assert_eq!(first, whole[start..end - HOLD_BACK]);
    assert!(is_pending(opened.chunk()).await);
    gate.open();
    let rest = opened.collect().await;
    assert_eq!(rest.broken, None);
    assert_eq!(rest.body, whole[end - HOLD_BACK..end]);
    // It was fetched and stored whole.
    check_whole(&proxy.get(PATH).await, &whole);
    assert_eq!(proxy.origin.count(NAME), 1);
    assert_eq!(proxy.origin.last(NAME).header("range"), None);
}

#[tokio::test(start_paused = true)]
async fn suffixes_several_ranges_and_conditions_get_a_file_under_way_whole() {
    let whole = big(100_000);
    let (gate, reply) = gated(&whole, 50_000);
    let proxy = proxy(reply).await;
    let mut clients = Vec::new();
    for value in ["bytes=-100", "bytes=0-1,5-6", "bytes=9-1", "chunks=0-1"] {
        clients.push(proxy.spawn(ranged(value)));
    }
    let tagged = ranged("bytes=0-9").header("if-range", "\"any\"");
    clients.push(proxy.spawn(tagged));
    gate.reached().await;
    let beyond = proxy.send(ranged("bytes=99999999-")).await;
    assert_eq!(beyond.status, 416);
    let range = format!("bytes */{}", whole.len());
    assert_eq!(beyond.header("content-range"), Some(&*range));
    gate.open();
    for client in clients {
        check_whole(&client.await.unwrap(), &whole);
    }
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn a_range_of_unknown_length_gets_the_whole() {
    let whole = big(100_000);
    let (gate, reply) = gated(&whole, 50_000);
    let proxy = proxy(reply.framing(Framing::Chunked)).await;
    let opened = ranged("bytes=0-9").open(&proxy.proxy).await;
    gate.open();
    check_whole(&opened.collect().await, &whole);
}
