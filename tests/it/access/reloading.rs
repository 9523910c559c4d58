//! Another configuration of who may use a feed, while it is used.

use sluice::access::Settings;
use sluice::access::rules::{Mode, PushKey};

use super::{Files, RIGHT, basic, bearer, get, hashes};
use crate::harness::fixture::{LIST, LIST_PLACE, document, nuget_like, version_list};
use crate::harness::{Ask, Gate, TestProxy};

/// Obeys what the files say under these settings.
async fn obey(proxy: &TestProxy, settings: Settings) {
    let guard = proxy.proxy.guard();
    guard.prepare(settings).await.unwrap().obey();
}

#[tokio::test(start_paused = true)]
async fn a_feed_closes_and_opens_from_the_next_request_on() {
    let files = Files::new();
    let mut proxy = files
        .proxy_with(|feed| feed.clients.mode = Mode::Open)
        .await;
    // By now a shortcut leads to it.
    for detail in ["miss", "hit", "hit"] {
        proxy.get(LIST).await.expect(detail);
    }
    proxy.reload(|settings| settings.feeds[0].clients.mode = Mode::Own);
    for _ in 0..2 {
        let answer = proxy.get(LIST).await;
        answer.expect_status(401, "refused.no-credential");
        let who = basic("alice", RIGHT);
        proxy.send(get(LIST, &who)).await.expect("hit");
    }
    proxy.reload(|settings| settings.feeds[0].clients.readers = Some(Vec::new()));
    let answer = proxy.send(get(LIST, &basic("alice", RIGHT))).await;
    answer.expect_status(403, "refused.forbidden");
    proxy.reload(|settings| settings.feeds[0].clients = Default::default());
    proxy.get(LIST).await.expect("hit");
    assert_eq!(proxy.origin.count(&format!("GET {LIST_PLACE}")), 1);
}

#[tokio::test(start_paused = true)]
async fn who_was_let_in_is_answered_although_the_feed_closes() {
    let files = Files::new();
    let gate = Gate::new();
    let mut proxy = files
        .proxy_with(|feed| feed.clients.mode = Mode::Open)
        .await;
    let list = document(&version_list(&["1.0.0"]));
    proxy.origin.on(LIST_PLACE, list.gate(&gate));
    let from_before = proxy.spawn(Ask::get(LIST));
    gate.reached().await;
    proxy.reload(|settings| settings.feeds[0].clients.mode = Mode::Own);
    let answer = proxy.get(LIST).await;
    answer.expect_status(401, "refused.no-credential");
    gate.open();
    from_before.await.unwrap().expect("miss");
}

#[tokio::test(start_paused = true)]
async fn the_next_push_carries_another_key_and_asks_where_none_was_asked() {
    const PUT: &str = "PUT push.test/api/v2/package/";
    let files = Files::new();
    let token = files.create(&["ci", "--push", "*"]);
    let mut proxy = files
        .proxy_with(|feed| feed.clients.mode = Mode::Open)
        .await;
    let push = |key: &str| {
        Ask::new(http::Method::PUT, "/v3/package/")
            .header("x-nuget-apikey", key)
            .body("x")
    };
    proxy.send(push("own")).await.expect_status(201, "relayed");
    assert_eq!(proxy.origin.last(PUT).header("x-nuget-apikey"), Some("own"));
    for held in ["one", "other"] {
        proxy.reload(|settings| {
            settings.feeds[0].clients.push_key = Some(PushKey::new(held.to_owned()));
        });
        let refused = proxy.send(push("own")).await;
        refused.expect_status(401, "refused.no-credential");
        proxy.send(push(&token)).await.expect_status(201, "relayed");
        assert_eq!(proxy.origin.last(PUT).header("x-nuget-apikey"), Some(held));
    }
}

#[tokio::test(start_paused = true)]
async fn files_elsewhere_hold_at_once_and_a_reload_of_the_same_costs_no_hash() {
    let (files, others) = (Files::new(), Files::new());
    let (here, there) = (files.create(&["here"]), others.create(&["there"]));
    others.users("# nobody\n");
    let proxy = files.proxy().await;
    let user = basic("alice", RIGHT);
    let status = async |who: &str| proxy.send(get(LIST, who)).await.status;
    assert_eq!(status(&user).await, 200);
    let same = Settings {
        data_dir: proxy.data_dir(),
        ..files.settings()
    };
    obey(&proxy, same).await;
    assert_eq!(status(&user).await, 200);
    assert_eq!(hashes(&proxy), 1);
    obey(&proxy, others.settings()).await;
    assert_eq!(status(&user).await, 401);
    assert_eq!(status(&bearer(&here)).await, 401);
    assert_eq!(status(&bearer(&there)).await, 200);
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_obeyed_change_nothing_and_are_all_named() {
    let (files, broken) = (Files::new(), Files::new());
    let token = files.create(&["ci"]);
    broken.users("alice\n");
    std::fs::write(broken.tokens_file(), "{").unwrap();
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.access = files.settings();
        setup.proxy.feeds[0].clients.mode = Mode::Own;
    })
    .await;
    let problems = proxy.proxy.guard().prepare(broken.settings()).await;
    assert_eq!(problems.unwrap_err().0.len(), 2);
    for who in [basic("alice", RIGHT), bearer(&token)] {
        assert_eq!(proxy.send(get(LIST, &who)).await.status, 200);
    }
    // What was read is obeyed only when that is said.
    let others = Files::new();
    drop(proxy.proxy.guard().prepare(others.settings()).await);
    assert_eq!(proxy.send(get(LIST, &bearer(&token))).await.status, 200);
}
