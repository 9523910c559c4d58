//! The memory of 404s: ten seconds, in outages seven days, and what it does to a stored list.

use crate::harness::fixture::{
    HIVE, LIST, LIST_ASKED, LIST_PLACE, document, package, version_list,
};
use crate::harness::{Ask, Reply, TestProxy, pass, seconds};

const NONE: &str = "/v3/flatcontainer/sample.none/index.json";
const NONE_ASKED: &str = "GET api.test/v3-flatcontainer/sample.none/index.json";
const NONE_PLACE: &str = "api.test/v3-flatcontainer/sample.none/index.json";
const DAY: u64 = 24 * 60 * 60;

/// Takes the upstream down and waits until its breaker is open.
async fn outage(proxy: &TestProxy) {
    proxy.origin.all_down();
    let probe = "/v3/flatcontainer/sample.probe/index.json";
    let answer = proxy.get(probe).await;
    assert_eq!(answer.detail(), "failed.breaker-open");
}

/// Bodies in the store's folder.
fn bodies(proxy: &TestProxy) -> usize {
    let folders = std::fs::read_dir(proxy.data_dir().join("bodies")).expect("a folder");
    let files = folders
        .flat_map(|folder| std::fs::read_dir(folder.expect("a folder").path()).expect("a folder"));
    files.count()
}

#[tokio::test(start_paused = true)]
async fn a_404_answers_ten_seconds() {
    for status in [404, 410, 204] {
        let proxy = TestProxy::new().await;
        proxy.origin.on(NONE_PLACE, Reply::new(status, ""));
        let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
        let registration = format!("{HIVE}/sample.none/index.json");
        proxy.origin.on(&registration, Reply::new(status, ""));
        let index = format!("{hive}sample.none/index.json");
        for (path, asked) in [(NONE, NONE_ASKED), (&index, &format!("GET {registration}"))] {
            proxy.get(path).await.expect_status(404, "absent");
            pass(seconds(9)).await;
            proxy.get(path).await.expect_status(404, "absent");
            assert_eq!(proxy.origin.count(asked), 1, "{status}");
            pass(seconds(1)).await;
            proxy.get(path).await.expect_status(404, "absent");
            assert_eq!(proxy.origin.count(asked), 2, "{status}");
        }
        proxy
            .origin
            .on(NONE_PLACE, document(&version_list(&["1.0.0"])));
        pass(seconds(10)).await;
        proxy.get(NONE).await.expect("miss");
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_a_404_of_a_list_answers_seven_days() {
    let proxy = TestProxy::new().await;
    proxy.get(NONE).await.expect_status(404, "absent");
    outage(&proxy).await;
    pass(seconds(60)).await;
    proxy
        .get(NONE)
        .await
        .expect_status(404, "absent.breaker-open");
    pass(seconds(7 * DAY - 120)).await;
    let (answer, took) = proxy.timed(NONE).await;
    answer.expect_status(404, "absent.breaker-open");
    assert_eq!(took, seconds(0));
    pass(seconds(120)).await;
    proxy
        .get(NONE)
        .await
        .expect_status(503, "failed.breaker-open");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_no_404_of_an_old_epoch_answers() {
    let proxy = TestProxy::new().await;
    proxy.get(NONE).await.expect_status(404, "absent");
    let push = Ask::new(http::Method::PUT, "/v3/package").body(package("Sample.None", "1.0.0", 99));
    assert_eq!(proxy.send(push).await.status, 201);
    outage(&proxy).await;
    proxy
        .get(NONE)
        .await
        .expect_status(503, "failed.breaker-open");
}

#[tokio::test(start_paused = true)]
async fn with_only_a_404_stored_nobody_waits_longer_than_with_a_copy() {
    let proxy = TestProxy::new().await;
    proxy.get(NONE).await.expect_status(404, "absent");
    pass(seconds(10)).await;
    proxy.origin.on(
        NONE_PLACE,
        document(&version_list(&["1.0.0"])).delay(seconds(5)),
    );
    let (answer, took) = proxy.timed(NONE).await;
    answer.expect_status(404, "absent.slow-origin");
    assert_eq!(took, seconds(2));
    pass(seconds(4)).await;
    proxy.get(NONE).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn other_404s_are_asked_for_and_never_answer_in_an_outage() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let leaf = format!("{hive}sample.none/1.0.0.json");
    let content = "/v3/flatcontainer/sample.none/1.0.0/sample.none.1.0.0.nupkg";
    for path in [&*leaf, content] {
        proxy.get(path).await.expect_status(404, "absent");
    }
    outage(&proxy).await;
    pass(seconds(10)).await;
    for path in [&*leaf, content] {
        proxy
            .get(path)
            .await
            .expect_status(503, "failed.breaker-open");
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_over_a_stored_list_answers_while_the_upstream_does() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.origin.on(LIST_PLACE, Reply::new(404, ""));
    pass(seconds(60)).await;
    proxy.get(LIST).await.expect_status(404, "absent");
    pass(seconds(5)).await;
    proxy.get(LIST).await.expect_status(404, "absent");
    // Said once only: in an outage the list is better.
    outage(&proxy).await;
    let answer = proxy.get(LIST).await.expect("stale.breaker-open");
    assert!(answer.text().contains("1.0.0"));
    // It comes back, and nothing speaks of the 404 any more.
    proxy.origin.mend_all();
    proxy
        .origin
        .on(LIST_PLACE, document(&version_list(&["1.0.0"])));
    pass(seconds(35)).await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(LIST).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_404_that_is_repeated_unlinks_the_list() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    pass(seconds(1)).await;
    let before = bodies(&proxy);
    proxy.origin.on(LIST_PLACE, Reply::new(404, ""));
    pass(seconds(59)).await;
    proxy.get(LIST).await.expect_status(404, "absent");
    pass(seconds(10)).await;
    proxy.get(LIST).await.expect_status(404, "absent");
    assert_eq!(proxy.origin.count(LIST_ASKED), 3);
    assert_eq!(bodies(&proxy), before - 1);
    outage(&proxy).await;
    pass(seconds(20)).await;
    proxy
        .get(LIST)
        .await
        .expect_status(404, "absent.breaker-open");
}

#[tokio::test(start_paused = true)]
async fn a_404_that_a_demand_brought_is_not_hidden_by_the_answer_in_memory() {
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.origin.on(LIST_PLACE, Reply::new(404, ""));
    let forced = Ask::get(LIST).header("cache-control", "no-cache");
    proxy.send(forced).await.expect_status(404, "absent");
    proxy.get(LIST).await.expect_status(404, "absent");
    let named = "/v3/flatcontainer/Sample.One/index.json";
    proxy.get(named).await.expect_status(404, "absent");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}
