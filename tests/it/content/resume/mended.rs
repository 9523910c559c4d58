//! A line that breaks in the middle of a body: the fetch goes on where it broke, and no reader notices.

use std::io::ErrorKind;

use http::Version;
use sluice::store::{Fault, Probe, Step};

use super::super::{gated, is_pending};
use super::{
    HOLD_BACK, NAME, PATH, big, file, from, heavy, origin, place, proxy, ranges, rest, resumes,
};
use crate::harness::fixture::{FLAT, MODIFIED, nuget_like};
use crate::harness::line::{BreakingLine, as_nuget_org};
use crate::harness::{Act, Ask, Ending, Framing, Gate, Reply, TestProxy, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_line_that_breaks_every_5_mb_delivers_100_mb_for_at_most_110() {
    let whole = heavy(100);
    let line = BreakingLine::new(5 << 20);
    let proxy = proxy(Reply::new(404, "")).await;
    proxy.origin.on(&place(), line.act(as_nuget_org(&whole)));
    let answer = proxy.get(PATH).await.expect("miss");
    assert!(answer.body == whole, "{} bytes", answer.body.len());
    assert_eq!(line.sent(), whole.len());
    assert!(line.sent() <= 110 << 20);
    let mut expected: Vec<_> = (0..21).map(|n| from(n * (5 << 20), &whole)).collect();
    expected[0].clear();
    assert_eq!(ranges(&proxy), expected);
    let seen = proxy.origin.seen(NAME);
    assert!(seen.iter().all(|seen| seen.header("if-range").is_none()));
    assert_eq!(resumes(&proxy, "resumed"), 20);
    assert!(proxy.get(PATH).await.expect("hit").body == whole);
    assert_eq!(proxy.origin.count(NAME), 21);
}

#[tokio::test(start_paused = true)]
async fn a_quoted_tag_a_date_alone_and_no_digest_will_do() {
    let whole = big(300_000);
    let bare = || Reply::file(whole.clone()).ranges();
    for (reply, if_range) in [
        (
            file(&whole).ranges(),
            file(&whole).value("etag").map(str::to_owned),
        ),
        (bare().header("ETag", "\"a\""), Some("\"a\"".into())),
        (bare().header("ETag", "0x8DC"), None),
        (bare().header("Last-Modified", MODIFIED), None),
    ] {
        let line = BreakingLine::new(100_000);
        let proxy = proxy(Reply::new(404, "")).await;
        proxy.origin.on(&place(), line.act(reply));
        assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
        assert_eq!(line.sent(), whole.len());
        let last = proxy.origin.last(NAME);
        assert_eq!(last.header("if-range").map(str::to_owned), if_range);
        assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_readers_of_any_kind_do_not_notice() {
    let whole = big(600_000);
    let (gate, broken) = gated(&whole, 250_000);
    let again = Gate::new();
    let proxy = proxy(Reply::new(404, "")).await;
    let broken = broken.ending(Ending::Cut(300_000));
    let mended = file(&whole).ranges().gate(&again);
    proxy
        .origin
        .script(&place(), [Act::from(broken), mended.into()]);
    let mut readers = Vec::new();
    for version in [Version::HTTP_11, Version::HTTP_10] {
        for _ in 0..3 {
            let opened = Ask::get(PATH).version(version).open(&proxy.proxy).await;
            readers.push((opened, Vec::new(), 0, whole.len()));
        }
    }
    // Before the break, across it, behind it.
    for (start, last) in [(0, 99), (290_000, 309_999), (400_000, 499_999)] {
        let ask = Ask::get(PATH).header("range", &format!("bytes={start}-{last}"));
        let opened = ask.open(&proxy.proxy).await;
        assert_eq!(opened.status, 206);
        readers.push((opened, Vec::new(), start, last + 1));
    }
    gate.reached().await;
    gate.open();
    again.reached().await;
    // One who comes while the rest is asked for gets what is there.
    let mut late = Ask::get(PATH).open(&proxy.proxy).await;
    let taken = late.at_least(300_000).await;
    assert!(is_pending(late.chunk()).await);
    readers.push((late, taken, 0, whole.len()));
    assert_eq!(readers.len(), 10);
    again.open();
    for (opened, mut taken, start, end) in readers {
        let rest = opened.collect().await;
        assert_eq!(rest.broken, None);
        taken.extend_from_slice(&rest.body);
        assert!(taken == whole[start..end], "{start}..{end}");
    }
    assert_eq!(ranges(&proxy), ["", &from(300_000, &whole)]);
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_every_reader_left_goes_on_too() {
    let whole = big(300_000);
    let (gate, broken) = gated(&whole, 100_000);
    let proxy = proxy(Reply::new(404, "")).await;
    let broken = broken.ending(Ending::Cut(200_000));
    proxy
        .origin
        .script(&place(), [Act::from(broken), file(&whole).ranges().into()]);
    let mut only = Ask::get(PATH).open(&proxy.proxy).await;
    only.at_least(50_000).await;
    drop(only);
    gate.open();
    pass(seconds(5)).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    assert_eq!(proxy.origin.count(NAME), 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_body_from_its_start_is_passed_over_up_to_the_break() {
    let whole = big(300_000);
    for reply in [
        file(&whole),
        Reply::file(whole.clone()).header("ETag", "0x8DC"),
        Reply::file(whole.clone()).header("Last-Modified", MODIFIED),
    ] {
        let proxy = proxy(Reply::new(404, "")).await;
        let broken = reply.clone().ending(Ending::Cut(150_001));
        proxy
            .origin
            .script(&place(), [Act::from(broken), reply.into()]);
        assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
        assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
        assert_eq!(proxy.origin.count(NAME), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_shorter_than_asked_is_followed_by_another() {
    let whole = big(300_000);
    let short = |at: usize, end: usize| {
        let range = format!("bytes {at}-{}/{}", end - 1, whole.len());
        let etag = file(&whole).value("etag").unwrap().to_owned();
        Reply::new(206, whole[at..end].to_vec())
            .header("Content-Range", &range)
            .header("ETag", &etag)
    };
    let proxy = proxy(Reply::new(404, "")).await;
    let broken = file(&whole).ending(Ending::Cut(100_000));
    proxy.origin.script(
        &place(),
        [
            broken.into(),
            short(100_000, 200_000).into(),
            short(200_000, 280_000).framing(Framing::Chunked).into(),
            rest(&whole, 280_000).into(),
        ],
    );
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.count(NAME), 4);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_falls_silent_is_left_for_another() {
    let whole = big(300_000);
    let proxy = proxy(Reply::new(404, "")).await;
    let silent = file(&whole).ending(Ending::Stall(100_000));
    proxy
        .origin
        .script(&place(), [silent.into(), file(&whole).ranges().into()]);
    let (answer, took) = proxy.timed(PATH).await;
    assert_eq!(answer.expect("miss").body, whole);
    // The idle limit, and a pause of a fifth of a second at most.
    assert!(took >= seconds(30) && took < seconds(31), "{took:?}");
    assert_eq!(ranges(&proxy), ["", &from(100_000, &whole)]);
}

#[tokio::test(start_paused = true)]
async fn the_upstream_says_when_it_is_asked_again() {
    let whole = big(300_000);
    let proxy = proxy(Reply::new(404, "")).await;
    let broken = file(&whole).ending(Ending::Cut(100_000));
    let busy = Reply::new(503, "").header("Retry-After", "7");
    proxy.origin.script(
        &place(),
        [broken.into(), busy.into(), rest(&whole, 100_000).into()],
    );
    let (answer, took) = proxy.timed(PATH).await;
    assert_eq!(answer.expect("miss").body, whole);
    assert!(took >= seconds(7) && took < seconds(8), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_brings_next_to_nothing_is_given_up() {
    let whole = big(300_000);
    let line = BreakingLine::new(100);
    let proxy = proxy(Reply::new(404, "")).await;
    proxy.origin.on(&place(), line.act(file(&whole).ranges()));
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some());
    // The last bytes may have come too late for it.
    assert!(answer.body.len() >= 400 && whole[..500].starts_with(&answer.body));
    // Once, and four times for the rest.
    assert_eq!(proxy.origin.count(NAME), 5);
    assert_eq!(resumes(&proxy, "failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_falls_silent_again_and_again_is_given_up_before_the_client_gives_up() {
    let whole = big(300_000);
    let proxy = proxy(file(&whole).ranges().ending(Ending::Stall(100))).await;
    let (answer, took) = proxy.timed(PATH).await;
    assert!(answer.broken.is_some());
    assert_eq!(proxy.origin.count(NAME), 3);
    assert!(took >= seconds(90) && took < seconds(92), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_no_length_or_is_coded_is_not_resumed() {
    let whole = big(300_000);
    for reply in [
        file(&whole).framing(Framing::Chunked),
        file(&whole).framing(Framing::Chunked).gzip(),
        Reply::file(whole.clone()).header("ETag", "\"a\"").gzip(),
        // Neither a tag nor a date, which could be repeated.
        Reply::file(whole.clone()).md5(),
        Reply::file(whole.clone()).header("ETag", "W/\"a\"").md5(),
    ] {
        let proxy = proxy(reply.ranges().ending(Ending::Cut(100_000))).await;
        let answer = proxy.get(PATH).await;
        assert!(answer.status == 502 || answer.broken.is_some());
        assert_eq!(proxy.origin.count(NAME), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_whose_check_does_not_see_every_byte_needs_a_digest() {
    let text = "read me ".repeat(30_000).into_bytes();
    let place = format!("{FLAT}/sample.big/1.0.0/readme");
    let path = "/v3/flatcontainer/sample.big/1.0.0/readme";
    let name = format!("GET {place}");
    let bare = Reply::file(text.clone()).header("ETag", "\"a\"").ranges();
    let line = BreakingLine::new(100_000);
    let (with, without) = (proxy(Reply::new(404, "")).await, TestProxy::new().await);
    with.origin.on(&place, line.act(bare.clone().md5()));
    assert_eq!(with.get(path).await.expect("miss").body, text);
    assert_eq!(with.origin.count(&name), 3);
    without.origin.on(&place, line.act(bare));
    let answer = without.get(path).await;
    assert!(answer.status == 502 || answer.broken.is_some());
    assert_eq!(without.origin.count(&name), 1);
}

#[tokio::test(start_paused = true)]
async fn a_signed_address_is_signed_again() {
    let whole = big(300_000);
    let origin = nuget_like();
    let signed = |signature: &str| {
        let target = format!("https://blobs.test/big?sig={signature}");
        Act::from(Reply::redirect(302, &target))
    };
    origin.script(&place(), [signed("one"), signed("two")]);
    let broken = file(&whole).ending(Ending::Cut(100_000));
    origin.on("blobs.test/big?sig=one", broken);
    origin.on("blobs.test/big?sig=two", file(&whole).ranges());
    let proxy = TestProxy::with(origin, |_| {}).await;
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.count(NAME), 2);
    let blobs = proxy.origin.seen("GET blobs.test/big");
    assert_eq!(blobs[1].target, "/big?sig=two");
    let range = from(100_000, &whole);
    assert_eq!(blobs[1].header("range"), Some(&*range));
}

/// A proxy whose store has no room.
async fn without_room(reply: impl Into<Act>) -> TestProxy {
    let origin = nuget_like();
    origin.on(&place(), reply);
    TestProxy::with(origin, |setup| {
        let full = Fault::Io(ErrorKind::StorageFull);
        setup.store.probe = Some(Probe::new(move |step| {
            (step == Step::Reserve).then_some(full)
        }));
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn past_the_store_a_line_that_breaks_is_mended_where_a_digest_tells() {
    let whole = big(2 << 20);
    let line = BreakingLine::new(500_000);
    let proxy = without_room(line.act(as_nuget_org(&whole))).await;
    let answer = proxy.get(PATH).await.expect("bypass.store");
    assert!(answer.body == whole, "{} bytes", answer.body.len());
    assert_eq!(line.sent(), whole.len());
    let bare = Reply::file(whole.clone()).header("ETag", "\"a\"").ranges();
    let proxy = without_room(line.act(bare)).await;
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some());
    assert_eq!(proxy.origin.count(NAME), 1);
    // And what the digest belies nobody gets to the end of.
    let mut other = whole.clone();
    other[1_000_000] ^= 1;
    let digest = as_nuget_org(&whole)
        .value("content-md5")
        .unwrap()
        .to_owned();
    let belied = Reply::file(other)
        .header("ETag", "\"a\"")
        .header("Content-MD5", &digest)
        .ranges();
    let proxy = without_room(line.act(belied)).await;
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some());
    assert!(answer.body.len() <= whole.len() - HOLD_BACK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fits_in_the_hold_back_is_mended_before_anybody_hears_of_it() {
    let whole = big(10_000);
    let line = BreakingLine::new(4_000);
    let proxy = TestProxy::with(origin(Reply::new(404, "")), |_| {}).await;
    proxy.origin.on(&place(), line.act(as_nuget_org(&whole)));
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.count(NAME), 3);
}
