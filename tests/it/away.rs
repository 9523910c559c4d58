//! What takes a feed offline and back besides an operator: a long outage, a probe that is answered, a reload. Nobody is
//! probed for a feed that is offline by will.

use std::time::Duration;

use sluice::proxy::{FeedSettings, Mode, ModeOrder};

use crate::harness::fixture::{INDEX, LIST, LIST_ASKED, ONE, document, nuget_like, service_index};
use crate::harness::{Ask, Gate, TestProxy, pass, seconds};
use crate::offline::{
    OFFLINE, ONLINE, check_absent, connections, order, package_path, state, warm,
};

#[tokio::test(start_paused = true)]
async fn a_long_outage_takes_a_feed_offline_until_a_probe_is_answered() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.feeds[0].auto_offline_after = Some(Duration::from_secs(600));
    })
    .await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(&package_path(ONE, "1.0.0")).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(61)).await;
    let began = proxy.get("/v3/flatcontainer/nobody/index.json").await;
    assert!(matches!(began.status, 502..=504), "{}", began.status);
    pass(seconds(500)).await;
    assert_eq!(state(&proxy), ("online".into(), "configuration".into()));
    let list = proxy.get(LIST).await;
    assert!(list.text().contains("1.1.0"), "{}", list.text());
    pass(seconds(120)).await;
    check_absent(
        &proxy.get("/v3/flatcontainer/nobody/index.json").await,
        "nobody",
    );
    assert_eq!(state(&proxy), ("offline".into(), "outage".into()));
    let list = proxy.get(LIST).await.expect("stale.offline");
    assert_eq!(list.text(), r#"{"versions":["1.0.0"]}"#);
    // Only probes are sent.
    let (before, total) = (connections(&proxy), proxy.origin.total());
    pass(seconds(300)).await;
    assert!(
        connections(&proxy) >= before + 5,
        "{} and {before}",
        connections(&proxy)
    );
    assert_eq!(proxy.origin.total(), total);
    // An operator's word stands above it.
    order(&proxy, ONLINE);
    assert_eq!(state(&proxy), ("online".into(), "admin".into()));
    order(&proxy, ModeOrder::Configured);
    assert_eq!(state(&proxy), ("offline".into(), "outage".into()));
    proxy.origin.mend_all();
    pass(seconds(31)).await;
    assert_eq!(state(&proxy), ("online".into(), "configuration".into()));
    assert_eq!(
        proxy
            .origin
            .last(&format!("GET {}", &INDEX["https://".len()..]))
            .header("via"),
        Some("1.1 sluice-0badcafe")
    );
    proxy.get(LIST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_down_is_not_probed_while_its_feed_is_offline() {
    let (proxy, _) = warm().await;
    pass(seconds(61)).await;
    proxy.origin.all_down();
    proxy.get("/v3/flatcontainer/nobody/index.json").await;
    let before = connections(&proxy);
    pass(seconds(120)).await;
    assert!(
        connections(&proxy) > before,
        "it is probed while the feed is online"
    );
    order(&proxy, OFFLINE);
    let before = connections(&proxy);
    pass(seconds(3600)).await;
    assert_eq!(connections(&proxy), before);
    proxy.origin.mend_all();
    pass(seconds(60)).await;
    assert_eq!(connections(&proxy), before);
    let asked = proxy.origin.count(LIST_ASKED);
    order(&proxy, ModeOrder::Configured);
    pass(seconds(1)).await;
    proxy.get(LIST).await.expect("revalidated");
    assert_eq!(proxy.origin.count(LIST_ASKED), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_online_has_their_shared_origin_probed() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        let mut second = setup.proxy.feeds[0].clone();
        second.name = "second".into();
        setup.proxy.feeds.push(second);
    })
    .await;
    proxy.get("/v3/index.json").await.expect("miss");
    order(&proxy, OFFLINE);
    proxy.origin.all_down();
    proxy
        .get("/second/v3/flatcontainer/nobody/index.json")
        .await;
    let before = connections(&proxy);
    pass(seconds(120)).await;
    assert!(connections(&proxy) > before);
    proxy.proxy.order_mode("second", OFFLINE).unwrap();
    let before = connections(&proxy);
    pass(seconds(120)).await;
    assert_eq!(connections(&proxy), before);
}

fn is_offline_in_metrics(proxy: &TestProxy, feed: &str) -> Option<bool> {
    let text = proxy.telemetry.render();
    let start = format!("sluice_feed_offline{{feed=\"{feed}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start))?;
    Some(value == "1")
}

#[tokio::test(start_paused = true)]
async fn a_reload_sets_the_mode_and_an_order_stands_above_it() {
    let (mut proxy, _) = warm().await;
    pass(seconds(3600)).await;
    proxy.reload(|settings| settings.feeds[0].mode = Mode::Offline);
    assert_eq!(state(&proxy), ("offline".into(), "configuration".into()));
    assert_eq!(is_offline_in_metrics(&proxy, "nuget"), Some(true));
    let asked = proxy.origin.total();
    let list = proxy.get(LIST).await.expect("stale.offline");
    assert_eq!(list.text(), r#"{"versions":["1.0.0"]}"#);
    pass(seconds(3600)).await;
    assert_eq!(proxy.origin.total(), asked);

    order(&proxy, ONLINE);
    // Whatever changes besides, its upstream too.
    proxy.reload(|settings| settings.feeds[0].upstream = "https://corp.test/index.json".into());
    assert_eq!(state(&proxy), ("online".into(), "admin".into()));
    order(&proxy, ModeOrder::Configured);
    assert_eq!(state(&proxy), ("offline".into(), "configuration".into()));
    proxy.reload(|settings| settings.feeds[0].mode = Mode::Online);
    assert_eq!(state(&proxy), ("online".into(), "configuration".into()));
    assert_eq!(is_offline_in_metrics(&proxy, "nuget"), Some(false));
}

#[tokio::test(start_paused = true)]
async fn feeds_that_a_reload_adds_have_their_mode_and_those_it_removes_have_none() {
    let mut proxy = TestProxy::new().await;
    proxy.reload(|settings| {
        let mut second = FeedSettings::new("second", "https://corp.test/index.json");
        second.mode = Mode::Offline;
        settings.feeds.push(second);
    });
    let answer = proxy.get("/second/v3/flatcontainer/a.b/index.json").await;
    check_absent(&answer, "a.b");
    assert_eq!(is_offline_in_metrics(&proxy, "second"), Some(true));
    assert!(proxy.proxy.order_mode("second", ONLINE).is_some());
    proxy.reload(|settings| settings.feeds.truncate(1));
    assert_eq!(is_offline_in_metrics(&proxy, "second"), None);
    assert!(proxy.proxy.order_mode("second", OFFLINE).is_none());
    proxy.get(LIST).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn a_request_from_before_a_reload_asks_nothing_further_once_its_feed_is_offline() {
    let mut proxy = TestProxy::new().await;
    let gate = Gate::new();
    let index = service_index(&[(
        "PackageBaseAddress/3.0.0",
        "https://api.test/v3-flatcontainer/",
    )]);
    proxy
        .origin
        .on(&INDEX["https://".len()..], document(&index).gate(&gate));
    let under_way = proxy.spawn(Ask::get(&package_path(ONE, "1.0.0")));
    gate.reached().await;
    proxy.reload(|settings| settings.feeds[0].mode = Mode::Offline);
    gate.open();
    check_absent(&under_way.await.unwrap(), "sample.one 1.0.0");
    assert_eq!(proxy.origin.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_without_auto_offline_after_ends_what_that_began() {
    let mut proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(61)).await;
    proxy.get("/v3/flatcontainer/nobody/index.json").await;
    pass(seconds(61)).await;
    assert_eq!(state(&proxy), ("online".into(), "configuration".into()));
    proxy.reload(|settings| settings.feeds[0].auto_offline_after = Some(seconds(60)));
    assert_eq!(state(&proxy), ("offline".into(), "outage".into()));
    let probed = connections(&proxy);
    pass(seconds(120)).await;
    assert!(connections(&proxy) > probed);
    proxy.reload(|settings| settings.feeds[0].auto_offline_after = None);
    assert_eq!(state(&proxy), ("online".into(), "configuration".into()));
    let list = proxy.get(LIST).await;
    assert!(list.text().contains("1.1.0"), "{}", list.text());
}
