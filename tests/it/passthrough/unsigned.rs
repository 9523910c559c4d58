//! Packages without their repository's signature where clients' credentials are passed on: what is found out holds for
//! everybody who may see the package, and nobody else learns of it.

use std::time::Duration;

use sluice::proxy::{MarkKind, Scrutiny};

use super::{ANN, BOB, CARL, Corp, ask, file, get};
use crate::harness::fixture::{content_path, document, service_index};
use crate::harness::log::Log;
use crate::harness::{Answered, TestProxy, pass, seconds};
use crate::unsigned::{CERTIFICATE, ID, PATH, SIGNED, VERSION, altered, list};

const SIGNERS: &str = "corp.test/signatures.json";

/// The upstream signs its packages and delivers this to Ann and Carl, who has the one package alone; Bob has others.
fn signing(bytes: &[u8]) -> Corp {
    let corp = Corp::new();
    let index = service_index(&[
        ("PackageBaseAddress/3.0.0", "https://corp.test/flat/"),
        (
            "RepositorySignatures/5.0.0",
            "https://corp.test/signatures.json",
        ),
    ]);
    corp.on("corp.test/index.json", "", document(&index));
    corp.on(SIGNERS, "", list(true, CERTIFICATE));
    corp.on(&place(), ID, file(bytes));
    corp.rights.grant(CARL, &[ID]);
    corp
}

fn place() -> String {
    format!("corp.test/flat/{}", content_path(ID, VERSION))
}

/// A proxy that has fetched the package for Ann and looked at it.
async fn holding(corp: &Corp, scrutiny: Scrutiny) -> TestProxy {
    let mut proxy = corp.known_to(&[ANN, BOB, CARL]).await;
    proxy.reload(|settings| settings.feeds[0].repository_signatures = scrutiny);
    // The first answer may come before or after the look.
    get(&proxy, ANN, PATH).await;
    settle().await;
    proxy
}

async fn settle() {
    pass(Duration::from_millis(500)).await;
}

fn unsigned(proxy: &TestProxy) -> usize {
    let listed = proxy.proxy.marked(MarkKind::Unsigned);
    listed["unsigned"].as_array().expect("a list").len()
}

