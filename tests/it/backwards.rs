//! An answer that is older than what is stored is not admitted for an hour, unless an epoch rose.

use http::Method;

use crate::harness::fixture::{HIVE, LIST, LIST_ASKED, LIST_PLACE, ONE, package, version_list};
use crate::harness::log::Log;
use crate::harness::{Ask, Reply, TestProxy, pass, seconds};

const EARLY: &str = "Mon, 02 Nov 2026 10:00:00 GMT";
const LATE: &str = "Tue, 03 Nov 2026 10:00:00 GMT";
const HOUR: u64 = 3600;

/// A list as one edge has it.
fn list(versions: &[&str], modified: &str) -> Reply {
    let text = version_list(versions);
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(text.as_bytes()));
    let reply = Reply::json(text).header("ETag", &etag);
    if modified.is_empty() {
        reply
    } else {
        reply.header("Last-Modified", modified)
    }
}

fn new() -> Reply {
    list(&["1.0.0", "2.0.0"], LATE)
}

fn old() -> Reply {
    list(&["1.0.0"], EARLY)
}

/// A proxy that has the newer list, past its freshness, and whose upstream has gone back.
async fn gone_back() -> TestProxy {
    let proxy = TestProxy::new().await;
    proxy.origin.on(LIST_PLACE, new());
    proxy.get(LIST).await.expect("miss");
    proxy.origin.on(LIST_PLACE, old());
    pass(seconds(60)).await;
    proxy
}

