//! Dependency confusion: an id that a member owns is that member's, whatever others have and whatever happens.

use super::*;
use crate::harness::{Ask, Door, pass, seconds};

/// The company owns `Contoso.*`; nuget.test has a higher version of one of these.
async fn owned() -> TestProxy {
    union_with(upstreams(), |setup| {
        rules(setup, "company").owns = patterns(&["Contoso.*"]);
        setup.proxy.unions[0].members = vec!["nuget".into(), "company".into()];
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_higher_version_elsewhere_is_never_seen() {
    let proxy = owned().await;
    let listed = proxy.get(&list("contoso.core")).await.expect("miss");
    assert_eq!(listed.text(), r#"{"versions":["1.0.0","1.1.0"]}"#);
    let found = leaves(&proxy.get(&registration("Contoso.Core")).await.json());
    let versions: Vec<&str> = found.iter().map(|(version, _)| version.as_str()).collect();
    assert_eq!(versions, ["1.0.0", "1.1.0"]);
    let same = proxy.get(&content("CONTOSO.Core", "1.0.0")).await;
    assert_eq!(same.body, bytes_of("company.test", "Contoso.Core", "1.0.0"));
    proxy
        .get(&content("Contoso.Core", "99.0.0"))
        .await
        .expect_status(404, "absent");
    for path in ["/v3/search?q=core", "/v3/autocomplete?q=c"] {
        let text = proxy.get(path).await.expect("miss").text().to_owned();
        assert!(!text.contains("99.0.0"), "{text}");
        assert_eq!(
            text.to_lowercase().matches("\"contoso.core\"").count(),
            1,
            "{text}"
        );
    }
    assert_eq!(
        asked_of(&proxy, "nuget.test"),
        ["GET nuget.test/query", "GET nuget.test/complete"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_owned_name_is_told_to_nobody_else_in_a_search_either() {
    let proxy = owned().await;
    for query in [
        "q=Contoso.Core",
        "q=packageid:contoso.core",
        "q=x+CONTOSO.core",
        "q=%22Contoso.Core%22",
    ] {
        proxy
            .get(&format!("/v3/search?{query}"))
            .await
            .expect("miss");
    }
    proxy
        .get("/v3/autocomplete?id=Contoso.Core")
        .await
        .expect("miss");
    proxy
        .get("/v3/autocomplete?q=Contoso.C")
        .await
        .expect("miss");
    assert_eq!(asked_of(&proxy, "nuget.test"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn nor_do_the_addresses_of_another_members_documents_lead_to_it() {
    let proxy = owned().await;
    let catalog = |name: &str, item: &str| {
        let url = |name: &str| format!("https://nuget.test/catalog/{name}.json");
        let list = serde_json::json!({
            "@id": url(name), "commitId": "1", "commitTimeStamp": "2026-11-04T10:00:00Z", "count": 1,
            "items": [{
                "@id": url(item), "commitId": "1", "commitTimeStamp": "2026-11-04T10:00:00Z",
                "count": 1, "nuget:id": "Contoso.Core", "nuget:version": "99.0.0",
            }],
        });
        let place = format!("nuget.test/catalog/{name}.json");
        proxy.origin.on(&place, document(&list.to_string()));
    };
    catalog("index", "page0");
    catalog("page0", "data/contoso.core.99.0.0");
    for name in ["index", "page0"] {
        let own = format!("/nuget/v3/catalog/{name}.json");
        assert_eq!(proxy.get(&own).await.status, 200, "{name}");
    }
    let hive = |proxy: &TestProxy| {
        let proxy = proxy.proxy.clone();
        async move { Ask::get("/nuget/v3/index.json").send(&proxy).await.json() }
    };
    let index = hive(&proxy).await;
    let resources = index["resources"].as_array().expect("resources").clone();
    let hive = resources
        .iter()
        .find(|entry| entry["@type"] == "RegistrationsBaseUrl/3.6.0")
        .and_then(|entry| {
            entry["@id"]
                .as_str()?
                .strip_prefix("http://us.test:6850/nuget/v3/")
        })
        .expect("a hive");
    for path in [
        format!("{hive}contoso.core/99.0.0.json"),
        format!("{hive}contoso.core/page/1.0.0/99.0.0.json"),
        "catalog/data/contoso.core.99.0.0.json".to_owned(),
        // They name every id.
        "catalog/index.json".to_owned(),
        "catalog/page0.json".to_owned(),
        format!(
            "link/{}/contoso.core/99.0.0/0123456789abcdef",
            hive.split('/').nth(1).expect("a token")
        ),
        format!("flatcontainer/{}", content_path("Contoso.Core", "99.0.0")),
    ] {
        let answer = proxy.get(&format!("/all/v3/member/nuget/{path}")).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    for path in [
        format!("{hive}contoso.core/index.json"),
        "flatcontainer/contoso.core/index.json".to_owned(),
    ] {
        let answer = proxy.get(&format!("/all/v3/member/nuget/{path}")).await;
        assert!(!answer.text().contains("99.0.0"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_owner_is_a_failure_and_never_another_members_answer() {
    for door in [Door::Refuse, Door::Hang] {
        let proxy = owned().await;
        // Before anything was asked: nothing is known of the owner.
        proxy.origin.door("company.test", door);
        for path in [
            list("Contoso.Core"),
            content("Contoso.Core", "1.0.0"),
            content("Contoso.Core", "99.0.0"),
            registration("Contoso.Core"),
            list("Contoso.Unknown"),
        ] {
            let answer = proxy.get(&path).await;
            assert!(
                (502..=504).contains(&answer.status),
                "{path}: {}",
                answer.status
            );
            let reason = answer.reason.expect("a reason");
            assert!(reason.starts_with("Sluice: member company: "), "{reason}");
        }
        assert_eq!(asked_of(&proxy, "nuget.test"), Vec::<String>::new());
        // Ids that it does not own are a failure too, as it may have them; one that is named for its own ids alone
        // would be asked for no others.
        proxy.origin.mend("company.test");
        pass(seconds(60)).await;
        proxy.get(&list("Contoso.Core")).await.expect("miss");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_owner_delivered_outlives_its_outage() {
    let proxy = owned().await;
    proxy.get(&list("Contoso.Core")).await.expect("miss");
    proxy
        .get(&content("Contoso.Core", "1.1.0"))
        .await
        .expect("miss");
    let proxy = proxy.restart().await;
    proxy.origin.down("company.test");
    pass(seconds(24 * 60 * 60)).await;
    let listed = proxy.get(&list("Contoso.Core")).await;
    assert_eq!(
        (listed.status, listed.text()),
        (200, r#"{"versions":["1.0.0","1.1.0"]}"#)
    );
    assert!(listed.detail().starts_with("stale."), "{}", listed.detail());
    proxy
        .get(&content("Contoso.Core", "1.1.0"))
        .await
        .expect("hit");
}
