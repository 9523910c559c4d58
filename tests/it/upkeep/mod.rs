//! Upkeep by order of an operator: what is purged is gone and comes back only by a new question; pins; the binary's
//! commands, on a running process and on a store that nobody serves.

#[cfg(unix)]
mod of_a_process;

use serde_json::{Value, json};
use sluice::proxy::{FeedSettings, OrderError};
use sluice::store::{Pin, Pins};

use crate::harness::fixture::{FLAT, LIST, MANY, ONE, content_path, nuget_like, package};
use crate::harness::{Act, Ask, Gate, Reply, TestProxy, pass, seconds};

fn path(id: &str, version: &str) -> String {
    format!("/v3/flatcontainer/{}", content_path(id, version))
}

fn asked(id: &str, version: &str) -> String {
    format!("GET {FLAT}/{}", content_path(id, version))
}

/// Has an order carried out; the findings, and what came of it.
pub(crate) async fn order(proxy: &TestProxy, name: &str, said: Value) -> (Vec<Value>, Value) {
    let mut told = proxy.proxy.take_order(name, &said).expect("an order");
    let mut findings = Vec::new();
    while let Some(mut object) = told.recv().await {
        if let Some(done) = object.get_mut("done") {
            return (findings, done.take());
        }
        findings.extend(object.get("finding").cloned());
    }
    panic!("nothing came of it");
}

/// Responses that a purge took, by feed.
async fn purge(proxy: &TestProxy, said: Value) -> Vec<(String, u64)> {
    let (_, done) = order(proxy, "purge", said).await;
    let feeds = done["feeds"].as_array().expect("feeds").iter();
    let tally = |feed: &Value| {
        let name = feed["feed"].as_str().expect("a name").to_owned();
        assert!(feed["bytes"].is_u64());
        (name, feed["responses"].as_u64().expect("a number"))
    };
    feeds.map(tally).collect()
}

fn of_nuget(responses: u64) -> Vec<(String, u64)> {
    vec![("nuget".to_owned(), responses)]
}

/// A proxy that has stored a list and packages of two ids.
async fn warm() -> TestProxy {
    let proxy = TestProxy::new().await;
    for path in [
        LIST.to_owned(),
        path(ONE, "1.0.0"),
        path(ONE, "1.1.0"),
        path(MANY, "1.0.0"),
    ] {
        proxy.get(&path).await.expect("miss");
    }
    pass(seconds(1)).await;
    proxy
}

