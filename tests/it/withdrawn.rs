//! Versions that are held here and that the upstream has no more: marked, listed, served or refused.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sluice::access::rules;
use sluice::proxy::{FeedSettings, MarkKind, Withdrawn};
use sluice::store::{Choice, Progress, Scope};

use crate::harness::fixture::{
    FLAT, LIST, LIST_ASKED, LIST_PLACE, MODIFIED, ONE, content_path, document, package,
    service_index, version_list,
};
use crate::harness::log::Log;
use crate::harness::{Ask, Origin, Reply, TestProxy, pass, seconds};

const PATH: &str = "/v3/flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const ASKED: &str = "GET api.test/v3-flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const NUSPEC: &str = "/v3/flatcontainer/sample.one/1.0.0/sample.one.nuspec";
const HOUR: u64 = 3600;

fn place() -> String {
    format!("{FLAT}/{}", content_path(ONE, "1.0.0"))
}

/// Lets what goes on behind an answer end.
async fn settle() {
    pass(Duration::from_millis(500)).await;
}

/// Has the upstream's list of `ONE` name these.
fn name(proxy: &TestProxy, versions: &[&str]) {
    let list = document(&version_list(versions));
    proxy.origin.on(LIST_PLACE, list);
}

fn withdrawn(proxy: &TestProxy) -> Vec<String> {
    let listed = proxy.proxy.marked(MarkKind::Withdrawn);
    let listed = listed["withdrawn"].as_array().expect("a list").clone();
    let text = |entry: &Value, name: &str| entry[name].as_str().expect("a text").to_owned();
    listed
        .iter()
        .map(|entry| {
            let parts = ["feed", "id", "version", "since"];
            parts.map(|part| text(entry, part)).join(" ")
        })
        .collect()
}

/// A proxy that holds list and package, the list past its freshness.
async fn holding() -> TestProxy {
    let proxy = TestProxy::new().await;
    for path in [LIST, PATH, NUSPEC] {
        proxy.get(path).await.expect("miss");
    }
    pass(seconds(60)).await;
    proxy
}

/// The same, and a list that came since names 1.1.0 alone.
async fn dropped() -> TestProxy {
    let proxy = holding().await;
    name(&proxy, &["1.1.0"]);
    proxy.get(LIST).await.expect("miss");
    settle().await;
    proxy
}

