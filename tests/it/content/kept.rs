//! What is kept of files and of their absence, and when the upstream is asked of them again.

use http::Method;

use super::{NAME, PATH, big, file, origin, place, proxy};
use crate::harness::fixture::{FLAT, document, inlined_registration, service_index, version_list};
use crate::harness::{Answered, Ask, Gate, Origin, Reply, TestProxy, pass, seconds};

const HEAD: &str = "HEAD api.test/v3-flatcontainer/sample.big/1.0.0/sample.big.1.0.0.nupkg";

fn no_cache() -> Ask {
    Ask::get(PATH).header("cache-control", "no-cache")
}

async fn delete(proxy: &TestProxy) {
    let place = "DELETE push.test/api/v2/package/sample.big/1.0.0";
    proxy.origin.on(place, Reply::new(204, ""));
    let ask = Ask::new(Method::DELETE, "/v3/package/sample.big/1.0.0");
    assert_eq!(proxy.send(ask).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_head_of_an_absent_file_is_asked_once_as_a_head_and_not_stored() {
    let whole = big(100_000);
    let gate = Gate::new();
    let proxy = proxy(file(&whole).gate(&gate)).await;
    let heads: Vec<_> = (0..5).map(|_| proxy.spawn(Ask::head(PATH))).collect();
    gate.reached().await;
    pass(seconds(1)).await;
    gate.open();
    for head in heads {
        let answer = head.await.unwrap().expect("bypass");
        let length = whole.len().to_string();
        assert_eq!(answer.header("content-length"), Some(&*length));
        assert!(answer.body.is_empty());
    }
    assert_eq!((proxy.origin.count(HEAD), proxy.origin.count(NAME)), (1, 0));
    assert_eq!(proxy.send(Ask::head(PATH)).await.status, 200);
    assert_eq!((proxy.origin.count(HEAD), proxy.origin.count(NAME)), (2, 0));
    proxy.get(PATH).await.expect("miss");
    let answer = proxy.send(Ask::head(PATH)).await.expect("hit");
    assert!(answer.body.is_empty());
    assert!(answer.header("etag").is_some());
    assert_eq!((proxy.origin.count(HEAD), proxy.origin.count(NAME)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_head_is_refused_with_the_key_whose_hold_ran_out() {
    let proxy = proxy(file(&big(1_000))).await;
    proxy.origin.on(&place(), crate::harness::Act::Hang);
    let first = proxy.send(Ask::head(PATH)).await;
    assert!((502..=504).contains(&first.status), "{first:?}");
    let before = proxy.origin.total();
    let began = tokio::time::Instant::now();
    let second = proxy.send(Ask::head(PATH)).await;
    assert!((502..=504).contains(&second.status), "{second:?}");
    assert!(began.elapsed() <= std::time::Duration::from_millis(100));
    assert_eq!(proxy.origin.total(), before);
}

#[tokio::test(start_paused = true)]
async fn a_404_is_remembered_ten_seconds_and_never_said_in_an_outage() {
    for status in [404, 410] {
        let proxy = proxy(Reply::new(status, "")).await;
        let answer = proxy.get(PATH).await;
        answer.expect_status(404, "absent");
        pass(seconds(9)).await;
        proxy.get(PATH).await.expect_status(404, "absent");
        proxy
            .send(Ask::head(PATH))
            .await
            .expect_status(404, "absent");
        assert_eq!(proxy.origin.total(), 2);
        pass(seconds(1)).await;
        proxy.get(PATH).await.expect_status(404, "absent");
        assert_eq!(proxy.origin.count(NAME), 2);
        pass(seconds(10)).await;
        proxy.origin.all_down();
        let answer = proxy.get(PATH).await;
        assert!((502..=504).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_appears_after_a_404_is_fetched() {
    let proxy = proxy(Reply::new(404, "")).await;
    proxy.get(PATH).await.expect_status(404, "absent");
    let whole = big(1_000);
    proxy.origin.on(&place(), file(&whole));
    pass(seconds(10)).await;
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
}

#[tokio::test(start_paused = true)]
async fn after_a_delete_a_file_is_asked_again_with_its_validators() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await.expect("miss");
    delete(&proxy).await;
    pass(seconds(30)).await;
    let answer = proxy.get(PATH).await.expect("revalidated");
    assert_eq!(answer.body, whole);
    assert_eq!(answer.header("age"), Some("0"));
    let asked = proxy.origin.last(NAME);
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(&whole));
    assert_eq!(asked.header("if-none-match"), Some(&*etag));
    pass(seconds(10)).await;
    let answer = proxy.get(PATH).await.expect("hit");
    assert_eq!(answer.header("age"), Some("10"));
    assert_eq!(proxy.origin.count(NAME), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_delete_the_upstreams_404_is_the_answer_but_in_an_outage_the_copy() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await.expect("miss");
    delete(&proxy).await;
    proxy.origin.forget(&place());
    proxy.get(PATH).await.expect_status(404, "absent");
    proxy.get(PATH).await.expect_status(404, "absent");
    assert_eq!(proxy.origin.count(NAME), 2, "the 404 is remembered");
    pass(seconds(10)).await;
    proxy.get(PATH).await.expect_status(404, "absent");
    assert_eq!(proxy.origin.count(NAME), 3, "and asked again");
    pass(seconds(10)).await;
    proxy.origin.all_down();
    let answer = proxy.get(PATH).await;
    assert_eq!(answer.status, 200);
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert_eq!(answer.body, whole);
}

#[tokio::test(start_paused = true)]
async fn after_a_delete_in_an_outage_the_copy_answers() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await.expect("miss");
    delete(&proxy).await;
    proxy.origin.all_down();
    let began = tokio::time::Instant::now();
    let answer = proxy.get(PATH).await;
    assert_eq!(answer.status, 200);
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert_eq!(answer.body, whole);
    assert!(began.elapsed() <= seconds(2));
}

#[tokio::test(start_paused = true)]
async fn other_versions_of_the_id_are_not_asked_again_after_a_delete() {
    let proxy = TestProxy::new().await;
    let path = "/v3/flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
    proxy.get(path).await.expect("miss");
    let ask = Ask::new(Method::DELETE, "/v3/package/Sample.One/1.1.0");
    let removed = "DELETE push.test/api/v2/package/Sample.One/1.1.0";
    proxy.origin.on(removed, Reply::new(204, ""));
    assert_eq!(proxy.send(ask).await.status, 204);
    proxy.get(path).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn no_cache_asks_the_upstream_at_most_every_two_seconds() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await.expect("miss");
    assert_eq!(
        proxy.send(no_cache()).await.expect("revalidated").body,
        whole
    );
    proxy.send(no_cache()).await.expect("hit");
    assert_eq!(proxy.origin.count(NAME), 2);
    pass(seconds(2)).await;
    proxy.send(no_cache()).await.expect("revalidated");
    assert_eq!(proxy.origin.count(NAME), 3);
}

#[tokio::test(start_paused = true)]
async fn no_cache_brings_what_the_upstream_replaced() {
    let (old, new) = (big(100_000), big(120_000));
    let proxy = proxy(file(&old)).await;
    proxy.get(PATH).await.expect("miss");
    proxy.origin.on(&place(), file(&new));
    assert_eq!(proxy.get(PATH).await.expect("hit").body, old);
    assert_eq!(proxy.send(no_cache()).await.expect("miss").body, new);
    assert_eq!(proxy.get(PATH).await.expect("hit").body, new);
}

#[tokio::test(start_paused = true)]
async fn a_404_to_a_no_cache_is_its_answer_and_the_copy_goes_on_answering_others() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await.expect("miss");
    proxy.origin.forget(&place());
    proxy.send(no_cache()).await.expect_status(404, "absent");
    let answer = proxy.get(PATH).await.expect("hit.withdrawn");
    assert_eq!(answer.body, whole);
    pass(seconds(10)).await;
    proxy.send(no_cache()).await.expect_status(404, "absent");
    assert_eq!(proxy.origin.count(NAME), 3);
    proxy.origin.all_down();
    assert_eq!(proxy.get(PATH).await.expect("hit.withdrawn").body, whole);
}

#[tokio::test(start_paused = true)]
async fn a_404_to_a_no_cache_ends_once_the_upstream_confirms_the_copy() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await.expect("miss");
    proxy.origin.forget(&place());
    proxy.send(no_cache()).await.expect_status(404, "absent");
    proxy.origin.on(&place(), file(&whole));
    pass(seconds(2)).await;
    proxy.send(no_cache()).await.expect("revalidated");
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
}

#[tokio::test(start_paused = true)]
async fn with_a_copy_nobody_waits_longer_than_two_seconds_and_the_fetch_goes_on() {
    let (old, new) = (big(100_000), big(120_000));
    let proxy = proxy(file(&old)).await;
    proxy.get(PATH).await.expect("miss");
    let gate = Gate::new();
    proxy
        .origin
        .on(&place(), file(&new).body_gate(60_000, &gate));
    let began = tokio::time::Instant::now();
    let answer = proxy.send(no_cache()).await;
    assert_eq!(began.elapsed(), seconds(2));
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert_eq!(answer.body, old);
    gate.open();
    pass(seconds(1)).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, new);
    assert_eq!(proxy.origin.count(NAME), 2);
}

#[tokio::test(start_paused = true)]
async fn with_a_copy_garbage_is_not_seen() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    proxy.get(PATH).await.expect("miss");
    let html = format!("<html>{}", "x".repeat(100_000));
    for bad in [
        Reply::file(html),
        Reply::new(403, ""),
        Reply::new(401, "").header("WWW-Authenticate", "Basic"),
        Reply::new(204, ""),
        Reply::new(500, ""),
        Reply::new(429, "").header("Retry-After", "3600"),
    ] {
        proxy.origin.on(&place(), bad);
        pass(seconds(2)).await;
        let answer = proxy.send(no_cache()).await;
        assert_eq!(answer.status, 200);
        assert!(answer.detail().starts_with("stale."), "{}", answer.note());
        assert_eq!(answer.body, whole);
        assert_eq!(answer.broken, None);
    }
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_asks_nobody() {
    let whole = big(100_000);
    let proxy = proxy(file(&whole)).await;
    let ask = Ask::get(PATH).header("cache-control", "only-if-cached");
    let answer = proxy.send(ask.clone()).await;
    answer.expect_status(504, "failed.only-if-cached");
    assert_eq!(proxy.origin.total(), 0);
    proxy.get(PATH).await.expect("miss");
    assert_eq!(proxy.send(ask.clone()).await.expect("hit").body, whole);
    delete(&proxy).await;
    let before = proxy.origin.total();
    proxy.send(ask).await.expect("stale.only-if-cached");
    pass(seconds(1)).await;
    assert_eq!(proxy.origin.total(), before);
}

#[tokio::test(start_paused = true)]
async fn content_that_the_list_lacks_and_content_that_it_has_in_vain_make_it_ask_again() {
    let list = "/v3/flatcontainer/sample.big/index.json";
    let asked = format!("GET {FLAT}/sample.big/index.json");
    let place_of_list = format!("{FLAT}/sample.big/index.json");
    for (versions, reply) in [
        (vec!["0.9.0"], file(&big(1_000))),
        (vec!["0.9.0", "1.0.0"], Reply::new(404, "")),
    ] {
        let origin = origin(reply);
        origin.on(&place_of_list, document(&version_list(&versions)));
        let proxy = TestProxy::with(origin, |_| {}).await;
        proxy.get(list).await.expect("miss");
        proxy.get(list).await.expect("hit");
        proxy.get(PATH).await;
        pass(std::time::Duration::from_millis(100)).await;
        proxy.get(list).await.expect("revalidated");
        assert_eq!(proxy.origin.count(&asked), 2, "{versions:?}");
    }
}

const INDEX: &str = "https://odd.test/index.json";
const ODD_HIVE: &str = "odd.test/registration";

/// A feed without a flat container: `packageContent` leads to another host, signed.
fn signed(origin: &Origin, signature: &str) {
    let index = inlined_registration(ODD_HIVE, super::ID, &["1.0.0"]);
    let content = format!("https://{}", place());
    let link = format!("https://blob.test/big?sig={signature}");
    let text = index.replace(&content, &link);
    assert_ne!(text, index);
    origin.on(
        &format!("{ODD_HIVE}/sample.big/index.json"),
        document(&text),
    );
}

#[tokio::test(start_paused = true)]
async fn a_signed_link_that_expired_is_looked_up_again_in_its_documents() {
    let whole = big(100_000);
    let origin = Origin::new();
    let base = format!("https://{ODD_HIVE}/");
    let resources = service_index(&[("RegistrationsBaseUrl/3.6.0", &base)]);
    origin.on("odd.test/index.json", document(&resources));
    signed(&origin, "old");
    origin.on("blob.test/big?sig=old", Reply::new(403, ""));
    origin.on("blob.test/big?sig=new", file(&whole));
    let proxy = TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].upstream = INDEX.into();
    })
    .await;
    // The documents are stored with a link that is about to expire.
    let list = "/v3/flatcontainer/sample.big/index.json";
    assert_eq!(proxy.get(list).await.status, 200);
    signed(&proxy.origin, "new");
    let answer: Answered = proxy.get(PATH).await.expect("miss");
    assert_eq!(answer.body, whole);
    proxy.get(PATH).await.expect("hit");
    let asked = proxy.origin.seen("GET blob.test/big");
    let targets: Vec<_> = asked.iter().map(|seen| &*seen.target).collect();
    assert_eq!(targets, ["/big?sig=old", "/big?sig=new"]);
}
