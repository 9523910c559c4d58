//! Several clients at once: each file is fetched once, and no client gets what another's credential brings without a
//! proof of its own.

use super::{
    ANN, BOB, CARL, CONTENT, CONTENT_ASKED, CONTENT_PLACE, Corp, LIST, LIST_ASKED, ask, file, whole,
};
use crate::harness::fixture::{document, version_list};
use crate::harness::{Gate, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_follower_proves_first_and_the_file_is_fetched_once() {
    let corp = Corp::new();
    let gate = Gate::new();
    let gated = file(&whole()).body_gate(30_000, &gate);
    corp.on(CONTENT_PLACE, "sample.one", gated);
    let proxy = corp.known_to(&[ANN, BOB, CARL]).await;
    let mut first = ask(ANN, CONTENT).open(&proxy.proxy).await;
    let mut given = first.at_least(10_000).await;
    // One of the leader's own credential needs no question.
    let same = proxy.spawn(ask(ANN, CONTENT));
    pass(seconds(1)).await;
    assert_eq!(proxy.origin.count(CONTENT_ASKED), 1);
    let follower = proxy.spawn(ask(BOB, CONTENT));
    let stranger = proxy.spawn(ask(CARL, CONTENT)).await.expect("an answer");
    stranger.expect_status(403, "challenged");
    let stranger = proxy.spawn(ask("", CONTENT)).await.expect("an answer");
    stranger.expect_status(401, "challenged");
    pass(seconds(1)).await;
    gate.open();
    given.extend_from_slice(&first.collect().await.body);
    assert_eq!(given, whole());
    assert_eq!(same.await.expect("an answer").body, whole());
    let follower = follower.await.expect("an answer").expect("coalesced");
    assert_eq!(follower.body, whole());
    // The fetch, and a question of each of the others.
    let asked = proxy.origin.seen(CONTENT_ASKED);
    let mut asked: Vec<_> = asked
        .iter()
        .map(|seen| seen.header("authorization"))
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, [None, Some(CARL), Some(ANN), Some(BOB)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_leader_may_not_see_is_no_answer_for_the_others() {
    for is_hidden in [false, true] {
        let corp = Corp::new();
        let gate = Gate::new();
        let rights = corp.rights.clone();
        let (reply, waits) = (file(&whole()), gate.clone());
        let act = crate::harness::Act::make(move |seen| {
            let credential = seen.header("authorization").unwrap_or_default();
            let refusal = rights.refusal(credential, "sample.one");
            let refusal = refusal.map(|refusal| match is_hidden {
                true => crate::harness::Reply::new(404, ""),
                false => refusal,
            });
            // The leader's refusal comes late, so that the others wait for it.
            refusal.map_or_else(|| reply.clone(), |refusal| refusal.gate(&waits))
        });
        corp.origin.on(CONTENT_PLACE, act);
        let proxy = corp.known_to(&[ANN, BOB, CARL]).await;
        let leader = proxy.spawn(ask(CARL, CONTENT));
        gate.reached().await;
        let others = [ANN, BOB].map(|credential| proxy.spawn(ask(credential, CONTENT)));
        pass(seconds(1)).await;
        gate.open();
        let leader = leader.await.expect("an answer");
        let expected = if is_hidden { 404 } else { 403 };
        assert_eq!(leader.status, expected);
        for other in others {
            let answer = other.await.expect("an answer");
            assert_eq!((answer.status, &answer.body[..]), (200, &whole()[..]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn documents_are_asked_for_once_by_each_credential() {
    let corp = Corp::new();
    let gate = Gate::new();
    let list = document(&version_list(&["1.0.0"])).gate(&gate);
    corp.on("corp.test/flat/sample.one/index.json", "sample.one", list);
    let proxy = corp.known_to(&[ANN, BOB]).await;
    let clients: Vec<_> = (0..10)
        .map(|n| proxy.spawn(ask([ANN, BOB][n % 2], LIST)))
        .collect();
    gate.reached_by(2).await;
    pass(seconds(1)).await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.expect("an answer").status, 200);
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn many_questions_of_one_credential_are_one() {
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN, BOB]).await;
    proxy.send(ask(ANN, CONTENT)).await.expect("miss");
    let gate = Gate::new();
    corp.on(CONTENT_PLACE, "sample.one", file(&whole()).gate(&gate));
    let clients: Vec<_> = (0..10).map(|_| proxy.spawn(ask(BOB, CONTENT))).collect();
    gate.reached().await;
    pass(seconds(1)).await;
    gate.open();
    for client in clients {
        let answer = client.await.expect("an answer").expect("revalidated");
        assert_eq!(answer.body, whole());
    }
    assert_eq!(proxy.origin.count(CONTENT_ASKED), 2);
}