#[tokio::test(start_paused = true)]
async fn a_purged_package_is_asked_for_again_with_all_its_documents() {
    let proxy = warm().await;
    assert_eq!(
        purge(&proxy, json!({"id": "SAMPLE.One"})).await,
        of_nuget(3)
    );
    // An outage finds nothing of it any more.
    proxy.origin.all_down();
    for gone in [LIST.to_owned(), path(ONE, "1.0.0")] {
        let answer = proxy.get(&gone).await;
        assert!(
            (502..=504).contains(&answer.status),
            "{gone}: {}",
            answer.status
        );
    }
    proxy.get(&path(MANY, "1.0.0")).await.expect("hit");
    proxy.origin.mend_all();
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(&path(ONE, "1.0.0")).await.expect("miss");
    assert_eq!(purge(&proxy, json!({"id": "nobody"})).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_purged_version_goes_alone() {
    let proxy = warm().await;
    let said = json!({"id": ONE, "version": "1.0", "feed": "nuget"});
    assert_eq!(purge(&proxy, said).await, of_nuget(1));
    proxy.get(&path(ONE, "1.1.0")).await.expect("hit");
    proxy.get(LIST).await.expect("hit");
    let again = proxy.get(&path(ONE, "1.0.0")).await.expect("miss");
    assert_eq!(again.body, package(ONE, "1.0.0", 40_000));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_does_not_bring_back_what_was_purged() {
    for said in [
        json!({"id": ONE, "version": "1.0.0"}),
        json!({"id": ONE}),
        json!({"feed": "nuget"}),
        json!({"pattern": "Sample.O*"}),
        json!({"pattern": "*"}),
    ] {
        let (origin, gate) = (nuget_like(), Gate::new());
        let (old, new) = (package(ONE, "1.0.0", 90_000), package(ONE, "1.0.0", 40_000));
        let place = format!("{FLAT}/{}", content_path(ONE, "1.0.0"));
        let slow = Reply::file(old.clone()).body_gate(60_000, &gate);
        origin.script(&place, [Act::from(slow), Reply::file(new.clone()).into()]);
        let proxy = TestProxy::with(origin, |_| {}).await;
        let mut first = Ask::get(&path(ONE, "1.0.0")).open(&proxy.proxy).await;
        let mut taken = first.at_least(20_000).await;
        purge(&proxy, said.clone()).await;
        // Nobody who comes after the purge joins it.
        let second = proxy.get(&path(ONE, "1.0.0")).await.expect("miss");
        assert_eq!(second.body, new, "{said}");
        gate.open();
        taken.extend_from_slice(&first.collect().await.body);
        assert_eq!(taken, old, "{said}");
        pass(seconds(1)).await;
        proxy.origin.all_down();
        let stored = proxy.get(&path(ONE, "1.0.0")).await.expect("hit");
        assert_eq!(stored.body, new, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pattern_takes_the_ids_that_fit_and_a_feed_everything() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        let other = FeedSettings::new("other", "https://api.test/v3/index.json");
        setup.proxy.feeds.push(other);
    })
    .await;
    let other = |path: &str| format!("/other{path}");
    for path in [
        path(ONE, "1.0.0"),
        path(MANY, "1.0.0"),
        other(&path(ONE, "1.0.0")),
    ] {
        proxy.get(&path).await.expect("miss");
    }
    pass(seconds(1)).await;
    let both = vec![("nuget".to_owned(), 1), ("other".to_owned(), 1)];
    assert_eq!(purge(&proxy, json!({"pattern": "sample.o*"})).await, both);
    proxy.get(&path(MANY, "1.0.0")).await.expect("hit");
    proxy.get(&path(ONE, "1.0.0")).await.expect("miss");
    proxy.get(&other(&path(ONE, "1.0.0"))).await.expect("miss");
    pass(seconds(1)).await;
    let said = json!({"pattern": "Sample.*", "feed": "other"});
    assert_eq!(purge(&proxy, said).await, vec![("other".to_owned(), 1)]);
    // Two packages and the service index.
    assert_eq!(purge(&proxy, json!({"feed": "nuget"})).await, of_nuget(3));
    let indexes = proxy.origin.count("GET api.test/v3/index.json");
    proxy.get(&path(ONE, "1.0.0")).await.expect("miss");
    assert_eq!(
        proxy.origin.count("GET api.test/v3/index.json"),
        indexes + 1
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_goes_and_what_is_fresh_and_content_stay() {
    let proxy = warm().await;
    proxy
        .get("/v3/flatcontainer/sample.none/index.json")
        .await
        .expect_status(404, "absent");
    assert_eq!(purge(&proxy, json!({"stale": true})).await, []);
    pass(seconds(90)).await;
    // The list is past its minute, the service index in its quarter of an hour.
    let (_, done) = order(&proxy, "purge", json!({"stale": true})).await;
    assert_eq!(done["feeds"][0]["responses"], 1, "{done}");
    assert_eq!(done["absences"], 1, "{done}");
    proxy.get(&path(ONE, "1.0.0")).await.expect("hit");
    proxy.get(LIST).await.expect("miss");
    // After an hour the service index, too.
    pass(seconds(3600)).await;
    assert_eq!(
        purge(&proxy, json!({"stale": true, "id": ONE})).await,
        of_nuget(1)
    );
    assert_eq!(purge(&proxy, json!({"stale": true})).await, of_nuget(1));
}

#[tokio::test(start_paused = true)]
async fn answers_in_memory_go_with_what_they_were_made_of() {
    let proxy = warm().await;
    let search = "/v3/search?q=sample";
    proxy.get(search).await.expect("miss");
    proxy.get(LIST).await.expect("hit");
    assert_eq!(purge(&proxy, json!({"id": ONE})).await, of_nuget(3));
    proxy.origin.all_down();
    for path in [LIST, search] {
        let answer = proxy.get(path).await;
        assert!(answer.status >= 500, "{path}: {}", answer.detail());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_feed_is_told_the_feeds_and_there_is_one_order_at_a_time() {
    let proxy = warm().await;
    let refused =
        |name: &str, said: Value| proxy.proxy.take_order(name, &said).expect_err("refused");
    let expected = "feed: expected one of nuget, which \"nugte\" is not";
    let error = refused("purge", json!({"feed": "nugte"}));
    assert_eq!(error, OrderError::Wrong(expected.to_owned()));
    let running = proxy
        .proxy
        .take_order("purge", &json!({"id": ONE}))
        .expect("an order");
    assert_eq!(refused("verify", Value::Null), OrderError::Busy);
    // It is carried out although nobody listens any more.
    drop(running);
    pass(seconds(5)).await;
    proxy.get(&path(ONE, "1.0.0")).await.expect("miss");
    let (_, done) = order(&proxy, "verify", Value::Null).await;
    assert_eq!(
        (&done["damaged"], &done["complete"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(
        done["bodies"].as_u64(),
        Some(proxy.store.usage().entries as u64)
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_rotted_is_found_named_set_aside_and_asked_for_again() {
    let proxy = warm().await;
    let proxy = proxy
        .restart_with(|data| {
            for folder in std::fs::read_dir(data.join("bodies")).unwrap() {
                for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                    let path = file.unwrap().path();
                    let mut bytes = std::fs::read(&path).unwrap();
                    if bytes.starts_with(&package(ONE, "1.1.0", 40_000)) {
                        bytes[20_000] ^= 1;
                        std::fs::write(path, bytes).unwrap();
                    }
                }
            }
        })
        .await;
    pass(seconds(1)).await;
    let (findings, done) = order(&proxy, "verify", json!({"repair": true})).await;
    assert_eq!(
        (&done["damaged"], &done["set_aside"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(done["quarantine"].as_array().map(Vec::len), Some(1));
    let finding = &findings[0];
    let named = ["damage", "feed", "id", "class", "rest"].map(|field| finding[field].clone());
    assert_eq!(
        named,
        ["checksum", "nuget", "sample.one", "package", "1.1.0"]
    );
    let again = proxy.get(&path(ONE, "1.1.0")).await.expect("miss");
    assert_eq!(again.body, package(ONE, "1.1.0", 40_000));
    assert_eq!(proxy.origin.count(&asked(ONE, "1.1.0")), 2);
}

#[tokio::test(start_paused = true)]
async fn a_trim_keeps_what_was_used_since_the_start() {
    let proxy = warm().await.restart().await;
    pass(seconds(1)).await;
    proxy.get(&path(ONE, "1.0.0")).await.expect("hit");
    let said = json!({"keep_used_since": "start"});
    let (_, done) = order(&proxy, "trim", said).await;
    // The other two packages and the list; the service index was read.
    assert_eq!(done["feeds"][0]["feed"], "nuget", "{done}");
    proxy.get(&path(ONE, "1.0.0")).await.expect("hit");
    proxy.get(&path(MANY, "1.0.0")).await.expect("miss");
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn pins_are_obeyed_while_it_runs_and_a_purge_says_what_was_pinned() {
    let proxy = warm().await;
    let changed = Pins::file(&proxy.data_dir()).change(|_| {
        let mut pins = Pins::default();
        pins.add(Pin {
            id: "sample.one".to_owned(),
            version: Some("1.0.0".to_owned()),
            feed: Some("nuget".to_owned()),
        });
        Ok::<_, String>((pins.write(), ()))
    });
    changed.unwrap();
    pass(seconds(61)).await;
    // The package and the list.
    assert_eq!(proxy.store.usage().pinned, 2);
    let (_, done) = order(&proxy, "trim", json!({"keep_used_since": "0s"})).await;
    assert_eq!(done["pinned"], 0, "{done}");
    proxy.get(&path(ONE, "1.0.0")).await.expect("hit");
    let (_, done) = order(&proxy, "purge", json!({"id": ONE})).await;
    assert_eq!(done["pinned"], 2, "{done}");
    proxy.get(&path(ONE, "1.0.0")).await.expect("miss");
    pass(seconds(1)).await;
    assert_eq!(proxy.store.usage().pinned, 1);
}
