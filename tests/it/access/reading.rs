//! Reading a feed that asks who reads it.

use std::net::SocketAddr;

use http::Method;

use super::{ALICE, Files, RIGHT, basic, bearer, get, hashes, metric};
use crate::harness::fixture::{LIST, ONE, content_path};
use crate::harness::{Ask, pass, seconds};

const SERVICE_INDEX: &str = "/v3/index.json";

#[tokio::test(start_paused = true)]
async fn without_a_credential_everything_below_the_feed_is_a_challenge_and_nothing_is_looked_up() {
    let files = Files::new();
    let proxy = files.proxy().await;
    let content = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    let below = [
        SERVICE_INDEX,
        "/nuget/v3/index.json",
        LIST,
        &content,
        "/nuget/v3/search?q=a",
        "/v3/autocomplete?q=a",
        "/v3/vulnerabilities/index.json",
        "/v3/package/Sample.One/1.0.0",
    ];
    for path in below {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE] {
            let (answer, took) = {
                let began = proxy.clock.instant();
                (
                    proxy.send(Ask::new(method.clone(), path)).await,
                    began.elapsed(),
                )
            };
            let answer = answer.expect_status(401, "refused.no-credential");
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Basic realm=\"Sluice feed nuget\"")
            );
            assert_eq!(took, seconds(0), "{method} {path}");
        }
    }
    assert_eq!(proxy.origin.total(), 0);
    assert_eq!(hashes(&proxy), 0);
    let said = proxy.get(LIST).await.reason;
    assert_eq!(
        said.as_deref(),
        Some("Sluice: feed nuget asks for a user and a password or token")
    );
    for path in ["/-/healthz", "/", "/open/v3/index.json"] {
        assert_eq!(proxy.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_and_a_token_are_let_in_and_nobody_else() {
    let files = Files::new();
    let token = files.create(&["ci"]);
    let proxy = files.proxy().await;
    for good in [
        basic("alice", RIGHT),
        basic("whoever", &token),
        bearer(&token),
    ] {
        assert_eq!(proxy.send(get(SERVICE_INDEX, &good)).await.status, 200);
        assert_eq!(proxy.send(get(LIST, &good)).await.status, 200);
    }
    let other = files.create(&["other"]);
    for (bad, said) in [
        (basic("alice", "wrong"), "the user or the password is wrong"),
        (basic("nobody", RIGHT), "the user or the password is wrong"),
        (basic("alice", ""), "the user or the password is wrong"),
        // Made after the start, and nobody watches.
        (bearer(&other), "the token is not known"),
        (bearer("of-somebody-else"), "the credential is neither"),
        ("Negotiate abc".to_owned(), "the credential is neither"),
    ] {
        let answer = proxy.send(get(LIST, &bad)).await;
        let answer = answer.expect_status(401, "refused.credential-refused");
        assert!(answer.text().contains(said), "{}", answer.text());
        assert!(answer.header("www-authenticate").is_some());
    }
    // What reads needs is no key of a push.
    let key = Ask::get(LIST).header("x-nuget-apikey", &token);
    assert_eq!(proxy.send(key).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_first_requests_with_one_password_cost_one_hash() {
    let files = Files::new();
    let proxy = files.proxy().await;
    let ask = get(LIST, &basic("alice", RIGHT));
    let all: Vec<_> = (0..200).map(|_| proxy.spawn(ask.clone())).collect();
    for answer in all {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert_eq!(hashes(&proxy), 1);
    for _ in 0..20 {
        proxy.send(ask.clone()).await.expect("hit");
    }
    assert_eq!(hashes(&proxy), 1);
    pass(seconds(601)).await;
    assert_eq!(proxy.send(ask).await.status, 200);
    assert_eq!(hashes(&proxy), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_costs_one_hash_for_seconds_and_so_does_an_unknown_user() {
    let files = Files::new();
    let proxy = files.proxy().await;
    for (number, ask) in [basic("alice", "wrong"), basic("nobody", "wrong")]
        .iter()
        .enumerate()
    {
        let all: Vec<_> = (0..100).map(|_| proxy.spawn(get(LIST, ask))).collect();
        for answer in all {
            assert_eq!(answer.await.unwrap().status, 401);
        }
        // One for a name that nobody has, too: the time must not tell.
        assert_eq!(hashes(&proxy), 1 + number as u64);
    }
    pass(seconds(11)).await;
    assert_eq!(
        proxy.send(get(LIST, &basic("alice", "wrong"))).await.status,
        401
    );
    assert_eq!(hashes(&proxy), 3);
    let series = "sluice_access_denied_total{feed=\"nuget\",reason=\"credential-refused\"}";
    assert_eq!(metric(&proxy, series), 201);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_guesses_is_held_up_and_nobody_else_is() {
    let files = Files::new();
    let proxy = files.proxy().await;
    let known = get(LIST, &basic("alice", RIGHT));
    assert_eq!(proxy.send(known.clone()).await.status, 200);
    let guess = |number: u32| get(LIST, &basic("alice", &format!("guess {number}")));
    let mut statuses = Vec::new();
    for number in 0..30 {
        statuses.push(proxy.send(guess(number)).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 20);
    let answer = proxy
        .send(guess(99))
        .await
        .expect_status(429, "refused.throttled");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(hashes(&proxy), 21);
    // Who is known costs no hash, from whatever address; and another address has its own tries.
    assert_eq!(proxy.send(known).await.status, 200);
    let elsewhere: SocketAddr = "192.0.2.77:1000".parse().unwrap();
    assert_eq!(proxy.send(guess(200).peer(elsewhere)).await.status, 401);
    pass(seconds(60)).await;
    assert_eq!(proxy.send(guess(300)).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn the_shortcut_of_small_hits_lets_nobody_past() {
    let files = Files::new();
    let token = files.create(&["ci", "--expires", "1h"]);
    let pushes = files.create(&["pusher", "--push", "*"]);
    let proxy = files.proxy().await;
    let ask = get(LIST, &bearer(&token));
    for detail in ["miss", "hit", "hit"] {
        proxy.send(ask.clone()).await.expect(detail);
    }
    // The shortcut is warm now, for users too once their password is known.
    proxy
        .send(get(LIST, &basic("alice", RIGHT)))
        .await
        .expect("hit");
    proxy
        .send(get(LIST, &basic("alice", RIGHT)))
        .await
        .expect("hit");
    for _ in 0..2 {
        proxy
            .get(LIST)
            .await
            .expect_status(401, "refused.no-credential");
        for bad in [basic("alice", "wrong"), bearer("slc_x")] {
            let answer = proxy.send(get(LIST, &bad)).await;
            answer.expect_status(401, "refused.credential-refused");
        }
        let answer = proxy.send(get(LIST, &bearer(&pushes))).await;
        answer.expect_status(403, "refused.forbidden");
    }
    // An open feed has its own shortcuts, with and without a credential.
    let open = format!("/open{LIST}");
    for detail in ["miss", "hit", "hit"] {
        proxy.get(&open).await.expect(detail);
    }
    proxy
        .send(get(&open, &bearer("anything")))
        .await
        .expect("hit");
    pass(seconds(3600)).await;
    let answer = proxy.send(ask).await;
    let answer = answer.expect_status(401, "refused.credential-refused");
    assert!(
        answer
            .text()
            .contains("token ci ended at 2026-11-10T13:00:00Z"),
        "{}",
        answer.text()
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_known_and_has_not_the_right_is_told_so_in_a_sentence() {
    let files = Files::new();
    let elsewhere = files.create(&["elsewhere", "--feed", "open"]);
    let pusher = files.create(&["pusher", "--push", "Sample.*"]);
    let boss = files.create(&["boss", "--admin"]);
    files.users(&format!("{ALICE}{}", ALICE.replace("alice", "bob")));
    let proxy = files
        .proxy_with(|feed| feed.clients.readers = Some(vec!["bob".into()]))
        .await;
    for (who, path, said) in [
        (
            bearer(&elsewhere),
            SERVICE_INDEX,
            "token elsewhere is not for feed nuget",
        ),
        (
            bearer(&pusher),
            LIST,
            "token pusher may not read feed nuget",
        ),
        (bearer(&boss), LIST, "token boss may not read feed nuget"),
        (
            basic("alice", RIGHT),
            LIST,
            "user alice may not read feed nuget",
        ),
    ] {
        let answer = proxy.send(get(path, &who)).await;
        let answer = answer.expect_status(403, "refused.forbidden");
        assert_eq!(answer.reason.as_deref(), Some(&*format!("Sluice: {said}")));
        assert_eq!(answer.header("www-authenticate"), None);
    }
    assert_eq!(proxy.origin.total(), 0);
    // No client pushes without the index.
    assert_eq!(
        proxy
            .send(get(SERVICE_INDEX, &bearer(&pusher)))
            .await
            .status,
        200
    );
    assert_eq!(
        proxy.send(get(LIST, &basic("bob", RIGHT))).await.status,
        200
    );
}
