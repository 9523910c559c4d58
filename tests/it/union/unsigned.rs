//! A package of which a member lacks its repository's signature: the member's own setting says what becomes of it, and no
//! other member delivers its own in its place.

use std::time::Duration;

use sluice::proxy::{MarkKind, Mode, Presence, Scrutiny};

use super::*;
use crate::harness::log::Log;
use crate::harness::pass;
use crate::unsigned::{CERTIFICATE, ID, PATH, SIGNED, VERSION, altered, list as signers};

const PROBLEM: &str = "its signature is of another package";

/// Both upstreams have the package and sign; the one delivers this, the other that.
fn signing(company: &[u8], nuget: &[u8]) -> Origin {
    let origin = upstreams();
    for (host, bytes) in [("company.test", company), ("nuget.test", nuget)] {
        stock_id(&origin, host, ID, &[VERSION]);
        let place = format!("{host}/flat/{}", content_path(ID, VERSION));
        origin.on(&place, Reply::file(bytes.to_vec()).header("ETag", "\"x\""));
        let place = format!("{host}/signatures.json");
        origin.on(&place, signers(true, CERTIFICATE));
    }
    origin
}

async fn union_of(origin: Origin, scrutiny: Scrutiny) -> TestProxy {
    union_with(origin, |setup| {
        for feed in &mut setup.proxy.feeds {
            feed.repository_signatures = scrutiny;
        }
    })
    .await
}

/// Lets what goes on behind answers come to its end.
async fn settle() {
    pass(Duration::from_millis(500)).await;
}

fn asked_for_package(proxy: &TestProxy, host: &str) -> usize {
    let asked = format!("GET {host}/flat/{}", content_path(ID, VERSION));
    proxy.origin.count(&asked)
}

/// The feeds in which a package is listed as unsigned.
fn listed(proxy: &TestProxy) -> Vec<String> {
    let listed = proxy.proxy.marked(MarkKind::Unsigned);
    let listed = listed["unsigned"].as_array().expect("a list").clone();
    let feed = |entry: &serde_json::Value| entry["feed"].as_str().expect("a feed").to_owned();
    listed.iter().map(feed).collect()
}

/// It is refused in the name of the member, and the other is not asked.
async fn check_refused(proxy: &TestProxy) {
    let refused = proxy.get(PATH).await;
    assert_eq!(
        (refused.status, refused.detail()),
        (502, "refused.unsigned")
    );
    let reason = refused.reason.expect("a reason");
    assert!(reason.contains("member company"), "{reason}");
    assert!(reason.contains(PROBLEM), "{reason}");
    assert_eq!(asked_for_package(proxy, "nuget.test"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_altered_in_one_member_is_served_with_a_warning_and_listed_as_its_own() {
    let log = Log::listen();
    let proxy = union_of(signing(&altered(), SIGNED), Scrutiny::Warn).await;
    assert_eq!(proxy.get(PATH).await.expect("miss").body, altered());
    settle().await;
    let answer = proxy.get(PATH).await.expect("hit.unsigned");
    assert_eq!(answer.body, altered());
    assert_eq!(listed(&proxy), ["company"]);
    let lines = log.lines_with("speaks against is served");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("feed=\"company\""), "{}", lines[0]);
    assert_eq!(asked_for_package(&proxy, "nuget.test"), 0);
}

#[tokio::test(start_paused = true)]
async fn enforced_no_other_member_delivers_its_own_whatever_becomes_of_the_one() {
    let mut proxy = union_of(signing(&altered(), SIGNED), Scrutiny::Enforce).await;
    // The first answer may come before or after the look.
    proxy.get(PATH).await;
    settle().await;
    for presence in [Presence::Required, Presence::Optional] {
        proxy.reload(|settings| settings.feeds[0].member.presence = presence);
        check_refused(&proxy).await;
    }
    let mut proxy = proxy.restart().await;
    settle().await;
    check_refused(&proxy).await;
    proxy.reload(|settings| settings.feeds[0].mode = Mode::Offline);
    check_refused(&proxy).await;
    proxy.reload(|settings| settings.feeds[0].mode = Mode::Online);
    proxy
        .origin
        .door("company.test", crate::harness::Door::Refuse);
    pass(Duration::from_secs(60)).await;
    check_refused(&proxy).await;
    assert_eq!(listed(&proxy), ["company"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_delivers_it_where_the_union_never_did() {
    // Fetched and judged by the member's own feed.
    let proxy = union_of(signing(&altered(), SIGNED), Scrutiny::Enforce).await;
    proxy.get(&PATH.replace("/v3/", "/company/v3/")).await;
    settle().await;
    check_refused(&proxy).await;
}

#[tokio::test(start_paused = true)]
async fn what_another_member_lacks_is_not_held_against_the_one_that_delivers() {
    let proxy = union_of(signing(SIGNED, &altered()), Scrutiny::Enforce).await;
    let own = PATH.replace("/v3/", "/nuget/v3/");
    for path in [PATH, &own] {
        proxy.get(path).await;
        settle().await;
    }
    assert_eq!(proxy.get(PATH).await.expect("hit").body, SIGNED);
    let refused = proxy.get(&own).await;
    assert_eq!(
        (refused.status, refused.detail()),
        (502, "refused.unsigned")
    );
    assert_eq!(listed(&proxy), ["nuget"]);
}

#[tokio::test(start_paused = true)]
async fn the_setting_is_the_members_own() {
    let proxy = union_with(signing(&altered(), SIGNED), |setup| {
        setup.proxy.feeds[1].repository_signatures = Scrutiny::Enforce;
    })
    .await;
    proxy.get(PATH).await.expect("miss");
    settle().await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, altered());
    assert_eq!(listed(&proxy), [""; 0]);
}