#[tokio::test(start_paused = true)]
async fn a_version_that_a_new_list_names_no_longer_is_marked_and_served_with_a_warning() {
    let log = Log::listen();
    let proxy = dropped().await;
    let marked = "nuget sample.one 1.0.0 2026-11-10T12:01:00Z";
    assert_eq!(withdrawn(&proxy), [marked]);
    assert_eq!(log.lines_with("is withdrawn").len(), 1);
    for path in [PATH, NUSPEC] {
        let answer = proxy.get(path).await.expect("hit.withdrawn");
        assert_eq!(answer.note(), "sluice; hit; detail=hit.withdrawn");
    }
    proxy.get(PATH).await.expect("hit.withdrawn");
    assert_eq!(log.lines_with("withdrawn version is served").len(), 2);
    let metrics = proxy.telemetry.render();
    for series in [
        r#"sluice_withdrawn_versions{feed="nuget"} 1"#,
        r#"sluice_withdrawn_requests_total{feed="nuget",done="served"} 3"#,
    ] {
        assert!(metrics.contains(series), "{metrics}");
    }
    let proxy = proxy.restart().await;
    settle().await;
    assert_eq!(withdrawn(&proxy), [marked]);
    proxy.get(PATH).await.expect("hit.withdrawn");
    assert_eq!(proxy.origin.count(ASKED), 1);
    // Named again.
    name(&proxy, &["1.0.0", "1.1.0"]);
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("miss");
    settle().await;
    assert_eq!(withdrawn(&proxy), Vec::<String>::new());
    proxy.get(PATH).await.expect("hit");
    let metrics = proxy.telemetry.render();
    assert!(metrics.contains(r#"sluice_withdrawn_versions{feed="nuget"} 0"#));
    let proxy = proxy.restart().await;
    settle().await;
    assert_eq!(withdrawn(&proxy), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_was_held_before_is_compared_after_a_restart_too() {
    let proxy = holding().await.restart().await;
    settle().await;
    name(&proxy, &["1.1.0"]);
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("miss");
    settle().await;
    assert_eq!(withdrawn(&proxy).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn blocked_it_is_a_404_that_says_why_until_a_list_names_it_again() {
    let mut proxy = dropped().await;
    proxy.reload(|settings| settings.feeds[0].withdrawn = Withdrawn::Block);
    for path in [PATH, NUSPEC] {
        let answer = proxy.get(path).await;
        assert_eq!((answer.status, answer.detail()), (404, "refused.withdrawn"));
        let reason = answer.reason.expect("a reason");
        assert_eq!(
            reason,
            "Sluice: sample.one 1.0.0 was withdrawn upstream, since 12:01"
        );
    }
    let other = format!("/v3/flatcontainer/{}", content_path(ONE, "1.1.0"));
    proxy.get(&other).await.expect("miss");
    let metrics = proxy.telemetry.render();
    let counted = r#"sluice_withdrawn_requests_total{feed="nuget",done="blocked"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    name(&proxy, &["1.0.0", "1.1.0"]);
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("miss");
    settle().await;
    proxy.get(PATH).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_gone_by_two_words_withdraws_all_that_is_held() {
    let proxy = holding().await;
    pass(seconds(HOUR)).await;
    proxy.origin.forget(LIST_PLACE);
    proxy.get(LIST).await.expect_status(404, "absent");
    settle().await;
    assert_eq!(withdrawn(&proxy), Vec::<String>::new(), "one word");
    pass(seconds(10)).await;
    proxy.get(LIST).await.expect_status(404, "absent");
    settle().await;
    assert_eq!(withdrawn(&proxy).len(), 1);
    proxy.get(PATH).await.expect("hit.withdrawn");
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_lately_and_no_list_has_named_is_asked_for_first() {
    for gone in [false, true] {
        let proxy = TestProxy::new().await;
        let path = format!("/v3/flatcontainer/{}", content_path(ONE, "3.0.0"));
        let place = format!("{FLAT}/{}", content_path(ONE, "3.0.0"));
        let bytes = package(ONE, "3.0.0", 20_000);
        let reply = Reply::file(bytes).header("Last-Modified", MODIFIED);
        proxy.origin.on(&place, reply);
        proxy.get(&path).await.expect("miss");
        settle().await;
        if gone {
            proxy.origin.forget(&place);
        }
        proxy.get(LIST).await.expect("miss");
        settle().await;
        assert_eq!(proxy.origin.count(&format!("GET {place}")), 2);
        assert_eq!(withdrawn(&proxy).len(), usize::from(gone));
    }
}

#[tokio::test(start_paused = true)]
async fn the_weekly_question_marks_it_and_takes_the_mark_away() {
    let proxy = TestProxy::with(crate::harness::fixture::nuget_like(), |setup| {
        setup.proxy.feeds[0].freshness.content_revalidated = Some(seconds(HOUR));
    })
    .await;
    let whole = proxy.get(PATH).await.expect("miss").body;
    proxy.origin.forget(&place());
    pass(seconds(HOUR)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(withdrawn(&proxy).len(), 1);
    proxy.get(PATH).await.expect("hit.withdrawn");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2, "not at each hit");
    pass(seconds(24 * HOUR - 2)).await;
    proxy.get(PATH).await.expect("hit.withdrawn");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2, "nor within a day");
    proxy.origin.on(&place(), Reply::file(whole).md5());
    pass(seconds(2)).await;
    proxy.get(PATH).await.expect("hit.withdrawn");
    settle().await;
    proxy.get(PATH).await.expect("hit");
    assert_eq!(withdrawn(&proxy), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_question_is_a_404_names_it_still_and_is_asked_again() {
    let proxy = TestProxy::with(crate::harness::fixture::nuget_like(), |setup| {
        setup.proxy.feeds[0].freshness.content_revalidated = Some(seconds(HOUR));
    })
    .await;
    proxy.get(PATH).await.expect("miss");
    pass(seconds(HOUR)).await;
    proxy.get(LIST).await.expect("miss");
    proxy.origin.forget(&place());
    proxy.get(PATH).await.expect("hit");
    settle().await;
    // The two contradict each other, so the list is old.
    proxy.get(LIST).await.expect("revalidated");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
    assert_eq!(withdrawn(&proxy).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mark_goes_with_its_package() {
    let proxy = dropped().await;
    assert_eq!(withdrawn(&proxy).len(), 1);
    let choice = Choice::everything(Scope::new(["nuget"], Some("sample.one")));
    proxy.store.purge(&choice, &Progress::default()).await;
    assert_eq!(withdrawn(&proxy), Vec::<String>::new());
    let proxy = proxy.restart().await;
    settle().await;
    assert_eq!(withdrawn(&proxy), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_through_us_is_deleted() {
    let proxy = dropped().await;
    let removed = format!("DELETE push.test/api/v2/package/{ONE}/1.0.0");
    proxy.origin.on(&removed, Reply::new(204, ""));
    proxy.origin.forget(&place());
    let ask = Ask::new(Method::DELETE, &format!("/v3/package/{ONE}/1.0.0"));
    assert_eq!(proxy.send(ask).await.status, 204);
    proxy.get(PATH).await.expect_status(404, "absent");
}

#[tokio::test(start_paused = true)]
async fn older_and_broken_lists_mark_nothing() {
    let proxy = holding().await;
    let older = Reply::json(version_list(&["1.1.0"]));
    let older = older.header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT");
    for bad in [older, Reply::json("{\"versions\":"), Reply::new(500, "")] {
        proxy.origin.on(LIST_PLACE, bad);
        pass(seconds(60)).await;
        assert_eq!(proxy.get(LIST).await.status, 200);
        settle().await;
        assert_eq!(withdrawn(&proxy), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn where_credentials_are_passed_on_nothing_is_withdrawn() {
    let origin = Origin::new();
    let index = service_index(&[("PackageBaseAddress/3.0.0", "https://corp.test/flat/")]);
    origin.on("corp.test/index.json", document(&index));
    let list = "corp.test/flat/sample.one/index.json";
    origin.on(list, document(&version_list(&["1.0.0", "1.1.0"])));
    let file = Reply::file(package(ONE, "1.0.0", 20_000)).md5();
    let place = format!("corp.test/flat/{}", content_path(ONE, "1.0.0"));
    origin.on(&place, file);
    let proxy = TestProxy::with(origin, |setup| {
        let mut feed = FeedSettings::new("corp", "https://corp.test/index.json");
        feed.clients.mode = rules::Mode::Passthrough;
        feed.freshness.content_revalidated = Some(seconds(HOUR));
        setup.proxy.feeds = vec![feed];
    })
    .await;
    let ask = |path: &str| Ask::get(path).header("authorization", "Basic YTpi");
    proxy.send(ask(LIST)).await.expect("miss");
    proxy.send(ask(PATH)).await.expect("miss");
    pass(seconds(HOUR)).await;
    let asked = format!("GET {place}");
    proxy.send(ask(LIST)).await.expect("revalidated");
    proxy.send(ask(PATH)).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(&asked), 2, "asked with a proof");
    let seen = proxy.origin.last(&asked);
    assert_eq!(seen.header("authorization"), Some("Basic YTpi"));
    proxy.origin.on(list, document(&version_list(&["1.1.0"])));
    proxy.origin.forget(&place);
    pass(seconds(HOUR)).await;
    proxy.send(ask(LIST)).await.expect("miss");
    proxy.send(ask(PATH)).await;
    settle().await;
    assert_eq!(withdrawn(&proxy), Vec::<String>::new());
}

/// Registrations of an upstream without a flat container that name these versions.
fn register(origin: &Origin, versions: &[&str]) {
    let leaf = |version: &&str| {
        json!({
            "@id": format!("https://odd.test/reg/sample.one/{version}.json"),
            "catalogEntry": {"id": ONE, "version": version},
            "packageContent": format!("https://odd.test/download/{version}"),
        })
    };
    let leaves: Vec<Value> = versions.iter().map(leaf).collect();
    let page = json!({"@id": "https://odd.test/reg/sample.one/index.json#p",
        "count": leaves.len(), "lower": "1.0.0", "upper": "9.0.0", "items": leaves});
    let text = json!({"count": 1, "items": [page]}).to_string();
    origin.on("odd.test/reg/sample.one/index.json", document(&text));
}

#[tokio::test(start_paused = true)]
async fn without_a_flat_container_the_list_is_made_of_registrations() {
    let origin = Origin::new();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://odd.test/reg/")]);
    origin.on("odd.test/index.json", document(&index));
    register(&origin, &["1.0.0", "1.1.0"]);
    let file = Reply::file(package(ONE, "1.0.0", 20_000)).md5();
    origin.on("odd.test/download/1.0.0", file);
    let proxy = TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].upstream = "https://odd.test/index.json".into();
    })
    .await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(PATH).await.expect("miss");
    pass(seconds(HOUR)).await;
    register(&proxy.origin, &["1.1.0"]);
    proxy.get(LIST).await.expect("miss");
    settle().await;
    assert_eq!(withdrawn(&proxy).len(), 1);
    proxy.get(PATH).await.expect("hit.withdrawn");
    register(&proxy.origin, &["1.0.0", "1.1.0"]);
    pass(seconds(300)).await;
    proxy.get(LIST).await.expect("miss");
    settle().await;
    assert_eq!(withdrawn(&proxy), Vec::<String>::new());
    // The index is gone.
    pass(seconds(HOUR)).await;
    proxy.origin.forget("odd.test/reg/sample.one/index.json");
    for _ in 0..2 {
        proxy.get(LIST).await.expect_status(404, "absent");
        pass(seconds(10)).await;
    }
    assert_eq!(withdrawn(&proxy).len(), 1);
}
