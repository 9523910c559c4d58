//! A body that broke off for good is kept for a quarter of an hour, and the next request goes on with it.

use std::time::Duration;

use super::super::is_pending;
use super::{HOLD_BACK, NAME, PATH, big, file, from, place, proxy, resumes};
use crate::harness::fixture::{
    FLAT, MANY, MANY_VERSIONS, MODIFIED, content_path, nuget_like, package,
};
use crate::harness::line::{BreakingLine, as_nuget_org};
use crate::harness::{Act, Ask, Ending, Gate, Reply, TestProxy, pass, seconds};

const QUARTER: Duration = Duration::from_secs(15 * 60);

/// A proxy with 200,000 of the package's bytes, whose upstream went away then. The line is mended.
async fn with_partial(whole: &[u8]) -> (TestProxy, BreakingLine) {
    let line = BreakingLine::new(200_000);
    let proxy = proxy(Reply::new(404, "")).await;
    let first = line.act(as_nuget_org(whole));
    proxy.origin.script(&place(), [first, Act::Close]);
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some());
    assert_eq!(answer.body, whole[..200_000]);
    assert_eq!(proxy.store.usage().partials, 1);
    // The hold that ran out has the key refused for a while.
    pass(seconds(60)).await;
    line.mend();
    proxy.origin.on(&place(), line.act(as_nuget_org(whole)));
    (proxy, line)
}

