//! Who may use a union: for reading whoever may read each of its members, for pushing whoever the named one lets push.

use http::Method;
use sluice::access::Settings as AccessSettings;
use sluice::access::rules::{Mode, Rules};
use tempfile::TempDir;

use super::*;
use crate::access::{ALICE, RIGHT, basic, get};
use crate::harness::Ask;

/// The union, its company being for alice alone. Bob is known too, with the same password.
async fn guarded(change: impl FnOnce(&mut Setup)) -> (TempDir, TestProxy) {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    std::fs::write(&users, format!("{ALICE}{}", ALICE.replace("alice", "bob"))).expect("a file");
    let origin = upstreams();
    for host in ["company.test", "nuget.test"] {
        origin.on(&format!("PUT {host}/push"), Reply::new(201, ""));
    }
    let proxy = union_with(origin, |setup| {
        setup.access = AccessSettings {
            tokens_file: Some(folder.path().join("tokens.json")),
            users_file: Some(users),
            ..AccessSettings::default()
        };
        setup.proxy.feeds[0].clients = Rules {
            mode: Mode::Own,
            readers: Some(vec!["alice".into()]),
            pushers: vec!["alice".into()],
            ..Rules::default()
        };
        change(setup);
    })
    .await;
    (folder, proxy)
}

#[tokio::test(start_paused = true)]
async fn who_reads_must_be_let_in_by_every_member() {
    let (_folder, proxy) = guarded(|_| {}).await;
    let paths = [
        "/v3/index.json".to_owned(),
        list("Public"),
        content("Public", "5.0.0"),
        registration("Public"),
        "/v3/search?q=x".to_owned(),
        "/all/v3/member/nuget/vulnerabilities/base-0".to_owned(),
    ];
    for path in &paths {
        let answer = proxy.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Basic realm=\"Sluice feed all\""), "{path}");
        let bob = proxy.send(get(path, &basic("bob", RIGHT))).await;
        assert_eq!(bob.status, 403, "{path}");
    }
    assert_eq!(proxy.origin.total(), 0);
    let alice = || get(&list("Shared"), &basic("alice", RIGHT));
    for detail in ["miss", "hit", "hit"] {
        proxy.send(alice()).await.expect(detail);
    }
    // What is in memory by now is still for her alone; the open member's own feed is for everybody.
    assert_eq!(proxy.get(&list("Shared")).await.status, 401);
    let bob = get(&list("Shared"), &basic("bob", RIGHT));
    assert_eq!(proxy.send(bob).await.status, 403);
    let open = proxy.get(&format!("/nuget{}", list("Shared"))).await;
    assert_eq!(open.status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_pushes_must_be_let_in_by_the_member_that_takes_it() {
    let push = || Ask::new(Method::PUT, "/v3/package").body(package("Shared", "4.0.0", 99));
    let push_to = |member: &'static str| {
        move |setup: &mut Setup| setup.proxy.unions[0].push_to = Some(member.into())
    };
    let (_folder, proxy) = guarded(push_to("company")).await;
    assert_eq!(proxy.send(push()).await.status, 401);
    let bob = push().header("authorization", &basic("bob", RIGHT));
    assert_eq!(proxy.send(bob).await.status, 403);
    assert_eq!(proxy.origin.total(), 0);
    let alice = push().header("authorization", &basic("alice", RIGHT));
    assert_eq!(proxy.send(alice).await.status, 201);
    let (_folder, proxy) = guarded(push_to("nuget")).await;
    assert_eq!(proxy.send(push()).await.status, 201);
}
