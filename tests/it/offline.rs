//! Offline: nothing is sent upstream, and only what can be delivered is named; by configuration, by an operator's word,
//! and by itself in a long outage.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use sluice::proxy::{BlockRules, Mode, ModeOrder, Rule};
use sluice::store::{Probe, Step};

use crate::harness::client::HOST;
use crate::harness::fixture::{
    FLAT, INDEX, LIST, ONE, content_path, document, nuget_like, package, service_index,
    version_list,
};
use crate::harness::{Answered, Ask, Gate, Origin, Reply, TestProxy, pass, seconds};

pub(crate) const OFFLINE: ModeOrder = ModeOrder::Fixed(Mode::Offline);
pub(crate) const ONLINE: ModeOrder = ModeOrder::Fixed(Mode::Online);
const HIVE: &str = "RegistrationsBaseUrl/3.6.0";
const AUDIT: &str = "/v3/vulnerabilities/index.json";

pub(crate) fn package_path(id: &str, version: &str) -> String {
    format!("/v3/flatcontainer/{}", content_path(id, version))
}

#[track_caller]
pub(crate) fn order(proxy: &TestProxy, order: ModeOrder) {
    proxy.proxy.order_mode("nuget", order).expect("the feed");
}

/// Mode and cause as readiness says them.
pub(crate) fn state(proxy: &TestProxy) -> (String, String) {
    let feed = &proxy.proxy.readiness()["feeds"][0];
    let text = |name: &str| feed[name].as_str().unwrap().to_owned();
    (text("mode"), text("mode_by"))
}

#[track_caller]
pub(crate) fn check_absent(answer: &Answered, what: &str) {
    assert_eq!(
        (answer.status, answer.detail()),
        (404, "absent.offline"),
        "{:?}",
        answer.reason
    );
    assert_eq!(
        answer.reason.as_deref(),
        Some(&*format!("Sluice: offline, no copy of {what}"))
    );
}

#[track_caller]
fn check_refused(answer: &Answered, what: &str) {
    assert_eq!(
        (answer.status, answer.detail()),
        (503, "failed.offline"),
        "{:?}",
        answer.reason
    );
    assert_eq!(
        answer.reason.as_deref(),
        Some(&*format!("Sluice: offline, {what} needs the upstream"))
    );
}

fn versions(page: &Value) -> Vec<&str> {
    let leaves = page["items"].as_array().unwrap().iter();
    leaves
        .map(|leaf| leaf["catalogEntry"]["version"].as_str().unwrap())
        .collect()
}

/// A proxy whose store holds every document of sample.one and one of its packages.
pub(crate) async fn warm() -> (TestProxy, String) {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of(HIVE).await;
    let index = format!("{hive}sample.one/index.json");
    for path in [LIST, &index, AUDIT, &package_path(ONE, "1.0.0")] {
        proxy.get(path).await.expect("miss");
    }
    proxy
        .get(&format!("{hive}sample.one/1.0.0.json"))
        .await
        .expect("miss");
    proxy
        .get(&format!("{hive}sample.one/1.1.0.json"))
        .await
        .expect("miss");
    proxy.get("/v3/search?q=a").await.expect("miss");
    // What follows answers writes and fetches in the background.
    pass(seconds(1)).await;
    (proxy, hive)
}

