//! Search and autocomplete: results of all, each member with a deadline, partial results with a mark.

use super::*;
use crate::harness::{Act, Door, pass, seconds};

fn ids(document: &serde_json::Value) -> Vec<&str> {
    let data = document["data"].as_array().expect("data").iter();
    data.map(|hit| {
        hit["id"]
            .as_str()
            .unwrap_or_else(|| hit.as_str().expect("a name"))
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn results_of_all_come_once_each() {
    let proxy = union().await;
    let found = proxy
        .get("/v3/search?q=x&prerelease=true")
        .await
        .expect("miss")
        .json();
    assert_eq!(ids(&found), ["Contoso.Core", "Shared", "Public"]);
    assert_eq!(found["totalHits"], 3);
    let shared = &found["data"][1];
    let versions: Vec<&str> = shared["versions"]
        .as_array()
        .expect("versions")
        .iter()
        .filter_map(|item| item["version"].as_str())
        .collect();
    assert_eq!(versions, ["1.0.0", "2.0.0", "3.0.0"]);
    assert_eq!(
        shared["description"], "company.test",
        "who has the highest version describes"
    );
    for host in ["company.test", "nuget.test"] {
        let asked = proxy.origin.last(&format!("GET {host}/query"));
        assert_eq!(asked.target, "/query?q=x&prerelease=true&skip=0&take=20");
    }
    proxy
        .get("/v3/search?q=x&prerelease=true")
        .await
        .expect("hit");
    let names = proxy
        .get("/v3/autocomplete?q=s")
        .await
        .expect("miss")
        .json();
    assert_eq!(ids(&names), ["Contoso.Core", "Shared", "Public"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_cut_from_the_results_of_all() {
    let proxy = union().await;
    let found = proxy.get("/v3/search?q=x&skip=1&take=1").await.json();
    assert_eq!(
        (ids(&found), &found["totalHits"]),
        (vec!["Shared"], &3.into())
    );
    let asked = proxy.origin.last("GET nuget.test/query");
    assert_eq!(asked.target, "/query?q=x&skip=0&take=2");
}

#[tokio::test(start_paused = true)]
async fn versions_of_an_id_are_those_of_all_that_may_have_it() {
    let origin = upstreams();
    for (host, text) in [
        (
            "company.test",
            r#"{"totalHits":2,"data":["1.0.0","3.0.0"]}"#,
        ),
        ("nuget.test", r#"{"totalHits":2,"data":["1.0.0","2.0.0"]}"#),
    ] {
        origin.on(&format!("{host}/complete"), Reply::json(text));
    }
    let proxy = union_with(origin, |_| {}).await;
    let found = proxy.get("/v3/autocomplete?id=Shared").await.json();
    assert_eq!(ids(&found), ["1.0.0", "3.0.0", "2.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_whole_id_is_searched_for_only_where_it_may_be() {
    let proxy = union_with(upstreams(), |setup| {
        rules(setup, "company").only = patterns(&["Contoso.*"]);
    })
    .await;
    let asked = |host: &str| proxy.origin.count(&format!("GET {host}/query"));
    proxy
        .get("/v3/search?q=PackageId:Shared")
        .await
        .expect("miss");
    assert_eq!((asked("company.test"), asked("nuget.test")), (0, 1));
    proxy
        .get("/v3/search?q=packageid:Contoso.Core+packageid:Shared")
        .await
        .expect("miss");
    assert_eq!((asked("company.test"), asked("nuget.test")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_member_is_left_out_after_its_time_and_heard_the_next_time() {
    let proxy = union().await;
    proxy.get("/v3/index.json").await.expect("miss");
    let late = Reply::json(r#"{"totalHits":1,"data":[{"id":"Late","version":"1.0.0"}]}"#)
        .delay(seconds(5));
    proxy.origin.on("company.test/query", late);
    let (answer, took) = proxy.timed("/v3/search?q=x").await;
    assert_eq!(took, seconds(3));
    let found = answer.expect("miss.partial").json();
    assert_eq!(ids(&found), ["Contoso.Core", "Public", "Shared"]);
    assert!(
        proxy
            .telemetry
            .render()
            .contains(r#"sluice_members_left_out_total{feed="all",member="company"} 1"#)
    );
    pass(seconds(3)).await;
    let (answer, took) = proxy.timed("/v3/search?q=x").await;
    assert_eq!(took, seconds(0));
    assert!(ids(&answer.json()).contains(&"Late"));
}

#[tokio::test(start_paused = true)]
async fn a_failing_member_leaves_a_partial_answer_and_all_of_them_a_failure() {
    let proxy = union().await;
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.origin.on("company.test/query", Reply::new(500, ""));
    let found = proxy
        .get("/v3/search?q=x")
        .await
        .expect("miss.partial")
        .json();
    assert_eq!(ids(&found), ["Contoso.Core", "Public", "Shared"]);
    proxy.origin.spell("company.test", Act::Hang);
    proxy.origin.door("nuget.test", Door::Hang);
    proxy.origin.spell("nuget.test", Act::Hang);
    let (answer, took) = proxy.timed("/v3/search?q=y").await;
    assert!((502..=504).contains(&answer.status), "{}", answer.status);
    assert_eq!(took, seconds(3));
    assert!(answer.reason.expect("a reason").contains("member company"));
}
