//! What a proof is good for while the upstream cannot be asked, before a restart and after.

use super::{ANN, BOB, CONTENT, Corp, LIST, ask, get, whole};
use crate::harness::{Door, Reply, TestProxy, pass, seconds};

/// A proxy with the package's list and file stored and proven by Ann, and the index by both.
async fn warm(corp: &Corp) -> TestProxy {
    let proxy = corp.known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, LIST).await.expect("miss");
    get(&proxy, ANN, CONTENT).await.expect("miss");
    pass(seconds(1)).await;
    proxy
}

const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn a_proof_is_good_for_half_a_day_of_outage_and_no_longer() {
    let proxy = warm(&Corp::new()).await;
    proxy.origin.all_down();
    get(&proxy, ANN, CONTENT).await.expect("hit");
    pass(seconds(11 * HOUR)).await;
    // The first request finds out that nobody answers.
    let list = get(&proxy, ANN, LIST).await;
    assert_eq!(list.status, 200);
    assert!(list.detail().starts_with("stale."), "{}", list.detail());
    let file = get(&proxy, ANN, CONTENT).await.expect("stale.breaker-open");
    assert_eq!(file.body, whole());
    get(&proxy, ANN, LIST).await.expect("stale.breaker-open");
    get(&proxy, ANN, "/v3/index.json")
        .await
        .expect("stale.breaker-open");
    pass(seconds(2 * HOUR)).await;
    for path in [CONTENT, LIST, "/v3/index.json"] {
        let refused = get(&proxy, ANN, path).await;
        let refused = refused.expect_status(503, "failed.unproven");
        let reason = refused.reason.as_deref().expect("a reason");
        assert!(reason.contains("corp.test unreachable since"), "{reason}");
        assert!(
            reason.contains("has not let this credential in"),
            "{reason}"
        );
    }
    // And it is served again as soon as the upstream lets it in.
    proxy.origin.mend_all();
    pass(seconds(60)).await;
    get(&proxy, ANN, CONTENT).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn an_outage_gives_nothing_to_whom_has_no_proof() {
    let proxy = warm(&Corp::new()).await;
    proxy.origin.all_down();
    // Until somebody has found out, a question is held as without a copy.
    for path in [CONTENT, LIST] {
        let refused = get(&proxy, BOB, path).await;
        assert!(refused.status >= 500, "{:?}", refused.reason);
        assert!(!refused.text().contains("1.0.0\""));
    }
    get(&proxy, BOB, CONTENT)
        .await
        .expect_status(503, "failed.unproven");
    get(&proxy, ANN, CONTENT).await.expect("hit");
}

/// Asks without a credential, which must be demanded.
async fn demanded(proxy: &TestProxy, path: &str) {
    let began = proxy.clock.instant();
    let refused = get(proxy, "", path).await;
    assert_eq!(refused.status, 401, "{path}: {:?}", refused.reason);
    assert!(
        refused.detail().starts_with("challenged."),
        "{}",
        refused.detail()
    );
    let expected = Some("Basic realm=\"Sluice feed corp\"");
    assert_eq!(refused.header("www-authenticate"), expected);
    let reason = refused.reason.as_deref().expect("a reason");
    let says_why = reason.contains("corp.test") || reason.contains("offline");
    assert!(says_why, "{reason}");
    assert!(began.elapsed() <= seconds(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_presents_nothing_is_asked_for_a_credential_in_the_upstreams_place() {
    // The real client asks without a credential first, each time.
    let proxy = warm(&Corp::new()).await;
    proxy.origin.all_down();
    for path in ["/v3/index.json", CONTENT, LIST] {
        demanded(&proxy, path).await;
        assert_eq!(get(&proxy, ANN, path).await.status, 200);
    }
    let proxy = proxy.restart().await;
    for path in ["/v3/index.json", CONTENT, LIST] {
        demanded(&proxy, path).await;
        assert_eq!(get(&proxy, ANN, path).await.status, 200);
    }
    proxy.origin.mend_all();
    pass(seconds(HOUR)).await;
    proxy.origin.door("corp.test", Door::Hang);
    proxy.origin.spell("corp.test", crate::harness::Act::Hang);
    demanded(&proxy, LIST).await;
    proxy.origin.mend_all();
    pass(seconds(60)).await;
    proxy.origin.spell("corp.test", Reply::new(503, ""));
    let refused = get(&proxy, "", LIST).await;
    assert_eq!(
        (refused.status, refused.detail()),
        (401, "challenged.upstream-status")
    );
}

#[tokio::test(start_paused = true)]
async fn who_needs_no_credential_is_asked_for_none() {
    let corp = Corp::new();
    corp.rights.grant("", &["*"]);
    let proxy = corp.known_to(&[""]).await;
    get(&proxy, "", LIST).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(HOUR)).await;
    assert_eq!(get(&proxy, "", LIST).await.status, 200);
    // Proven for the id, whose package nobody has stored.
    get(&proxy, "", CONTENT)
        .await
        .expect_status(503, "failed.breaker-open");
}

#[tokio::test(start_paused = true)]
async fn a_proof_outlives_a_restart_and_a_refusal_does_too() {
    let corp = Corp::new();
    let proxy = warm(&corp).await;
    get(&proxy, BOB, LIST).await.expect("miss");
    corp.rights.revoke(BOB);
    let forced = ask(BOB, LIST).header("cache-control", "no-cache");
    proxy.send(forced).await.expect_status(401, "challenged");
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    get(&proxy, ANN, CONTENT).await.expect("hit");
    let list = get(&proxy, ANN, LIST).await;
    assert!(list.detail().starts_with("stale.") || list.detail() == "hit");
    let refused = get(&proxy, BOB, CONTENT).await;
    assert!(refused.status >= 500, "{:?}", refused.reason);
    pass(seconds(11 * HOUR)).await;
    let proxy = proxy.restart().await;
    let list = get(&proxy, ANN, LIST).await;
    assert_eq!(list.status, 200, "{:?}", list.reason);
    assert!(list.detail().starts_with("stale."), "{}", list.detail());
    assert_eq!(get(&proxy, ANN, CONTENT).await.body, whole());
    pass(seconds(2 * HOUR)).await;
    let proxy = proxy.restart().await;
    for path in [CONTENT, LIST] {
        let refused = get(&proxy, ANN, path).await;
        assert!(refused.status >= 500, "{path}: {}", refused.detail());
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_upstream_are_an_outage_and_refusals_are_none() {
    let corp = Corp::new();
    let proxy = warm(&corp).await;
    pass(seconds(HOUR)).await;
    proxy.origin.spell("corp.test", Reply::new(503, ""));
    get(&proxy, ANN, CONTENT)
        .await
        .expect("stale.upstream-status");
    get(&proxy, ANN, LIST).await.expect("stale.upstream-status");
    let refused = get(&proxy, BOB, CONTENT).await;
    assert_eq!(refused.status, 503);
    // What says no for reasons of its own is no outage, and no error of ours hides what it says.
    proxy.origin.spell("corp.test", Reply::new(429, ""));
    assert_eq!(get(&proxy, ANN, CONTENT).await.status, 503);
    proxy.origin.mend_all();
    corp.rights.revoke(ANN);
    get(&proxy, ANN, LIST)
        .await
        .expect_status(401, "challenged");
    proxy.origin.all_down();
    pass(seconds(30)).await;
    for path in [CONTENT, LIST] {
        let refused = get(&proxy, ANN, path).await;
        assert!(refused.status >= 500, "{path}: {}", refused.detail());
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_costs_whoever_is_proven_two_seconds() {
    let proxy = warm(&Corp::new()).await;
    pass(seconds(HOUR)).await;
    proxy.origin.door("corp.test", Door::Hang);
    proxy.origin.spell("corp.test", crate::harness::Act::Hang);
    let began = proxy.clock.instant();
    let list = get(&proxy, ANN, LIST).await;
    assert_eq!(list.status, 200, "{:?}", list.reason);
    assert!(began.elapsed() <= seconds(4), "{:?}", began.elapsed());
    let began = proxy.clock.instant();
    let file = get(&proxy, ANN, CONTENT).await;
    assert_eq!(file.body, whole());
    assert!(began.elapsed() <= seconds(2), "{:?}", began.elapsed());
    let refused = get(&proxy, BOB, LIST).await;
    assert!(refused.status >= 500, "{}", refused.detail());
}

#[tokio::test(start_paused = true)]
async fn one_late_answer_is_no_outage() {
    let corp = Corp::new();
    let proxy = warm(&corp).await;
    pass(seconds(HOUR)).await;
    // The origin answers others, and this after five seconds: whoever's proof is old waits for it.
    let late = Reply::new(403, "not yours").delay(seconds(5));
    proxy.origin.on(super::CONTENT_PLACE, late);
    let asking = proxy.spawn(ask(ANN, CONTENT));
    for _ in 0..4 {
        pass(seconds(1)).await;
        get(&proxy, BOB, "/v3/search?q=x").await;
        pass(seconds(61)).await;
    }
    asking
        .await
        .expect("an answer")
        .expect_status(403, "challenged");
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_needs_a_proof() {
    let proxy = warm(&Corp::new()).await;
    let stored = |credential, path| ask(credential, path).header("cache-control", "only-if-cached");
    for path in [LIST, CONTENT] {
        proxy.send(stored(ANN, path)).await.expect("hit");
        let total = proxy.origin.total();
        let refused = proxy.send(stored(BOB, path)).await;
        refused.expect_status(504, "failed.only-if-cached");
        assert_eq!(proxy.origin.total(), total);
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_proof_is_not_told_whether_there_is_a_copy() {
    let proxy = warm(&Corp::new()).await;
    proxy.origin.all_down();
    pass(seconds(HOUR)).await;
    // Somebody finds out that nobody answers.
    get(&proxy, ANN, LIST).await;
    let unknown = CONTENT.replace("1.0.0", "7.7.7");
    let [stored, unstored] = [CONTENT, &unknown].map(|path| get(&proxy, BOB, path));
    let (stored, unstored) = (stored.await, unstored.await);
    let said = |answer: crate::harness::Answered| {
        let answer = answer.expect_status(503, "failed.unproven");
        let reason = answer.reason.as_deref().expect("a reason").to_owned();
        reason.replace("7.7.7", "1.0.0")
    };
    assert_eq!(said(stored), said(unstored));
}

#[tokio::test(start_paused = true)]
async fn offline_is_an_outage_to_proofs() {
    let corp = Corp::new();
    let mut proxy = warm(&corp).await;
    proxy.reload(|settings| settings.feeds[0].mode = sluice::proxy::Mode::Offline);
    pass(seconds(11 * HOUR)).await;
    let total = proxy.origin.total();
    for path in [CONTENT, LIST] {
        demanded(&proxy, path).await;
        assert_eq!(get(&proxy, ANN, path).await.status, 200, "{path}");
        let refused = get(&proxy, BOB, path).await;
        let refused = refused.expect_status(503, "failed.unproven");
        let reason = refused.reason.as_deref().expect("a reason");
        assert!(reason.contains("offline"), "{reason}");
    }
    pass(seconds(2 * HOUR)).await;
    let refused = get(&proxy, ANN, CONTENT).await;
    refused.expect_status(503, "failed.unproven");
    assert_eq!(proxy.origin.total(), total);
}