/// Everything that a client may ask of the store that [`warm`] has filled.
async fn check_offline(proxy: &TestProxy, hive: &str, outcome: &str) {
    let (asked, before) = (proxy.origin.total(), connections(proxy));
    let list = proxy.get(LIST).await.expect(outcome);
    assert_eq!(list.text(), r#"{"versions":["1.0.0"]}"#);
    let index = proxy
        .get(&format!("{hive}sample.one/index.json"))
        .await
        .expect(outcome)
        .json();
    let page = &index["items"][0];
    assert_eq!(
        (versions(page), &page["count"], &page["upper"]),
        (vec!["1.0.0"], &json!(1), &json!("1.0.0"))
    );
    proxy
        .get(&format!("{hive}sample.one/1.0.0.json"))
        .await
        .expect(outcome);
    let leaf = proxy.get(&format!("{hive}sample.one/1.1.0.json")).await;
    check_absent(&leaf, "sample.one");
    proxy.get(&package_path(ONE, "1.0.0")).await.expect("hit");
    check_absent(
        &proxy.get(&package_path(ONE, "1.1.0")).await,
        "sample.one 1.1.0",
    );
    check_absent(
        &proxy.send(Ask::head(&package_path(ONE, "1.1.0"))).await,
        "sample.one 1.1.0",
    );
    check_absent(
        &proxy.get("/v3/flatcontainer/nobody/index.json").await,
        "nobody",
    );
    check_absent(
        &proxy.get(&format!("{hive}nobody/index.json")).await,
        "nobody",
    );
    assert_eq!(proxy.get("/v3/index.json").await.status, 200);
    assert!(proxy.get(AUDIT).await.text().contains("base"));
    let pages = proxy.get(AUDIT).await.json();
    let page = pages[0]["@id"]
        .as_str()
        .unwrap()
        .strip_prefix(&format!("http://{HOST}"))
        .unwrap()
        .to_owned();
    assert_eq!(proxy.get(&page).await.status, 200);
    check_refused(&proxy.get("/v3/search?q=other").await, "search");
    check_refused(&proxy.get("/v3/autocomplete?q=other").await, "autocomplete");
    let push = Ask::new(Method::PUT, "/v3/package").body(package(ONE, "3.0.0", 5000));
    check_refused(&proxy.send(push).await, "publish");
    let delete = Ask::new(Method::DELETE, "/v3/package/Sample.One/1.0.0");
    check_refused(&proxy.send(delete).await, "publish");
    let forced = Ask::get(LIST).header("cache-control", "no-cache");
    assert_eq!(
        proxy.send(forced).await.expect("stale.offline").body,
        list.body
    );
    for _ in 0..3 {
        let ask = Ask::get(LIST).header("x-nuget-session-id", "s-1");
        assert_eq!(proxy.send(ask).await.body, list.body);
    }
    // Nothing in the background either.
    pass(seconds(2 * 3600)).await;
    assert_eq!(
        proxy.get(LIST).await.expect("stale.offline").body,
        list.body
    );
    assert_eq!(proxy.origin.total(), asked);
    assert_eq!(connections(proxy), before);
}

pub(crate) fn connections(proxy: &TestProxy) -> usize {
    proxy.origin.connections("api.test")
}

#[tokio::test(start_paused = true)]
async fn an_operator_takes_a_feed_offline_and_back() {
    let (proxy, hive) = warm().await;
    assert_eq!(state(&proxy), ("online".into(), "configuration".into()));
    let answer = proxy.proxy.order_mode("nuget", OFFLINE).unwrap();
    assert_eq!(
        answer,
        json!({"name": "nuget", "mode": "offline", "mode_by": "admin"})
    );
    assert_eq!(state(&proxy), ("offline".into(), "admin".into()));
    assert!(
        proxy
            .telemetry
            .render()
            .contains(r#"sluice_feed_offline{feed="nuget"} 1"#)
    );
    // What is fresh stays fresh, and what memory holds is not what is shown.
    check_offline(&proxy, &hive, "hit").await;
    order(&proxy, ModeOrder::Configured);
    assert!(
        proxy
            .telemetry
            .render()
            .contains(r#"sluice_feed_offline{feed="nuget"} 0"#)
    );
    let list = proxy.get(LIST).await.expect("revalidated");
    assert_eq!(
        list.text(),
        r#"{"versions":["1.0.0","1.1.0","2.0.0-beta.1"]}"#
    );
    proxy.get(LIST).await.expect("hit");
    assert!(proxy.proxy.order_mode("other", OFFLINE).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_feed_starts_offline_if_it_is_configured_so() {
    let (proxy, hive) = warm().await;
    pass(seconds(3600)).await;
    let offline = proxy
        .restart_as(|setup| setup.proxy.feeds[0].mode = Mode::Offline)
        .await;
    offline.proxy.keep_vulnerabilities();
    assert_eq!(state(&offline), ("offline".into(), "configuration".into()));
    check_offline(&offline, &hive, "stale.offline").await;
    order(&offline, ONLINE);
    offline.get(LIST).await.expect("revalidated");
    order(&offline, ModeOrder::Configured);
    assert_eq!(state(&offline), ("offline".into(), "configuration".into()));
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_says_so() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.feeds[0].mode = Mode::Offline
    })
    .await;
    check_refused(&proxy.get("/v3/index.json").await, "service index");
    check_absent(
        &proxy.get(&package_path(ONE, "1.0.0")).await,
        "sample.one 1.0.0",
    );
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn search_answers_from_memory_with_what_can_be_delivered() {
    let (proxy, _) = warm().await;
    pass(seconds(600)).await;
    order(&proxy, OFFLINE);
    let found = proxy
        .get("/v3/search?q=a")
        .await
        .expect("stale.offline")
        .json();
    let result = &found["data"][0];
    assert_eq!(
        (
            &result["version"],
            result["versions"].as_array().unwrap().len()
        ),
        (&json!("1.0.0"), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn registrations_name_pages_that_are_stored_and_rules_hold_as_well() {
    let mut proxy = TestProxy::new().await;
    let hive = proxy.path_of(HIVE).await;
    let index = format!("{hive}sample.many/index.json");
    let pages = proxy.get(&index).await.expect("miss").json();
    let path = |at: usize| {
        pages["items"][at]["@id"]
            .as_str()
            .unwrap()
            .strip_prefix(&format!("http://{HOST}"))
            .unwrap()
            .to_owned()
    };
    // The packages of all pages are stored, but not the last page.
    for version in ["1.0.0", "1.1.0", "2.1.0", "3.0.0"] {
        proxy
            .get(&package_path("Sample.Many", version))
            .await
            .expect("miss");
    }
    proxy.get(&path(0)).await.expect("miss");
    proxy.get(&path(1)).await.expect("miss");
    order(&proxy, OFFLINE);
    let asked = proxy.origin.total();
    let said = |index: &Value| -> Vec<(u64, String, String)> {
        let pages = index["items"].as_array().unwrap().iter();
        pages
            .map(|page| {
                let text = |name: &str| page[name].as_str().unwrap().to_owned();
                (
                    page["count"].as_u64().unwrap(),
                    text("lower"),
                    text("upper"),
                )
            })
            .collect()
    };
    let expected = [(2, "1.0.0", "1.1.0"), (1, "2.1.0", "2.1.0")]
        .map(|(count, lower, upper)| (count, lower.to_owned(), upper.to_owned()));
    let left = proxy.get(&index).await.json();
    assert_eq!(
        (said(&left), &left["count"]),
        (expected.to_vec(), &json!(2))
    );
    assert_eq!(
        versions(&proxy.get(&path(0)).await.json()),
        ["1.0.0", "1.1.0"]
    );
    check_absent(&proxy.get(&path(2)).await, "sample.many");
    proxy.reload(|settings| {
        settings.feeds[0].block = BlockRules::new(vec![Rule::parse("Sample.Many@(,1.0]").unwrap()]);
    });
    assert_eq!(versions(&proxy.get(&path(0)).await.json()), ["1.1.0"]);
    assert_eq!(proxy.origin.total(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_list_made_of_registrations_names_what_is_stored() {
    let origin = Origin::new();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://art.test/reg")]);
    origin.on("art.test/index.json", document(&index));
    let leaf = |version: &str| {
        json!({"@id": format!("https://art.test/reg/a.b/{version}.json"),
            "catalogEntry": {"id": "A.B", "version": version},
            "packageContent": format!("https://art.test/Download/A.B/{version}")})
    };
    let page = |major: u8| {
        json!({"@id": format!("https://art.test/reg/a.b/page/{major}.json"), "count": 2,
            "lower": format!("{major}.0.0"), "upper": format!("{major}.9.0"),
            "items": [leaf(&format!("{major}.0.0")), leaf(&format!("{major}.9.0"))]})
    };
    let mut outer = page(2);
    outer.as_object_mut().unwrap().remove("items");
    let index = json!({"count": 2, "items": [page(1), outer]});
    origin.on("art.test/reg/a.b/index.json", document(&index.to_string()));
    origin.on(
        "art.test/reg/a.b/page/2.json",
        document(&page(2).to_string()),
    );
    for version in ["1.0.0", "2.9.0"] {
        let file = Reply::file(package("A.B", version, 5000));
        origin.on(&format!("art.test/Download/A.B/{version}"), file);
    }
    let proxy = TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].upstream = "https://art.test/index.json".into()
    })
    .await;
    let list = "/v3/flatcontainer/a.b/index.json";
    // Before the page is stored, and after.
    proxy.get("/v3/index.json").await.expect("miss");
    let hive = proxy.path_of(HIVE).await;
    proxy
        .get(&format!("{hive}a.b/index.json"))
        .await
        .expect("miss");
    proxy
        .get(&package_path("A.B", "1.0.0"))
        .await
        .expect("miss");
    order(&proxy, OFFLINE);
    assert_eq!(proxy.get(list).await.text(), r#"{"versions":["1.0.0"]}"#);
    order(&proxy, ONLINE);
    proxy.get(list).await.expect("miss");
    proxy
        .get(&package_path("A.B", "2.9.0"))
        .await
        .expect("miss");
    order(&proxy, OFFLINE);
    assert_eq!(
        proxy.get(list).await.text(),
        r#"{"versions":["1.0.0","2.9.0"]}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_of_thousands_costs_the_disk_no_more_than_one_of_three() {
    let steps = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&steps);
    let origin = nuget_like();
    let all: Vec<String> = (0..2000).map(|number| format!("{number}.0.0")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    origin.on(
        &format!("{FLAT}/sample.huge/index.json"),
        document(&version_list(&all)),
    );
    for version in ["7.0.0", "1999.0.0"] {
        let place = format!("{FLAT}/{}", content_path("Sample.Huge", version));
        origin.on(&place, Reply::file(package("Sample.Huge", version, 5000)));
    }
    let proxy = TestProxy::with(origin, |setup| {
        setup.store.probe = Some(Probe::new(move |step| {
            if matches!(step, Step::IndexRead | Step::Open) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            None
        }));
    })
    .await;
    let huge = "/v3/flatcontainer/sample.huge/index.json";
    for path in [
        LIST,
        huge,
        &package_path(ONE, "1.0.0"),
        &package_path("Sample.Huge", "7.0.0"),
        &package_path("Sample.Huge", "1999.0.0"),
    ] {
        proxy.get(path).await.expect("miss");
    }
    pass(seconds(1)).await;
    let proxy = proxy.restart().await;
    order(&proxy, OFFLINE);
    pass(seconds(60)).await;
    let cost = async |path: &str| {
        let before = steps.load(Ordering::Relaxed);
        let text = proxy.get(path).await.text().to_owned();
        pass(seconds(1)).await;
        (text, steps.load(Ordering::Relaxed) - before)
    };
    // Reads of the service index, and of the list itself, whose checksum is looked at behind its first answer.
    let (text, small) = cost(LIST).await;
    assert_eq!(text, r#"{"versions":["1.0.0"]}"#);
    let (text, large) = cost(huge).await;
    assert_eq!(text, r#"{"versions":["7.0.0","1999.0.0"]}"#);
    assert!(
        large <= 3 && large <= small,
        "{large} steps, {small} for a small list"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_asks_nothing_further() {
    let proxy = TestProxy::new().await;
    let gate = Gate::new();
    let place = &INDEX["https://".len()..];
    let index = service_index(&[(
        "PackageBaseAddress/3.0.0",
        "https://api.test/v3-flatcontainer/",
    )]);
    proxy.origin.on(place, document(&index).gate(&gate));
    // It waits for the service index, to ask for the package where that says.
    let under_way = proxy.spawn(Ask::get(&package_path(ONE, "1.0.0")));
    gate.reached().await;
    order(&proxy, OFFLINE);
    gate.open();
    check_absent(&under_way.await.unwrap(), "sample.one 1.0.0");
    assert_eq!(proxy.origin.total(), 1);
}
