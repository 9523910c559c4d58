//! One fetch per key, which belongs to nobody's request.

use super::{NAME, PATH, big, file, gated, place, proxy};
use crate::harness::fixture::{FLAT, MANY, MANY_VERSIONS, content_path, nuget_like, package};
use crate::harness::{Act, Ask, Gate, Reply, TestProxy, pass, seconds};

#[tokio::test(start_paused = true)]
async fn sixty_four_clients_cost_one_fetch() {
    let whole = big(100_000);
    let gate = Gate::new();
    let proxy = proxy(file(&whole).gate(&gate)).await;
    let clients: Vec<_> = (0..64).map(|_| proxy.spawn(Ask::get(PATH))).collect();
    gate.reached().await;
    pass(seconds(1)).await;
    gate.open();
    let mut details = Vec::new();
    for client in clients {
        let answer = client.await.unwrap();
        assert_eq!(answer.body, whole);
        details.push(answer.detail().to_owned());
    }
    assert_eq!(details.iter().filter(|detail| *detail == "miss").count(), 1);
    let coalesced = details.iter().filter(|detail| *detail == "coalesced");
    assert_eq!(coalesced.count(), 63);
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_in_the_middle_gets_it_from_the_start() {
    let whole = big(300_000);
    let (gate, reply) = gated(&whole, 200_000);
    let proxy = proxy(reply).await;
    let mut first = Ask::get(PATH).open(&proxy.proxy).await;
    first.at_least(200_000).await;
    let mut second = Ask::get(PATH).open(&proxy.proxy).await;
    assert_eq!(second.at_least(200_000).await, whole[..200_000]);
    gate.open();
    assert_eq!(second.collect().await.body, whole[200_000..]);
    assert_eq!(first.collect().await.body, whole[200_000..]);
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_stops_nothing() {
    let whole = big(300_000);
    let (gate, reply) = gated(&whole, 100_000);
    let proxy = proxy(reply).await;
    let mut first = Ask::get(PATH).open(&proxy.proxy).await;
    first.at_least(50_000).await;
    let second = Ask::get(PATH).open(&proxy.proxy).await;
    drop(first);
    pass(seconds(1)).await;
    gate.open();
    assert_eq!(second.collect().await.expect("coalesced").body, whole);
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn when_all_clients_left_the_fetch_still_ends_in_the_store() {
    let whole = big(300_000);
    let (gate, reply) = gated(&whole, 100_000);
    let proxy = proxy(reply).await;
    let mut only = Ask::get(PATH).open(&proxy.proxy).await;
    only.at_least(50_000).await;
    drop(only);
    pass(seconds(1)).await;
    gate.open();
    pass(seconds(1)).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn of_fetches_without_clients_the_oldest_is_cancelled_beyond_eight() {
    let (origin, gate) = (nuget_like(), Gate::new());
    for version in MANY_VERSIONS {
        let bytes = package(MANY, version, 40_000);
        let place = format!("{FLAT}/{}", content_path(MANY, version));
        origin.on(&place, file(&bytes).body_gate(30_000, &gate));
    }
    let proxy = TestProxy::with(origin, |_| {}).await;
    let path = |version: &str| format!("/v3/flatcontainer/{}", content_path(MANY, version));
    assert_eq!(MANY_VERSIONS.len(), 9);
    for version in MANY_VERSIONS {
        let opened = Ask::get(&path(version)).open(&proxy.proxy).await;
        assert_eq!(opened.status, 200);
        drop(opened);
    }
    gate.reached_by(9).await;
    pass(seconds(1)).await;
    gate.open();
    pass(seconds(1)).await;
    for version in MANY_VERSIONS {
        let is_oldest = version == MANY_VERSIONS[0];
        let answer = proxy.get(&path(version)).await;
        let answer = answer.expect(if is_oldest { "miss" } else { "hit" });
        assert_eq!(answer.body, package(MANY, version, 40_000));
        let name = format!("GET {FLAT}/{}", content_path(MANY, version));
        assert_eq!(proxy.origin.count(&name), if is_oldest { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_delete_nobody_joins_the_older_fetch_and_what_it_brings_replaces_nothing() {
    let (old, new) = (big(100_000), big(120_000));
    let (gate, slow) = gated(&old, 50_000);
    let proxy = proxy(slow.clone()).await;
    proxy
        .origin
        .script(&place(), [Act::from(slow), file(&new).into()]);
    let removed = format!("DELETE push.test/api/v2/package/{}/1.0.0", "sample.big");
    proxy.origin.on(&removed, Reply::new(204, ""));
    let first = Ask::get(PATH).open(&proxy.proxy).await;
    let delete = Ask::new(http::Method::DELETE, "/v3/package/sample.big/1.0.0");
    assert_eq!(proxy.send(delete).await.status, 204);
    let second = proxy.get(PATH).await.expect("miss");
    assert_eq!(second.body, new);
    assert_eq!(proxy.origin.count(NAME), 2);
    gate.open();
    assert_eq!(first.collect().await.body, old);
    pass(seconds(1)).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, new);
    assert_eq!(proxy.origin.count(NAME), 2);
}

#[tokio::test(start_paused = true)]
async fn a_push_of_the_id_does_not_split_a_fetch_of_its_content() {
    let whole = big(100_000);
    let (gate, reply) = gated(&whole, 50_000);
    let proxy = proxy(reply).await;
    let first = Ask::get(PATH).open(&proxy.proxy).await;
    let push = Ask::new(http::Method::PUT, "/v3/package").body(big(1_000));
    assert_eq!(proxy.send(push).await.status, 201);
    let second = Ask::get(PATH).open(&proxy.proxy).await;
    gate.open();
    assert_eq!(first.collect().await.body, whole);
    assert_eq!(second.collect().await.expect("coalesced").body, whole);
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    assert_eq!(proxy.origin.count(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_client_after_a_failed_fetch_asks_again() {
    let whole = big(10_000);
    let proxy = proxy(Reply::new(403, "")).await;
    proxy
        .origin
        .script(&place(), [Reply::new(403, "").into(), file(&whole).into()]);
    assert_eq!(proxy.get(PATH).await.status, 502);
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    assert_eq!(proxy.origin.count(NAME), 2);
}
