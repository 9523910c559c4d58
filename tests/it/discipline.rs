//! What an upstream in trouble is asked: retries within their bounds, and behind an open breaker our probes alone.

use crate::harness::fixture::{LIST, LIST_ASKED, LIST_PLACE, document, version_list};
use crate::harness::{Act, Ask, Door, Reply, TestProxy, pass, seconds};

/// A proxy that knows its upstream's index.
async fn ready() -> TestProxy {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    pass(seconds(1)).await;
    proxy
}

fn list(at: usize) -> String {
    format!("/v3/flatcontainer/nothing{at}/index.json")
}

#[tokio::test(start_paused = true)]
async fn behind_an_open_breaker_only_our_probes_reach_the_origin() {
    let proxy = ready().await;
    proxy.origin.down("api.test");
    proxy
        .get(LIST)
        .await
        .expect_status(503, "failed.breaker-open");
    // It accepts connections again, and does not answer.
    proxy.origin.door("api.test", Door::Open);
    proxy.origin.spell("api.test", Act::Hang);
    let before = proxy.origin.all().len();
    for at in 0..290 {
        let (answer, took) = proxy.timed(&list(at)).await;
        answer.expect_status(503, "failed.breaker-open");
        assert_eq!(took, seconds(0));
        pass(seconds(1)).await;
    }
    let probes: Vec<_> = proxy.origin.all().split_off(before);
    // After 5 s, and each after up to ten of waiting: 10, 20 and then 30 s later.
    assert!((6..=9).contains(&probes.len()), "{}", probes.len());
    for probe in &probes {
        assert_eq!(probe.name(), "GET api.test/v3/index.json");
        assert_eq!(probe.header("authorization"), None);
        assert!(
            probe
                .header("via")
                .is_some_and(|via| via.contains("0badcafe"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_answered_probe_lets_everybody_in() {
    let proxy = ready().await;
    proxy.origin.down("api.test");
    proxy
        .get(LIST)
        .await
        .expect_status(503, "failed.breaker-open");
    proxy.origin.mend("api.test");
    // What it says is no matter.
    let index = "api.test/v3/index.json";
    proxy.origin.on(index, Reply::new(500, ""));
    let probes = proxy.origin.count("GET api.test/v3/index.json");
    pass(seconds(6)).await;
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), probes + 1);
    let clients: Vec<_> = (0..20).map(|at| proxy.spawn(Ask::get(&list(at)))).collect();
    for client in clients {
        client.await.expect("a client").expect_status(404, "absent");
    }
    pass(seconds(60)).await;
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), probes + 1);
}

#[tokio::test(start_paused = true)]
async fn four_failures_open_nothing_and_a_fifth_does() {
    for (failures, detail) in [(4, "miss"), (5, "failed.breaker-open")] {
        let proxy = ready().await;
        let good = Act::from(document(&version_list(&["1.0.0"])));
        let script = (0..failures).map(|_| Act::Close).chain([good]);
        proxy.origin.script(LIST_PLACE, script);
        let answer = proxy.get(LIST).await;
        assert_eq!(answer.detail(), detail, "{failures}");
        // A connection that was kept and breaks is none that failed: its request is sent anew at once.
        assert!(proxy.origin.count(LIST_ASKED) >= failures);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_failed_together_do_not_return_together() {
    let proxy = ready().await;
    let clients: Vec<_> = (0..30)
        .map(|at| {
            let place = format!("api.test/v3-flatcontainer/nothing{at}/index.json");
            let script = [Reply::new(503, ""), Reply::new(404, "")];
            proxy.origin.script(&place, script.map(Act::from));
            let (proxy, clock) = (proxy.proxy.clone(), proxy.clock.clone());
            async move {
                let began = clock.instant();
                Ask::get(&list(at)).send(&proxy).await;
                began.elapsed().as_millis()
            }
        })
        .map(|client| proxy.tasks.spawn("client", client))
        .collect();
    let mut waits = std::collections::BTreeSet::new();
    for client in clients {
        let waited = client.await.expect("a client");
        assert!((100..=201).contains(&waited), "{waited}");
        waits.insert(waited);
    }
    assert!(waits.len() > 5, "{waits:?}");
}
