//! Files that change while the proxy runs.

use super::{ALICE, Files, RIGHT, basic, bearer, get, hashes, start};
use crate::harness::fixture::LIST;
use crate::harness::{pass, seconds};

/// Another hash of crypt_blowfish's test vectors.
const ALICE_CHANGED: &str = "alice:$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n";
const CHANGED: &str = "U*U*";

#[tokio::test(start_paused = true)]
async fn a_token_works_and_ends_without_a_restart() {
    let files = Files::new();
    let proxy = files.proxy().await;
    proxy.proxy.guard().keep_watch();
    let token = files.create(&["ci"]);
    pass(seconds(2)).await;
    for detail in ["miss", "hit", "hit"] {
        proxy.send(get(LIST, &bearer(&token))).await.expect(detail);
    }
    files.token(&["revoke", "ci"], start());
    pass(seconds(2)).await;
    assert_eq!(proxy.send(get(LIST, &bearer(&token))).await.status, 401);
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn another_password_holds_and_the_old_one_is_forgotten() {
    let files = Files::new();
    let proxy = files.proxy().await;
    proxy.proxy.guard().keep_watch();
    let (old, new) = (basic("alice", RIGHT), basic("alice", CHANGED));
    assert_eq!(proxy.send(get(LIST, &old)).await.status, 200);
    assert_eq!(proxy.send(get(LIST, &new)).await.status, 401);
    files.users(ALICE_CHANGED);
    pass(seconds(2)).await;
    // Neither verdict is remembered, although both are recent.
    assert_eq!(proxy.send(get(LIST, &old)).await.status, 401);
    assert_eq!(proxy.send(get(LIST, &new)).await.status, 200);
    assert_eq!(hashes(&proxy), 4);
    files.users("# nobody any more\n");
    pass(seconds(2)).await;
    assert_eq!(proxy.send(get(LIST, &new)).await.status, 401);
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_obeyed_changes_nothing() {
    let files = Files::new();
    let token = files.create(&["ci"]);
    let proxy = files.proxy().await;
    proxy.proxy.guard().keep_watch();
    let user = basic("alice", RIGHT);
    for broken in [format!("{ALICE}bob:half a ha"), "alice".to_owned()] {
        files.users(&broken);
        pass(seconds(2)).await;
        assert_eq!(proxy.send(get(LIST, &user)).await.status, 200, "{broken}");
    }
    files.users(ALICE);
    std::fs::write(files.tokens_file(), "{\"format\":").unwrap();
    pass(seconds(2)).await;
    assert_eq!(proxy.send(get(LIST, &bearer(&token))).await.status, 200);
    // Without the file of tokens there are none; without that of users there is a mistake.
    std::fs::remove_file(files.tokens_file()).unwrap();
    pass(seconds(2)).await;
    assert_eq!(proxy.send(get(LIST, &bearer(&token))).await.status, 401);
    assert_eq!(proxy.send(get(LIST, &user)).await.status, 200);
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_only_touched_costs_no_hash() {
    let files = Files::new();
    let proxy = files.proxy().await;
    proxy.proxy.guard().keep_watch();
    let user = basic("alice", RIGHT);
    for _ in 0..3 {
        assert_eq!(proxy.send(get(LIST, &user)).await.status, 200);
        files.users(ALICE);
        pass(seconds(2)).await;
    }
    assert_eq!(hashes(&proxy), 1);
    proxy.tasks.begin_drain();
}

#[tokio::test(start_paused = true)]
async fn the_use_of_tokens_is_written_down_within_a_minute_and_at_the_end() {
    let files = Files::new();
    let (one, other) = (files.create(&["one"]), files.create(&["other"]));
    let proxy = files.proxy().await;
    proxy.proxy.guard().keep_watch();
    let path = proxy.data_dir().join("token-uses.json");
    let used = || std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(proxy.send(get(LIST, &bearer(&one))).await.status, 200);
    pass(seconds(62)).await;
    assert!(
        used().contains("\"one\": \"2026-11-10T12:00:00Z\""),
        "{}",
        used()
    );
    assert!(!used().contains("other") && !used().contains("slc_"));
    assert_eq!(proxy.send(get(LIST, &bearer(&other))).await.status, 200);
    proxy.tasks.drain(seconds(10)).await;
    assert!(
        used().contains("\"other\": \"2026-11-10T12:01:02Z\""),
        "{}",
        used()
    );
    assert!(used().contains("\"one\""), "{}", used());
}
