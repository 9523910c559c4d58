//! What a member hides, by a block rule or because it is offline: it hides it in the union too, and no other member's.

use sluice::proxy::{BlockRules, Mode, ModeOrder, Rule};

use super::*;
use crate::harness::{pass, seconds};

/// The union, with block rules of the company and of nuget.
async fn blocking(company: &[&str], nuget: &[&str]) -> TestProxy {
    let rules = |texts: &[&str]| {
        let rules = texts.iter().map(|text| Rule::parse(text));
        BlockRules::new(rules.collect::<Result<_, _>>().expect("rules"))
    };
    union_with(upstreams(), |setup| {
        setup.proxy.feeds[0].block = rules(company);
        setup.proxy.feeds[1].block = rules(nuget);
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_one_member_hides_another_may_deliver() {
    let proxy = blocking(&["Shared@1.0.0"], &["Shared@2.0.0"]).await;
    let listed = proxy.get(&list("Shared")).await.expect("miss");
    assert_eq!(listed.text(), r#"{"versions":["1.0.0","3.0.0"]}"#);
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    let expected = [("1.0.0", "nuget.test"), ("3.0.0", "company.test")];
    let expected = expected.map(|(version, host)| (version.to_owned(), host.to_owned()));
    assert_eq!(found, expected);
    let first = proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    assert_eq!(first.body, bytes_of("nuget.test", "Shared", "1.0.0"));
    for path in [
        content("Shared", "2.0.0"),
        "/v3/registration/semver2/shared/2.0.0.json".to_owned(),
    ] {
        let second = proxy.get(&path).await;
        assert_eq!(
            (second.status, second.detail()),
            (404, "refused.blocked"),
            "{path}"
        );
        let reason = second.reason.expect("a reason");
        assert!(reason.contains("\"Shared@2.0.0\""), "{reason}");
    }
    assert!(
        proxy
            .telemetry
            .render()
            .contains(r#"sluice_blocked_total{feed="all",rule="Shared@2.0.0"}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn what_every_member_hides_is_a_404_that_names_the_rule() {
    let proxy = blocking(&["Shared"], &["Sha*"]).await;
    for path in [
        list("Shared"),
        registration("Shared"),
        content("Shared", "1.0.0"),
    ] {
        let answer = proxy.get(&path).await;
        assert_eq!(
            (answer.status, answer.detail()),
            (404, "refused.blocked"),
            "{path}"
        );
        let reason = answer.reason.expect("a reason");
        assert!(reason.contains("\"Shared\""), "{reason}");
    }
    let found = proxy.get("/v3/search?q=x").await.json().to_string();
    assert!(!found.contains("\"Shared\""), "{found}");
    assert_eq!(asked_of(&proxy, "company.test"), ["GET company.test/query"]);
}

#[tokio::test(start_paused = true)]
async fn of_a_member_that_is_offline_only_what_is_stored_is_shown() {
    let proxy = union().await;
    proxy.get(&list("Shared")).await.expect("miss");
    proxy.get(&registration("Shared")).await.expect("miss");
    proxy.get(&content("Shared", "3.0.0")).await.expect("miss");
    let offline = ModeOrder::Fixed(Mode::Offline);
    proxy
        .proxy
        .order_mode("company", offline)
        .expect("the feed");
    let before = asked_of(&proxy, "company.test").len();
    for _ in 0..2 {
        let listed = proxy.get(&list("Shared")).await;
        assert_eq!(listed.text(), r#"{"versions":["1.0.0","2.0.0","3.0.0"]}"#);
    }
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    let hosts: Vec<&str> = found.iter().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, ["nuget.test", "nuget.test", "company.test"]);
    proxy.get(&content("Shared", "3.0.0")).await.expect("hit");
    let first = proxy.get(&content("Shared", "1.0.0")).await.expect("miss");
    assert_eq!(first.body, bytes_of("nuget.test", "Shared", "1.0.0"));
    // What it may have and cannot deliver takes nothing of the other member's away.
    proxy.get(&list("Public")).await.expect("miss");
    let nowhere = proxy.get(&list("Nowhere")).await;
    assert_eq!((nowhere.status, nowhere.detail()), (404, "absent.offline"));
    assert_eq!(asked_of(&proxy, "company.test").len(), before);
    let online = ModeOrder::Configured;
    proxy.proxy.order_mode("company", online).expect("the feed");
    pass(seconds(6 * 60)).await;
    // What was delivered meanwhile stays the other's.
    let found = leaves(&proxy.get(&registration("Shared")).await.json());
    let hosts: Vec<&str> = found.iter().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, ["nuget.test", "nuget.test", "company.test"]);
}