#[tokio::test(start_paused = true)]
async fn the_stored_one_answers_for_an_hour_and_the_upstream_is_asked_every_ten_seconds() {
    let log = Log::listen();
    let proxy = gone_back().await;
    let answer = proxy.get(LIST).await.expect("stale.older-answer");
    assert_eq!(answer.text(), r#"{"versions":["1.0.0","2.0.0"]}"#);
    assert_eq!(
        answer.note(),
        "sluice; hit; ttl=0; detail=stale.older-answer"
    );
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
    pass(seconds(9)).await;
    proxy.get(LIST).await.expect("stale.older-answer");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("stale.older-answer");
    assert_eq!(proxy.origin.count(LIST_ASKED), 3);
    let metrics = proxy.telemetry.render();
    let counted = r#"sluice_older_answers_total{feed="nuget",class="version-list"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(log.lines_with("older-answer").len(), 1, "said once");
    pass(seconds(HOUR - 11)).await;
    proxy.get(LIST).await.expect("stale.older-answer");
    pass(seconds(10)).await;
    let answer = proxy.get(LIST).await.expect("miss");
    assert_eq!(answer.text(), r#"{"versions":["1.0.0"]}"#);
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_asked_for_once_a_day_is_not_refused_for_ever() {
    let proxy = gone_back().await;
    proxy.get(LIST).await.expect("stale.older-answer");
    pass(seconds(24 * HOUR)).await;
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn the_hour_begins_anew_once_the_upstream_confirms_the_stored_one() {
    let proxy = gone_back().await;
    proxy.get(LIST).await.expect("stale.older-answer");
    pass(seconds(HOUR / 2)).await;
    proxy.origin.on(LIST_PLACE, new());
    proxy.get(LIST).await.expect("revalidated");
    proxy.origin.on(LIST_PLACE, old());
    pass(seconds(HOUR - 60)).await;
    proxy.get(LIST).await.expect("stale.older-answer");
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("stale.older-answer");
    // A newer one is taken at once.
    proxy.origin.on(
        LIST_PLACE,
        list(&["3.0.0"], "Wed, 04 Nov 2026 10:00:00 GMT"),
    );
    pass(seconds(10)).await;
    proxy.get(LIST).await.expect("miss");
    // What is older than that has an hour of its own.
    proxy.origin.on(LIST_PLACE, new());
    pass(seconds(HOUR)).await;
    proxy.get(LIST).await.expect("stale.older-answer");
}

#[tokio::test(start_paused = true)]
async fn equal_and_missing_times_and_the_same_bytes_are_admitted() {
    for (before, after) in [(LATE, LATE), ("", EARLY), (LATE, ""), (LATE, "long ago")] {
        let proxy = TestProxy::new().await;
        proxy.origin.on(LIST_PLACE, list(&["1.0.0"], before));
        proxy.get(LIST).await.expect("miss");
        proxy.origin.on(LIST_PLACE, list(&["2.0.0"], after));
        pass(seconds(60)).await;
        let answer = proxy.get(LIST).await.expect("miss");
        assert_eq!(answer.text(), r#"{"versions":["2.0.0"]}"#);
    }
    let proxy = TestProxy::new().await;
    proxy.origin.on(LIST_PLACE, list(&["1.0.0"], LATE));
    proxy.get(LIST).await.expect("miss");
    let same = Reply::json(version_list(&["1.0.0"])).header("Last-Modified", EARLY);
    proxy.origin.on(LIST_PLACE, same);
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn under_a_raised_epoch_an_older_answer_is_admitted() {
    let proxy = gone_back().await;
    proxy.get(LIST).await.expect("stale.older-answer");
    let push = Ask::new(Method::PUT, "/v3/package").body(package(ONE, "3.0.0", 100));
    assert_eq!(proxy.send(push).await.status, 201);
    let answer = proxy.get(LIST).await.expect("miss");
    assert_eq!(answer.text(), r#"{"versions":["1.0.0"]}"#);
}

#[tokio::test(start_paused = true)]
async fn no_cache_asks_and_gets_the_stored_one_too() {
    let proxy = gone_back().await;
    proxy.get(LIST).await.expect("stale.older-answer");
    let forced = Ask::get(LIST).header("cache-control", "no-cache");
    proxy.send(forced).await.expect("stale.older-answer");
    assert_eq!(proxy.origin.count(LIST_ASKED), 3);
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_says_all_the_same_that_there_is_one() {
    let proxy = gone_back().await;
    let gone = || Reply::new(404, "");
    for (reply, expected) in [(gone(), 404), (old(), 200), (gone(), 404)] {
        proxy.origin.on(LIST_PLACE, reply);
        assert_eq!(proxy.get(LIST).await.status, expected);
        pass(seconds(11)).await;
    }
    // Two words in a row that there is none would end the list in an outage too.
    proxy.origin.all_down();
    let answer = proxy.get(LIST).await;
    assert_eq!(answer.status, 200, "{}", answer.note());
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_it_is_stale_like_any_other() {
    let proxy = gone_back().await;
    proxy.get(LIST).await.expect("stale.older-answer");
    proxy.origin.all_down();
    pass(seconds(10)).await;
    let answer = proxy.get(LIST).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.detail().starts_with("stale.") && answer.detail() != "stale.older-answer",
        "{}",
        answer.note()
    );
}

/// A registration of one version, committed at this time.
fn registration(version: &str, committed: &str, modified: &str) -> Reply {
    let mut index: serde_json::Value = serde_json::from_str(
        &crate::harness::fixture::inlined_registration(HIVE, ONE, &[version]),
    )
    .expect("JSON");
    index["commitTimeStamp"] = committed.into();
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(index.to_string().as_bytes()));
    let reply = Reply::json(index.to_string()).header("ETag", &etag);
    reply.header("Last-Modified", modified).gzip()
}

#[tokio::test(start_paused = true)]
async fn a_registrations_own_time_decides_before_that_of_its_answer() {
    let (one, two) = (
        "2026-11-03T10:00:00.0000000Z",
        "2026-11-03T10:00:00.0000001Z",
    );
    for (before, after, admitted) in [
        ((two, EARLY), (one, LATE), "stale.older-answer"),
        ((one, LATE), (two, EARLY), "miss"),
        ((one, LATE), (one, EARLY), "miss"),
        // Without a time of the calendar there is none.
        (
            ("0001-01-01T00:00:00Z", LATE),
            (one, EARLY),
            "stale.older-answer",
        ),
    ] {
        let proxy = TestProxy::new().await;
        let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
        let (path, place) = (
            format!("{hive}sample.one/index.json"),
            format!("{HIVE}/sample.one/index.json"),
        );
        let first = registration("1.0.0", before.0, before.1);
        proxy.origin.on(&place, first);
        proxy.get(&path).await.expect("miss");
        proxy
            .origin
            .on(&place, registration("1.1.0", after.0, after.1));
        pass(seconds(300)).await;
        proxy.get(&path).await.expect(admitted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_time_to_come_locks_a_document_for_an_hour_and_no_longer() {
    let proxy = TestProxy::new().await;
    let ahead = list(&["1.0.0"], "Fri, 01 Jan 2106 00:00:00 GMT");
    proxy.origin.on(LIST_PLACE, ahead);
    proxy.get(LIST).await.expect("miss");
    proxy.origin.on(LIST_PLACE, new());
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect("stale.older-answer");
    pass(seconds(HOUR)).await;
    proxy.get(LIST).await.expect("miss");
}
