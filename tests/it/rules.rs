//! Block rules: what a rule hides is named nowhere and delivered to nobody; everything else passes byte for byte.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use sluice::proxy::{BlockRules, Rule, Settings};

use crate::harness::client::HOST;
use crate::harness::fixture::{
    CATALOG, FLAT, LIST, LIST_ASKED, MANY, ONE, content_path, document, nuget_like, package,
    service_index,
};
use crate::harness::log::Log;
use crate::harness::{Ask, Origin, Setup, TestProxy, pass, seconds};

const HIVE: &str = "RegistrationsBaseUrl/3.6.0";
const RULE: &str = "Sluice: sample.one 1.1.0 is blocked by the rule \"Sample.One@1.1.0\"";

fn blocking(rules: &[&str]) -> BlockRules {
    BlockRules::new(
        rules
            .iter()
            .map(|rule| Rule::parse(rule).unwrap())
            .collect(),
    )
}

pub(crate) fn block(rules: &'static [&str]) -> impl FnOnce(&mut Settings) {
    move |settings| settings.feeds[0].block = blocking(rules)
}

pub(crate) async fn with(rules: &'static [&str]) -> TestProxy {
    TestProxy::with(nuget_like(), |setup| block(rules)(&mut setup.proxy)).await
}

fn package_path(id: &str, version: &str) -> String {
    format!("/v3/flatcontainer/{}", content_path(id, version))
}

/// Our path of a URL in an answer.
fn path_of(url: &Value) -> String {
    let ours = format!("http://{HOST}");
    url.as_str()
        .unwrap()
        .strip_prefix(&ours)
        .unwrap()
        .to_owned()
}

fn versions(page: &Value) -> Vec<&str> {
    let leaves = page["items"].as_array().unwrap().iter();
    leaves
        .map(|leaf| leaf["catalogEntry"]["version"].as_str().unwrap())
        .collect()
}

#[track_caller]
fn check_blocked(answer: &crate::harness::Answered, reason: &str) {
    assert_eq!(
        (answer.status, answer.detail()),
        (404, "refused.blocked"),
        "{:?}",
        answer.reason
    );
    assert_eq!(answer.reason.as_deref(), Some(reason));
}