#[tokio::test(start_paused = true)]
async fn the_next_request_goes_on_with_it() {
    let whole = big(600_000);
    let (proxy, line) = with_partial(&whole).await;
    pass(QUARTER - seconds(90)).await;
    let answer = proxy.get(PATH).await.expect("miss.resumed");
    assert_eq!(answer.body, whole);
    assert_eq!(
        proxy.origin.last(NAME).header("range"),
        Some(&*from(200_000, &whole))
    );
    assert_eq!(line.sent(), whole.len());
    assert_eq!(resumes(&proxy, "resumed"), 1);
    assert_eq!(proxy.store.usage().partials, 0);
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    pass(seconds(2)).await;
    assert_eq!(proxy.store.usage().reserved_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_quarter_of_an_hour_it_is_gone() {
    let whole = big(600_000);
    let (proxy, line) = with_partial(&whole).await;
    pass(QUARTER - seconds(30)).await;
    assert_eq!(proxy.store.usage().partials, 0);
    assert_eq!(proxy.store.usage().reserved_bytes, 0);
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(line.sent(), 200_000 + whole.len());
    pass(seconds(1)).await;
    let left = std::fs::read_dir(proxy.data_dir().join("tmp")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_it() {
    let whole = big(600_000);
    let (proxy, line) = with_partial(&whole).await;
    let proxy = proxy.restart().await;
    let left = std::fs::read_dir(proxy.data_dir().join("tmp")).unwrap();
    assert_eq!(left.count(), 0);
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.last(NAME).header("range"), None);
    assert_eq!(line.sent(), 200_000 + whole.len());
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_byte_of_it_before_the_upstream_has_confirmed_it() {
    let whole = big(600_000);
    let (proxy, _) = with_partial(&whole).await;
    let (head, body) = (Gate::new(), Gate::new());
    let reply = as_nuget_org(&whole).gate(&head).body_gate(100_000, &body);
    proxy.origin.on(&place(), reply);
    let part = Ask::get(PATH).header("range", "bytes=50000-149999");
    let [first, second] = [Ask::get(PATH), part].map(|ask| {
        let asked = proxy.proxy.clone();
        proxy
            .tasks
            .spawn("client", async move { ask.open(&asked).await })
    });
    head.reached().await;
    pass(seconds(3)).await;
    assert!(!first.is_finished() && !second.is_finished());
    head.open();
    let (mut first, mut second) = (first.await.unwrap(), second.await.unwrap());
    // All that is there at once, and of a part all but what its own hold-back holds.
    body.reached().await;
    assert_eq!(first.at_least(300_000).await, whole[..300_000]);
    assert_eq!(
        second.at_least(100_000 - HOLD_BACK).await.len(),
        100_000 - HOLD_BACK
    );
    assert!(is_pending(second.chunk()).await);
    body.open();
    assert_eq!(first.collect().await.body, whole[300_000..]);
    assert_eq!(
        second.collect().await.body,
        whole[150_000 - HOLD_BACK..150_000]
    );
    assert_eq!(
        proxy.origin.last(NAME).header("range"),
        Some(&*from(200_000, &whole))
    );
}

#[tokio::test(start_paused = true)]
async fn another_body_is_fetched_from_its_start() {
    let (whole, new) = (big(600_000), big(610_000));
    let bare = |bytes: &[u8]| Reply::file(bytes.to_vec()).header("ETag", "\"new\"");
    let etag = as_nuget_org(&whole).value("etag").unwrap().to_owned();
    let unsatisfiable = Reply::new(416, "").header("Content-Range", "bytes */9");
    let mut same = Reply::file(whole.clone()).header("ETag", &etag);
    same = same.header("Last-Modified", MODIFIED).md5();
    let cases = [
        // A part of it: asked again, for the whole.
        (vec![bare(&new).ranges().into()], &new, 2),
        // All of it at once.
        (vec![bare(&new).into()], &new, 1),
        (vec![unsatisfiable.into(), bare(&new).into()], &new, 2),
        // The very body, from its start.
        (vec![same.into()], &whole, 1),
    ];
    for (number, (acts, expected, asked)) in cases.into_iter().enumerate() {
        let (proxy, _) = with_partial(&whole).await;
        let before = proxy.origin.count(NAME);
        proxy.origin.script(&place(), acts);
        let answer = proxy.get(PATH).await.expect("miss");
        assert!(answer.body == *expected, "{number}");
        assert_eq!(proxy.origin.count(NAME) - before, asked, "{number}");
        assert_eq!(proxy.store.usage().partials, 0, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_of_the_body_leaves_it() {
    let whole = big(600_000);
    for status in [403, 404, 500] {
        let (proxy, line) = with_partial(&whole).await;
        proxy.origin.on(&place(), Reply::new(status, ""));
        assert_ne!(proxy.get(PATH).await.status, 200);
        pass(seconds(60)).await;
        assert_eq!(proxy.store.usage().partials, 1, "{status}");
        proxy.origin.on(&place(), line.act(as_nuget_org(&whole)));
        assert_eq!(proxy.get(PATH).await.expect("miss.resumed").body, whole);
        assert_eq!(line.sent(), whole.len());
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_off_again_is_kept_again() {
    let whole = big(900_000);
    let (proxy, line) = with_partial(&whole).await;
    line.set(300_000);
    let again = line.act(as_nuget_org(&whole));
    proxy.origin.script(&place(), [again, Act::Close]);
    let answer = proxy.get(PATH).await;
    assert!(answer.broken.is_some());
    assert_eq!(answer.body, whole[..500_000]);
    pass(seconds(60)).await;
    line.mend();
    proxy.origin.on(&place(), line.act(as_nuget_org(&whole)));
    assert_eq!(proxy.get(PATH).await.expect("miss.resumed").body, whole);
    assert_eq!(line.sent(), whole.len());
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_is_wrong_is_seen_and_not_kept_for_ever() {
    let whole = big(600_000);
    let mut flipped = whole.clone();
    flipped[100_000] ^= 1;
    let bare = |bytes: &[u8]| Reply::file(bytes.to_vec()).header("ETag", "\"a\"").ranges();
    let proxy = proxy(Reply::new(404, "")).await;
    let line = BreakingLine::new(200_000);
    let first = line.act(bare(&flipped));
    proxy.origin.script(&place(), [first, Act::Close]);
    assert!(proxy.get(PATH).await.broken.is_some());
    pass(seconds(60)).await;
    proxy.origin.on(&place(), bare(&whole));
    let answer = proxy.get(PATH).await;
    // The verdict may be there before a status was told.
    assert!(answer.status == 502 || answer.broken.is_some());
    assert!(answer.body.len() <= whole.len() - HOLD_BACK);
    assert_eq!(resumes(&proxy, "resumed"), 1);
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.last(NAME).header("range"), None);
}

/// The oldest of nine fetches without readers, which is cancelled, after 300,000 bytes of what the upstream answers so.
async fn check_cancelled(oldest_acts: impl FnOnce(Reply, &Gate) -> Vec<Act>) {
    let (origin, gate) = (nuget_like(), Gate::new());
    let place = |version: &str| format!("{FLAT}/{}", content_path(MANY, version));
    let reply = |version: &str| file(&package(MANY, version, 400_000)).ranges();
    for version in MANY_VERSIONS {
        origin.on(&place(version), reply(version).body_gate(300_000, &gate));
    }
    let oldest = MANY_VERSIONS[0];
    origin.script(&place(oldest), oldest_acts(reply(oldest), &gate));
    let proxy = TestProxy::with(origin, |_| {}).await;
    let path = |version: &str| format!("/v3/flatcontainer/{}", content_path(MANY, version));
    for version in MANY_VERSIONS {
        let mut opened = Ask::get(&path(version)).open(&proxy.proxy).await;
        opened.at_least(300_000).await;
        drop(opened);
    }
    pass(seconds(1)).await;
    assert_eq!(proxy.store.usage().partials, 1);
    proxy.origin.on(&place(oldest), reply(oldest));
    let answer = proxy.get(&path(oldest)).await.expect("miss.resumed");
    let whole = package(MANY, oldest, 400_000);
    assert_eq!(answer.body, whole);
    let seen = proxy.origin.last(&format!("GET {}", place(oldest)));
    assert_eq!(seen.header("range"), Some(&*from(300_000, &whole)));
    gate.open();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_cancelled_for_want_of_readers_leaves_it() {
    check_cancelled(|reply, gate| vec![reply.body_gate(300_000, gate).into()]).await;
    // It broke off, and the rest was being asked for.
    check_cancelled(|reply, _| vec![reply.ending(Ending::Cut(300_000)).into(), Act::Hang]).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_delete_nobody_goes_on_with_it() {
    let whole = big(600_000);
    let (proxy, _) = with_partial(&whole).await;
    let removed = "DELETE push.test/api/v2/package/sample.big/1.0.0";
    proxy.origin.on(removed, Reply::new(204, ""));
    let delete = Ask::new(http::Method::DELETE, "/v3/package/sample.big/1.0.0");
    assert_eq!(proxy.send(delete).await.status, 204);
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.last(NAME).header("range"), None);
}