/// Nothing of an answer tells that there is a package, or what is wrong with it.
#[track_caller]
fn check_silent(answer: &Answered) {
    let reason = answer.reason.clone().unwrap_or_default();
    let headers = format!("{:?}", answer.headers);
    for said in [reason, headers, answer.text().to_owned()] {
        assert!(!said.contains("sign") || said.contains("sign in"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_proof_gets_what_the_setting_says_and_who_has_none_learns_nothing() {
    for (scrutiny, status, detail) in [
        (Scrutiny::Warn, 200, "hit.unsigned"),
        (Scrutiny::Enforce, 502, "refused.unsigned"),
    ] {
        let corp = signing(&altered());
        let proxy = holding(&corp, scrutiny).await;
        assert_eq!(unsigned(&proxy), 1);
        let answer = get(&proxy, ANN, PATH).await;
        assert_eq!((answer.status, answer.detail()), (status, detail));
        // Carl's first question is his proof; then he gets the same.
        get(&proxy, CARL, PATH).await;
        let answer = get(&proxy, CARL, PATH).await;
        assert_eq!((answer.status, answer.detail()), (status, detail));
        for (credential, status) in [(BOB, 403), ("", 401)] {
            let stored = get(&proxy, credential, PATH).await;
            let stored = stored.expect_status(status, "challenged");
            check_silent(&stored);
            let head = crate::harness::Ask::head(PATH).header("authorization", credential);
            check_silent(&proxy.send(head).await.expect_status(status, "challenged"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_altered_is_served_to_whom_may_see_it() {
    let corp = signing(SIGNED);
    let proxy = holding(&corp, Scrutiny::Enforce).await;
    assert_eq!(get(&proxy, ANN, PATH).await.expect("hit").body, SIGNED);
    let answer = get(&proxy, CARL, PATH).await.expect("revalidated");
    assert_eq!(answer.body, SIGNED);
    get(&proxy, BOB, PATH)
        .await
        .expect_status(403, "challenged");
    assert_eq!(unsigned(&proxy), 0);
}

#[tokio::test(start_paused = true)]
async fn only_who_may_see_a_refused_package_has_it_asked_for_again() {
    let corp = signing(&altered());
    let proxy = holding(&corp, Scrutiny::Enforce).await;
    let asked = |credential: &str| {
        let mut asked = proxy.origin.all();
        let place = place();
        asked.retain(|seen| {
            seen.name() == format!("GET {place}")
                && seen.header("authorization").unwrap_or_default() == credential
        });
        asked.len()
    };
    let (of_ann, of_bob) = (asked(ANN), asked(BOB));
    get(&proxy, BOB, PATH)
        .await
        .expect_status(403, "challenged");
    assert_eq!((asked(ANN), asked(BOB)), (of_ann, of_bob + 1));
    // With another that is whole it is over, for everybody.
    corp.on(&place(), ID, file(SIGNED));
    pass(seconds(60)).await;
    let answer = get(&proxy, ANN, PATH).await.expect("revalidated");
    assert_eq!(answer.body, SIGNED);
    assert_eq!(get(&proxy, CARL, PATH).await.body, SIGNED);
    assert_eq!(unsigned(&proxy), 0);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_read_the_list_has_nothing_judged_until_somebody_asks_who_may() {
    let corp = signing(&altered());
    corp.on(SIGNERS, "all of it", list(true, CERTIFICATE));
    let mut proxy = corp.known_to(&[ANN, CARL]).await;
    proxy.reload(|settings| settings.feeds[0].repository_signatures = Scrutiny::Enforce);
    get(&proxy, CARL, PATH).await.expect("miss");
    settle().await;
    get(&proxy, CARL, PATH).await.expect("hit");
    assert_eq!(unsigned(&proxy), 0);
    pass(seconds(60)).await;
    get(&proxy, ANN, PATH).await;
    settle().await;
    assert_eq!(unsigned(&proxy), 1);
    for credential in [ANN, CARL] {
        let refused = get(&proxy, credential, PATH).await;
        refused.expect_status(502, "refused.unsigned");
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_a_proof_is_good_for_the_refusal_and_nobody_else_gets_it() {
    let corp = signing(&altered());
    for (scrutiny, status) in [(Scrutiny::Warn, 200), (Scrutiny::Enforce, 502)] {
        let proxy = holding(&corp, scrutiny).await;
        proxy.origin.all_down();
        let proxy = proxy.restart().await;
        let asked = ask(ANN, PATH).header("cache-control", "only-if-cached");
        let answer = proxy.send(asked).await;
        assert_eq!(answer.status, status, "{:?}", answer.reason);
        // The first request finds out that nobody answers.
        get(&proxy, BOB, PATH).await;
        let stored = get(&proxy, BOB, PATH).await;
        check_silent(&stored.expect_status(503, "failed.unproven"));
        let answer = get(&proxy, ANN, PATH).await;
        assert_eq!(answer.status, status, "{:?}", answer.reason);
        // The proof's grace is over.
        pass(seconds(13 * 3600)).await;
        get(&proxy, ANN, PATH).await;
        let answer = get(&proxy, ANN, PATH).await;
        check_silent(&answer.expect_status(503, "failed.unproven"));
        proxy.origin.mend_all();
    }
}

#[tokio::test(start_paused = true)]
async fn that_the_upstream_lists_nobody_is_said_once_somebody_may_know() {
    let log = Log::listen();
    let corp = Corp::new();
    corp.on(&place(), ID, file(SIGNED));
    let proxy = holding(&corp, Scrutiny::Enforce).await;
    get(&proxy, ANN, PATH).await.expect("hit");
    get(&proxy, ANN, super::CONTENT).await.expect("miss");
    settle().await;
    assert_eq!(unsigned(&proxy), 0);
    let said = log.lines_with("the upstream lists no certificates");
    assert_eq!(said.len(), 1);
}