#[tokio::test(start_paused = true)]
async fn a_version_is_left_out_of_lists_and_search() {
    let proxy = with(&["Sample.One@1.1.0"]).await;
    let list = proxy.get(LIST).await.expect("miss");
    assert_eq!(list.text(), r#"{"versions":["1.0.0","2.0.0-beta.1"]}"#);
    let other = proxy.get("/v3/flatcontainer/sample.many/index.json").await;
    let upstream = TestProxy::new().await;
    let plain = upstream
        .get("/v3/flatcontainer/sample.many/index.json")
        .await;
    assert_eq!(other.body, plain.body);
    assert_eq!(other.header("etag"), plain.header("etag"));
    assert_ne!(list.header("etag"), upstream.get(LIST).await.header("etag"));

    let found = proxy.get("/v3/search?q=a").await.expect("miss").json();
    let result = &found["data"][0];
    assert_eq!(
        (&found["totalHits"], &result["version"]),
        (&json!(1), &json!("2.0.0-Beta.1"))
    );
    let left: Vec<_> = result["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["version"])
        .collect();
    assert_eq!(left, ["1.0.0", "2.0.0-Beta.1"]);
    proxy.origin.on(
        "search-1.test/autocomplete?id=sample.ONE&prerelease=true",
        document(r#"{"data":["1.0.0","1.1.0"]}"#),
    );
    let names = proxy
        .get("/v3/autocomplete?id=sample.ONE&prerelease=true")
        .await;
    assert_eq!(names.text(), r#"{"data":["1.0.0"]}"#);
    // Ids of which something is left stay.
    let names = proxy.get("/v3/autocomplete?q=sample").await;
    assert_eq!(names.text(), r#"{"totalHits":1,"data":["Sample.One"]}"#);
}

#[tokio::test(start_paused = true)]
async fn registrations_lose_leaves_and_empty_pages_and_count_the_rest() {
    let proxy = with(&["Sample.One@1.1.0", "Sample.Many@[2.0,3.0]"]).await;
    let hive = proxy.path_of(HIVE).await;
    let inlined = proxy
        .get(&format!("{hive}sample.one/index.json"))
        .await
        .expect("miss")
        .json();
    let page = &inlined["items"][0];
    assert_eq!(versions(page), ["1.0.0", "2.0.0-Beta.1"]);
    assert_eq!((&inlined["count"], &page["count"]), (&json!(1), &json!(2)));
    assert_eq!(
        (&page["lower"], &page["upper"]),
        (&json!("1.0.0"), &json!("2.0.0-beta.1"))
    );

    let index = proxy
        .get(&format!("{hive}sample.many/index.json"))
        .await
        .expect("miss")
        .json();
    assert_eq!(index["count"], 2);
    let said: Vec<_> = index["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| {
            (
                &page["count"],
                page["lower"].as_str().unwrap(),
                page["upper"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [(&json!(3), "1.0.0", "1.2.0"), (&json!(2), "3.1.0", "3.2.0")]
    );
    let page = proxy.get(&path_of(&index["items"][1]["@id"])).await.json();
    assert_eq!(
        (versions(&page), &page["count"], &page["lower"]),
        (vec!["3.1.0", "3.2.0"], &json!(2), &json!("3.1.0"))
    );
    // A page that no rule touches is asked for by clients alone, and passes as it is.
    let first = path_of(&index["items"][0]["@id"]);
    let asked = |proxy: &TestProxy| {
        let pages = proxy.origin.all();
        pages
            .iter()
            .filter(|seen| seen.target.contains("/page/1.0.0/"))
            .count()
    };
    assert_eq!(asked(&proxy), 0);
    assert_eq!(versions(&proxy.get(&first).await.json()).len(), 3);
    assert_eq!(asked(&proxy), 1);

    let rule = "is blocked by the rule \"Sample.Many@[2.0,3.0]\"";
    let gone = first.replace("1.0.0", "2.0.0").replace("1.2.0", "2.2.0");
    check_blocked(
        &proxy.get(&gone).await,
        &format!("Sluice: sample.many {rule}"),
    );
    for version in ["2.1.0", "3.0.0"] {
        let leaf = proxy
            .get(&format!("{hive}sample.many/{version}.json"))
            .await;
        check_blocked(&leaf, &format!("Sluice: sample.many {rule}"));
    }
    proxy
        .get(&format!("{hive}sample.many/3.1.0.json"))
        .await
        .expect("miss");
    let entry = page["items"][0]["catalogEntry"]["@id"].as_str().unwrap();
    let entry = entry.strip_prefix(&format!("http://{HOST}")).unwrap();
    proxy.get(entry).await.expect("miss");
    let blocked = proxy.get(&entry.replace("3.1.0", "3.0.0")).await;
    check_blocked(&blocked, &format!("Sluice: catalog document {rule}"));
}

#[tokio::test(start_paused = true)]
async fn content_is_refused_with_the_rule_even_if_it_is_stored() {
    let mut proxy = TestProxy::new().await;
    proxy.get(&package_path(ONE, "1.1.0")).await.expect("miss");
    proxy.get(&package_path(ONE, "1.0.0")).await.expect("miss");
    proxy.reload(block(&["Sample.One@1.1.0"]));
    let asked = proxy.origin.total();
    let path = package_path(ONE, "1.1.0");
    let answer = proxy.get(&path).await;
    check_blocked(&answer, RULE);
    assert!(
        answer.text().contains("Sample.One@1.1.0"),
        "{}",
        answer.text()
    );
    for path in [
        path.replace("1.1.0", "1.1.0.0+build"),
        path.replace("sample.one", "SAMPLE.One"),
        "/v3/flatcontainer/sample.one/1.1.0/sample.one.nuspec".into(),
        "/v3/flatcontainer/sample.one/1.1.0/icon".into(),
        "/v3/flatcontainer/sample.one/1.1.0/readme".into(),
        "/v3/flatcontainer/sample.one/1.1.0/license".into(),
    ] {
        check_blocked(&proxy.get(&path).await, RULE);
    }
    check_blocked(&proxy.send(Ask::head(&path)).await, RULE);
    assert_eq!(proxy.origin.total(), asked);
    proxy.get(&package_path(ONE, "1.0.0")).await.expect("hit");
    let text = proxy.telemetry.render();
    let counted = r#"sluice_blocked_total{feed="nuget",rule="Sample.One@1.1.0"} 8"#;
    assert!(text.contains(counted), "{text}");
    proxy.reload(block(&[]));
    proxy.get(&path).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn an_id_as_a_whole_is_not_there_and_nobody_is_asked_for_it() {
    let proxy = with(&["Sample.One", "Evil.*"]).await;
    let hive = proxy.path_of(HIVE).await;
    let asked = proxy.origin.total();
    for (path, what) in [
        (LIST.to_owned(), "sample.one"),
        (package_path(ONE, "1.0.0"), "sample.one 1.0.0"),
        (format!("{hive}sample.one/index.json"), "sample.one"),
        (format!("{hive}sample.one/1.0.0.json"), "sample.one"),
        (
            format!("{hive}sample.one/page/1.0.0/2.0.0.json"),
            "sample.one",
        ),
    ] {
        let reason = format!("Sluice: {what} is blocked by the rule \"Sample.One\"");
        check_blocked(&proxy.get(&path).await, &reason);
    }
    let other = proxy.get("/v3/flatcontainer/evil.twin/index.json").await;
    check_blocked(
        &other,
        "Sluice: evil.twin is blocked by the rule \"Evil.*\"",
    );
    assert_eq!(proxy.origin.total(), asked);
    let found = proxy.get("/v3/search?q=a").await.json();
    assert_eq!(
        (&found["totalHits"], &found["data"]),
        (&json!(0), &json!([]))
    );
    let names = proxy.get("/v3/autocomplete?q=sample").await;
    assert_eq!(names.text(), r#"{"totalHits":0,"data":[]}"#);
    let entry = format!(
        "/v3/catalog/{}/2026.11.04.10.00.00/sample.one.1.0.0.json",
        CATALOG.rsplit_once("catalog0/").unwrap().1
    );
    check_blocked(
        &proxy.get(&entry).await,
        "Sluice: catalog document is blocked by the rule \"Sample.One\"",
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_of_which_nothing_is_left_names_the_rule() {
    let proxy = with(&["Sample.One@(,)"]).await;
    check_blocked(
        &proxy.get(LIST).await,
        "Sluice: sample.one is blocked by the rule \"Sample.One@(,)\"",
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_in_memory_hides_no_changed_rule() {
    let mut proxy = TestProxy::new().await;
    let cases = [
        (&[][..], r#"{"versions":["1.0.0","1.1.0","2.0.0-beta.1"]}"#),
        (
            &["Sample.One@1.1.0"],
            r#"{"versions":["1.0.0","2.0.0-beta.1"]}"#,
        ),
        (
            &["Sample.One@1.0.0"],
            r#"{"versions":["1.1.0","2.0.0-beta.1"]}"#,
        ),
    ];
    proxy.get(LIST).await.expect("miss");
    let mut tags = HashMap::new();
    for round in 0..2 {
        for (rules, text) in cases {
            proxy.reload(block(rules));
            // From the store, from memory, by the shortcut.
            for _ in 0..3 {
                let list = proxy.get(LIST).await.expect("hit");
                assert_eq!(list.text(), text);
                let tag = list.header("etag").unwrap().to_owned();
                assert_eq!(*tags.entry(rules).or_insert(tag.clone()), tag);
            }
        }
        assert_eq!(tags.values().collect::<HashSet<_>>().len(), 3, "{round}");
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
}

/// An upstream without a flat container, whose packages lie outside every base.
fn artifactory_like() -> Origin {
    let origin = Origin::new();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://art.test/reg")]);
    origin.on("art.test/index.json", document(&index));
    let leaf = |version: &str| {
        json!({"@id": format!("https://art.test/reg/a.b/{version}.json"),
            "catalogEntry": {"id": "A.B", "version": version},
            "packageContent": format!("https://art.test/Download/A.B/{version}")})
    };
    let page = json!({"@id": "https://art.test/reg/a.b/page/1.0.0/2.0.0.json", "count": 2,
        "lower": "1.0.0", "upper": "2.0.0", "items": [leaf("1.0.0"), leaf("2.0.0")]});
    origin.on(
        "art.test/reg/a.b/index.json",
        document(&json!({"count": 1, "items": [page]}).to_string()),
    );
    for version in ["1.0.0", "2.0.0"] {
        let file = crate::harness::Reply::file(package("A.B", version, 5000));
        origin.on(&format!("art.test/Download/A.B/{version}"), file);
    }
    origin
}

#[tokio::test(start_paused = true)]
async fn lists_made_of_registrations_and_link_routes_obey_rules_too() {
    let feed =
        |setup: &mut Setup| setup.proxy.feeds[0].upstream = "https://art.test/index.json".into();
    let mut proxy = TestProxy::with(artifactory_like(), feed).await;
    let list = "/v3/flatcontainer/a.b/index.json";
    assert_eq!(
        proxy.get(list).await.text(),
        r#"{"versions":["1.0.0","2.0.0"]}"#
    );
    let hive = proxy.path_of(HIVE).await;
    let index = proxy.get(&format!("{hive}a.b/index.json")).await.json();
    let links: Vec<String> = index["items"][0]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|leaf| path_of(&leaf["packageContent"]))
        .collect();
    assert!(
        links.iter().all(|link| link.contains("/link/")),
        "{links:?}"
    );

    proxy.reload(block(&["A.B@2.0.0"]));
    assert_eq!(proxy.get(list).await.text(), r#"{"versions":["1.0.0"]}"#);
    proxy.get(&links[0]).await.expect("miss");
    let reason = "Sluice: a.b 2.0.0 is blocked by the rule \"A.B@2.0.0\"";
    check_blocked(&proxy.get(&links[1]).await, reason);
    assert_eq!(proxy.origin.count("GET art.test/Download/A.B/2.0.0"), 0);
    // A page that the index holds, by its own path.
    let page = proxy
        .get(&format!("{hive}a.b/page/1.0.0/2.0.0.json"))
        .await
        .json();
    assert_eq!(
        (versions(&page), &page["count"], &page["upper"]),
        (vec!["1.0.0"], &json!(1), &json!("1.0.0"))
    );
}

#[tokio::test(start_paused = true)]
async fn rules_of_one_feed_are_no_others() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        let mut second = setup.proxy.feeds[0].clone();
        second.name = "strict".into();
        second.block = blocking(&["Sample.*"]);
        setup.proxy.feeds.push(second);
    })
    .await;
    proxy.get(LIST).await.expect("miss");
    let answer = proxy.get(&format!("/strict{LIST}")).await;
    check_blocked(
        &answer,
        "Sluice: sample.one is blocked by the rule \"Sample.*\"",
    );
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn hits_are_logged_once_a_minute_for_each_rule() {
    let log = Log::listen();
    let proxy = with(&["Sample.One@1.1.0", "Sample.Many"]).await;
    let lines = || log.lines_with("block rule");
    for _ in 0..3 {
        proxy.get(&package_path(ONE, "1.1.0")).await;
        proxy.get(&package_path(MANY, "1.0.0")).await;
    }
    let seen = lines();
    assert_eq!(seen.len(), 2, "{seen:?}");
    for part in [
        "rule=\"Sample.One@1.1.0\"",
        "id=\"sample.one\"",
        "version=\"1.1.0\"",
        "client=192.0.2.1",
    ] {
        assert!(seen[0].contains(part), "{}", seen[0]);
    }
    pass(seconds(60)).await;
    proxy.get(&package_path(ONE, "1.1.0")).await;
    assert_eq!(lines().len(), 3);
    assert_eq!(
        proxy
            .origin
            .count(&format!("GET {FLAT}/{}", content_path(ONE, "1.1.0"))),
        0
    );
}
